//! A server and a client joined by a simulated link, under virtual time.
//! Only the parts of the two that the time model needs: clocks, loops, headers. The tests beside it set it up and read its report.

use std::collections::BTreeMap;
use std::time::Duration;

use ghostline_wire::NetworkTick;

use super::super::{
    ClientFrame, ClientFrameInput, ClientLoop, ClientServerTickRate, ClientTickRate, LocalClock, NetworkTime,
    RttEstimator, ServerLoop, TickPoint, TickSpan, TimeSync, TimeSyncInput, TimeSyncOutput,
};

/// A small seeded generator (SplitMix64).
#[derive(Clone, Debug)]
pub(super) struct Random(pub u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number in `0..1`.
    pub(super) fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    pub(super) fn between(&mut self, low: f64, high: f64) -> f64 {
        low + self.unit() * (high - low)
    }
}

/// One direction of a link. Jitter reorders.
#[derive(Clone, Debug)]
pub(super) struct Link<T> {
    pub delay_ms: f64,
    pub jitter_ms: f64,
    /// Probability of losing a packet.
    pub loss: f64,
    /// Loses every packet whose number is a multiple of this; 0 loses none.
    pub drop_every: u64,
    /// Loses every packet while set.
    pub is_cut: bool,
    random: Random,
    in_flight: BTreeMap<(u64, u64), T>,
    sent: u64,
}

impl<T> Link<T> {
    fn new(seed: u64) -> Self {
        let random = Random(seed);
        Self {
            delay_ms: 0.0,
            jitter_ms: 0.0,
            loss: 0.0,
            drop_every: 0,
            is_cut: false,
            random,
            in_flight: BTreeMap::new(),
            sent: 0,
        }
    }

    fn send(&mut self, now: u64, packet: T) {
        let jitter_ms = self.random.unit() * self.jitter_ms;
        self.sent += 1;
        let is_periodic_victim = self.drop_every > 0 && self.sent.is_multiple_of(self.drop_every);
        let is_lost = self.random.unit() < self.loss || is_periodic_victim || self.is_cut;
        if !is_lost {
            let arrival = now + ((self.delay_ms + jitter_ms) * 1e6) as u64;
            self.in_flight.insert((arrival, self.sent), packet);
        }
    }

    fn receive(&mut self, now: u64) -> Option<T> {
        let (&key, _) = self.in_flight.first_key_value()?;
        if key.0 <= now { self.in_flight.remove(&key) } else { None }
    }
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Command {
    local_time_ms: u16,
    return_time_ms: Option<u16>,
    input_target: NetworkTick,
    is_full_tick: bool,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Snapshot {
    local_time_ms: u16,
    return_time_ms: Option<u16>,
    tick: NetworkTick,
    command_age_q8: i32,
}

/// A clock that runs `drift` (±0.01 = 1 %) fast, in whole nanoseconds.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Oscillator {
    pub drift_ppm: i64,
    shown: u64,
}

impl Oscillator {
    fn at(&self, now: u64) -> u64 {
        (i128::from(now) * i128::from(1_000_000 + self.drift_ppm) / 1_000_000) as u64
    }

    /// Shows `now`; returns the time since the last call.
    pub(super) fn advance(&mut self, now: u64) -> Duration {
        let shown = self.at(now);
        let before = std::mem::replace(&mut self.shown, shown);
        Duration::from_nanos(shown - before)
    }
}

pub(super) struct Server {
    pub oscillator: Oscillator,
    pub clock: LocalClock,
    pub server_loop: ServerLoop,
    pub time: NetworkTime,
    pub rtt: RttEstimator,
    pub command_age_q8: i32,
    command_age_q16: i64,
    pub newest_full_command: Option<NetworkTick>,
    newest_command: Option<(NetworkTick, bool)>,
    ticks_since_snapshot: u32,
    /// Ticks that were run.
    pub ticks: u64,
    /// Ticks between a command's first arrival and its use.
    pub margins: Vec<i32>,
}

pub(super) struct Client {
    pub oscillator: Oscillator,
    pub clock: LocalClock,
    pub sync: TimeSync,
    pub client_loop: ClientLoop,
    pub time: NetworkTime,
    pub rtt: RttEstimator,
    pub latest_snapshot: Option<NetworkTick>,
    pub command_age_q8: i32,
    pub output: TimeSyncOutput,
    last_sent: Option<NetworkTick>,
    pub in_game: bool,
    pub is_in_process: bool,
}

/// Both ends and the link, at `now` nanoseconds.
pub(super) struct Session {
    pub now: u64,
    pub rate: ClientServerTickRate,
    pub client_rate: ClientTickRate,
    pub server: Server,
    pub client: Client,
    /// Where the server is at time 0 of its clock.
    start: TickPoint,
    /// Whether snapshots are taken in also when the client's frame doesn't run.
    pub receives_in_skipped_frames: bool,
    pub up: Link<Command>,
    pub down: Link<Snapshot>,
}

impl Session {
    pub(super) fn new(seed: u64) -> Self {
        Self::with_rate(seed, ClientServerTickRate::default())
    }

