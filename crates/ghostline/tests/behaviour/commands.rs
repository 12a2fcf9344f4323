//! Commands: CMD-01, 02, 04 to 07, 09, and what the ring, the cadence and the server's checks promise.

use crate::common::*;
use bevy_app::{App, Plugin};
use bevy_ecs::prelude::*;
use ghostline::connection::NetworkSnapshotAck;
use ghostline::prelude::*;
use ghostline::stats::NetworkStats;
use ghostline::wire::{BitReader, CommandHeader};
use ghostline_testkit::{Direction, DriverSettings, FRAME, LinkProfile, MessageKind, Recorded};
use std::time::Duration;

#[derive(CommandData, Clone, Default, PartialEq, Debug)]
struct Drive {
    steer: u32,
}

#[derive(CommandData, Clone, Default, PartialEq, Debug)]
struct Fire {
    at: u32,
}

#[derive(Component, Default)]
struct Tank;

/// Which buffers tanks get, on both sides.
#[derive(Resource, Clone, Copy)]
struct Buffers {
    drive: bool,
    fire: bool,
}

/// Tanks of one mode; whoever has a buffer, and owns it or not, fills it with the tick that each command is for.
#[derive(Clone, Copy)]
struct Tanks {
    mode: GhostMode,
    buffers: Buffers,
}

const DRIVE: Buffers = Buffers { drive: true, fire: false };
const BOTH: Buffers = Buffers { drive: true, fire: true };
const MODES: [GhostMode; 3] = [GhostMode::Interpolated, GhostMode::Predicted, GhostMode::OwnerPredicted];

impl Plugin for Tanks {
    fn build(&self, app: &mut App) {
        let prefab = GhostPrefab::new("tank").component::<Position>();
        let prefab = match self.mode {
            GhostMode::Interpolated => prefab.owned().commands_when_interpolated(true),
            GhostMode::Predicted => prefab.owned().predicted(),
            GhostMode::OwnerPredicted => prefab.owner_predicted(),
        };
        app.insert_resource(self.buffers)
            .register_command::<Drive>()
            .register_command::<Fire>()
            .register_ghost::<Tank>(prefab)
            .add_systems_in(WorldFlags::SERVER | WorldFlags::CLIENT, AfterNetworkReceive, give_buffers)
            .add_systems_in(WorldFlags::CLIENT, GhostInput, fill_buffers);
    }
}

fn give_buffers(mut commands: Commands, buffers: Res<Buffers>, new: Query<Entity, Added<Tank>>) {
    for tank in &new {
        if buffers.drive {
            commands.entity(tank).insert(CommandBuffer::<Drive>::default());
        }
        if buffers.fire {
            commands.entity(tank).insert(CommandBuffer::<Fire>::default());
        }
    }
}

fn fill_buffers(
    time: Res<NetworkTime>,
    mut drives: Query<&mut CommandBuffer<Drive>>,
    mut fires: Query<&mut CommandBuffer<Fire>>,
) {
    let Some(tick) = time.input_target_tick() else { return };
    for mut buffer in &mut drives {
        buffer.add(tick, Drive { steer: tick.index() });
    }
    for mut buffer in &mut fires {
        buffer.add(tick, Fire { at: tick.index() });
    }
}

fn tank_fleet(mode: GhostMode, buffers: Buffers, clients: usize) -> Fleet {
    let mut fleet = Fleet::builder().plugin(Tanks { mode, buffers }).clients(clients).tick_rate(unmerged()).build();
    fleet.connect_all();
    fleet.go_in_game_all();
    fleet
}

/// Spawns a tank of client `owner` on the server.
fn spawn_tank(fleet: &mut Fleet, owner: usize) -> Entity {
    let id = fleet.client(owner).network_id().unwrap();
    fleet.server().world_mut().spawn_ghost::<Tank>(GhostOwner(id))
}

fn drive_at_server_tick(fleet: &mut Fleet, tank: Entity) -> Option<(NetworkTick, Drive)> {
    let tick = fleet.server().server_tick().unwrap();
    let buffer = fleet.server().world().get::<CommandBuffer<Drive>>(tank)?;
    buffer.get_at_tick(tick).map(|(tick, drive)| (tick, drive.clone()))
}

