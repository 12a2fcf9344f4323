//! Connecting and disconnecting over and over, at every tick of a connection's life, with RPCs under way: RPC-12 to RPC-14, CONN-04,
//! DISC-06. `GHOSTLINE_SOAK` is the number of cycles per shape, 1 stands for 10,000.

use crate::common::*;
use bevy_app::App;
use bevy_ecs::prelude::*;
use ghostline::prelude::*;

#[derive(Component, RpcCommand, Clone, Copy)]
struct Ping {
    cycle: u32,
}

/// A connection is connected by then; one more offset is one more tick in game.
const OFFSETS: usize = 16;
/// An end is known on both sides after so many ticks, at most.
const END_TICKS: usize = 12;

fn game(app: &mut App) {
    app.add_plugins(Game);
    app.register_rpc::<Ping>().go_in_game_when_connected();
}

fn entities(world: &mut World) -> usize {
    world.query::<Entity>().iter(world).count()
}

/// No received RPC comes from a connection that is gone, or from an earlier one. They are taken.
fn take_pings(world: &mut World, live: &[Entity], cycle: u32) {
    let pings: Vec<_> = world
        .query::<(Entity, &Ping, &ReceiveRpcCommandRequest)>()
        .iter(world)
        .map(|(entity, ping, request)| (entity, ping.cycle, request.source_connection))
        .collect();
    for (entity, of, source) in pings {
        assert!(live.contains(&source), "an RPC of a connection that is gone");
        assert_eq!(of, cycle, "an RPC of an earlier connection");
        world.despawn(entity);
    }
}

fn run(cycles: u32, shape: Shape) {
    let mut fleet = shape.fleet().plugin(game).build();
    fleet.listen();
    fleet.server().world_mut().spawn_ghost::<Walker>(Position::default());
    let mut baseline = None;
    for cycle in 0..cycles {
        let entity = fleet.connect(0);
        let offset = cycle as usize % OFFSETS;
        for _ in 0..offset {
            fleet.tick();
            let (on_server, on_client) = (fleet.server().connections(), fleet.client(0).connections());
            take_pings(fleet.server().world_mut(), &on_server, cycle);
            take_pings(fleet.client(0).world_mut(), &on_client, cycle);
            if fleet.client(0).world().get::<NetworkId>(entity).is_some() {
                fleet.client(0).world_mut().spawn((Ping { cycle }, SendRpcCommandRequest::default()));
            }
            if count::<NetworkId>(fleet.server().world_mut()) > 0 {
                fleet.server().world_mut().spawn((Ping { cycle }, SendRpcCommandRequest::default()));
            }
        }
        // The client leaves, the server throws it out, or both at once.
        let way = cycle as usize / OFFSETS % 3;
        if way != 1 || fleet.server().connections().is_empty() {
            fleet.client(0).world_mut().disconnect(entity, DisconnectReason::ConnectionClose);
        }
        if way != 0 {
            for connection in fleet.server().connections() {
                fleet.server().world_mut().disconnect(connection, DisconnectReason::ConnectionClose);
            }
        }
        for _ in 0..END_TICKS {
            fleet.tick();
            let (on_server, on_client) = (fleet.server().connections(), fleet.client(0).connections());
            take_pings(fleet.server().world_mut(), &on_server, cycle);
            take_pings(fleet.client(0).world_mut(), &on_client, cycle);
        }
        assert!(
            fleet.client(0).connections().is_empty() && fleet.server().connections().is_empty(),
            "{shape:?}, cycle {cycle}"
        );
        let now = (entities(fleet.server().world_mut()), entities(fleet.client(0).world_mut()));
        // The first rounds make what is made once, such as observers and resources.
        if cycle as usize == OFFSETS {
            baseline = Some(now);
        } else if let Some(baseline) = baseline {
            assert_eq!(now, baseline, "{shape:?}: entities are left after cycle {cycle} at offset {offset}");
        }
    }
    fleet.connect_all();
    assert_eq!(fleet.client(0).network_id(), Some(NetworkId(1)), "the one number was always free again");
}

#[test]
fn connections_that_come_and_go_at_every_tick_leave_nothing_behind() {
    // Every offset in every way.
    let short = 3 * OFFSETS as u32;
    let soak = std::env::var("GHOSTLINE_SOAK").ok().and_then(|cycles| cycles.parse().ok());
    let cycles = soak.map_or(short, |cycles| if cycles == 1 { 10_000 } else { cycles });
    for shape in SHAPES {
        run(cycles, shape);
    }
}
