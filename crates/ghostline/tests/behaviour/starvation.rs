//! More is wanted of a connection than it may be sent: every ghost has its turn, none is older than the connection's counters say, and what the
//! server keeps for it stays bounded. Below the ECS, with rows and links of its own.
//!
//! `GHOSTLINE_SOAK=1` plays the long versions, which want `--release`.

use crate::dice::Dice;
use ghostline::snapshot::plain::{RowClient, RowServer, SendLimits, TypeSettings};
use ghostline::wire::{
    ComponentSchema, Epoch, FieldKind, FieldSchema, GhostSchema, NetworkTick, Smoothing, SnapshotAcks,
};
use std::collections::VecDeque;

/// A packet takes so many ticks, and an acknowledgement as many: a round trip of 100 ms at 60 Hz.
const ONE_WAY_TICKS: u32 = 3;

fn is_soak() -> bool {
    std::env::var_os("GHOSTLINE_SOAK").is_some()
}

#[expect(clippy::print_stdout, reason = "the figures of a long run are what it is for")]
fn tell(figures: &str) {
    if is_soak() {
        println!("{figures}");
    }
}

fn field(name: &str, kind: FieldKind) -> FieldSchema {
    FieldSchema {
        name: name.to_owned(),
        kind,
        quantization: 1000,
        smoothing: Smoothing::Clamp,
        max_smoothing_distance: None,
    }
}

/// A body that moves: three lanes of its place, one of its heading.
fn body(name: &str) -> GhostSchema {
    let fields = vec![field("place", FieldKind::Vec3), field("heading", FieldKind::I32)];
    GhostSchema {
        name: name.to_owned(),
        options: String::new(),
        components: vec![ComponentSchema { name: "Body".to_owned(), fields }],
    }
}

/// A ghost that walks and turns now and then.
struct Walker {
    id: u32,
    row: [u32; 4],
    step: [i32; 3],
}

impl Walker {
    fn walk(&mut self, dice: &mut Dice) {
        if dice.one_in(40) {
            self.step = [(); 3].map(|()| dice.below(121) as i32 - 60);
            self.row[3] = dice.below(3600) as u32;
        }
        for (lane, step) in self.row.iter_mut().zip(self.step) {
            *lane = lane.wrapping_add_signed(step + dice.below(3) as i32 - 1);
        }
    }
}

/// A client with its link.
struct Peer {
    client: RowClient,
    down: VecDeque<(u32, Vec<u8>)>,
    up: VecDeque<(u32, (Epoch, SnapshotAcks))>,
    one_way_ticks: u32,
    loss_percent: usize,
}

/// A server with ghosts that walk, and its clients.
struct Park {
    server: RowServer,
    peers: Vec<Peer>,
    walkers: Vec<Walker>,
    now: u32,
    dice: Dice,
}

impl Park {
    fn new(ghosts: usize, seed: u64) -> Self {
        let schemas = [body("walker")];
        let mut park = Self {
            server: RowServer::new(&schemas),
            peers: Vec::new(),
            walkers: Vec::new(),
            now: 0,
            dice: Dice::new(seed),
        };
        park.seal();
        for _ in 0..ghosts {
            let id = park.server.spawn(0).unwrap();
            let place = [(); 3].map(|()| park.dice.below(200_000) as u32);
            park.walkers.push(Walker { id, row: [place[0], place[1], place[2], 0], step: [25, -7, 0] });
        }
        park
    }

    fn add_client(&mut self, one_way_ticks: u32, loss_percent: usize) {
        self.server.add_client();
        let client = RowClient::new(&[body("walker")]);
        self.peers.push(Peer { client, down: VecDeque::new(), up: VecDeque::new(), one_way_ticks, loss_percent });
    }

    fn seal(&mut self) {
        self.now += 1;
        self.server.seal(NetworkTick::new(self.now));
    }

