//! That runs on bad links repeat exactly, that another seed makes another run, and that links don't influence each
//! other.

use ghostline_transport::{Direction, DriverConnection};
use std::collections::{BTreeMap, BTreeSet};

use ghostline_transport::{
    Driver, DriverEvent, InProcessDriver, InProcessNetwork, LinkConditions, LinkProfile, LinkStats, Loss, Pipeline,
};

use crate::harness::{address, connect, poll};
use crate::links_harness::{FRAME, ms};

const CLIENTS: usize = 3;
const FRAMES: u32 = 300;

fn bad() -> LinkProfile {
    LinkProfile::symmetric(LinkConditions {
        delay_ms: 40,
        jitter_ms: 25,
        loss: Loss::Random { percent: 15.0 },
        duplicate_percent: 10.0,
        reorder_percent: 5.0,
        corrupt_percent: 5.0,
        ..LinkConditions::PERFECT
    })
}

/// A client, what it saw, and what the server saw of it.
struct Side {
    driver: InProcessDriver,
    to_server: DriverConnection,
    at_client: Vec<String>,
    to_client: Option<DriverConnection>,
    at_server: Vec<String>,
}

/// What each client and the server saw of each other, and what their links counted. Clients send as much as they are
/// told, and the server sends each the same.
fn run(
    seed: u64,
    profiles: [LinkProfile; CLIENTS],
    messages: [u32; CLIENTS],
) -> Vec<(Vec<String>, Vec<String>, [LinkStats; 2])> {
    let network = InProcessNetwork::with_seed(seed);
    let mut server = network.driver();
    server.listen(address()).unwrap();
    let mut now = ms(500);
    let mut sides: Vec<Side> = profiles
        .iter()
        .map(|profile| {
            let mut driver = network.driver();
            network.set_profile(driver.number(), *profile).unwrap();
            let to_server = driver.connect(address(), now).unwrap();
            driver.flush(now);
            Side { driver, to_server, at_client: Vec::new(), to_client: None, at_server: Vec::new() }
        })
        .collect();
    network.deliver_at(now);
    for frame in 0..FRAMES {
        now += FRAME;
        for event in poll(&mut server, now) {
            let connection = match &event {
                DriverEvent::Accepted { connection } => {
                    // Its first message is its number, so that the server knows whom it has before it.
                    server.send(*connection, Pipeline::ReliableOrdered, b"who are you?").unwrap();
                    *connection
                }
                DriverEvent::Received { connection, bytes, .. } => {
                    if let Some(number) = bytes.strip_prefix(b"I am ") {
                        sides[usize::from(number[0])].to_client = Some(*connection);
                    }
                    *connection
                }
                other => panic!("{other:?}"),
            };
            let DriverEvent::Received { bytes, pipeline, .. } = event else { continue };
            if let Some(side) = sides.iter_mut().find(|side| side.to_client == Some(connection)) {
                side.at_server.push(format!("{frame}: {pipeline:?} {bytes:?}"));
            }
        }
        for (side, messages) in sides.iter().zip(messages) {
            for number in 0..messages {
                let bytes = [frame.to_le_bytes(), number.to_le_bytes()].concat();
                if let Some(connection) = side.to_client {
                    server.send(connection, Pipeline::Unreliable, &bytes).unwrap();
                }
            }
        }
        server.flush(now);
        network.deliver_at(now);
        for ((side, messages), number) in sides.iter_mut().zip(messages).zip(0_u8..) {
            for event in poll(&mut side.driver, now) {
                if matches!(event, DriverEvent::Connected { .. }) {
                    let name = [b"I am ".as_slice(), &[number]].concat();
                    side.driver.send(side.to_server, Pipeline::ReliableOrdered, &name).unwrap();
                    side.at_client.push(format!("{frame}: connected"));
                } else if let DriverEvent::Received { bytes, pipeline, .. } = event {
                    side.at_client.push(format!("{frame}: {pipeline:?} {bytes:?}"));
                }
            }
            for number in 0..messages {
                let pipeline = [Pipeline::Unreliable, Pipeline::ReliableOrdered][number as usize % 2];
                let _not_connected_yet = side.driver.send(side.to_server, pipeline, &[frame as u8, number as u8]);
            }
            side.driver.flush(now);
        }
        network.deliver_at(now);
    }
    let stats = |side: &Side| {
        [Direction::ToServer, Direction::ToClient]
            .map(|direction| network.link_stats(side.driver.number(), direction).unwrap())
    };
    sides.into_iter().map(|side| (side.at_client.clone(), side.at_server.clone(), stats(&side))).collect()
}

