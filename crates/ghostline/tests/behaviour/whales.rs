//! Ghosts that are larger than a datagram: they travel in fragments, alone, and never stop anything else. SER-05, SER-06.

use crate::common::*;
use crate::dice::Dice;
use crate::snapshots::{converge, snapshot_sizes};
use bevy_app::{App, Plugin};
use bevy_ecs::prelude::*;
use ghostline::prelude::*;
use ghostline::snapshot::newest_rows;
use ghostline_testkit::DriverSettings;

/// A ghost of 320 lanes: larger than a datagram.
#[derive(Component, Default)]
struct Whale;

macro_rules! blobs {
    ($($name:ident),*) => { $(
        #[derive(Component, GhostComponent, Clone, Copy, PartialEq, Debug, Default)]
        struct $name {
            #[ghost] a: u64, #[ghost] b: u64, #[ghost] c: u64, #[ghost] d: u64, #[ghost] e: u64, #[ghost] f: u64, #[ghost] g: u64, #[ghost] h: u64,
            #[ghost] i: u64, #[ghost] j: u64, #[ghost] k: u64, #[ghost] l: u64, #[ghost] m: u64, #[ghost] n: u64, #[ghost] o: u64, #[ghost] p: u64,
        }
        impl $name {
            fn random(dice: &mut Dice) -> Self {
                let mut x = || dice.next();
                Self {
                    a: x(), b: x(), c: x(), d: x(), e: x(), f: x(), g: x(), h: x(), i: x(), j: x(), k: x(), l: x(), m: x(), n: x(), o: x(), p: x(),
                }
            }
        }
    )* };
}
blobs!(BlobA, BlobB, BlobC, BlobD, BlobE, BlobF, BlobG, BlobH, BlobI, BlobJ);

struct WhaleGame;

impl Plugin for WhaleGame {
    fn build(&self, app: &mut App) {
        let whale = GhostPrefab::new("whale")
            .component::<BlobA>()
            .component::<BlobB>()
            .component::<BlobC>()
            .component::<BlobD>();
        let whale = whale.component::<BlobE>().component::<BlobF>().component::<BlobG>().component::<BlobH>();
        app.add_plugins(Game).register_ghost::<Whale>(whale.component::<BlobI>().component::<BlobJ>());
    }
}

fn random_whale(dice: &mut Dice) -> impl Bundle + use<> {
    (
        (BlobA::random(dice), BlobB::random(dice), BlobC::random(dice), BlobD::random(dice), BlobE::random(dice)),
        (BlobF::random(dice), BlobG::random(dice), BlobH::random(dice), BlobI::random(dice), BlobJ::random(dice)),
    )
}

#[test]
fn ghosts_larger_than_a_datagram_arrive_in_turn_and_the_budget_holds_on_average() {
    let mut dice = Dice::new(4);
    let mut fleet = Fleet::builder().plugin(WhaleGame).build();
    fleet.connect_all();
    fleet.go_in_game_all();
    fleet.ticks(10);
    let whales: Vec<Entity> =
        (0..5).map(|_| fleet.server().world_mut().spawn_ghost::<Whale>(random_whale(&mut dice))).collect();
    fleet.link(0).record();
    const TICKS: usize = 100;
    for _ in 0..TICKS {
        // All of them change all of the time, so only taking turns brings each of them over.
        for &whale in &whales {
            let values = random_whale(&mut dice);
            fleet.server().world_mut().entity_mut(whale).insert(values);
        }
        fleet.tick();
    }
    assert_eq!(newest_rows(fleet.client(0).world()).len(), 5, "every one of them has arrived");
    let sizes = snapshot_sizes(&mut fleet, 0);
    assert!(sizes.iter().any(|&size| size > 1162), "one whale fills more than a datagram");
    let total: usize = sizes.iter().sum();
    assert!(total <= (TICKS + 3) * 1162, "{total} bytes in {TICKS} ticks");
    converge(&mut fleet, "whales");
}

// SER-05, G-45
#[test]
fn a_ghost_of_more_than_twice_the_largest_message_arrives_and_is_updated() {
    let mut dice = Dice::new(5);
    let settings = DriverSettings { max_message_bytes: 548, ..DriverSettings::default() };
    let mut fleet = Fleet::builder().plugin(WhaleGame).driver_settings(settings).build();
    fleet.connect_all();
    fleet.go_in_game_all();
    let whale = fleet.server().world_mut().spawn_ghost::<Whale>(random_whale(&mut dice));
    fleet.link(0).record();
    fleet.ticks(8);
    for _ in 0..3 {
        assert_eq!(newest_rows(fleet.client(0).world()), newest_rows(fleet.server().world()));
        let values = random_whale(&mut dice);
        fleet.server().world_mut().entity_mut(whale).insert(values);
        fleet.ticks(8);
    }
    assert!(snapshot_sizes(&mut fleet, 0).iter().filter(|size| **size > 1_096).count() >= 3);
    converge(&mut fleet, "a whale");
}

// SER-06
#[test]
fn with_the_smallest_target_size_a_ghost_far_beyond_it_still_arrives_and_is_paid_for() {
    for is_global in [false, true] {
        let mut dice = Dice::new(6);
        let mut fleet = Fleet::builder().plugin(WhaleGame).build();
        fleet.connect_all();
        fleet.go_in_game_all();
        fleet.ticks(10);
        let connection = fleet.server().connections()[0];
        let world = fleet.server().world_mut();
        if is_global {
            world.resource_mut::<GhostSendSystemData>().default_snapshot_packet_size = 100;
        } else {
            world.entity_mut(connection).insert(NetworkStreamSnapshotTargetSize { value: 100 });
        }
        let whale = world.spawn_ghost::<Whale>(random_whale(&mut dice));
        fleet.link(0).record();
        fleet.ticks(3);
        assert_eq!(newest_rows(fleet.client(0).world()), newest_rows(fleet.server().world()), "in three ticks");
        for _ in 0..97 {
            let values = random_whale(&mut dice);
            fleet.server().world_mut().entity_mut(whale).insert(values);
            fleet.tick();
        }
        let sizes = snapshot_sizes(&mut fleet, 0);
        assert_eq!(sizes.len(), 100, "a header goes out at every tick");
        // What is over is saved up for; the last one may have been sent on credit.
        let (total, largest) = (sizes.iter().sum::<usize>(), sizes.iter().max().unwrap());
        assert!(total <= 102 * 100 + largest, "{total} bytes in 100 ticks");
        converge(&mut fleet, "a whale through a straw");
    }
}
