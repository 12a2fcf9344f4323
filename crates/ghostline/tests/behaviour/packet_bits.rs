//! What the bits of snapshots are spent on: counted to the last one, by ghost type and component, and without an influence on them.

use crate::dice::Dice;
use bevy_app::{App, Plugin};
use bevy_ecs::prelude::*;
use bevy_math::Vec3;
use ghostline::prelude::*;
use ghostline::stats::{GhostTypeBits, NetworkStats, SnapshotBits};
use ghostline_testkit::{Fleet, LinkProfile, Recorded};

/// Changes in every tick.
#[derive(Component, GhostComponent, Clone, Copy, Default, PartialEq, Debug)]
struct Place {
    #[ghost(quantization = 1000, smoothing = interpolate)]
    value: Vec3,
}

/// Changes now and then.
#[derive(Component, GhostComponent, Clone, Copy, Default, PartialEq, Debug)]
struct Energy {
    #[ghost]
    points: i32,
}

/// Never changes.
#[derive(Component, GhostComponent, Clone, Copy, Default, PartialEq, Debug)]
struct Badge {
    #[ghost]
    number: u32,
    #[ghost]
    team: u8,
}

#[derive(Component, GhostComponent, Clone, Copy, Default, PartialEq, Debug)]
struct Light {
    #[ghost]
    is_on: bool,
}

#[derive(Component, Default)]
struct Runner;

#[derive(Component, Default)]
struct Lamp;

struct Park;

impl Plugin for Park {
    fn build(&self, app: &mut App) {
        app.go_in_game_when_connected()
            .register_ghost::<Runner>(
                GhostPrefab::new("runner").component::<Place>().component::<Energy>().component::<Badge>(),
            )
            .register_ghost::<Lamp>(GhostPrefab::new("lamp").component::<Light>());
    }
}

fn spawn_runner(world: &mut World, dice: &mut Dice) {
    let badge = Badge { number: dice.next() as u32, team: 7 };
    world.spawn_ghost::<Runner>((Place::default(), Energy { points: 100 }, badge));
}

/// A tick of the park; ghosts come and go if it is busy.
fn change(world: &mut World, dice: &mut Dice, is_busy: bool) {
    for mut place in world.query::<&mut Place>().iter_mut(world) {
        let to = |dice: &mut Dice| dice.between(-0.4, 0.4) as f32;
        place.value += Vec3::new(to(dice), 0.0, to(dice));
    }
    for mut energy in world.query::<&mut Energy>().iter_mut(world) {
        if dice.one_in(30) {
            energy.points -= 1;
        }
    }
    for mut light in world.query::<&mut Light>().iter_mut(world) {
        if dice.one_in(20) {
            light.is_on = !light.is_on;
        }
    }
    if is_busy && dice.one_in(8) {
        let runners: Vec<Entity> = world.query_filtered::<Entity, With<Runner>>().iter(world).collect();
        world.despawn(runners[dice.below(runners.len())]);
        spawn_runner(world, dice);
    }
}

const CLIENTS: usize = 3;

/// Two clients and one that joins late, over a link that loses; calls `after` behind every tick.
fn play(is_counted: bool, mut after: impl FnMut(&mut World)) -> Fleet {
    const BUSY: usize = 200;
    const LATE: usize = 80;
    let dice = &mut Dice::new(5);
    let link = LinkProfile::rtt(80).with_loss_percent(5.0);
    let mut fleet = Fleet::builder().plugin(Park).clients(CLIENTS).link(link).seed(9).build();
    (0..CLIENTS).for_each(|client| fleet.link(client).record());
    let world = fleet.server().world_mut();
    if is_counted {
        world.insert_resource(SnapshotBits::default());
    }
    for _ in 0..70 {
        spawn_runner(world, dice);
        world.spawn_ghost::<Lamp>(Light::default());
    }
    fleet.listen();
    fleet.connect(0);
    fleet.connect(1);
    for tick in 0..BUSY + 160 {
        if tick == LATE {
            fleet.connect(2);
        }
        change(fleet.server().world_mut(), dice, tick < BUSY);
        fleet.tick();
        after(fleet.server().world_mut());
    }
    fleet
}

fn stats(world: &World) -> NetworkStats {
    *world.resource::<NetworkStats>()
}

