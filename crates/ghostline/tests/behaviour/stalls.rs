//! Stalls: NEW-23 and its like on the server and on the whole process. An application that stops ticking for 0.1, 0.5, 2 or 10 s, that is
//! suspended, or whose frames jump: catching up is bounded, clocks find each other, presses count once, one line tells it, nobody is dropped.

use std::time::Duration;

use bevy_app::{App, Plugin};
use bevy_ecs::prelude::*;
use ghostline::prelude::*;
use ghostline::time::StallWatchdog;
use ghostline_testkit::{FRAME, LinkProfile};

use crate::common::*;
use crate::finger::{Finger, Fingers, Seen};

/// Ticks that a world has simulated in its present frame.
#[derive(Resource, Default)]
struct Work(u32);

struct Watched;

impl Plugin for Watched {
    fn build(&self, app: &mut App) {
        app.add_plugins((Game, Fingers))
            .init_resource::<Work>()
            .add_systems(Initialization, |mut work: ResMut<Work>| work.0 = 0)
            .add_systems_in(WorldFlags::CLIENT, GhostInput, walk)
            .add_systems(PredictedSimulation, |time: Res<NetworkTime>, mut work: ResMut<Work>| {
                work.0 += time.simulation_step_batch_size;
            })
            .add_systems(PredictedSimulation, run);
    }
}

fn walk(mut players: Query<&mut PlayerInput, With<GhostOwnerIsLocal>>) {
    players.iter_mut().for_each(|mut input| input.horizontal = 1);
}

