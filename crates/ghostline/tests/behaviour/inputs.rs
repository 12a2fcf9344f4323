//! Inputs: INP-01, INP-05, and what the way from a key to the simulation promises: each tick sees its own input, late by no more than it must be, on
//! the ghosts of the player who made it.

use crate::common::Position;
use crate::dice::Dice;
use bevy_app::{App, Plugin};
use bevy_ecs::prelude::*;
use bevy_math::Vec3;
use bevy_time::Time;
use ghostline::command::CommandArrivalStatistics;
use ghostline::prediction::RollbackMode;
use ghostline::prelude::*;
use ghostline::stats::PredictionStats;
use ghostline::wire::{BitReader, BlockReader, CommandHeader, DecodedBlock, RowLayout, read_block};
use ghostline_testkit::{Direction, FRAME, Fleet, LinkProfile, MessageKind};
use std::collections::BTreeMap;

/// What an agent is told for one tick: which tick that is, and a number that was drawn for it.
#[derive(Component, InputComponentData, Clone, Copy, Default, PartialEq, Debug)]
struct Order {
    shot: InputEvent,
    made_for: u32,
    sentinel: u32,
}

/// An input that the sampler only ever adds to.
#[derive(Component, InputComponentData, Clone, Copy, Default, PartialEq, Debug)]
struct Look {
    yaw: i32,
}

#[derive(Component, Default)]
struct Agent;

/// Predicted by everybody, owned by one.
#[derive(Component, Default)]
struct Scout;

/// The client's finger and dice.
#[derive(Resource)]
struct Player {
    shoots: bool,
    dice: Dice,
    /// The number that was drawn for each tick, the last word on it.
    drawn: BTreeMap<u32, u32>,
    /// The predicted tick at which each shot was fired.
    shots: Vec<u32>,
    frames: i32,
}

/// What a side's simulation saw, in full ticks.
#[derive(Resource, Default)]
struct Seen {
    /// Tick and number of presses of every tick with a shot.
    shots: Vec<(u32, u32)>,
    /// Of each tick the order that it was simulated with, the last word on it.
    orders: BTreeMap<u32, Order>,
    yaws: BTreeMap<u32, i32>,
}

struct Agents;

impl Plugin for Agents {
    fn build(&self, app: &mut App) {
        let agent = GhostPrefab::new("agent").component::<Position>().owner_predicted();
        let scout = GhostPrefab::new("scout").component::<Position>().predicted().owned();
        app.register_ghost::<Agent>(agent.input::<Order>().input::<Look>())
            .register_ghost::<Scout>(scout.input::<Order>())
            .insert_resource(Player {
                shoots: false,
                dice: Dice::new(11),
                drawn: BTreeMap::new(),
                shots: Vec::new(),
                frames: 0,
            })
            .init_resource::<Seen>()
            .add_systems_in(WorldFlags::CLIENT, GhostInput, (command, look))
            .add_systems(PredictedSimulation, (obey, turn));
    }
}

fn command(time: Res<NetworkTime>, mut player: ResMut<Player>, mut orders: Query<&mut Order, With<GhostOwnerIsLocal>>) {
    let (Some(target), Some(now)) = (time.input_target_tick(), time.server_tick) else { return };
    for mut order in &mut orders {
        let sentinel = player.dice.next() as u32;
        player.drawn.insert(target.index(), sentinel);
        *order = Order { shot: InputEvent::default(), made_for: target.index(), sentinel };
        if std::mem::take(&mut player.shoots) {
            order.shot.set();
            player.shots.push(now.index());
        }
    }
}

fn look(mut player: ResMut<Player>, mut looks: Query<&mut Look, With<GhostOwnerIsLocal>>) {
    for mut look in &mut looks {
        look.yaw += 1;
        player.frames += 1;
    }
}

