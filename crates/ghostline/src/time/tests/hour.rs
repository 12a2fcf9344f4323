//! An hour of virtual time, with drifting clocks and changing frame rates: nothing may add up.

use std::time::Duration;

use ghostline_wire::NetworkTick;

use super::super::{TickPoint, TickSpan};
use super::session::{Random, Session};

const HOUR: u64 = 3600 * 1_000_000_000;

/// Frame lengths that change a little with every frame, and wholly every second if no rate is given, between 1/500 s and 1/20 s.
struct Frames {
    random: Random,
    fixed_hertz: Option<f64>,
    hertz: f64,
    next: u64,
    next_change: u64,
}

impl Frames {
    fn new(seed: u64, fixed_hertz: Option<f64>) -> Self {
        Self { random: Random(seed), fixed_hertz, hertz: 60.0, next: 0, next_change: 0 }
    }

    /// Moves on to the time of the next frame.
    fn advance(&mut self) {
        if self.next >= self.next_change {
            self.next_change = self.next + 1_000_000_000;
            // Evenly over the length of frames, not their number.
            let changed = 1.0 / self.random.between(1.0 / 500.0, 1.0 / 20.0);
            self.hertz = self.fixed_hertz.unwrap_or(changed);
        }
        self.next += (self.random.between(0.9, 1.1) * 1e9 / self.hertz) as u64;
    }
}

struct Report {
    session: Session,
    /// Smallest and largest lead of prediction, after the first ten seconds.
    lead: (f64, f64),
    late_commands: usize,
    /// First frame in the game: simulated time, and where prediction was.
    entered: (Duration, TickPoint),
}

fn run_for(duration: u64, session: Session, seed: u64) -> Report {
    run_at(duration, session, Frames::new(seed, None), Frames::new(!seed, None))
}

fn run_at(duration: u64, mut session: Session, mut client: Frames, mut server: Frames) -> Report {
    let mut lead = (f64::MAX, f64::MIN);
    let mut entered = None;
    let mut last_interpolation = None;
    let start = session.now;
    while session.now - start < duration {
        session.now = start + client.next.min(server.next);
        if server.next <= client.next {
            server.advance();
            session.server_frame();
            check_server(&session);
            continue;
        }
        client.advance();
        let frame = session.client_frame();
        let Some(predict) = session.client.output.predict_target else {
            continue;
        };
        let interpolation = session.client.output.interpolate_target.unwrap();
        if let Some(last) = last_interpolation.replace(interpolation) {
            assert!(interpolation.since(last) >= TickSpan::ZERO);
        }
        let (_, first) = *entered.get_or_insert((frame.elapsed, predict));
        if session.now - start > 10_000_000_000 {
            assert!(session.client.output.warning.is_none());
            lead = (lead.0.min(session.lead()), lead.1.max(session.lead()));
        } else {
            session.server.margins.clear();
        }
        assert!(predict.since(first) >= TickSpan::ZERO);
    }
    let late_commands = session.server.margins.iter().filter(|&&margin| margin < 0).count();
    Report { session, lead, late_commands, entered: entered.unwrap() }
}

/// The server's ticks are the whole ones of its clock, but for the thousandth that a tick may be early; its time is that of its tick.
fn check_server(session: &Session) {
    let server = &session.server.server_loop;
    let behind = session.server_point().since(TickPoint::at(server.tick())).to_f64();
    assert!((-0.001..1.0).contains(&behind), "{behind}");
    let ticks = session.server.ticks;
    assert_eq!(server.elapsed(), Duration::from_nanos(ticks * 1_000_000_000 / u64::from(session.rate.step().hertz())));
    if let Some(tick) = session.server.time.server_tick {
        assert_eq!(tick, server.tick());
        assert!((session.server.time.elapsed_network_time - ticks as f64 / 60.0).abs() < 2e-9);
    }
}