#[test]
fn the_same_seed_gives_the_same_run_and_another_seed_another_one() {
    let (profiles, messages) = ([bad(); CLIENTS], [2; CLIENTS]);
    let first = run(1, profiles, messages);
    for (at_client, at_server, stats) in &first {
        assert!(at_client.len() > 300 && at_server.len() > 300, "{} and {}", at_client.len(), at_server.len());
        assert!(stats.iter().all(|stats| stats.lost > 50 && stats.reordered > 10), "{stats:?}");
    }
    assert_eq!(run(1, profiles, messages), first);
    let second = run(2, profiles, messages);
    for (first, second) in first.iter().zip(&second) {
        assert_ne!(first, second);
    }
}

#[test]
fn links_with_the_same_profile_and_traffic_lose_different_messages() {
    let network = InProcessNetwork::with_seed(1);
    let mut server = network.driver();
    server.listen(address()).unwrap();
    let mut clients: Vec<InProcessDriver> = (0..CLIENTS).map(|_| network.driver()).collect();
    let now = ms(0);
    let handles: Vec<_> = clients.iter_mut().map(|client| connect(&network, &mut server, client)).collect();
    for (client, (to_client, to_server)) in clients.iter_mut().zip(&handles) {
        network.set_profile(client.number(), LinkProfile::perfect().with_loss_percent(50.0)).unwrap();
        for number in 0..200 {
            client.send(*to_server, Pipeline::Unreliable, &[number]).unwrap();
            server.send(*to_client, Pipeline::Unreliable, &[number]).unwrap();
        }
        client.flush(now);
    }
    server.flush(now);
    network.deliver();
    let mut arrived: BTreeMap<(u64, DriverConnection), Vec<u8>> = BTreeMap::new();
    for driver in clients.iter_mut().chain([&mut server]) {
        for event in poll(driver, now) {
            let DriverEvent::Received { connection, bytes, .. } = event else { panic!("{event:?}") };
            arrived.entry((driver.number(), connection)).or_default().extend(bytes);
        }
    }
    let distinct: BTreeSet<&Vec<u8>> = arrived.values().collect();
    assert_eq!(distinct.len(), 2 * CLIENTS, "each client, each direction");
    assert!(distinct.iter().all(|numbers| (60..140).contains(&numbers.len())));
}

#[test]
fn what_happens_on_one_link_changes_nothing_on_another() {
    let quiet = run(1, [bad(); CLIENTS], [2, 2, 2]);
    let others = [bad(), LinkProfile::in_process(), LinkProfile::rtt(500)];
    let busy = run(1, others, [2, 9, 4]);
    assert_eq!(busy[0], quiet[0]);
    assert_ne!(busy[1], quiet[1]);
}

#[test]
fn a_perfect_profile_gives_the_same_run_as_none() {
    let messages = [1, 2, 3];
    let in_process = run(1, [LinkProfile::in_process(); CLIENTS], messages);
    assert_eq!(run(2, [LinkProfile::perfect(); CLIENTS], messages), in_process);
    assert!(in_process.iter().all(|side| side.2 == [LinkStats::default(); 2]));
    assert_eq!(in_process[0].0[0], "0: connected", "in the first frame");
}
