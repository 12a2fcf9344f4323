//! The worlds of one stage may run in any order, or in parallel: each of them sees the same events.

use std::time::Duration;

use ghostline_transport::{
    CloseReason, Direction, Driver, DriverConnection, DriverEvent, InProcessDriver, InProcessNetwork, LinkProfile,
    Pipeline, presets,
};

use crate::harness::poll;

const FRAMES: u64 = 120;
const SERVERS: usize = 2;
const CLIENTS: usize = 5;

/// A world that does as its number, the frame and its own events tell it, and logs what it sees.
struct World {
    driver: InProcessDriver,
    open: Vec<DriverConnection>,
    log: Vec<String>,
}

impl World {
    fn new(driver: InProcessDriver) -> Self {
        Self { driver, open: Vec::new(), log: Vec::new() }
    }

    fn frame(&mut self, frame: u64) {
        let now = Duration::from_millis(16 * frame);
        for event in poll(&mut self.driver, now) {
            self.log.push(format!("{frame}: {event:?}"));
            match event {
                DriverEvent::Accepted { connection } | DriverEvent::Connected { connection } => {
                    self.open.push(connection);
                }
                DriverEvent::Disconnected { connection, .. } => {
                    self.open.retain(|open| *open != connection);
                }
                DriverEvent::Received { bytes, .. } => self.driver.recycle(bytes),
            }
        }
        let number = self.driver.number();
        let is_server = number < SERVERS as u64;
        if is_server && frame == 0 {
            let bound = self.driver.listen(([127, 0, 0, 1], 0).into());
            self.log.push(format!("{frame}: {bound:?}"));
        }
        // Clients come and go in rhythms of their own, now to one server and now to the other.
        if !is_server && (frame + number).is_multiple_of(9) {
            let port = 49_152 + ((frame + number) % SERVERS as u64) as u16;
            let connecting = self.driver.connect(([127, 0, 0, 1], port).into(), now);
            self.log.push(format!("{frame}: {connecting:?}"));
        }
        for (index, connection) in self.open.clone().into_iter().enumerate() {
            let tag = (frame * 31 + number * 7 + index as u64) % 5;
            let pipeline = [Pipeline::Unreliable, Pipeline::ReliableOrdered][(tag % 2) as usize];
            for _ in 0..tag {
                let message = format!("{frame} from {number}");
                let sent = self.driver.send(connection, pipeline, message.as_bytes());
                self.log.push(format!("{frame}: {sent:?}"));
            }
            if (frame * 13 + number * 5 + index as u64).is_multiple_of(41) {
                let reason = CloseReason::from_code(number as u8);
                self.driver.disconnect(connection, reason);
                self.open.retain(|open| *open != connection);
            }
        }
        self.driver.flush(now);
    }
}

/// How the worlds of a stage take turns.
enum Turns {
    InOrder,
    Reversed,
    Rotating,
    Parallel,
}

fn run_stage(worlds: &mut [World], frame: u64, turns: &Turns) {
    match turns {
        Turns::InOrder => worlds.iter_mut().for_each(|world| world.frame(frame)),
        Turns::Reversed => worlds.iter_mut().rev().for_each(|world| world.frame(frame)),
        Turns::Rotating => {
            let middle = frame as usize % worlds.len();
            let (front, back) = worlds.split_at_mut(middle);
            back.iter_mut().chain(front).for_each(|world| world.frame(frame));
        }
        Turns::Parallel => std::thread::scope(|scope| {
            for world in worlds {
                scope.spawn(move || world.frame(frame));
            }
        }),
    }
}

fn logs(turns: &Turns, profile: LinkProfile) -> Vec<Vec<String>> {
    let network = InProcessNetwork::with_seed(11);
    let mut servers: Vec<World> = (0..SERVERS).map(|_| World::new(network.driver())).collect();
    let mut clients: Vec<World> = (0..CLIENTS).map(|_| World::new(network.driver())).collect();
    for frame in 0..FRAMES {
        for client in clients.iter().skip(1) {
            let is_bad = (frame / 30) % 4 < 3;
            let profile = if is_bad { profile } else { LinkProfile::in_process() };
            network.set_profile(client.driver.number(), profile).unwrap();
        }
        network.cut(3, Direction::ToClient, (40..60).contains(&frame));
        run_stage(&mut servers, frame, turns);
        network.deliver();
        run_stage(&mut clients, frame, turns);
        network.deliver();
    }
    servers.into_iter().chain(clients).map(|world| world.log).collect()
}

#[test]
fn every_world_sees_the_same_in_any_order_of_worlds_and_in_parallel() {
    for profile in [LinkProfile::in_process(), presets::RTT60.with_jitter_ms(30).with_loss_percent(20.0)] {
        let expected = logs(&Turns::InOrder, profile);
        for log in &expected {
            let count = |word: &str| log.iter().filter(|line| line.contains(word)).count();
            assert!(count("Received") > 100, "the script lets every world do something");
            assert!(count("Disconnected") > 1);
        }
        for turns in [Turns::Reversed, Turns::Rotating, Turns::Parallel] {
            assert_eq!(logs(&turns, profile), expected);
        }
    }
}
