//! Other players' inputs: INP-03, CMD-14 and CMD-15. What the server simulated a ghost with reaches those who predict it, and nobody else.

use crate::common::Position;
use bevy_app::{App, Plugin};
use bevy_ecs::prelude::*;
use bevy_math::Vec3;
use bevy_time::Time;
use ghostline::prelude::*;
use ghostline::stats::PredictionStats;
use ghostline_testkit::{Fleet, LinkProfile};

#[derive(Component, InputComponentData, Clone, Copy, Default, PartialEq, Debug)]
struct Pad {
    #[ghost]
    horizontal: i8,
    #[ghost]
    vertical: i8,
    #[ghost]
    jump: InputEvent,
    /// Nobody else's business.
    secret: u32,
}

/// Predicted by everybody.
#[derive(Component, Default)]
struct Dancer;

/// Predicted by its owner.
#[derive(Component, Default)]
struct Walker;

/// What this client's player does.
#[derive(Resource, Clone, Copy, Default)]
struct Hands {
    horizontal: i8,
    vertical: i8,
    jumps: bool,
}

/// Jumps of others that were simulated in new ticks.
#[derive(Resource, Default)]
struct JumpsOfOthers(u32);

struct Dance;

impl Plugin for Dance {
    fn build(&self, app: &mut App) {
        let dancer = GhostPrefab::new("dancer").component::<Position>().predicted().owned();
        let walker = GhostPrefab::new("walker").component::<Position>().owner_predicted();
        app.register_ghost::<Dancer>(dancer.input::<Pad>())
            .register_ghost::<Walker>(walker.input::<Pad>())
            .init_resource::<Hands>()
            .init_resource::<JumpsOfOthers>()
            .add_systems_in(WorldFlags::CLIENT, GhostInput, press)
            .add_systems(PredictedSimulation, (dance, count_jumps.run_if(first_time_predicted)));
    }
}

fn press(time: Res<NetworkTime>, mut hands: ResMut<Hands>, mut pads: Query<&mut Pad, With<GhostOwnerIsLocal>>) {
    let jumps = std::mem::take(&mut hands.jumps);
    for mut pad in &mut pads {
        pad.horizontal = hands.horizontal;
        pad.vertical = hands.vertical;
        pad.secret = time.input_target_tick().map_or(0, NetworkTick::index);
        if jumps {
            pad.jump.set();
        }
    }
}

fn dance(time: Res<Time>, mut dancers: Query<(&Pad, &mut Position), Simulate>) {
    for (pad, mut position) in &mut dancers {
        let direction = Vec3::new(pad.horizontal.into(), 0.0, pad.vertical.into());
        position.value += direction * time.delta_secs() * 3.1;
        position.value.y += pad.jump.count() as f32;
    }
}

fn count_jumps(
    mut jumps: ResMut<JumpsOfOthers>,
    dancers: Query<&Pad, (With<Dancer>, Without<GhostOwnerIsLocal>, Simulate)>,
) {
    jumps.0 += dancers.iter().map(|pad| pad.jump.count()).sum::<u32>();
}

fn dance_fleet<T: Component + Default>(profile: LinkProfile, clients: usize, dancers: usize) -> Fleet {
    let mut fleet = Fleet::builder().plugin(Dance).clients(clients).link(profile).build();
    fleet.connect_all();
    fleet.go_in_game_all();
    for client in 0..dancers {
        let owner = fleet.client(client).network_id().unwrap();
        fleet.server().world_mut().spawn_ghost::<T>(GhostOwner(owner));
    }
    fleet.ticks(60);
    fleet
}

fn hands(fleet: &mut Fleet, client: usize) -> Mut<'_, Hands> {
    fleet.client(client).world_mut().resource_mut::<Hands>()
}

type Foreign = (Without<GhostOwnerIsLocal>, With<Dancer>);