fn obey(time: Res<NetworkTime>, mut seen: ResMut<Seen>, mut agents: Query<(&Order, &mut Position), Simulate>) {
    let Some(tick) = time.server_tick.filter(|_| !time.is_partial_tick()) else { return };
    for (order, mut position) in &mut agents {
        if order.shot.is_set() {
            seen.shots.push((tick.index(), order.shot.count()));
        }
        seen.orders.insert(tick.index(), *order);
        position.value.x += order.shot.count() as f32;
    }
}

fn turn(time: Res<NetworkTime>, mut seen: ResMut<Seen>, agents: Query<&Look, (With<Agent>, Simulate)>) {
    let Some(tick) = time.server_tick.filter(|_| !time.is_partial_tick()) else { return };
    for look in &agents {
        seen.yaws.insert(tick.index(), look.yaw);
    }
}

fn fleet_of<T: Component + Default>(profile: LinkProfile, latency: u8) -> Fleet {
    let rate = ClientTickRate { forced_input_latency_ticks: latency, ..ClientTickRate::default() };
    let mut fleet = Fleet::builder().plugin(Agents).link(profile).client_tick_rate(rate).build();
    fleet.connect_all();
    fleet.go_in_game_all();
    let owner = fleet.client(0).network_id().unwrap();
    fleet.server().world_mut().spawn_ghost::<T>(GhostOwner(owner));
    fleet
}

fn arrivals(fleet: &mut Fleet) -> CommandArrivalStatistics {
    let connection = fleet.server().connections()[0];
    *fleet.server().world().get::<CommandArrivalStatistics>(connection).unwrap()
}

/// {None, RTT60, PL33, RTT16 each way + PL5}.
fn profiles() -> [LinkProfile; 4] {
    [
        LinkProfile::perfect(),
        LinkProfile::rtt(60),
        LinkProfile::perfect().with_periodic_loss(3),
        LinkProfile::rtt(32).with_periodic_loss(20),
    ]
}

