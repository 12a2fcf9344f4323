//! Invariants that hold after every tick, whatever the test does: checked by the fleet.

use bevy_ecs::prelude::World;
use ghostline::connection::NetworkStreamConnection;
use ghostline::ghost::{GhostInstance, SpawnedGhostEntityMap};
use ghostline::snapshot::{GhostCount, newest_rows};
use ghostline::time::NetworkTime;
use ghostline::wire::NetworkTick;
use ghostline::world::{NetWorld, WorldKind};

/// What is remembered of a world from tick to tick.
#[derive(Default)]
pub(crate) struct Memory {
    server_tick: Option<NetworkTick>,
    interpolation_tick: Option<NetworkTick>,
}

/// Everything that is wrong with this world now.
pub(crate) fn check(world: &mut NetWorld, memory: &mut Memory) -> Vec<String> {
    let kind = world.kind();
    let mut complaints = Vec::new();
    check_ticks(world.world(), kind, memory, &mut complaints);
    if kind != WorldKind::Local {
        check_ghosts(world.world_mut(), kind, &mut complaints);
    }
    if kind.is_client() {
        let connections = world.world_mut().query::<&NetworkStreamConnection>().iter(world.world()).count();
        if connections > 1 {
            complaints.push(format!("a client has {connections} connections"));
        }
    }
    let name = world.name().to_owned();
    complaints.into_iter().map(|complaint| format!("world `{name}`: {complaint}")).collect()
}

fn check_ticks(world: &World, kind: WorldKind, memory: &mut Memory, complaints: &mut Vec<String>) {
    let time = world.resource::<NetworkTime>();
    if kind == WorldKind::Server
        && let (Some(before), Some(now)) = (memory.server_tick, time.server_tick)
        && before.is_newer_than(now)
    {
        complaints.push(format!("the server tick went back from {before} to {now}"));
    }
    if kind == WorldKind::Client
        && let (Some(before), Some(now)) = (memory.interpolation_tick, time.interpolation_tick)
        && before.is_newer_than(now)
    {
        complaints.push(format!("the interpolation tick went back from {before} to {now}"));
    }
    if !(time.server_tick_fraction > 0.0 && time.server_tick_fraction <= 1.0) {
        complaints.push(format!("the tick fraction is {}", time.server_tick_fraction));
    }
    memory.server_tick = time.server_tick;
    memory.interpolation_tick = time.interpolation_tick;
}

/// Statistics, map and entities tell the same story.
fn check_ghosts(world: &mut World, kind: WorldKind, complaints: &mut Vec<String>) {
    let ghosts: Vec<_> =
        world.query::<(bevy_ecs::prelude::Entity, &GhostInstance)>().iter(world).map(|(e, g)| (e, *g)).collect();
    let map = world.resource::<SpawnedGhostEntityMap>();
    let mut assigned = 0;
    for (entity, ghost) in ghosts {
        let Some(spawn_tick) = ghost.spawn_tick else { continue };
        assigned += 1;
        if map.get(ghost.ghost_id, spawn_tick) != Some(entity) {
            // A dying ghost may have handed its id on already.
            if kind == WorldKind::Server {
                complaints.push(format!("ghost {} is not in the map", ghost.ghost_id));
            }
        }
    }
    if kind == WorldKind::Server && map.len() != assigned {
        complaints.push(format!("the map holds {} ghosts, the world {assigned}", map.len()));
    }
    if kind == WorldKind::Client {
        let count = *world.resource::<GhostCount>();
        let held = newest_rows(world).len();
        if count.received as usize != held {
            complaints.push(format!("the statistics say {} ghosts received, {held} are held", count.received));
        }
    }
}
