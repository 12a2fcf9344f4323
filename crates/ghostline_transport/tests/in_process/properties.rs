//! Any interleaving of connecting, sending, flushing, delivering, polling, cutting and closing, on several clients:
//! order is kept, nothing reliable is lost, and nothing crosses from one connection to another.

use std::collections::BTreeMap;
use std::time::Duration;

use ghostline_transport::{
    CloseReason, Direction, DisconnectCause, Driver, DriverConnection, DriverEvent, InProcessDriver, InProcessNetwork,
    LinkConditions, LinkProfile, Loss, Pipeline, SendError,
};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use crate::harness::{address, poll};

const CLIENTS: usize = 3;

/// What a test does next. Sides are numbers of drivers: 0 is the server.
#[derive(Clone, Debug)]
enum Step {
    Connect { client: usize },
    Send { side: usize, which: usize, pipeline: Pipeline },
    Flush { side: usize },
    Deliver,
    Poll { side: usize },
    Disconnect { side: usize, which: usize },
    Cut { client: usize, direction: Direction, cut: bool },
    Advance { ms: u64 },
    Profile { client: usize, profile: LinkProfile },
}

fn any_conditions() -> impl Strategy<Value = LinkConditions> {
    let loss = prop_oneof![
        Just(Loss::None),
        (0.0_f32..=60.0).prop_map(|percent| Loss::Random { percent }),
        (1_u32..6).prop_map(|every| Loss::Periodic { every }),
    ];
    let bandwidth = prop::option::of(2_000_u32..50_000);
    (0_u32..100, 0_u32..50, loss, 0.0_f32..=50.0, bandwidth).prop_map(
        |(delay_ms, jitter_ms, loss, percent, bandwidth_bytes_per_second)| LinkConditions {
            delay_ms,
            jitter_ms,
            loss,
            duplicate_percent: percent,
            reorder_percent: percent,
            bandwidth_bytes_per_second,
            ..LinkConditions::PERFECT
        },
    )
}

/// The steps of a fleet on links that are bad, and get better and worse.
fn any_step_on_bad_links() -> impl Strategy<Value = Step> {
    let perfect = Just(LinkProfile::perfect());
    let bad =
        (any_conditions(), any_conditions()).prop_map(|(up, down)| LinkProfile { up, down, ..LinkProfile::perfect() });
    prop_oneof![
        30 => any_step(),
        8 => (0_u64..60).prop_map(|ms| Step::Advance { ms }),
        2 => (1..=CLIENTS, prop_oneof![3 => bad, 1 => perfect])
            .prop_map(|(client, profile)| Step::Profile { client, profile }),
    ]
}

fn any_step() -> impl Strategy<Value = Step> {
    let client = 1..=CLIENTS;
    let side = 0..=CLIENTS;
    let pipeline =
        prop_oneof![Just(Pipeline::Unreliable), Just(Pipeline::UnreliableFragmented), Just(Pipeline::ReliableOrdered)];
    let direction = prop_oneof![Just(Direction::ToServer), Just(Direction::ToClient)];
    prop_oneof![
        2 => client.clone().prop_map(|client| Step::Connect { client }),
        8 => (side.clone(), 0..8_usize, pipeline)
            .prop_map(|(side, which, pipeline)| Step::Send { side, which, pipeline }),
        6 => side.clone().prop_map(|side| Step::Flush { side }),
        6 => Just(Step::Deliver),
        6 => side.clone().prop_map(|side| Step::Poll { side }),
        1 => (side, 0..8_usize).prop_map(|(side, which)| Step::Disconnect { side, which }),
        1 => (client, direction, any::<bool>())
            .prop_map(|(client, direction, cut)| Step::Cut { client, direction, cut }),
    ]
}

/// One side's end of a connection, as the truth knows it.
#[derive(Default)]
struct End {
    open: bool,
    sent: u32,
    sent_reliable: u32,
    received: u32,
    received_reliable: u32,
    /// The other end, learned from the first message that came from it.
    peer: Option<Name>,
}

/// An end of a connection: the side and its handle.
type Name = (usize, DriverConnection);