fn assert_drives_now(fleet: &mut Fleet, tank: Entity, context: &str) {
    let tick = fleet.server().server_tick().unwrap();
    assert_eq!(drive_at_server_tick(fleet, tank), Some((tick, Drive { steer: tick.index() })), "{context}");
}

fn assert_fires_now(fleet: &mut Fleet, tank: Entity, context: &str) {
    let tick = fleet.server().server_tick().unwrap();
    let buffer = fleet.server().world().get::<CommandBuffer<Fire>>(tank).unwrap();
    assert_eq!(buffer.get_at_tick(tick), Some((tick, &Fire { at: tick.index() })), "{context}");
}

fn headers(recorded: &[Recorded]) -> Vec<CommandHeader> {
    recorded
        .iter()
        .filter(|message| message.bytes.first() == Some(&MessageKind::Command.byte()))
        .map(|message| CommandHeader::decode(&mut BitReader::new(&message.bytes[1..])).unwrap())
        .collect()
}

#[test]
fn packets_without_commands_carry_acks_and_command_age_also_at_120_bytes() {
    for (link, ages) in [(LinkProfile::default(), -2.6..=-1.6), (LinkProfile::in_process(), -0.75..=0.0)] {
        let settings = DriverSettings { max_message_bytes: 120, ..DriverSettings::default() };
        let mut fleet = Fleet::builder().plugin(Game).link(link).driver_settings(settings).build();
        fleet.connect_all();
        fleet.go_in_game_all();
        fleet.ticks(16);
        let connection = fleet.server().connections()[0];
        let acked =
            fleet.server().world().get::<NetworkSnapshotAck>(connection).unwrap().last_received_snapshot_by_remote;
        let behind = fleet.server().server_tick().unwrap().ticks_since(acked.expect("snapshots are acknowledged"));
        assert!(behind < 4, "{link:?}: the newest acknowledged snapshot is {behind} ticks old");
        let connection = fleet.client(0).connections()[0];
        let age = fleet.client(0).world().get::<NetworkSnapshotAck>(connection).unwrap().server_command_age;
        let age = f64::from(age) / 256.0;
        assert!(ages.contains(&age), "{link:?}: the command age is {age} ticks, not in {ages:?}");
    }
}

#[test]
fn commands_go_to_the_connections_target_only_when_it_is_set_on_both_sides() {
    let mut fleet = tank_fleet(GhostMode::Interpolated, DRIVE, 1);
    fleet.ticks(16);
    let on_server = fleet.server().world_mut().spawn(CommandBuffer::<Drive>::default()).id();
    let on_client = fleet.client(0).world_mut().spawn(CommandBuffer::<Drive>::default()).id();
    let stored = |fleet: &mut Fleet| fleet.server().world().get::<CommandBuffer<Drive>>(on_server).unwrap().len();
    fleet.ticks(4);
    assert_eq!(stored(&mut fleet), 0, "no target on either side");
    let connection = fleet.client(0).connections()[0];
    fleet.client(0).world_mut().entity_mut(connection).insert(CommandTarget { entity: Some(on_client) });
    fleet.ticks(4);
    assert_eq!(stored(&mut fleet), 0, "a target on the client alone");
    let connection = fleet.server().connections()[0];
    fleet.server().world_mut().entity_mut(connection).insert(CommandTarget { entity: Some(on_server) });
    fleet.ticks(4);
    assert!(stored(&mut fleet) > 0);
    assert_drives_now(&mut fleet, on_server, "after four ticks");
    // A target that is gone is no error, on either side.
    fleet.server().world_mut().despawn(on_server);
    fleet.ticks(4);
    fleet.client(0).world_mut().despawn(on_client);
    fleet.ticks(4);
}

#[test]
fn a_command_reaches_the_players_ghost_for_every_tick_in_every_mode() {
    for mode in MODES {
        let mut fleet = tank_fleet(mode, DRIVE, 1);
        let tank = spawn_tank(&mut fleet, 0);
        fleet.ticks(16);
        for tick in 0..30 {
            assert_drives_now(&mut fleet, tank, &format!("{mode:?}, tick {tick}"));
            fleet.tick();
        }
    }
}

