//! Links that carry less than is wanted of them: nobody starves, nobody is cut off, and what is reliable arrives.

use crate::common::*;
use bevy_app::{App, Plugin};
use bevy_ecs::prelude::*;
use bevy_math::Vec3;
use ghostline::connection::NetworkSnapshotAck;
use ghostline::prelude::*;
use ghostline::stats::NetworkStats;
use ghostline_testkit::{FRAME, LinkConditions, LinkProfile, Transport};

const CRATES: i32 = 400;

/// One of many RPCs that are large together.
#[derive(Component, RpcCommand, Clone, Copy, Debug)]
struct Blob {
    number: u32,
    bytes: [[u8; 1000]; 8],
}

#[derive(Component, RpcCommand, Clone, Copy, Debug)]
struct Note {
    number: u32,
}

/// The numbers of the RPCs that came, in order.
#[derive(Resource, Default)]
struct Came(Vec<u32>);

/// Presses made by the client or seen by the server.
#[derive(Resource, Default)]
struct Pressed(u64);

struct Busy;

impl Plugin for Busy {
    fn build(&self, app: &mut App) {
        app.add_plugins(Game)
            .init_resource::<Came>()
            .init_resource::<Pressed>()
            .register_rpc::<Blob>()
            .register_rpc::<Note>()
            .add_systems_in(WorldFlags::CLIENT, GhostInput, press)
            .add_systems_in(WorldFlags::SERVER, PredictedSimulation, see)
            .add_systems_in(WorldFlags::SERVER, Simulation, shake)
            .add_systems_in(WorldFlags::NETWORK, Simulation, take);
    }
}

fn press(
    mut frames: Local<u32>,
    mut pressed: ResMut<Pressed>,
    mut players: Query<&mut PlayerInput, With<GhostOwnerIsLocal>>,
) {
    for mut input in &mut players {
        *frames += 1;
        if frames.is_multiple_of(10) {
            input.jump.set();
            pressed.0 += 1;
        }
    }
}

fn see(mut pressed: ResMut<Pressed>, players: Query<&PlayerInput, Simulate>) {
    pressed.0 += players.iter().map(|input| u64::from(input.jump.count())).sum::<u64>();
}

/// Moves that no prediction of rows foresees, so that snapshots are as large as they get.
fn shake(time: Res<NetworkTime>, mut crates: Query<(&Health, &mut Position)>) {
    let tick = time.server_tick.map_or(0, NetworkTick::index);
    for (health, mut position) in &mut crates {
        let chance = tick.wrapping_mul(0x9E37_79B9).wrapping_add(health.points as u32).wrapping_mul(0x85EB_CA6B);
        position.value += Vec3::new((chance >> 20) as f32 - 2048.0, (chance & 0xFFF) as f32 - 2048.0, 0.0) / 1000.0;
    }
}

fn take(
    mut commands: Commands,
    mut came: ResMut<Came>,
    blobs: Query<(Entity, &Blob, &ReceiveRpcCommandRequest)>,
    notes: Query<(Entity, &Note, &ReceiveRpcCommandRequest)>,
) {
    let blobs = blobs.iter().map(|(entity, blob, request)| {
        assert_eq!(blob.bytes, [[blob.number as u8; 1000]; 8]);
        (request.sequence(), entity, blob.number)
    });
    let notes = notes.iter().map(|(entity, note, request)| (request.sequence(), entity, note.number));
    let mut all: Vec<_> = blobs.chain(notes).collect();
    all.sort_unstable();
    for (_, entity, number) in all {
        came.0.push(number);
        commands.entity(entity).despawn();
    }
}

fn busy_fleet() -> Fleet {
    let builder = Fleet::builder().plugin(Busy).link(LinkProfile::rtt(60)).transport(Transport::Quic);
    let mut fleet = builder.tick_rate(unmerged()).build();
    fleet.connect_all();
    fleet.go_in_game_all();
    let owner = fleet.client(0).network_id().unwrap();
    fleet.server().world_mut().spawn_ghost::<Player>(GhostOwner(owner));
    for number in 0..CRATES {
        fleet.server().world_mut().spawn_ghost::<Crate>((Position::default(), Health { points: number }));
    }
    fleet.ticks(180);
    fleet
}

/// Bytes that each side has sent in UDP packets, headers included as the simulated link counts them: server, then client.
fn sent_bytes(fleet: &mut Fleet) -> [u64; 2] {
    let of = |world: &World| {
        let facade = world.resource::<NetworkStreamDriver>();
        let (handle, _) = facade.connections().next().expect("it stays connected");
        let statistics = facade.statistics(handle).expect("a socket measures");
        statistics.bytes_sent + 28 * statistics.packets_sent
    };
    [of(fleet.server().world()), of(fleet.client(0).world())]
}

/// What both directions want, in bytes per second.
fn wanted(fleet: &mut Fleet) -> [u64; 2] {
    let before = sent_bytes(fleet);
    fleet.ticks(180);
    let after = sent_bytes(fleet);
    [0, 1].map(|side| (after[side] - before[side]) / 3)
}

fn capped(bytes_per_second: [u64; 2]) -> LinkProfile {
    let [down, up] = bytes_per_second.map(|bytes| LinkConditions {
        bandwidth_bytes_per_second: Some(u32::try_from(bytes).unwrap()),
        ..LinkConditions::delayed(30)
    });
    LinkProfile { up, down, ..LinkProfile::perfect() }
}

fn received_commands(fleet: &mut Fleet) -> u64 {
    fleet.server().world().resource::<NetworkStats>().received_command_packets
}