    pub(super) fn with_rate(seed: u64, rate: ClientServerTickRate) -> Self {
        Self {
            now: 0,
            rate: rate.resolve_defaults(),
            client_rate: ClientTickRate::default(),
            server: Server {
                oscillator: Oscillator::default(),
                clock: LocalClock::new(),
                server_loop: ServerLoop::new(),
                time: NetworkTime::default(),
                rtt: RttEstimator::new(),
                command_age_q8: 0,
                command_age_q16: 0,
                newest_full_command: None,
                newest_command: None,
                ticks_since_snapshot: 0,
                ticks: 0,
                margins: Vec::new(),
            },
            client: Client {
                oscillator: Oscillator::default(),
                clock: LocalClock::new(),
                sync: TimeSync::new(),
                client_loop: ClientLoop::new(),
                time: NetworkTime::default(),
                rtt: RttEstimator::new(),
                latest_snapshot: None,
                command_age_q8: 0,
                output: TimeSyncOutput::default(),
                last_sent: None,
                in_game: true,
                is_in_process: false,
            },
            start: TickPoint::at(NetworkTick::new(0)),
            receives_in_skipped_frames: true,
            up: Link::new(seed),
            down: Link::new(!seed),
        }
    }

    /// Lets the server begin after `tick`.
    pub(super) fn start_at_tick(&mut self, tick: NetworkTick) {
        self.start = TickPoint::at(tick);
        self.server.server_loop = ServerLoop::starting_at(tick, Duration::ZERO);
    }

    /// Begins with all clocks at `ms`.
    pub(super) fn start_at_ms(&mut self, ms: u64) {
        self.now = ms * 1_000_000;
        self.server.oscillator.advance(self.now);
        self.client.oscillator.advance(self.now);
        let passed = TickSpan::from_duration(Duration::from_millis(ms), self.rate.step());
        self.start = self.start.moved_by(TickSpan::ZERO.minus(passed));
    }

    /// The same in process: nothing is delayed, and the client knows.
    pub(super) fn in_process(seed: u64, rate: ClientServerTickRate) -> Self {
        let mut session = Self::with_rate(seed, rate);
        session.client.is_in_process = true;
        session
    }

    /// The same delay and jitter both ways.
    pub(super) fn set_link(&mut self, one_way_ms: f64, jitter_ms: f64, loss: f64) {
        (self.up.delay_ms, self.up.jitter_ms, self.up.loss) = (one_way_ms, jitter_ms, loss);
        (self.down.delay_ms, self.down.jitter_ms, self.down.loss) = (one_way_ms, jitter_ms, loss);
    }

    /// Moves virtual time on by `dt` and runs a frame of both: the server first.
    pub(super) fn frame(&mut self, dt: Duration) -> ClientFrame {
        self.now += dt.as_nanos() as u64;
        self.server_frame();
        self.client_frame()
    }

    /// Runs frames of one tick for `seconds`, and tells `watch` of each.
    pub(super) fn run(&mut self, seconds: f64, mut watch: impl FnMut(&Self, ClientFrame)) {
        let dt = self.rate.step().duration(1);
        for _ in 0..(seconds / dt.as_secs_f64()).round() as u64 {
            let frame = self.frame(dt);
            watch(self, frame);
        }
    }

    /// Runs until the clocks have settled.
    pub(super) fn settle(&mut self) {
        self.run(5.0, |_, _| {});
        self.server.margins.clear();
        self.client.sync.take_statistics();
    }

    /// Lets the client alone run frames of one tick; the server and its clock stand still.
    pub(super) fn run_client_alone(&mut self, frames: u32) {
        for _ in 0..frames {
            self.now += self.rate.step().duration(1).as_nanos() as u64;
            self.client_frame();
        }
        self.server.oscillator.advance(self.now);
    }

    /// Ticks from the newest snapshot to the tick that the client predicts.
    pub(super) fn ahead_of_snapshot(&self) -> i32 {
        self.client.time.server_tick.unwrap().ticks_since(self.client.latest_snapshot.unwrap())
    }

    pub(super) fn server_frame(&mut self) -> u32 {
        let Self { now, rate, server, up, down, .. } = self;
        let dt = server.oscillator.advance(*now);
        server.clock.update(Duration::from_nanos(server.oscillator.shown));
        let steps = server.server_loop.advance(dt, rate);
        let (steps_in_frame, ticks) = (steps.len() as u32, steps.ticks());
        for step in steps {
            server.server_loop.apply_step(step, steps_in_frame, rate, &mut server.time);
            while let Some(command) = up.receive(*now) {
                server.take_command(command);
            }
            server.update_command_age();
            server.ticks += u64::from(step.ticks);
            server.ticks_since_snapshot += step.ticks;
            if server.ticks_since_snapshot >= rate.send_interval() {
                server.ticks_since_snapshot = 0;
                down.send(*now, server.snapshot());
            }
        }
        ticks
    }