fn run(mut players: Query<(&PlayerInput, &mut Position), Simulate>) {
    for (input, mut position) in &mut players {
        position.value.x += f32::from(input.horizontal) * 0.01;
        position.value.y += input.jump.count() as f32;
    }
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Who {
    Server,
    Client,
    /// The process: both at once.
    Everybody,
}

struct Stalled {
    fleet: Fleet,
    frame: u32,
    /// The lead of prediction over the server, in ticks, before the stall.
    lead: f32,
    /// Where prediction and interpolation were in the frame before, and how often prediction had jumped by then.
    clocks: Option<(NetworkTick, NetworkTick, usize)>,
}

/// How far the client's prediction is ahead of the server.
fn lead(fleet: &mut Fleet) -> f32 {
    let server = fleet.server().server_tick().unwrap();
    let time = fleet.client(0).network_time();
    time.server_tick.unwrap().ticks_since(server) as f32 - 1.0 + time.server_tick_fraction
}

impl Stalled {
    fn new(link: LinkProfile) -> Self {
        let mut fleet = Fleet::builder().plugin(Watched).link(link).build();
        fleet.connect_all();
        fleet.go_in_game_all();
        let id = fleet.client(0).network_id().unwrap();
        fleet.server().world_mut().spawn_ghost::<Player>(GhostOwner(id));
        let mut stalled = Self { fleet, frame: 0, lead: 0.0, clocks: None };
        for _ in 0..120 {
            stalled.tick();
        }
        stalled.lead = lead(&mut stalled.fleet);
        stalled
    }

    /// A press every fifth frame.
    fn press(&mut self) {
        self.frame += 1;
        self.fleet.client(0).world_mut().resource_mut::<Finger>().press = self.frame.is_multiple_of(5);
    }

    fn tick(&mut self) {
        self.press();
        self.fleet.tick();
        self.check();
    }

    /// What holds in every frame, also in the one after a stall.
    fn check(&mut self) {
        let server = self.fleet.server().world().resource::<Work>().0;
        assert!(server <= 4, "the server simulated {server} ticks in a frame");
        let client = self.fleet.client(0).world().resource::<Work>().0;
        assert!(client <= 65, "the client predicted {client} ticks in a frame");
        let (seen, pressed) = (self.seen(), self.pressed());
        assert!(seen <= pressed, "{seen} presses were seen of {pressed}");
        self.check_clocks();
    }

    /// The clocks of the client go forward; that prediction is put back is said, and happens in no other way.
    fn check_clocks(&mut self) {
        let jumps = self.fleet.logs().count("predicted server tick jumped");
        let time = self.fleet.client(0).network_time();
        let (Some(predicted), Some(interpolated)) = (time.server_tick, time.interpolation_tick) else { return };
        let now = (predicted, interpolated, jumps);
        let before = self.clocks.replace(now).unwrap_or(now);
        assert!(!interpolated.is_older_than(before.1), "interpolation went from {} back to {interpolated}", before.1);
        let is_forward = !predicted.is_older_than(before.0);
        assert!(is_forward || jumps > before.2, "prediction went from {} back to {predicted}", before.0);
    }

    fn seen(&mut self) -> u32 {
        self.fleet.server().world().resource::<Seen>().total()
    }

    fn pressed(&mut self) -> u32 {
        self.fleet.client(0).world().resource::<Finger>().pressed
    }

    fn stall(&mut self, who: Who, length: Duration) {
        let frames = (length.as_secs_f64() * 60.0).round() as u32;
        for _ in 1..frames {
            match who {
                Who::Server => {
                    self.press();
                    self.fleet.tick_client(0, FRAME);
                }
                Who::Client => self.fleet.tick_server(FRAME),
                Who::Everybody => {}
            }
            self.check();
        }
        match who {
            Who::Server => {
                self.fleet.tick_server(length);
                self.fleet.tick_client(0, FRAME);
            }
            Who::Client => {
                self.fleet.tick_server(FRAME);
                self.fleet.tick_client(0, length);
            }
            Who::Everybody => self.fleet.tick_by(length),
        }
        self.check();
    }

    /// So many frames, after which the lead must be what it was, for good.
    fn recover_within(&mut self, frames: usize, case: &str) {
        for _ in 0..frames {
            self.tick();
        }
        for frame in frames..frames + 60 {
            self.tick();
            let now = lead(&mut self.fleet);
            assert!(
                (now - self.lead).abs() < 1.5,
                "{case}: {now} ticks ahead in frame {frame}, before it was {}",
                self.lead
            );
        }
    }

    /// Lets go of the key, and compares what was pressed with what the server saw.
    fn check_presses(&mut self, case: &str) {
        self.fleet.client(0).world_mut().resource_mut::<Finger>().press = false;
        self.fleet.ticks(30);
        assert!(self.pressed() > 20, "{case}");
        assert_eq!(self.seen(), self.pressed(), "{case}: presses");
    }
}

const STALLS_MS: [u64; 4] = [100, 500, 2_000, 10_000];

#[test]
fn whoever_stalls_is_told_once_catches_up_within_bounds_and_loses_nothing() {
    for link in [LinkProfile::in_process(), LinkProfile::rtt(60)] {
        for who in [Who::Server, Who::Client, Who::Everybody] {
            for ms in STALLS_MS {
                let case =
                    format!("{who:?} for {ms} ms over {}", if link.counts_as_socket() { "60 ms" } else { "memory" });
                let mut stalled = Stalled::new(link);
                // A client whose server is gone for long, or which was gone itself, may have to jump.
                stalled.fleet.logs().tolerate("predicted server tick jumped");
                stalled
                    .fleet
                    .logs()
                    .expect(&format!("the application stopped ticking for {:.1} s", ms as f64 / 1000.0));
                stalled.stall(who, Duration::from_millis(ms));
                // The server makes up for three ticks more than a frame has, the clocks for a tenth of one.
                stalled.recover_within(100 + ms as usize * 60 / 1000 / 3, &case);
                stalled.check_presses(&case);
                let logs = stalled.fleet.logs();
                let expected = if who == Who::Everybody { 2 } else { 1 };
                assert_eq!(logs.count("stopped ticking"), expected, "{case}: one line for each world that stalled");
                assert_eq!(logs.count("merges ticks"), 0, "{case}: that the server catches up is no news");
                assert!(
                    logs.count("predicted server tick jumped") <= 1,
                    "{case}: clocks go straight to where they belong"
                );
                let connections =
                    [stalled.fleet.server().connections().len(), stalled.fleet.client(0).connections().len()];
                assert_eq!(connections, [1, 1], "{case}: nobody is dropped");
            }
        }
    }
}

#[test]
fn a_process_that_was_suspended_for_an_hour_goes_on_after_a_bounded_time() {
    let mut stalled = Stalled::new(LinkProfile::in_process());
    stalled.fleet.logs().tolerate("predicted server tick jumped");
    stalled.fleet.logs().expect("the application stopped ticking for 3600.0 s");
    stalled.fleet.logs().expect("3540.0 s of game time are skipped");
    let before = stalled.fleet.server().server_tick().unwrap();
    stalled.stall(Who::Everybody, Duration::from_secs(3600));
    for _ in 0..60 * 30 {
        stalled.tick();
    }
    // A minute is made up for at three ticks per frame, in twenty seconds; ten more go by.
    let ticks = stalled.fleet.server().server_tick().unwrap().ticks_since(before);
    assert!((3600 + 1800 - 5..=3600 + 1800 + 5).contains(&ticks), "{ticks}");
    assert!((lead(&mut stalled.fleet) - stalled.lead).abs() < 1.5);
}

#[test]
fn frames_that_jump_about_confuse_no_clock() {
    let mut stalled = Stalled::new(LinkProfile::rtt(60));
    stalled.fleet.logs().tolerate("predicted server tick jumped|stopped ticking");
    for round in 0..40_u64 {
        stalled.press();
        stalled.fleet.tick_by(Duration::from_millis([5, 250, 1, 90, 400, 16][round as usize % 6]));
        stalled.check();
    }
    stalled.recover_within(200, "jumping frames");
    stalled.check_presses("jumping frames");
}

#[test]
fn a_stall_can_be_asked_for_and_its_line_be_silenced() {
    let mut fleet = Fleet::builder().plugin(Game).build();
    fleet.server().world_mut().resource_mut::<StallWatchdog>().logs = false;
    fleet.tick_server(FRAME);
    fleet.tick_server(Duration::from_millis(2_100));
    let watchdog = fleet.server().world().resource::<StallWatchdog>();
    assert_eq!(watchdog.current().unwrap().length, Duration::from_millis(2_100));
    assert_eq!(watchdog.count(), 1);
    fleet.tick_server(FRAME);
    assert_eq!(fleet.server().world().resource::<StallWatchdog>().current(), None);
}