#[test]
fn a_ghost_may_take_several_kinds_of_commands() {
    for mode in MODES {
        let mut fleet = tank_fleet(mode, BOTH, 1);
        let tank = spawn_tank(&mut fleet, 0);
        fleet.ticks(16);
        assert_drives_now(&mut fleet, tank, &format!("{mode:?}"));
        assert_fires_now(&mut fleet, tank, &format!("{mode:?}"));
    }
}

#[test]
fn a_player_may_command_several_ghosts() {
    for mode in MODES {
        let mut fleet = tank_fleet(mode, DRIVE, 1);
        let tanks = [spawn_tank(&mut fleet, 0), spawn_tank(&mut fleet, 0)];
        fleet.ticks(16);
        for tank in tanks {
            assert_drives_now(&mut fleet, tank, &format!("{mode:?}"));
        }
    }
}

#[test]
fn a_ghost_and_the_connections_target_are_commanded_at_the_same_time() {
    for mode in MODES {
        let mut fleet = tank_fleet(mode, DRIVE, 1);
        let tank = spawn_tank(&mut fleet, 0);
        let on_server = fleet.server().world_mut().spawn(CommandBuffer::<Fire>::default()).id();
        let on_client = fleet.client(0).world_mut().spawn(CommandBuffer::<Fire>::default()).id();
        for (target, is_server) in [(on_server, true), (on_client, false)] {
            let world = if is_server { fleet.server() } else { fleet.client(0) };
            let connection = world.connections()[0];
            world.world_mut().entity_mut(connection).insert(CommandTarget { entity: Some(target) });
        }
        fleet.ticks(16);
        assert_drives_now(&mut fleet, tank, &format!("{mode:?}"));
        assert_fires_now(&mut fleet, on_server, &format!("{mode:?}"));
    }
}

#[test]
fn a_ghost_of_somebody_else_gets_no_commands() {
    for mode in MODES {
        let mut fleet = tank_fleet(mode, DRIVE, 1);
        let tank = fleet.server().world_mut().spawn_ghost::<Tank>(GhostOwner(NetworkId(77)));
        fleet.ticks(32);
        assert!(fleet.server().world().get::<CommandBuffer<Drive>>(tank).unwrap().is_empty(), "{mode:?}");
        let world = fleet.client(0).world_mut();
        let filled = world.query::<&CommandBuffer<Drive>>().single(world).unwrap().len();
        assert!(filled > 10, "{mode:?}: the client's own buffer holds {filled}");
    }
}

#[test]
fn a_ghost_whose_target_is_switched_off_on_the_server_gets_no_commands() {
    let mut fleet = tank_fleet(GhostMode::OwnerPredicted, DRIVE, 1);
    let tank = spawn_tank(&mut fleet, 0);
    fleet.server().world_mut().entity_mut(tank).insert(AutoCommandTarget { enabled: false });
    fleet.ticks(24);
    assert!(fleet.server().world().get::<CommandBuffer<Drive>>(tank).unwrap().is_empty());
    fleet.server().world_mut().entity_mut(tank).insert(AutoCommandTarget { enabled: true });
    fleet.ticks(4);
    assert_drives_now(&mut fleet, tank, "switched on again");
}

#[test]
fn an_owned_ghost_that_is_interpolated_takes_commands_only_if_its_prefab_says_so() {
    struct Strict;
    impl Plugin for Strict {
        fn build(&self, app: &mut App) {
            app.insert_resource(DRIVE)
                .register_command::<Drive>()
                .register_ghost::<Tank>(GhostPrefab::new("tank").component::<Position>().owned())
                .add_systems_in(WorldFlags::SERVER | WorldFlags::CLIENT, AfterNetworkReceive, give_buffers)
                .add_systems_in(
                    WorldFlags::CLIENT,
                    GhostInput,
                    |time: Res<NetworkTime>, mut all: Query<&mut CommandBuffer<Drive>>| {
                        for mut buffer in &mut all {
                            buffer.add(time.input_target_tick().unwrap(), Drive { steer: 1 });
                        }
                    },
                );
        }
    }
    let mut fleet = Fleet::builder().plugin(Strict).build();
    fleet.connect_all();
    fleet.go_in_game_all();
    fleet.logs().expect("`tank` is owned by this client but interpolated here");
    let tank = spawn_tank(&mut fleet, 0);
    fleet.ticks(40);
    assert!(fleet.server().world().get::<CommandBuffer<Drive>>(tank).unwrap().is_empty());
    assert_eq!(fleet.logs().count("but interpolated here"), 1, "said once");
}