fn row_bits(ty: &GhostTypeBits) -> u64 {
    ty.form_bits + ty.components.iter().map(|component| component.bits).sum::<u64>()
}

// O-08
#[test]
fn every_bit_of_every_snapshot_packet_is_a_components_or_a_named_overhead() {
    let (mut all, mut quiet, mut ticks) = (SnapshotBits::default(), SnapshotBits::default(), 0);
    let mut begin = NetworkStats::default();
    let mut fleet = play(true, |world| {
        ticks += 1;
        let (bits, stats) = (world.resource::<SnapshotBits>().clone(), stats(world));
        assert_eq!(bits.total_bits(), 8 * (stats.sent_snapshot_bytes - begin.sent_snapshot_bytes), "tick {ticks}");
        assert_eq!(bits.packets, stats.sent_snapshot_packets - begin.sent_snapshot_packets, "tick {ticks}");
        assert_eq!(bits.unknown_bits, 0, "tick {ticks}");
        let sum = |of: fn(&GhostTypeBits) -> u64| bits.types.iter().map(of).sum::<u64>();
        assert_eq!(sum(|ty| ty.rows), stats.sent_rows - begin.sent_rows, "tick {ticks}");
        assert_eq!(sum(|ty| ty.absolute_rows), stats.absolute_rows - begin.absolute_rows, "tick {ticks}");
        assert_eq!(sum(row_bits), stats.row_bits - begin.row_bits, "tick {ticks}");
        // Everybody has everything, and what changed in the last second is all that there is to tell.
        if ticks == 300 {
            all = bits;
            begin = stats;
            world.resource_mut::<SnapshotBits>().clear();
        } else {
            quiet = bits;
        }
    });
    assert_eq!(fleet.client(2).world().resource::<GhostCount>().instantiated, 140);
    assert_eq!(ticks, 360);

    let of = |bits: &SnapshotBits, ty, component| bits.of(ty, component).expect("it is registered");
    for part in [all.header_bits, all.prefab_bits, all.despawn_bits, all.gap_bits, all.padding_bits] {
        assert!(part > 0, "{all}");
    }
    for ty in &all.types {
        assert!(ty.chunk_bits > 0 && ty.model_bits > 0 && ty.form_bits > 0 && ty.absolute_rows >= 210, "{all}");
    }
    assert!(of(&all, "runner", "Badge") >= 210 * 32, "every client was told of every badge: {all}");

    let rows = quiet.types[0].rows;
    assert!(rows > 70 * 60 * 2, "{quiet}");
    assert!(of(&quiet, "runner", "Place") > rows * 8, "a lane of 800 values takes some bits: {quiet}");
    assert!(of(&quiet, "runner", "Badge") < rows / 4, "what does not change costs next to nothing: {quiet}");
    let energy = of(&quiet, "runner", "Energy");
    assert!(energy > of(&quiet, "runner", "Badge") && energy < rows * 2, "{quiet}");
    assert!(of(&quiet, "lamp", "Light") > 0 && quiet.types[1].rows < rows / 2, "{quiet}");
    assert_eq!((quiet.prefab_bits, quiet.types[0].absolute_rows), (0, 0), "{quiet}");
}

#[test]
fn counting_bits_changes_no_byte() {
    let record = |is_counted| -> Vec<Vec<Recorded>> {
        let mut fleet = play(is_counted, |_| ());
        (0..CLIENTS).map(|client| fleet.link(client).recorded()).collect()
    };
    let (with, without) = (record(true), record(false));
    for client in 0..CLIENTS {
        assert!(with[client].len() > 200, "client {client}");
        assert!(with[client] == without[client], "client {client} gets other packets");
    }
}

#[test]
fn a_world_without_the_resource_counts_nothing_and_one_that_removes_it_stops() {
    let mut sent = 0;
    let mut fleet = play(true, |world| {
        if world.resource::<NetworkStats>().sent_snapshot_packets > 50
            && let Some(bits) = world.remove_resource::<SnapshotBits>()
        {
            sent = bits.packets;
        }
    });
    assert!((50..60).contains(&sent), "{sent}");
    let world = fleet.server().world_mut();
    assert!(!world.contains_resource::<SnapshotBits>() && stats(world).sent_snapshot_packets > 500);
}
