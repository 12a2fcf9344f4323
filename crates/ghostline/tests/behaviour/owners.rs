//! Ghosts that change hands while inputs are under way: NEW-52. What the old owner sent for later never counts, what the new one presses is not
//! lost, and nobody's press is seen twice.

use crate::common::*;
use crate::dice::Dice;
use bevy_app::{App, Plugin};
use bevy_ecs::prelude::*;
use ghostline::prelude::*;
use ghostline_testkit::LinkProfile;

/// What the player of this client does.
#[derive(Resource, Default)]
struct Hands {
    horizontal: i8,
    jumps: u32,
}

/// What the server saw in each tick: owner, direction, jumps.
#[derive(Resource, Default)]
struct Seen(Vec<(NetworkTick, NetworkId, i8, u32)>);

struct HotSeat;

impl Plugin for HotSeat {
    fn build(&self, app: &mut App) {
        app.add_plugins(Game)
            .init_resource::<Hands>()
            .init_resource::<Seen>()
            .add_systems_in(WorldFlags::CLIENT, GhostInput, steer)
            .add_systems_in(WorldFlags::SERVER, PredictedSimulation, see);
    }
}

fn steer(mut hands: ResMut<Hands>, mut players: Query<&mut PlayerInput, With<GhostOwnerIsLocal>>) {
    for mut input in &mut players {
        input.horizontal = hands.horizontal;
        for _ in 0..std::mem::take(&mut hands.jumps) {
            input.jump.set();
        }
    }
}

fn see(time: Res<NetworkTime>, mut seen: ResMut<Seen>, players: Query<(&PlayerInput, &GhostOwner), Simulate>) {
    for (input, owner) in &players {
        seen.0.push((time.server_tick.unwrap(), owner.0, input.horizontal, input.jump.count()));
    }
}

fn hot_seat(profile: LinkProfile, clients: usize) -> (Fleet, Entity, Vec<NetworkId>) {
    let mut fleet = Fleet::builder().plugin(HotSeat).clients(clients).link(profile).build();
    fleet.connect_all();
    fleet.go_in_game_all();
    let ids: Vec<NetworkId> = (0..clients).map(|client| fleet.client(client).network_id().unwrap()).collect();
    for client in 0..clients {
        // Player 0 goes one way, player 1 the other.
        fleet.client(client).world_mut().resource_mut::<Hands>().horizontal = 1 - 2 * client as i8;
    }
    let ghost = fleet.server().world_mut().spawn_ghost::<Player>(GhostOwner(ids[0]));
    fleet.ticks(60);
    fleet.server().world_mut().resource_mut::<Seen>().0.clear();
    (fleet, ghost, ids)
}

fn give(fleet: &mut Fleet, ghost: Entity, to: NetworkId) {
    fleet.server().world_mut().get_mut::<GhostOwner>(ghost).unwrap().0 = to;
}

fn seen(fleet: &mut Fleet) -> Vec<(NetworkTick, NetworkId, i8, u32)> {
    fleet.server().world().resource::<Seen>().0.clone()
}

#[test]
fn from_the_change_on_the_old_owners_commands_count_no_more_and_the_new_owners_first_do() {
    for profile in [LinkProfile::perfect(), LinkProfile::rtt(200), LinkProfile::rtt(60).with_periodic_loss(3)] {
        let (mut fleet, ghost, ids) = hot_seat(profile, 2);
        for (from, to) in [(0, 1), (1, 0), (0, 1)] {
            // Presses under way at the change: of the old owner, who does not know yet.
            fleet.client(from).world_mut().resource_mut::<Hands>().jumps = 3;
            fleet.tick();
            give(&mut fleet, ghost, ids[to]);
            let changed = fleet.server().server_tick().unwrap();
            for _ in 0..40 {
                fleet.tick();
                // The new owner presses in the first frame that he owns it.
                let world = fleet.client(to).world_mut();
                let owns = world.query::<&GhostOwnerIsLocal>().iter(world).count() == 1;
                if owns && fleet.client(to).world().resource::<Hands>().jumps == 0 {
                    fleet.client(to).world_mut().resource_mut::<Hands>().jumps = 1;
                    break;
                }
            }
            fleet.ticks(60);
            let after: Vec<_> = seen(&mut fleet).into_iter().filter(|(tick, ..)| tick.is_newer_than(changed)).collect();
            for (tick, owner, horizontal, _) in &after {
                assert_eq!(*owner, ids[to]);
                let (old, new) = (1 - 2 * from as i8, 1 - 2 * to as i8);
                assert!(
                    *horizontal == 0 || *horizontal == new,
                    "{profile:?}: tick {tick} goes {horizontal}, not {old}"
                );
            }
            let jumps: u32 = after.iter().map(|(.., jumps)| jumps).sum();
            assert_eq!(jumps, 1, "{profile:?}: from {from} to {to}: {after:?}");
            assert_eq!(after.last().unwrap().2, 1 - 2 * to as i8, "{profile:?}: the new owner steers");
        }
    }
}