/// Drivers under test, and everything that a checker must remember.
struct Fleet {
    network: InProcessNetwork,
    /// The server, then the clients; a driver's creation number is its place.
    drivers: Vec<InProcessDriver>,
    ends: BTreeMap<Name, End>,
    ever_cut: bool,
    /// Links have been bad: unreliable messages may be lost, late or there twice.
    ever_bad: bool,
    now: Duration,
}

impl Fleet {
    fn new() -> Self {
        let network = InProcessNetwork::new();
        let mut drivers: Vec<_> = (0..=CLIENTS).map(|_| network.driver()).collect();
        drivers[0].listen(address()).unwrap();
        Self { network, drivers, ends: BTreeMap::new(), ever_cut: false, ever_bad: false, now: Duration::ZERO }
    }

    /// One of a side's open connections.
    fn pick(&self, side: usize, which: usize) -> Option<DriverConnection> {
        let open = self.ends.iter().filter(|((owner, _), end)| *owner == side && end.open);
        let open: Vec<_> = open.map(|((_, connection), _)| *connection).collect();
        open.get(which % open.len().max(1)).copied()
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Connect { client } => {
                self.drivers[client].connect(address(), self.now).unwrap();
            }
            Step::Send { side, which, pipeline } => self.send(side, which, pipeline),
            Step::Flush { side } => self.drivers[side].flush(self.now),
            Step::Deliver => self.network.deliver(),
            Step::Poll { side } => self.poll(side),
            Step::Disconnect { side, which } => {
                if let Some(connection) = self.pick(side, which) {
                    let end = self.ends.get_mut(&(side, connection)).unwrap();
                    end.open = false;
                    // The close tells how much was sent before it, for the other side to compare.
                    let reason = CloseReason::new(0, format!("{} {}", end.sent, end.sent_reliable));
                    self.drivers[side].disconnect(connection, reason);
                    let sent = self.drivers[side].send(connection, Pipeline::Unreliable, b"");
                    assert_eq!(sent, Err(SendError::NotConnected));
                }
            }
            Step::Cut { client, direction, cut } => {
                self.ever_cut |= cut;
                assert!(self.network.cut(client as u64, direction, cut));
            }
            Step::Advance { ms } => self.now += Duration::from_millis(ms),
            Step::Profile { client, profile } => {
                self.ever_bad = true;
                self.network.set_profile(client as u64, profile).unwrap();
            }
        }
    }

    fn send(&mut self, side: usize, which: usize, pipeline: Pipeline) {
        let Some(connection) = self.pick(side, which) else {
            return;
        };
        let end = self.ends.get_mut(&(side, connection)).unwrap();
        let mut bytes = Vec::new();
        for value in [side as u32, connection.index(), connection.generation(), end.sent, end.sent_reliable] {
            bytes.extend_from_slice(&value.to_le_bytes());
        }
        self.drivers[side].send(connection, pipeline, &bytes).unwrap();
        end.sent += 1;
        end.sent_reliable += u32::from(pipeline == Pipeline::ReliableOrdered);
    }

    fn poll(&mut self, side: usize) {
        for event in poll(&mut self.drivers[side], self.now) {
            match event {
                DriverEvent::Accepted { connection } | DriverEvent::Connected { connection } => {
                    let end = End { open: true, ..End::default() };
                    let known = self.ends.insert((side, connection), end);
                    assert!(known.is_none(), "a handle is used once");
                }
                DriverEvent::Received { connection, pipeline, bytes } => {
                    self.check_message((side, connection), pipeline, &bytes);
                    self.drivers[side].recycle(bytes);
                }
                DriverEvent::Disconnected { connection, cause } => {
                    self.check_close((side, connection), &cause);
                }
            }
        }
    }

    fn check_message(&mut self, name: Name, pipeline: Pipeline, bytes: &[u8]) {
        let (ever_cut, ever_bad) = (self.ever_cut, self.ever_bad);
        let is_reliable = pipeline == Pipeline::ReliableOrdered;
        let end = self.ends.get_mut(&name).expect("a message of a known connection");
        assert!(end.open, "no message after the end");
        let value = |index: usize| u32::from_le_bytes(bytes[4 * index..][..4].try_into().unwrap());
        let sender = (value(0) as usize, DriverConnection::new(value(1), value(2)));
        assert_eq!(*end.peer.get_or_insert(sender), sender, "one peer per connection");
        assert!((sender.0 == 0) != (name.0 == 0), "between a client and the server");

        let (number, reliable_number) = (value(3), value(4));
        if !ever_bad {
            assert!(number >= end.received, "order is kept over all pipelines");
            assert!(ever_cut || number == end.received, "without cuts nothing is lost");
        }
        if is_reliable || !ever_bad {
            assert_eq!(reliable_number, end.received_reliable, "no reliable message is missing");
        }
        end.received = end.received.max(number + 1);
        end.received_reliable += u32::from(is_reliable);
        if let Some(other) = self.ends.get_mut(&sender) {
            let peer = *other.peer.get_or_insert(name);
            assert_eq!(peer, name, "and it is the peer's peer");
            assert!(number < other.sent, "nothing arrives that was not sent");
        }
    }

    fn check_close(&mut self, name: Name, cause: &DisconnectCause) {
        let end = self.ends.get_mut(&name).expect("the end of a known connection");
        assert!(end.open, "a connection ends once, and silently if this side closed it");
        end.open = false;
        let DisconnectCause::ClosedByRemote(reason) = cause else {
            panic!("unexpected {cause}");
        };
        let (sent, sent_reliable) = reason.text.split_once(' ').unwrap();
        assert_eq!(sent_reliable, end.received_reliable.to_string());
        if !self.ever_cut && !self.ever_bad {
            assert_eq!(sent, end.received.to_string());
        }
    }

    /// Lets everything arrive, then compares what was sent with what was received.
    fn settle(&mut self) {
        for client in 1..=CLIENTS {
            for direction in [Direction::ToServer, Direction::ToClient] {
                self.network.cut(client as u64, direction, false);
            }
        }
        for client in (1..=CLIENTS).filter(|_| self.ever_bad) {
            self.network.set_profile(client as u64, LinkProfile::perfect()).unwrap();
        }
        // On a link that was bad, what waits is sent again, and what is on its way takes its time.
        let rounds = if self.ever_bad { 12 } else { 6 };
        for _ in 0..rounds {
            if self.ever_bad {
                self.now += Duration::from_secs(1);
            }
            for side in 0..=CLIENTS {
                self.poll(side);
                self.drivers[side].flush(self.now);
            }
            self.network.deliver();
        }
        for (name, end) in &self.ends {
            let Some(peer) = end.peer.map(|peer| &self.ends[&peer]) else {
                continue;
            };
            assert_eq!(end.open, peer.open, "both ends of {name:?} agree");
            if end.open {
                assert_eq!(end.received_reliable, peer.sent_reliable, "at {name:?}");
                assert!(self.ever_cut || self.ever_bad || end.received == peer.sent, "at {name:?}");
            }
        }
        let open_at = |server: bool| {
            let ends = self.ends.iter();
            ends.filter(|((side, _), end)| (*side == 0) == server && end.open).count()
        };
        assert_eq!(open_at(true), open_at(false), "every open end has its other end");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_interleaving_keeps_order_loses_nothing_reliable_and_crosses_no_connections(
        steps in prop::collection::vec(any_step(), 0..300)
    ) {
        let mut fleet = Fleet::new();
        for step in steps {
            fleet.step(step);
        }
        fleet.settle();
    }

    #[test]
    fn on_bad_links_nothing_reliable_is_lost_late_or_out_of_order_and_nothing_is_invented(
        steps in prop::collection::vec(any_step_on_bad_links(), 0..400)
    ) {
        let mut fleet = Fleet::new();
        for step in steps {
            fleet.step(step);
        }
        fleet.settle();
    }
}

#[test]
fn the_interleavings_do_open_connections_and_carry_messages() {
    // A guard against a generator whose steps prove nothing.
    let mut runner = TestRunner::deterministic();
    let steps = prop::collection::vec(any_step(), 0..300);
    let (mut connections, mut messages, mut closed) = (0, 0, 0);
    for _ in 0..50 {
        let mut fleet = Fleet::new();
        for step in steps.new_tree(&mut runner).unwrap().current() {
            fleet.step(step);
        }
        fleet.settle();
        connections += fleet.ends.len();
        messages += fleet.ends.values().map(|end| end.received).sum::<u32>();
        closed += fleet.ends.values().filter(|end| !end.open).count();
    }
    assert!(connections > 400, "{connections}");
    assert!(messages > 400, "{messages}");
    assert!(closed > 100, "{closed}");
}