#[test]
fn there_is_one_packet_per_tick_at_any_frame_rate() {
    for (fps, ticks_per_packet) in [(240, 1), (60, 1), (20, 3)] {
        let mut fleet = tank_fleet(GhostMode::OwnerPredicted, DRIVE, 1);
        let tank = spawn_tank(&mut fleet, 0);
        let dt = Duration::from_secs(1) / fps;
        for _ in 0..fps * 2 {
            fleet.tick_by(dt);
        }
        fleet.link(0).record();
        for _ in 0..fps * 2 {
            fleet.tick_by(dt);
        }
        let ticks: Vec<NetworkTick> =
            headers(&fleet.link(0).recorded()).iter().map(|header| header.input_target_tick).collect();
        let expected = 120 / ticks_per_packet;
        assert!(ticks.len().abs_diff(expected) <= 2, "{fps} fps: {} packets in two seconds", ticks.len());
        for pair in ticks.windows(2) {
            let step = pair[1].ticks_since(pair[0]);
            if fps == 20 {
                assert!((1..=5).contains(&step), "{fps} fps: {pair:?}");
            } else {
                assert_eq!(step, 1, "{fps} fps: {pair:?}");
            }
        }
        let connection = fleet.server().connections()[0];
        let age = fleet.server().world().get::<NetworkSnapshotAck>(connection).unwrap().server_command_age;
        assert!((-5 * 256..=0).contains(&age), "{fps} fps: commands come {age}/256 ticks late");
        let late = fleet.server().world().resource::<NetworkStats>().late_commands;
        assert!(late < 10, "{fps} fps: {late} commands came late");
        let (tick, _) = drive_at_server_tick(&mut fleet, tank).unwrap();
        let behind = fleet.server().server_tick().unwrap().ticks_since(tick);
        assert!(behind < ticks_per_packet as i32, "{fps} fps: the command in use is {behind} ticks old");
    }
}

#[test]
fn a_packet_has_the_current_command_and_the_three_before_it() {
    let mut fleet = tank_fleet(GhostMode::OwnerPredicted, DRIVE, 1);
    let tank = spawn_tank(&mut fleet, 0);
    fleet.ticks(100);
    // Three packets lost in a row: the fourth brings all that they held, in time, because commands come two ticks early.
    let late_before = fleet.server().world().resource::<NetworkStats>().late_commands;
    for lost in 1..=3 {
        fleet.link(0).cut(Direction::ToServer);
        fleet.ticks(lost);
        fleet.link(0).mend(Direction::ToServer);
        fleet.ticks(5);
        let tick = fleet.server().server_tick().unwrap();
        let buffer = fleet.server().world().get::<CommandBuffer<Drive>>(tank).unwrap();
        for age in 0..20 {
            let (stored, drive) = buffer.get_at_tick(tick.sub(age)).unwrap();
            if lost <= 2 {
                assert_eq!(stored, tick.sub(age), "{lost} lost");
            }
            assert!(drive.steer <= stored.index(), "{lost} lost");
        }
        fleet.ticks(20);
    }
    let late = fleet.server().world().resource::<NetworkStats>().late_commands - late_before;
    assert!(late <= 2, "{late} commands came late");
}