    /// A tick in which those walk that shall.
    fn step(&mut self, limits: SendLimits, walks: impl Fn(&Walker) -> bool) {
        for walker in self.walkers.iter_mut().filter(|walker| walks(walker)) {
            walker.walk(&mut self.dice);
        }
        for walker in &self.walkers {
            self.server.set_lanes(walker.id, 0, &walker.row);
        }
        self.seal();
        for (number, peer) in self.peers.iter_mut().enumerate() {
            let (now, dice) = (self.now, &mut self.dice);
            while let Some((_, (epoch, acks))) = peer.up.pop_front_if(|(due, _)| *due <= now) {
                self.server.acknowledge(number, epoch, &acks);
            }
            let (down, due, loss_percent) = (&mut peer.down, now + peer.one_way_ticks, peer.loss_percent);
            self.server.encode(number, limits, &mut |packet| {
                if dice.below(100) >= loss_percent {
                    down.push_back((due, packet.to_vec()));
                }
                true
            });
            while let Some((_, packet)) = peer.down.pop_front_if(|(due, _)| *due <= now) {
                assert_eq!(peer.client.decode(&packet), Ok(()), "tick {now}");
            }
            if let Some(acks) = peer.client.acks().filter(|_| dice.below(100) >= loss_percent) {
                peer.up.push_back((due, acks));
            }
        }
    }

    /// Steps until the first client holds every ghost, and what began with that is over.
    fn join(&mut self, limits: SendLimits) {
        let mut ticks = 0;
        while self.peers[0].client.ghosts() < self.walkers.len() {
            self.step(limits, |_| true);
            ticks += 1;
            assert!(ticks < 2000, "{} of {} ghosts", self.peers[0].client.ghosts(), self.walkers.len());
        }
        (0..100).for_each(|_| self.step(limits, |_| true));
    }

    /// By ghost, how many ticks old is what a client holds of it.
    fn ages(&self, client: usize) -> impl Iterator<Item = u32> + '_ {
        let peer = &self.peers[client];
        self.walkers.iter().map(|walker| {
            let (tick, _) = peer.client.row(walker.id).expect("it was sent long ago");
            let until = peer.client.known_until(walker.id).unwrap_or(tick);
            NetworkTick::new(self.now).ticks_since(until).unsigned_abs()
        })
    }
}

/// Everything moves and little fits: no ghost that a client holds is ever older than the statistics of its connection say it may be.
fn starve(ghosts: usize, ticks: usize, packet_bytes: usize) {
    let mut park = Park::new(ghosts, 7);
    park.add_client(ONE_WAY_TICKS, 0);
    let limits = SendLimits { packet_bytes, max_packets: 1 };
    park.join(limits);
    let before = park.server.totals();
    let (mut oldest, mut widest) = (0, 0);
    for tick in 0..ticks {
        park.step(limits, |_| true);
        let stats = park.server.connection_stats(0).unwrap();
        let bound = stats.staleness_bound_ticks(1);
        assert!(stats.oldest_unsent_ticks <= bound, "tick {tick}: {stats:?}, at most {bound}");
        let age = park.ages(0).max().unwrap();
        assert!(age <= bound + ONE_WAY_TICKS, "tick {tick}: {age} ticks, at most {bound} and the way");
        (oldest, widest) = (oldest.max(age), widest.max(bound));
    }
    let after = park.server.totals();
    let absolute_share = (after.absolute_rows - before.absolute_rows) as f64 / (after.rows - before.rows) as f64;
    let per_tick = (after.rows - before.rows) as f64 / ticks as f64;
    tell(&format!(
        "{ghosts} ghosts, {packet_bytes} bytes per tick: {per_tick:.1} rows per tick, oldest {oldest} ticks, bound {widest}, \
         {:.3} % of rows absolute, {} bytes of memory",
        absolute_share * 100.0,
        park.server.memory_bytes()
    ));
    assert!(absolute_share < 0.01, "{absolute_share} of all rows");
    assert!(oldest > 10, "there was enough room for all of them");
}

