//! Input events: a press in a frame of the client is seen exactly once by the server, whatever the frames and the link are like.

use crate::common::*;
use crate::dice::Dice;
use bevy_app::{App, Plugin};
use bevy_ecs::prelude::*;
use ghostline::prelude::*;
use ghostline_testkit::{Direction, FRAME, LinkProfile, WorldOrder};

/// What the player's finger does in the next frame, and what it did so far.
#[derive(Resource, Default)]
struct Finger {
    next: u32,
    pressed: u64,
}

/// What the server saw.
#[derive(Resource, Default)]
struct Seen {
    presses: u64,
    largest: u32,
}

struct Presses;

impl Plugin for Presses {
    fn build(&self, app: &mut App) {
        app.add_plugins(Game)
            .init_resource::<Finger>()
            .init_resource::<Seen>()
            .add_systems_in(WorldFlags::CLIENT, GhostInput, press)
            .add_systems_in(WorldFlags::THIN_CLIENT, GhostInput, press_thin)
            .add_systems_in(WorldFlags::SERVER, PredictedSimulation, see);
    }
}

fn press(mut finger: ResMut<Finger>, mut players: Query<&mut PlayerInput, With<GhostOwnerIsLocal>>) {
    for mut input in &mut players {
        for _ in 0..std::mem::take(&mut finger.next) {
            input.jump.set();
            finger.pressed += 1;
        }
    }
}

fn press_thin(mut finger: ResMut<Finger>, mut dummies: Query<&mut PlayerInput>) {
    for mut input in &mut dummies {
        for _ in 0..std::mem::take(&mut finger.next) {
            input.jump.set();
            finger.pressed += 1;
        }
    }
}

fn see(mut seen: ResMut<Seen>, players: Query<&PlayerInput, Simulate>) {
    for input in &players {
        seen.presses += u64::from(input.jump.count());
        seen.largest = seen.largest.max(input.jump.count());
    }
}

fn press_fleet(link: LinkProfile, order: WorldOrder, seed: u64, rate: ClientServerTickRate) -> Fleet {
    let mut fleet = Fleet::builder().plugin(Presses).link(link).order(order).seed(seed).tick_rate(rate).build();
    fleet.connect_all();
    fleet.go_in_game_all();
    let owner = fleet.client(0).network_id().unwrap();
    fleet.server().world_mut().spawn_ghost::<Player>(GhostOwner(owner));
    fleet.ticks(20);
    fleet
}

fn pressed(fleet: &mut Fleet) -> u64 {
    fleet.client(0).world().resource::<Finger>().pressed
}

fn seen(fleet: &mut Fleet) -> u64 {
    fleet.server().world().resource::<Seen>().presses
}

fn links_and_orders() -> impl Iterator<Item = (LinkProfile, WorldOrder)> {
    [LinkProfile::default(), LinkProfile::in_process()]
        .into_iter()
        .flat_map(|link| [WorldOrder::ServerFirst, WorldOrder::ClientFirst].map(|order| (link, order)))
}

#[test]
fn every_press_is_seen_exactly_once_at_random_frame_times_and_over_short_cuts() {
    for (number, (link, order)) in links_and_orders().enumerate() {
        let seed = 0xBEEF + number as u64;
        let mut dice = Dice::new(seed);
        let mut fleet = press_fleet(link, order, seed, unmerged());
        let mut cut_for = 0;
        while pressed(&mut fleet) < 1000 {
            if dice.one_in(3) {
                fleet.client(0).world_mut().resource_mut::<Finger>().next = if dice.one_in(8) { 3 } else { 1 };
            }
            match cut_for {
                0 if dice.one_in(40) => {
                    fleet.link(0).cut(Direction::ToServer);
                    cut_for = 1 + dice.below(3);
                }
                0 => {}
                _ => {
                    cut_for -= 1;
                    if cut_for == 0 {
                        fleet.link(0).mend(Direction::ToServer);
                    }
                }
            }
            fleet.tick_by(FRAME.mul_f64(dice.between(0.2, 2.0)));
            assert!(seen(&mut fleet) <= pressed(&mut fleet), "a press was seen twice; seed {seed}");
        }
        fleet.link(0).mend(Direction::ToServer);
        fleet.ticks(60);
        assert_eq!(seen(&mut fleet), pressed(&mut fleet), "seed {seed}");
    }
}