fn snapshot_tick(fleet: &mut Fleet) -> NetworkTick {
    let world = fleet.client(0).world_mut();
    let ack = world.query::<&NetworkSnapshotAck>().single(world).unwrap();
    ack.last_received_snapshot_by_local.unwrap()
}

#[test]
fn on_half_the_bandwidth_that_snapshots_want_commands_and_rpcs_do_not_starve() {
    const SECONDS: u64 = 20;
    let mut fleet = busy_fleet();
    let [down, up] = wanted(&mut fleet);
    assert!(down > 4 * up, "snapshots are what is too much: {down} down, {up} up");
    // A line that is half of what snapshots want, and as wide in the other direction.
    fleet.link(0).set(capped([down / 2; 2]));
    let commands = received_commands(&mut fleet);
    let mut oldest = 0;
    let mut settled = [0; 2];
    for tick in 0..60 * SECONDS as u32 {
        if u64::from(tick) == 30 * SECONDS {
            settled = sent_bytes(&mut fleet);
        }
        if tick.is_multiple_of(30) {
            fleet.server().world_mut().spawn((Note { number: tick / 30 }, SendRpcCommandRequest::default()));
            fleet.client(0).world_mut().spawn((Note { number: tick / 30 }, SendRpcCommandRequest::default()));
        }
        fleet.tick();
        let age = fleet.server().server_tick().unwrap().ticks_since(snapshot_tick(&mut fleet));
        oldest = oldest.max(age);
    }
    // Once it is known what the line carries, no more is put into it: what is beyond would only be lost there.
    let offered = (sent_bytes(&mut fleet)[0] - settled[0]) / (SECONDS / 2);
    assert!(offered <= down / 2 + down / 40, "{offered} bytes per second on a line for {}", down / 2);
    assert!(offered > down * 2 / 5, "{offered} bytes per second on a line for {}", down / 2);
    let commands = received_commands(&mut fleet) - commands;
    assert!(commands >= 58 * SECONDS, "{commands} command packets in {SECONDS} seconds");
    assert!(oldest < 60, "a snapshot was {oldest} ticks old");
    fleet.ticks(180);
    let expected: Vec<u32> = (0..2 * SECONDS as u32).collect();
    assert_eq!(fleet.client(0).world().resource::<Came>().0, expected);
    assert_eq!(fleet.server().world().resource::<Came>().0, expected);
    assert_eq!(fleet.server().connections().len(), 1, "nobody is cut off");
    let pressed = fleet.client(0).world().resource::<Pressed>().0;
    let seen = fleet.server().world().resource::<Pressed>().0;
    assert!(pressed > 100 && pressed - seen <= 3, "{pressed} pressed, {seen} seen");
}

#[test]
fn on_half_the_bandwidth_that_commands_want_too_everything_goes_on() {
    let mut fleet = busy_fleet();
    let [down, up] = wanted(&mut fleet);
    // The round trip grows by seconds, and with it the lead of prediction.
    fleet.logs().tolerate("the predicted server tick jumped");
    fleet.link(0).set(capped([down / 2, up / 2]));
    let commands = received_commands(&mut fleet);
    for tick in 0..1_200_u32 {
        if tick.is_multiple_of(60) {
            fleet.server().world_mut().spawn((Note { number: tick / 60 }, SendRpcCommandRequest::default()));
            fleet.client(0).world_mut().spawn((Note { number: tick / 60 }, SendRpcCommandRequest::default()));
        }
        fleet.tick();
    }
    let commands = received_commands(&mut fleet) - commands;
    // Each tells of four ticks, so that a quarter of them tells of all. The rest of the line is acknowledgements.
    assert!(commands > 300, "{commands} of 1,200 command packets");
    fleet.link(0).set(LinkProfile::rtt(60));
    fleet.ticks(240);
    let expected: Vec<u32> = (0..20).collect();
    assert_eq!(fleet.client(0).world().resource::<Came>().0, expected);
    assert_eq!(fleet.server().world().resource::<Came>().0, expected);
    assert_eq!(fleet.server().connections().len(), 1, "nobody is cut off");
    let presses = |fleet: &mut Fleet| {
        let on_client = fleet.client(0).world().resource::<Pressed>().0;
        [on_client, fleet.server().world().resource::<Pressed>().0]
    };
    let before = presses(&mut fleet);
    fleet.ticks(300);
    let after = presses(&mut fleet);
    let [pressed, seen] = [0, 1].map(|side| after[side] - before[side]);
    assert!(pressed >= 29 && pressed.abs_diff(seen) <= 2, "{pressed} pressed, {seen} seen");
}

#[test]
fn half_a_megabyte_of_rpcs_at_once_leaves_the_snapshots_their_rate() {
    let mut fleet = busy_fleet();
    const BLOBS: u32 = 63;
    for number in 0..BLOBS {
        let blob = Blob { number, bytes: [[number as u8; 1000]; 8] };
        fleet.server().world_mut().spawn((blob, SendRpcCommandRequest::default()));
    }
    let mut last = snapshot_tick(&mut fleet);
    let mut missed = 0;
    let mut ticks = 0;
    while fleet.client(0).world().resource::<Came>().0.len() < BLOBS as usize {
        fleet.tick_by(FRAME);
        ticks += 1;
        assert!(ticks < 600, "the RPCs arrive");
        let now = snapshot_tick(&mut fleet);
        missed += usize::from(now == last);
        last = now;
    }
    assert!(ticks > 10, "they take a while: {ticks}");
    // Rounding of the frame's length costs a tick now and then.
    assert!(missed <= 1 + ticks / 60, "no snapshot in {missed} of {ticks} ticks");
    assert_eq!(fleet.client(0).world().resource::<Came>().0, (0..BLOBS).collect::<Vec<_>>());
}