#[test]
fn to_and_from_the_server_in_every_tick_under_loss_no_press_is_seen_twice() {
    for seed in 1..=4 {
        let mut dice = Dice::new(seed);
        let (mut fleet, ghost, ids) = hot_seat(LinkProfile::rtt(60).with_loss_percent(20.0), 2);
        let mut pressed = [0, 0];
        for _ in 0..400 {
            let owner = [NetworkId::NONE, ids[0], ids[1]][dice.below(3)];
            give(&mut fleet, ghost, owner);
            for (client, pressed) in pressed.iter_mut().enumerate() {
                if dice.one_in(4) {
                    fleet.client(client).world_mut().resource_mut::<Hands>().jumps = 1;
                    *pressed += 1;
                }
            }
            fleet.tick();
        }
        give(&mut fleet, ghost, ids[0]);
        fleet.ticks(100);
        let all = seen(&mut fleet);
        let jumps =
            |id: NetworkId| all.iter().filter(|(_, owner, ..)| *owner == id).map(|(.., jumps)| jumps).sum::<u32>();
        assert_eq!(jumps(NetworkId::NONE), 0, "seed {seed}: nobody's ghost does not jump");
        for (client, pressed) in pressed.into_iter().enumerate() {
            assert!(jumps(ids[client]) <= pressed, "seed {seed}: {} of {pressed} presses", jumps(ids[client]));
        }
        // Whoever owns it in the end is obeyed again, press by press.
        fleet.server().world_mut().resource_mut::<Seen>().0.clear();
        for _ in 0..20 {
            fleet.client(0).world_mut().resource_mut::<Hands>().jumps = 1;
            fleet.ticks(5);
        }
        fleet.ticks(40);
        assert_eq!(seen(&mut fleet).iter().map(|(.., jumps)| jumps).sum::<u32>(), 20, "seed {seed}");
    }
}

#[test]
fn a_player_who_gets_a_ghost_back_does_not_jump_for_what_he_pressed_while_it_was_anothers() {
    let (mut fleet, ghost, ids) = hot_seat(LinkProfile::rtt(100), 2);
    for _ in 0..10 {
        fleet.client(0).world_mut().resource_mut::<Hands>().jumps = 1;
        fleet.ticks(3);
    }
    fleet.ticks(20);
    assert_eq!(seen(&mut fleet).iter().map(|(.., jumps)| jumps).sum::<u32>(), 10);
    give(&mut fleet, ghost, ids[1]);
    // He learns of it half a round trip later, and presses until then.
    for _ in 0..20 {
        fleet.client(0).world_mut().resource_mut::<Hands>().jumps = 1;
        fleet.tick();
    }
    fleet.client(0).world_mut().resource_mut::<Hands>().jumps = 0;
    fleet.ticks(40);
    fleet.server().world_mut().resource_mut::<Seen>().0.clear();
    give(&mut fleet, ghost, ids[0]);
    fleet.ticks(60);
    let after = seen(&mut fleet);
    assert_eq!(after.iter().map(|(.., jumps)| jumps).sum::<u32>(), 0, "{after:?}");
}

#[test]
fn a_player_who_reconnects_under_the_same_number_presses_from_nothing() {
    let (mut fleet, ghost, ids) = hot_seat(LinkProfile::perfect(), 1);
    for _ in 0..10 {
        fleet.client(0).world_mut().resource_mut::<Hands>().jumps = 1;
        fleet.ticks(3);
    }
    fleet.ticks(10);
    let connection = fleet.client(0).connections()[0];
    fleet.client(0).world_mut().disconnect(connection, DisconnectReason::default());
    fleet.ticks(20);
    fleet.server().world_mut().resource_mut::<Seen>().0.clear();
    fleet.connect(0);
    fleet.ticks(20);
    fleet.go_in_game_all();
    assert_eq!(fleet.client(0).network_id(), Some(ids[0]), "the number is used again");
    give(&mut fleet, ghost, ids[0]);
    fleet.ticks(30);
    assert_eq!(seen(&mut fleet).iter().map(|(.., jumps)| jumps).sum::<u32>(), 0);
    fleet.client(0).world_mut().resource_mut::<Hands>().jumps = 1;
    fleet.ticks(20);
    assert_eq!(seen(&mut fleet).iter().map(|(.., jumps)| jumps).sum::<u32>(), 1);
}