// INP-03
#[test]
fn each_player_predicts_the_other_with_the_others_own_input() {
    for profile in [LinkProfile::in_process(), LinkProfile::perfect(), LinkProfile::rtt(100).with_periodic_loss(11)] {
        let mut fleet = dance_fleet::<Dancer>(profile, 2, 2);
        for client in 0..2 {
            *hands(&mut fleet, client) = Hands { horizontal: 1, vertical: 1, jumps: false };
        }
        fleet.ticks(40);
        for client in 0..2 {
            let world = fleet.client(client).world_mut();
            let (pad, buffer) = world.query_filtered::<(&Pad, &CommandBuffer<Pad>), Foreign>().single(world).unwrap();
            assert_eq!((pad.horizontal, pad.vertical, pad.secret), (1, 1, 0), "{profile:?}, client {client}");
            assert!(!buffer.is_empty());
        }
        // While nobody changes his mind, the other's ghost is predicted right: no rollback at all.
        let rollbacks = |fleet: &mut Fleet| fleet.client(0).world().resource::<PredictionStats>().rollbacks;
        let before = rollbacks(&mut fleet);
        fleet.ticks(120);
        assert_eq!(rollbacks(&mut fleet), before, "{profile:?}");
        // Then one does, and is caught up with.
        hands(&mut fleet, 1).horizontal = -1;
        fleet.ticks(60);
        assert!(rollbacks(&mut fleet) - before <= 2, "{profile:?}: {}", rollbacks(&mut fleet) - before);
        assert!(rollbacks(&mut fleet) > before || profile == LinkProfile::in_process());
    }
}

#[test]
fn an_owner_keeps_his_own_history_whatever_the_server_says_of_it() {
    let mut fleet = dance_fleet::<Dancer>(LinkProfile::rtt(60), 2, 2);
    hands(&mut fleet, 0).horizontal = 1;
    fleet.ticks(80);
    let world = fleet.client(0).world_mut();
    let buffer = world.query_filtered::<&CommandBuffer<Pad>, With<GhostOwnerIsLocal>>().single(world).unwrap();
    assert_eq!(buffer.len(), 64);
    assert!(buffer.iter().all(|(tick, pad)| pad.secret == tick.index()), "what only the owner knows is still there");
}

// CMD-14, CMD-15
#[test]
fn who_does_not_predict_a_ghost_gets_none_of_its_commands() {
    let mut fleet = dance_fleet::<Walker>(LinkProfile::rtt(60), 3, 2);
    for client in 0..2 {
        hands(&mut fleet, client).horizontal = 1;
    }
    fleet.ticks(60);
    for client in 0..3 {
        let world = fleet.client(client).world_mut();
        let mut walkers = world.query::<(&CommandBuffer<Pad>, &Pad, Has<GhostOwnerIsLocal>)>();
        let own: Vec<bool> = walkers.iter(world).map(|(_, _, is_own)| is_own).collect();
        assert_eq!(own.iter().filter(|&&is_own| is_own).count(), usize::from(client < 2));
        assert_eq!(own.len(), 2);
        for (buffer, pad, is_own) in walkers.iter(world) {
            assert_eq!(buffer.is_empty(), !is_own, "client {client}");
            assert!(is_own || *pad == Pad::default());
        }
    }
}

#[test]
fn a_jump_of_another_is_simulated_once_though_rows_get_lost() {
    let mut fleet = dance_fleet::<Dancer>(LinkProfile::rtt(60).with_loss_percent(20.0), 2, 2);
    let mut jumps = 0;
    for frame in 0..300 {
        if frame % 9 == 0 {
            hands(&mut fleet, 1).jumps = true;
            jumps += 1;
        }
        fleet.tick();
    }
    fleet.ticks(80);
    let height = |world: &mut World, is_own: bool| {
        let mut dancers = world.query_filtered::<(&Position, Has<GhostOwnerIsLocal>), With<Dancer>>();
        dancers.iter(world).find(|(_, own)| *own == is_own).unwrap().0.value.y
    };
    let (own, seen_by_other) = (height(fleet.client(1).world_mut(), true), height(fleet.client(0).world_mut(), false));
    assert_eq!((own, seen_by_other), (jumps as f32, jumps as f32));
    let early = fleet.client(0).world().resource::<JumpsOfOthers>().0;
    assert!(early <= jumps, "a jump that is not known yet is not made up: {early} of {jumps}");
}

#[test]
fn a_ghost_that_the_server_steers_is_predicted_from_what_it_was_steered_with() {
    let mut fleet = dance_fleet::<Dancer>(LinkProfile::rtt(60), 1, 0);
    let bot = fleet.server().world_mut().spawn_ghost::<Dancer>(());
    fleet.ticks(20);
    fleet.server().world_mut().get_mut::<Pad>(bot).unwrap().vertical = 1;
    fleet.ticks(40);
    let world = fleet.client(0).world_mut();
    assert_eq!(world.query::<&Pad>().single(world).unwrap().vertical, 1);
    let before = fleet.client(0).world().resource::<PredictionStats>().rollbacks;
    fleet.ticks(100);
    assert_eq!(fleet.client(0).world().resource::<PredictionStats>().rollbacks, before);
}