#[test]
fn a_press_is_seen_once_at_every_frame_rate() {
    for (link, order) in links_and_orders() {
        for fps in [20, 59, 60, 61, 144, 240] {
            let mut fleet = press_fleet(link, order, u64::from(fps), unmerged());
            let dt = std::time::Duration::from_secs(1) / fps;
            for frame in 0..fps * 3 {
                if frame % 7 == 0 {
                    fleet.client(0).world_mut().resource_mut::<Finger>().next = 1;
                }
                fleet.tick_by(dt);
            }
            fleet.ticks(30);
            assert_eq!(seen(&mut fleet), pressed(&mut fleet), "{fps} fps, {link:?}, {order:?}");
        }
    }
}

#[test]
fn a_press_in_a_step_of_several_ticks_is_seen_once() {
    let mut fleet = press_fleet(LinkProfile::default(), WorldOrder::ServerFirst, 5, ClientServerTickRate::default());
    fleet.logs().expect("the server merges ticks");
    for frame in 0..200 {
        if frame % 5 == 0 {
            fleet.client(0).world_mut().resource_mut::<Finger>().next = 1;
        }
        // The server's frames are three ticks long, and it makes one step of each.
        if frame % 3 == 0 {
            fleet.tick_server(FRAME * 3);
        }
        fleet.tick_client(0, FRAME);
    }
    fleet.ticks(60);
    assert_eq!(seen(&mut fleet), pressed(&mut fleet));
}

#[test]
fn presses_count_on_when_a_player_leaves_the_game_and_comes_back() {
    let mut fleet = press_fleet(LinkProfile::default(), WorldOrder::ServerFirst, 6, unmerged());
    for round in 0..4 {
        for _ in 0..10 {
            fleet.client(0).world_mut().resource_mut::<Finger>().next = 1;
            fleet.ticks(2);
        }
        fleet.ticks(10);
        assert_eq!(seen(&mut fleet), pressed(&mut fleet), "before round {round}");
        let (client, server) = (fleet.client(0).connections()[0], fleet.server().connections()[0]);
        if round % 2 == 0 {
            fleet.client(0).world_mut().entity_mut(client).remove::<NetworkStreamInGame>();
        } else {
            fleet.server().world_mut().entity_mut(server).remove::<NetworkStreamInGame>();
        }
        fleet.ticks(5);
        fleet.go_in_game_all();
        fleet.ticks(40);
        assert_eq!(seen(&mut fleet), pressed(&mut fleet), "after round {round}");
        let world = fleet.client(0).world_mut();
        assert_eq!(world.query_filtered::<&Player, With<GhostOwnerIsLocal>>().iter(world).count(), 1);
    }
    assert!(fleet.server().world().resource::<Seen>().largest <= 3, "never more than was pressed in a tick or two");
}

#[test]
fn a_thin_client_sends_the_input_of_a_dummy_through_its_command_target() {
    let mut fleet = Fleet::builder().plugin(Presses).clients(0).thin_clients(1).build();
    fleet.connect_all();
    fleet.go_in_game_all();
    let owner = fleet.thin_client(0).network_id().unwrap();
    let player = fleet.server().world_mut().spawn_ghost::<Player>(GhostOwner(owner));
    let connection = fleet.server().connections()[0];
    fleet.server().world_mut().entity_mut(connection).insert(CommandTarget { entity: Some(player) });
    let dummy = (PlayerInput::default(), CommandBuffer::<PlayerInput>::default(), GhostOwner(owner));
    let dummy = fleet.thin_client(0).world_mut().spawn(dummy).id();
    let connection = fleet.thin_client(0).connections()[0];
    fleet.thin_client(0).world_mut().entity_mut(connection).insert(CommandTarget { entity: Some(dummy) });
    fleet.ticks(20);
    for _ in 0..50 {
        fleet.thin_client(0).world_mut().resource_mut::<Finger>().next = 1;
        fleet.ticks(3);
    }
    fleet.ticks(20);
    assert_eq!(fleet.thin_client(0).world().resource::<Finger>().pressed, 50);
    assert_eq!(seen(&mut fleet), 50);
    assert_eq!(count::<Player>(fleet.thin_client(0).world_mut()), 0, "a thin client holds no ghosts");
}