#[test]
fn without_new_commands_the_last_one_counts_and_a_late_one_drives_the_next_tick() {
    let mut fleet = tank_fleet(GhostMode::OwnerPredicted, DRIVE, 1);
    let tank = spawn_tank(&mut fleet, 0);
    fleet.ticks(40);
    // The client stalls: the server goes on with what it knows.
    for _ in 0..6 {
        fleet.tick_server(FRAME);
    }
    let server_tick = fleet.server().server_tick().unwrap();
    let (tick, drive) = drive_at_server_tick(&mut fleet, tank).unwrap();
    assert!(tick.is_older_than(server_tick) && drive.steer == tick.index(), "{tick} at {server_tick}");
    fleet.tick_client(0, FRAME);
    fleet.tick_server(FRAME);
    assert!(fleet.server().world().resource::<NetworkStats>().late_commands > 0);
    let server_tick = fleet.server().server_tick().unwrap();
    let (tick, late) = drive_at_server_tick(&mut fleet, tank).unwrap();
    assert_eq!(tick, server_tick, "it counts for this tick");
    assert!(late.steer < tick.index() && late.steer > drive.steer, "{late:?} at {tick}");
    fleet.ticks(120);
    assert_drives_now(&mut fleet, tank, "after a while");
}

#[test]
fn packets_that_were_overtaken_displace_nothing() {
    let mut fleet = tank_fleet(GhostMode::OwnerPredicted, DRIVE, 1);
    let tank = spawn_tank(&mut fleet, 0);
    fleet.ticks(40);
    fleet.link(0).record();
    fleet.link(0).cut(Direction::ToServer);
    fleet.ticks(3);
    fleet.link(0).mend(Direction::ToServer);
    let lost: Vec<Vec<u8>> = fleet
        .link(0)
        .recorded()
        .into_iter()
        .filter(|message| message.direction == Direction::ToServer && message.lost)
        .map(|message| message.bytes)
        .collect();
    assert_eq!(lost.len(), 3);
    for round in 0..20 {
        for packet in lost.iter().rev() {
            fleet.link(0).inject(Direction::ToServer, MessageKind::Command, &packet[1..]);
        }
        fleet.tick();
        if round >= 5 {
            assert_drives_now(&mut fleet, tank, &format!("round {round}"));
        }
    }
}

#[test]
fn commands_for_the_ghost_of_another_player_are_refused_by_the_server() {
    let mut fleet = tank_fleet(GhostMode::OwnerPredicted, DRIVE, 2);
    let tanks = [spawn_tank(&mut fleet, 0), spawn_tank(&mut fleet, 1)];
    fleet.ticks(40);
    fleet.link(0).record();
    fleet.link(0).cut(Direction::ToServer);
    fleet.ticks(5);
    let stolen: Vec<Vec<u8>> = fleet
        .link(0)
        .recorded()
        .into_iter()
        .filter(|message| message.direction == Direction::ToServer)
        .map(|message| message.bytes)
        .collect();
    let buffer = |fleet: &mut Fleet| fleet.server().world().get::<CommandBuffer<Drive>>(tanks[0]).unwrap().clone();
    let before = buffer(&mut fleet);
    for packet in &stolen {
        fleet.link(1).inject(Direction::ToServer, MessageKind::Command, &packet[1..]);
    }
    fleet.ticks(2);
    assert_eq!(buffer(&mut fleet), before, "the other player's packets change nothing");
    fleet.link(0).mend(Direction::ToServer);
    // (The owner's own world stands still meanwhile.)
    for packet in &stolen {
        fleet.link(0).inject(Direction::ToServer, MessageKind::Command, &packet[1..]);
    }
    fleet.tick_server(FRAME);
    fleet.tick_server(FRAME);
    assert_ne!(buffer(&mut fleet), before, "the same packets from the owner do");
    assert_drives_now(&mut fleet, tanks[1], "the other player's own tank");
}

#[test]
fn a_buffer_holds_the_newest_64_commands_on_both_sides() {
    let mut fleet = tank_fleet(GhostMode::OwnerPredicted, DRIVE, 1);
    let tank = spawn_tank(&mut fleet, 0);
    fleet.ticks(200);
    let server_tick = fleet.server().server_tick().unwrap();
    let on_server = fleet.server().world().get::<CommandBuffer<Drive>>(tank).unwrap().clone();
    assert_eq!(on_server.len(), 64);
    assert!(on_server.iter().all(|(tick, drive)| drive.steer == tick.index() && server_tick.ticks_since(tick) < 66));
    let world = fleet.client(0).world_mut();
    assert_eq!(world.query::<&CommandBuffer<Drive>>().single(world).unwrap().len(), 64);
}