#[test]
fn with_one_packet_per_tick_no_ghost_is_older_than_the_stated_bound_and_hardly_a_row_is_absolute() {
    if is_soak() {
        starve(10_000, 10_000, 1_162);
    } else {
        starve(1_500, 300, 350);
    }
}

#[test]
fn half_of_what_a_thousand_equal_ghosts_need_keeps_each_within_twice_the_mean_age() {
    let unlimited = SendLimits::default();
    let mut park = Park::new(1_000, 8);
    park.add_client(ONE_WAY_TICKS, 0);
    park.join(unlimited);
    let before = park.server.totals().bytes;
    (0..50).for_each(|_| park.step(unlimited, |_| true));
    let needed = ((park.server.totals().bytes - before) / 50) as usize;
    let half = SendLimits { packet_bytes: needed / 8, max_packets: 4 };
    (0..100).for_each(|_| park.step(half, |_| true));
    let before = park.server.totals().bytes;
    let (mut oldest, mut sum, mut ages) = (0, 0_u64, 0_u64);
    let ticks = if is_soak() { 9_000 } else { 300 };
    for _ in 0..ticks {
        park.step(half, |_| true);
        for age in park.ages(0) {
            (oldest, sum, ages) = (oldest.max(age), sum + u64::from(age), ages + 1);
        }
    }
    let (mean, used) = (sum as f64 / ages as f64, (park.server.totals().bytes - before) / ticks);
    tell(&format!("needed {needed} bytes per tick, had {}, used {used}: oldest {oldest}, mean {mean:.2}", needed / 2));
    assert!(used as usize <= needed / 2);
    assert!(f64::from(oldest) <= 2.0 * mean, "the oldest {oldest} ticks, the mean {mean:.2}");
}

#[test]
fn ten_times_the_importance_is_about_ten_times_the_updates() {
    let mut server = RowServer::new(&[body("dull"), body("vital")]);
    server.set_type(1, TypeSettings { importance: 10, ..TypeSettings::default() });
    server.seal(NetworkTick::new(1));
    let mut dice = Dice::new(9);
    let ids: Vec<u32> = (0..1_200).map(|number| server.spawn(u16::from(number % 12 == 0)).unwrap()).collect();
    let number = server.add_client();
    let mut client = RowClient::new(&[body("dull"), body("vital")]);
    let mut seen = vec![(NetworkTick::new(0), 0_u32); ids.len()];
    for now in 2..500 {
        for &id in &ids {
            server.set_lanes(id, 0, &[dice.next() as u32, dice.next() as u32]);
        }
        server.seal(NetworkTick::new(now));
        server.encode(number, SendLimits { packet_bytes: 600, max_packets: 1 }, &mut |packet| {
            client.decode(packet).unwrap();
            true
        });
        let (epoch, acks) = client.acks().unwrap();
        server.acknowledge(number, epoch, &acks);
        for (&id, (tick, updates)) in ids.iter().zip(&mut seen).filter(|_| now > 200) {
            let newest = client.row(id).map_or(*tick, |(newest, _)| newest);
            *updates += u32::from(newest != *tick);
            *tick = newest;
        }
    }
    let mean = |vital: bool| {
        let updates = seen.iter().enumerate().filter(|(number, _)| (number % 12 == 0) == vital);
        let (sum, count) = updates.fold((0, 0), |(sum, count), (_, (_, updates))| (sum + updates, count + 1));
        f64::from(sum) / f64::from(count)
    };
    let ratio = mean(true) / mean(false);
    assert!((7.0..=13.0).contains(&ratio), "{} and {} updates", mean(true), mean(false));
}