/// INP-01, and INP-05 for a ghost that every client predicts.
fn check_inputs_of<T: Component + Default>(profile: LinkProfile, forced: u8) {
    let what = format!("{profile:?}, {forced} ticks of latency");
    let forced = u32::from(forced);
    let mut fleet = fleet_of::<T>(profile, forced as u8);
    fleet.ticks(16);
    let (first_tick, before) = (fleet.server().server_tick().unwrap().index(), arrivals(&mut fleet));
    for frame in 0..64 {
        fleet.client(0).world_mut().resource_mut::<Player>().shoots = frame % 12 == 2 && frame < 60;
        fleet.tick();
        let time = fleet.client(0).network_time();
        assert_eq!(time.effective_input_latency_ticks, forced, "{what}");
        let latency = time.input_target_tick().unwrap().ticks_since(time.server_tick.unwrap());
        assert_eq!(latency, forced as i32, "{what}");
    }
    let after = arrivals(&mut fleet);
    let packets = after.num_command_packets_arrived - before.num_command_packets_arrived;
    let commands = after.num_commands_arrived - before.num_commands_arrived;
    let repeated = after.num_redundant_resends - before.num_redundant_resends;
    assert!(packets >= 7 && commands >= 28 && repeated as f64 >= 15.4, "{what}: {packets}, {commands}, {repeated}");
    // Two types of input for agents, one for scouts; four commands of each.
    let types = arrivals_types::<T>();
    assert_eq!(commands, packets * 4 * types, "{what}");
    assert!(after.avg_command_payload_size_bits >= 200.0, "{what}: {}", after.avg_command_payload_size_bits);
    fleet.ticks(20);

    let fired = fleet.client(0).world().resource::<Player>().shots.clone();
    assert_eq!(fired.len(), 5, "{what}");
    let seen = |fleet: &mut Fleet, on_server: bool| {
        let world = if on_server { fleet.server().world() } else { fleet.client(0).world() };
        let seen = world.resource::<Seen>();
        (seen.shots.clone(), seen.orders.clone())
    };
    let (shots, orders) = seen(&mut fleet, true);
    assert_eq!(shots.len(), 5, "{what}: the server sees each shot once: {shots:?}");
    assert_eq!(shots.iter().map(|(_, count)| count).sum::<u32>(), 5, "{what}");
    for (fired, (seen, _)) in fired.iter().zip(&shots) {
        let latency = seen.wrapping_sub(*fired);
        assert!(latency <= forced + 2, "{what}: fired at {fired}, on the server at {seen}");
    }
    let drawn = fleet.client(0).world().resource::<Player>().drawn.clone();
    let (mut on_time, mut late) = (0, 0);
    for (tick, order) in orders.range(first_tick + 1..=first_tick + 64) {
        assert_eq!(drawn.get(&order.made_for), Some(&order.sentinel), "{what}: the order of tick {tick}");
        let age = tick - order.made_for;
        on_time += u32::from(age == 0);
        late += u32::from(age > 0);
        assert!(age <= 1, "{what}: tick {tick} has the order of {} ticks ago", age);
    }
    assert!(late < 10 && on_time > late && on_time + late == 64, "{what}: {on_time} on time, {late} late");

    let (shots, orders) = seen(&mut fleet, false);
    assert!(shots.len() >= 5, "{what}: {shots:?}");
    let mut times: Vec<u32> = shots.iter().map(|(tick, _)| *tick).collect();
    times.dedup();
    assert_eq!(times.len(), 5, "{what}: {shots:?}");
    for (fired, seen) in fired.iter().zip(&times) {
        assert_eq!(seen - fired, forced, "{what}: fired at {fired}, on the client at {seen}");
    }
    for (tick, order) in orders.range(first_tick + 1 + forced..) {
        assert_eq!(drawn.get(&order.made_for), Some(&order.sentinel), "{what}: the client's order of tick {tick}");
        assert!(tick - order.made_for <= 1, "{what}: tick {tick}, {order:?}");
    }
    assert_eq!(fleet.client(0).world().resource::<PredictionStats>().mispredictions, 0, "{what}");
}

fn arrivals_types<T: 'static>() -> u64 {
    if std::any::TypeId::of::<T>() == std::any::TypeId::of::<Agent>() { 2 } else { 1 }
}

// INP-01
#[test]
fn every_shot_is_seen_once_and_every_tick_has_its_own_order_at_any_latency() {
    for profile in profiles() {
        for forced in [0, 1, 2, 8] {
            check_inputs_of::<Agent>(profile, forced);
        }
    }
}

// INP-02
#[test]
fn in_one_process_an_order_takes_a_tick_and_no_more() {
    let mut fleet = fleet_of::<Agent>(LinkProfile::in_process(), 0);
    fleet.ticks(16);
    for frame in 0..64 {
        fleet.client(0).world_mut().resource_mut::<Player>().shoots = frame % 12 == 2;
        fleet.tick();
    }
    fleet.ticks(20);
    let fired = fleet.client(0).world().resource::<Player>().shots.clone();
    let seen = fleet.server().world().resource::<Seen>().shots.clone();
    assert_eq!((fired.len(), seen.len()), (6, 6), "{fired:?} {seen:?}");
    for (fired, (seen, count)) in fired.iter().zip(&seen) {
        assert!(*count == 1 && seen.wrapping_sub(*fired) <= 1, "fired at {fired}, on the server at {seen}");
    }
}

// INP-05
#[test]
fn a_ghost_that_everybody_predicts_takes_its_owners_orders_alike() {
    for profile in profiles() {
        check_inputs_of::<Scout>(profile, 0);
    }
}