    pub(super) fn client_frame(&mut self) -> ClientFrame {
        let dt = self.client.oscillator.advance(self.now);
        self.client_frame_of(dt)
    }

    fn client_frame_of(&mut self, dt: Duration) -> ClientFrame {
        let Self { now, rate, client_rate, client, up, down, receives_in_skipped_frames, .. } = self;
        client.clock.update(Duration::from_nanos(client.oscillator.shown));
        client.output = client.sync.update(&TimeSyncInput {
            dt,
            now_ms: client.clock.ms(),
            in_game: client.in_game,
            latest_snapshot: client.latest_snapshot,
            estimated_rtt_ms: client.rtt.estimated_ms().unwrap_or(0.0),
            transport_rtt_ms: 0.0,
            deviation_rtt_ms: client.rtt.deviation_ms(),
            command_age_q8: client.command_age_q8,
            is_in_process: client.is_in_process,
            rate,
            client_rate,
        });
        let input = ClientFrameInput {
            dt,
            in_game: client.in_game,
            predict_target: client.output.predict_target,
            interpolate_target: client.output.interpolate_target,
            effective_input_latency_ticks: client.output.effective_input_latency_ticks,
            rate,
        };
        let frame = client.client_loop.advance(&input, &mut client.time);
        while let Some(snapshot) = if frame.runs || *receives_in_skipped_frames { down.receive(*now) } else { None } {
            client.take_snapshot(snapshot);
        }
        if frame.runs
            && let Some(command) = client.command()
        {
            up.send(*now, command);
        }
        frame
    }

    /// Where the server is by its own clock, between its ticks.
    pub(super) fn server_point(&self) -> TickPoint {
        let shown = Duration::from_nanos(self.server.oscillator.at(self.now));
        self.start.moved_by(TickSpan::from_duration(shown, self.rate.step()))
    }

    /// Ticks by which the client's prediction is ahead of the server's clock.
    pub(super) fn lead(&self) -> f64 {
        self.client.output.predict_target.unwrap().since(self.server_point()).to_f64()
    }

    /// Ticks by which interpolation is behind the server's clock.
    pub(super) fn interpolation_delay(&self) -> f64 {
        self.server_point().since(self.client.output.interpolate_target.unwrap()).to_f64()
    }
}

impl Server {
    fn take_command(&mut self, command: Command) {
        let now_ms = self.clock.ms16();
        self.rtt.on_packet(now_ms, command.local_time_ms, command.return_time_ms);
        let is_news = match self.newest_command {
            None => true,
            Some((tick, _)) if command.input_target.is_newer_than(tick) => true,
            Some((tick, was_full)) => command.input_target == tick && command.is_full_tick && !was_full,
        };
        if !is_news {
            return;
        }
        self.newest_command = Some((command.input_target, command.is_full_tick));
        self.newest_full_command =
            Some(if command.is_full_tick { command.input_target } else { command.input_target.prev() });
        self.margins.push(command.input_target.ticks_since(self.server_loop.tick()));
    }

    fn update_command_age(&mut self) {
        if let Some(newest) = self.newest_full_command {
            let late_by = self.server_loop.tick().ticks_since(newest);
            self.command_age_q16 = (7 * self.command_age_q16 + (i64::from(late_by) << 16)) / 8;
            self.command_age_q8 = crate::command::shown_age(self.command_age_q16);
        }
    }

    fn snapshot(&self) -> Snapshot {
        Snapshot {
            local_time_ms: self.clock.ms16(),
            return_time_ms: self.rtt.return_time(self.clock.ms16()),
            tick: self.server_loop.tick(),
            command_age_q8: self.command_age_q8,
        }
    }
}

impl Client {
    fn take_snapshot(&mut self, snapshot: Snapshot) {
        self.rtt.on_packet(self.clock.ms16(), snapshot.local_time_ms, snapshot.return_time_ms);
        if self.latest_snapshot.is_none_or(|latest| snapshot.tick.is_newer_than(latest)) {
            self.latest_snapshot = Some(snapshot.tick);
            self.command_age_q8 = snapshot.command_age_q8;
        }
    }

    /// One command per new tick.
    fn command(&mut self) -> Option<Command> {
        let input_target = self.time.input_target_tick()?;
        if self.last_sent.is_some_and(|last| !input_target.is_newer_than(last)) {
            return None;
        }
        self.last_sent = Some(input_target);
        Some(Command {
            local_time_ms: self.clock.ms16(),
            return_time_ms: self.rtt.return_time(self.clock.ms16()),
            input_target,
            is_full_tick: !self.time.is_partial_tick(),
        })
    }
}