/// The client's simulated time since it entered is the way of its prediction, to the nanosecond, apart from the clamp of the two ends.
fn check_client_time(report: &Report) {
    let client = &report.session.client;
    let (entered_elapsed, entered_at) = report.entered;
    let moved = client.output.predict_target.unwrap().since(entered_at).to_f64() / 60.0;
    let elapsed = (client.client_loop.elapsed() - entered_elapsed).as_secs_f64();
    assert!((elapsed - moved).abs() < 0.1 / 60.0 + 1e-8, "{elapsed} for {moved}");
    assert_eq!(client.time.elapsed_network_time, client.client_loop.elapsed().as_secs_f64());
}

#[test]
fn an_hour_at_one_percent_drift_either_way_adds_up_to_nothing() {
    for (client_drift_ppm, server_drift_ppm) in [(10_000, 0), (-10_000, 0), (0, 10_000)] {
        let mut session = Session::new(21);
        session.set_link(30.0, 10.0, 0.01);
        session.client.oscillator.drift_ppm = client_drift_ppm;
        session.server.oscillator.drift_ppm = server_drift_ppm;
        let report = run_for(HOUR, session, 5);
        check_client_time(&report);

        let session = &report.session;
        let expected_ticks = (3600 * 60) as f64 * (1.0 + server_drift_ppm as f64 / 1e6);
        assert!((f64::from(session.server.server_loop.tick().index()) - expected_ticks).abs() < 4.0);
        assert!(report.lead.0 > 2.0 && report.lead.1 < 10.0, "{:?} at {client_drift_ppm} ppm", report.lead);
        assert!(report.late_commands * 500 <= session.server.margins.len(), "{}", report.late_commands);
        assert!((60.0..=120.0).contains(&session.client.rtt.estimated_ms().unwrap()));
        // The scaled clock follows the server's, not the client's.
        let scaled = session.client.client_loop.elapsed().as_secs_f64();
        assert!((scaled - expected_ticks / 60.0).abs() < 1.0, "{scaled}");
    }
}

#[test]
fn an_hour_at_the_fastest_and_the_slowest_frames_adds_up_to_nothing() {
    for (client_hz, server_hz) in [(500.0, 60.0), (20.0, 500.0)] {
        let mut session = Session::new(25);
        session.set_link(30.0, 10.0, 0.01);
        session.client.oscillator.drift_ppm = 10_000;
        let (client, server) = (Frames::new(9, Some(client_hz)), Frames::new(10, Some(server_hz)));
        let report = run_at(HOUR, session, client, server);
        check_client_time(&report);
        assert!(report.lead.0 > 2.0 && report.lead.1 < 10.0, "{:?} at {client_hz} Hz", report.lead);
        assert!(report.late_commands * 500 <= report.session.server.margins.len(), "{}", report.late_commands);
    }
}

#[test]
fn an_hour_in_process_adds_up_to_nothing() {
    let mut session = Session::in_process(22, Default::default());
    session.client.oscillator.drift_ppm = 0;
    let report = run_for(HOUR, session, 6);
    check_client_time(&report);
    assert!(report.lead.0 > -2.0 && report.lead.1 < 6.0, "{:?}", report.lead);
}

#[test]
fn the_wrap_of_the_tick_number_changes_nothing() {
    let leads = [0, NetworkTick::MAX_INDEX - 1200, NetworkTick::MAX_INDEX - 1, 0x7FFF_011F].map(|start| {
        let mut session = Session::new(23);
        session.set_link(30.0, 10.0, 0.05);
        session.start_at_tick(NetworkTick::new(start));
        let report = run_for(60 * 1_000_000_000, session, 7);
        check_client_time(&report);
        (report.lead, report.late_commands)
    });
    assert!(leads.iter().all(|lead| *lead == leads[0]));
}

#[test]
fn the_wrap_of_the_millisecond_clocks_changes_nothing() {
    let leads = [0, u64::from(u32::MAX) - 20_000].map(|start_ms| {
        let mut session = Session::new(24);
        session.set_link(30.0, 10.0, 0.05);
        session.start_at_ms(start_ms);
        run_for(60 * 1_000_000_000, session, 8).lead
    });
    assert_eq!(leads[0], leads[1]);
}