#[test]
fn an_isolated_change_at_100_ms_is_sent_at_most_twice() {
    let mut park = Park::new(100, 10);
    park.add_client(ONE_WAY_TICKS, 0);
    let limits = SendLimits::default();
    park.join(limits);
    (0..30).for_each(|_| park.step(limits, |_| false));
    for round in 0..20 {
        let before = park.server.totals().rows;
        let one = park.walkers[round].id;
        park.walkers[round].step = [25, -7, 3];
        park.step(limits, |walker| walker.id == one);
        (0..30).for_each(|_| park.step(limits, |_| false));
        let sent = park.server.totals().rows - before;
        assert!((1..=2).contains(&sent), "round {round}: {sent} times");
        assert_eq!(park.peers[0].client.row(one).unwrap().1, park.walkers[round].row);
    }
}

// G-35
#[test]
fn a_ghost_that_rested_for_an_hour_beside_one_that_moved_is_sent_as_a_difference() {
    let mut park = Park::new(2, 11);
    park.add_client(ONE_WAY_TICKS, 0);
    let limits = SendLimits::default();
    park.join(limits);
    let resting = park.walkers[0].id;
    for _ in 0..60 * 60 * 60 / 20 {
        // A third of a second at a time.
        park.now += 19;
        park.step(limits, |walker| walker.id != resting);
    }
    let before = park.server.totals();
    park.step(limits, |_| true);
    (0..10).for_each(|_| park.step(limits, |_| false));
    let after = park.server.totals();
    assert_eq!(after.absolute_rows, before.absolute_rows);
    assert!(after.rows > before.rows);
    assert_eq!(park.peers[0].client.row(resting).unwrap().1, park.walkers[0].row);
}

// Numbers of packets have 16 bits: half of them tell newer from older, all if the ticks do.
#[test]
fn after_forty_thousand_lost_packets_a_client_goes_on_with_the_next_one() {
    let mut park = Park::new(3, 11);
    park.add_client(ONE_WAY_TICKS, 0);
    park.join(SendLimits::default());
    park.peers[0].loss_percent = 100;
    (0..40_000).for_each(|tick| park.step(SendLimits::default(), |_| tick % 100 == 0));
    park.peers[0].loss_percent = 0;
    // A round trip, and what is sent before the first acknowledgement is back.
    (0..4 * ONE_WAY_TICKS).for_each(|_| park.step(SendLimits::default(), |_| true));
    assert!(park.ages(0).all(|age| age <= ONE_WAY_TICKS + 1), "{:?}", park.ages(0).collect::<Vec<_>>());
}

/// Many clients that get far less than they need, with round trips of 40 to 300 ms and 0 to 10 % loss. Returns bytes of memory.
fn starve_many(ghosts: usize, clients: usize, ticks: usize, packet_bytes: usize) -> usize {
    let mut park = Park::new(ghosts, 12);
    for client in 0..clients as u32 {
        park.add_client(1 + client % 9, (client % 11) as usize);
    }
    let limits = SendLimits { packet_bytes, max_packets: 1 };
    let mut most = 0;
    for _ in 0..ticks {
        park.step(limits, |_| true);
        most = most.max(park.server.memory_bytes());
    }
    let totals = park.server.totals();
    tell(&format!(
        "{ghosts} ghosts, {clients} clients: {most} bytes of memory, {} of past rows; {} of {} rows encoded, {} absolute, {:.1} bits per row",
        park.server.history_bytes(),
        totals.encoded_rows,
        totals.rows,
        totals.absolute_rows,
        totals.row_bits as f64 / totals.rows as f64
    ));
    most
}

#[test]
fn what_a_server_keeps_for_64_starved_clients_is_bounded() {
    if is_soak() {
        let most = starve_many(10_000, 64, 3_000, 1_162);
        assert!(most <= 32 << 20, "{most} bytes");
    } else {
        // An eighth of the ghosts, a quarter of the clients, as starved as they.
        let most = starve_many(1_250, 16, 120, 145);
        assert!(most <= (32 << 20) / 8 / 2, "{most} bytes");
    }
}