#[test]
fn ticks_that_are_simulated_again_see_the_order_of_their_time() {
    let mut fleet = fleet_of::<Agent>(LinkProfile::rtt(100), 0);
    fleet.ticks(60);
    fleet.client(0).world_mut().resource_mut::<PredictionSettings>().rollback = RollbackMode::Always;
    for _ in 0..60 {
        fleet.tick();
        let world = fleet.client(0).world();
        let (drawn, seen) = (&world.resource::<Player>().drawn, world.resource::<Seen>());
        // All of the last ticks have been simulated again in this frame.
        for (tick, order) in seen.orders.iter().rev().take(6) {
            assert_eq!(drawn.get(&order.made_for), Some(&order.sentinel));
            assert!(tick - order.made_for <= 1);
        }
    }
    assert!(fleet.client(0).world().resource::<PredictionStats>().resimulated_ticks > 300);
}

// NEW-57
#[test]
fn the_latency_may_change_while_the_game_runs_and_no_shot_is_lost_or_doubled() {
    for profile in [LinkProfile::perfect(), LinkProfile::rtt(60).with_periodic_loss(7)] {
        let mut fleet = fleet_of::<Agent>(profile, 0);
        fleet.ticks(40);
        for (round, latency) in [6, 0, 8, 3, 0, 1].into_iter().enumerate() {
            fleet.client(0).world_mut().resource_mut::<ClientTickRate>().forced_input_latency_ticks = latency;
            for frame in 0..40 {
                fleet.client(0).world_mut().resource_mut::<Player>().shoots = frame % 5 == round % 5;
                fleet.tick();
            }
        }
        fleet.ticks(40);
        let fired = fleet.client(0).world().resource::<Player>().shots.len() as u32;
        let seen: u32 = fleet.server().world().resource::<Seen>().shots.iter().map(|(_, count)| count).sum();
        assert_eq!((fired, seen), (48, 48), "{profile:?}");
    }
}

// NEW-57
#[test]
fn without_redundancy_and_with_the_most_of_it_shots_arrive_once() {
    for (slack, additional, per_packet) in [(0, 0, 1), (2, 30, 32), (16, 32, 32)] {
        let mut fleet = fleet_of::<Agent>(LinkProfile::rtt(60).with_loss_percent(10.0), 0);
        let mut rate = fleet.client(0).world_mut().resource_mut::<ClientTickRate>();
        rate.target_command_slack = slack;
        rate.num_additional_commands_to_send = additional;
        fleet.ticks(100);
        let before = arrivals(&mut fleet);
        for frame in 0..200 {
            fleet.client(0).world_mut().resource_mut::<Player>().shoots = frame % 4 == 0;
            fleet.tick();
        }
        let after = arrivals(&mut fleet);
        let packets = after.num_command_packets_arrived - before.num_command_packets_arrived;
        assert_eq!(after.num_commands_arrived - before.num_commands_arrived, packets * per_packet * 2);
        fleet.ticks(60);
        let fired = fleet.client(0).world().resource::<Player>().shots.len() as u32;
        let seen: u32 = fleet.server().world().resource::<Seen>().shots.iter().map(|(_, count)| count).sum();
        assert_eq!((fired, seen), (50, 50), "{per_packet} commands per packet");
    }
}

// NEW-57
#[test]
fn a_server_that_pauses_longer_than_buffers_reach_sees_each_shot_once_when_it_goes_on() {
    let mut fleet = fleet_of::<Agent>(LinkProfile::perfect(), 0);
    fleet.logs().tolerate("predicted server tick jumped");
    fleet.ticks(60);
    for frame in 0..150 {
        fleet.client(0).world_mut().resource_mut::<Player>().shoots = frame % 10 == 0;
        fleet.tick_client(0, FRAME);
    }
    fleet.ticks(200);
    let fired = fleet.client(0).world().resource::<Player>().shots.len() as u32;
    let seen: u32 = fleet.server().world().resource::<Seen>().shots.iter().map(|(_, count)| count).sum();
    assert_eq!((fired, seen), (15, 15));
}

#[test]
fn with_forced_latency_a_sampler_goes_on_from_its_own_last_sample() {
    for latency in [0, 4] {
        let mut fleet = fleet_of::<Agent>(LinkProfile::rtt(60), latency);
        fleet.ticks(60);
        let frames_before = fleet.client(0).world().resource::<Player>().frames;
        let last = *fleet.server().world().resource::<Seen>().yaws.last_key_value().unwrap().1;
        fleet.ticks(120);
        let frames = fleet.client(0).world().resource::<Player>().frames - frames_before;
        let seen = &fleet.server().world().resource::<Seen>().yaws;
        let turned = seen.last_key_value().unwrap().1 - last;
        assert_eq!(frames, 120);
        assert!(
            turned.abs_diff(frames) <= 2,
            "{latency} ticks of latency: {frames} frames turned the agent by {turned}"
        );
        assert!(seen.values().collect::<Vec<_>>().is_sorted());
    }
}

#[test]
fn what_is_sampled_in_a_frame_is_in_that_frames_packet() {
    let mut fleet = fleet_of::<Scout>(LinkProfile::perfect(), 0);
    fleet.ticks(30);
    fleet.link(0).record();
    let layout = RowLayout::new(&[Order::schema()]);
    for _ in 0..30 {
        fleet.tick();
        let drawn = *fleet.client(0).world().resource::<Player>().drawn.last_key_value().unwrap().1;
        let packets = fleet.link(0).recorded();
        let is_command = |bytes: &[u8]| bytes.first() == Some(&MessageKind::Command.byte());
        for packet in
            packets.iter().filter(|packet| packet.direction == Direction::ToServer && is_command(&packet.bytes))
        {
            let mut input = BitReader::new(&packet.bytes[1..]);
            let header = CommandHeader::decode(&mut input).unwrap();
            let raw = BlockReader::new().next_block(&mut input).unwrap().unwrap();
            let mut block = DecodedBlock::default();
            read_block(raw.body, &layout, header.input_target_tick, &mut block).unwrap();
            let newest = Order::read_lanes(&block.lanes[..Order::LANES]);
            assert_eq!((newest.made_for, newest.sentinel), (header.input_target_tick.index(), drawn));
        }
        let connection = fleet.client(0).connections()[0];
        let outgoing =
            fleet.client(0).world().get::<ghostline::connection::OutgoingCommandDataStreamBuffer>(connection);
        assert!(outgoing.unwrap().is_empty(), "and nothing is left over");
    }
}

#[test]
fn a_client_samples_for_its_own_ghosts_alone_and_knows_them_by_tag_and_by_number() {
    let mut fleet = Fleet::builder().plugin(Agents).clients(2).build();
    fleet.connect_all();
    fleet.go_in_game_all();
    let ids = [0, 1].map(|client| fleet.client(client).network_id().unwrap());
    for id in ids {
        fleet.server().world_mut().spawn_ghost::<Agent>(GhostOwner(id));
        fleet.server().world_mut().spawn_ghost::<Scout>(GhostOwner(id));
    }
    fleet.ticks(40);
    for (client, own) in ids.into_iter().enumerate() {
        let world = fleet.client(client).world_mut();
        let mut ghosts = world.query::<(&GhostOwner, Has<GhostOwnerIsLocal>, &CommandBuffer<Order>, &Order)>();
        assert_eq!(ghosts.iter(world).count(), 4);
        for (owner, is_local, buffer, order) in ghosts.iter(world) {
            assert_eq!(is_local, owner.0 == own);
            assert_eq!(buffer.is_empty(), !is_local, "client {client}");
            assert!(is_local || *order == Order::default());
        }
    }
    let world = fleet.server().world_mut();
    assert_eq!(world.query::<&GhostOwnerIsLocal>().iter(world).count(), 0, "nothing is local to a server");
}

#[test]
fn prefab_options_decide_about_owner_and_target_and_an_input_without_an_owner_is_reported_once() {
    #[derive(Component, Default)]
    struct Owned;
    #[derive(Component, Default)]
    struct ByHand;
    #[derive(Component, Default)]
    struct Nobodys;
    struct Options;
    impl Plugin for Options {
        fn build(&self, app: &mut App) {
            app.register_ghost::<Owned>(GhostPrefab::new("owned").owned().predicted())
                .register_ghost::<ByHand>(GhostPrefab::new("by hand").owned().predicted().auto_command_target(false))
                .register_ghost::<Nobodys>(GhostPrefab::new("nobody's").predicted().input::<Order>());
        }
    }
    let mut fleet = Fleet::builder().plugin(Options).clients(1).build();
    fleet
        .logs()
        .expect("ghost type `nobody's` has the input `Order` but no owner.*`.owner_predicted\\(\\)` or `.owned\\(\\)`");
    fleet.connect_all();
    fleet.go_in_game_all();
    let owner = fleet.client(0).network_id().unwrap();
    fleet.server().world_mut().spawn_ghost::<Owned>(GhostOwner(owner));
    fleet.server().world_mut().spawn_ghost::<ByHand>(GhostOwner(owner));
    fleet.server().world_mut().spawn_ghost::<Nobodys>(());
    fleet.ticks(16);
    type Parts = (Has<GhostOwner>, Has<GhostOwnerIsLocal>, Option<&'static AutoCommandTarget>);
    fn parts<T: Component>(world: &mut World) -> (bool, bool, Option<bool>) {
        let (owner, local, target) = world.query_filtered::<Parts, With<T>>().single(world).unwrap();
        (owner, local, target.map(|target| target.enabled))
    }
    let world = fleet.client(0).world_mut();
    assert_eq!(parts::<Owned>(world), (true, true, Some(true)));
    assert_eq!(parts::<ByHand>(world), (true, true, None));
    assert_eq!(parts::<Nobodys>(world), (false, false, None));
    let world = fleet.server().world_mut();
    assert_eq!(parts::<Owned>(world), (true, false, Some(true)));
    // Once per world: the server's and the client's.
    assert_eq!(fleet.logs().count("but no owner"), 2);
}

/// Whose change ends a merged step, and whose does not.
#[derive(Component, InputComponentData, Clone, Copy, Default, PartialEq, Debug)]
struct Eager {
    tick: u32,
}

#[derive(Component, InputComponentData, Clone, Copy, Default, PartialEq, Debug)]
#[input(batch_predict)]
struct Patient {
    tick: u32,
}

#[derive(Component, Default)]
struct Drone;

#[test]
fn an_input_may_be_left_out_of_what_ends_a_merged_step() {
    #[derive(Resource, Default)]
    struct Longest(u32);

    struct Drones {
        is_patient: bool,
    }
    impl Plugin for Drones {
        fn build(&self, app: &mut App) {
            let drone = GhostPrefab::new("drone").component::<Position>().owner_predicted();
            let drone = if self.is_patient { drone.input::<Patient>() } else { drone.input::<Eager>() };
            app.register_ghost::<Drone>(drone)
                .init_resource::<Longest>()
                .add_systems_in(
                    WorldFlags::CLIENT,
                    GhostInput,
                    |time: Res<NetworkTime>, mut eager: Query<&mut Eager>, mut patient: Query<&mut Patient>| {
                        let tick = time.input_target_tick().map_or(0, NetworkTick::index);
                        eager.iter_mut().for_each(|mut input| input.tick = tick);
                        patient.iter_mut().for_each(|mut input| input.tick = tick);
                    },
                )
                .add_systems_in(
                    WorldFlags::CLIENT,
                    PredictedSimulation,
                    |time: Res<NetworkTime>, mut longest: ResMut<Longest>| {
                        longest.0 = longest.0.max(time.simulation_step_batch_size);
                    },
                );
        }
    }
    for (is_patient, expected) in [(true, 4), (false, 1)] {
        let rate = ClientTickRate { max_prediction_step_batch_size_repeated_tick: 4, ..ClientTickRate::default() };
        let plugin = Drones { is_patient };
        let mut fleet = Fleet::builder().plugin(plugin).link(LinkProfile::rtt(200)).client_tick_rate(rate).build();
        fleet.connect_all();
        fleet.go_in_game_all();
        let owner = fleet.client(0).network_id().unwrap();
        fleet.server().world_mut().spawn_ghost::<Drone>(GhostOwner(owner));
        fleet.ticks(100);
        fleet.client(0).world_mut().resource_mut::<Longest>().0 = 0;
        fleet.client(0).world_mut().resource_mut::<PredictionSettings>().rollback = RollbackMode::Always;
        fleet.ticks(40);
        assert_eq!(fleet.client(0).world().resource::<Longest>().0, expected);
    }
}

/// Drives with what it is told, and nothing else.
fn drive(time: Res<Time>, mut agents: Query<(&Order, &mut Position), (With<Agent>, Simulate)>) {
    for (order, mut position) in &mut agents {
        let angle = order.sentinel as f32;
        position.value += Vec3::new(angle.sin(), 0.0, angle.cos()) * time.delta_secs() * 3.7;
    }
}

/// What is to be replayed, and the position after each tick.
#[derive(Resource, Default, Clone)]
struct Tape {
    orders: Vec<Order>,
    positions: Vec<Vec3>,
}

#[test]
fn recorded_commands_alone_reproduce_the_state() {
    struct Driving;
    impl Plugin for Driving {
        fn build(&self, app: &mut App) {
            fn play(mut tape: ResMut<Tape>, mut orders: Query<&mut Order>) {
                for mut order in &mut orders {
                    if !tape.orders.is_empty() {
                        *order = tape.orders.remove(0);
                    }
                }
            }
            fn write_down(mut tape: ResMut<Tape>, agents: Query<&Position, With<Agent>>) {
                tape.positions.extend(agents.iter().map(|position| position.value));
            }
            app.add_plugins(Agents)
                .init_resource::<Tape>()
                .add_systems(PredictedSimulation, drive)
                .add_systems_in(WorldFlags::LOCAL, GhostInput, play)
                .add_systems_in(WorldFlags::SERVER | WorldFlags::LOCAL, Simulation, write_down);
        }
    }
    let mut fleet = Fleet::builder().plugin(Driving).link(LinkProfile::rtt(60).with_periodic_loss(9)).build();
    fleet.connect_all();
    fleet.go_in_game_all();
    let owner = fleet.client(0).network_id().unwrap();
    fleet.ticks(30);
    fleet.server().world_mut().spawn_ghost::<Agent>(GhostOwner(owner));
    let first = fleet.server().server_tick().unwrap().index() + 1;
    fleet.ticks(200);
    let server = fleet.server().world();
    let (orders, truth) = (&server.resource::<Seen>().orders, server.resource::<Tape>().positions.clone());
    let orders = (first..).map_while(|tick| orders.get(&tick)).copied().collect::<Vec<_>>();
    assert_eq!(orders.len(), truth.len());
    assert!(truth.last().unwrap().length() > 0.1);

    let mut worlds = Worlds::new(ClientServerBootstrap::new(Driving));
    let replay = worlds.create_local_world("replay").unwrap();
    let world = worlds.get_mut(replay).unwrap().world_mut();
    world.resource_mut::<Tape>().orders = orders;
    world.spawn_ghost::<Agent>(());
    for _ in 0..truth.len() {
        worlds.run_frame(FRAME);
    }
    let replayed = &worlds.get(replay).unwrap().world().resource::<Tape>().positions;
    assert_eq!(replayed.len(), truth.len());
    assert_eq!(*replayed, truth, "bit by bit");
}
