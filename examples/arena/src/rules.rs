//! What the server alone decides: who plays, where ghosts wander, what a bolt hits. Clients see the results as ghosts.
//! It also counts every press that it sees, for the report.

use bevy_app::{App, Plugin};
use bevy_ecs::prelude::*;
use bevy_math::{Vec2, Vec3};
use bevy_time::Time;
use ghostline::connection::NetworkStreamConnection;
use ghostline::prelude::*;
use std::collections::BTreeMap;

use crate::bots::Presses;
use crate::game::{Bolt, HALF_EXTENT, Motion, Player, PlayerInput, Position, Score, Still, Wanderer};
use crate::random::Chance;

/// Metres per second.
const BOLT_SPEED: f32 = 20.0;
/// How long a bolt flies, in seconds.
const BOLT_SECONDS: f32 = 0.8;
/// A bolt hits what is so near, in metres.
const HIT_DISTANCE: f32 = 1.0;
/// Metres per second.
const WANDER_SPEED: f32 = 3.0;

/// The server's rules; in other worlds they add nothing.
pub struct ServerRules {
    pub wanderers: u32,
}

impl Plugin for ServerRules {
    fn build(&self, app: &mut App) {
        let wanderers = self.wanderers;
        app.init_resource::<SeenPresses>().add_systems_in(
            WorldFlags::SERVER,
            Simulation,
            (
                spawn_wanderers
                    .run_if(move |existing: Query<(), With<Wanderer>>| (existing.count() as u32) < wanderers),
                spawn_players,
                remove_players_of_those_who_left,
                wander,
                fly,
            )
                .chain(),
        );
        app.add_systems_in(WorldFlags::SERVER, PredictedSimulation, (count_presses, fire));
    }
}

/// What the server has seen of one player.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Seen {
    /// Presses, each counted in the tick in which it took effect.
    pub presses: Presses,
    /// Ticks simulated for this player since its first command.
    pub ticks: u64,
    /// Of them, ticks whose command had not come in time, so that the one before was repeated.
    pub without_command: u64,
}

/// What the server has seen, by player.
#[derive(Resource, Default, Debug)]
pub struct SeenPresses(pub BTreeMap<NetworkId, Seen>);

fn count_presses(
    time: Res<NetworkTime>,
    mut seen: ResMut<SeenPresses>,
    players: Query<(&GhostOwner, &PlayerInput, &CommandBuffer<PlayerInput>), Simulate>,
) {
    let Some(tick) = time.server_tick else { return };
    for (owner, input, commands) in &players {
        let seen = seen.0.entry(owner.0).or_default();
        seen.presses.jumps += u64::from(input.jump.count());
        seen.presses.shots += u64::from(input.fire.count());
        if let Some((meant_for, _)) = commands.get_at_tick(tick) {
            seen.ticks += 1;
            seen.without_command += u64::from(meant_for != tick);
        }
    }
}

/// Everybody who enters the game gets a player, which is also the target of commands that name no ghost: those of thin clients.
fn spawn_players(
    mut commands: Commands,
    mut chance: ResMut<Chance>,
    mut newcomers: Query<(&NetworkId, &mut CommandTarget), Added<NetworkStreamInGame>>,
) {
    for (&id, mut target) in &mut newcomers {
        let position = Position { value: somewhere(&mut chance) };
        let motion = Motion { facing: Vec2::X, ..Motion::default() };
        target.entity = Some(commands.spawn_ghost::<Player>((GhostOwner(id), position, motion)));
    }
}

fn remove_players_of_those_who_left(
    mut commands: Commands,
    players: Query<(Entity, &GhostOwner), With<Player>>,
    connections: Query<&NetworkId, With<NetworkStreamConnection>>,
) {
    for (player, owner) in &players {
        if !connections.iter().any(|&id| id == owner.0) {
            commands.entity(player).despawn();
        }
    }
}

/// Where a wanderer goes, and when it turns. The server's own: clients only see where it is.
#[derive(Component)]
struct Wander {
    velocity: Vec3,
    turns_in_seconds: f32,
}

/// One per tick, until there are enough.
fn spawn_wanderers(mut commands: Commands, mut chance: ResMut<Chance>) {
    let position = Position { value: somewhere(&mut chance) };
    commands.spawn_ghost::<Wanderer>((position, Wander { velocity: Vec3::ZERO, turns_in_seconds: 0.0 }));
}

fn wander(
    time: Res<Time>,
    still: Res<Still>,
    mut chance: ResMut<Chance>,
    mut wanderers: Query<(&GhostInstance, &mut Position, &mut Wander)>,
) {
    if still.0 {
        return;
    }
    // Where chance is involved the order must be a known one: a query's is not.
    let mut ordered: Vec<_> = wanderers.iter_mut().collect();
    ordered.sort_by_key(|(ghost, ..)| ghost.ghost_id);
    for (_, mut position, mut wander) in ordered {
        wander.turns_in_seconds -= time.delta_secs();
        if wander.turns_in_seconds <= 0.0 {
            wander.turns_in_seconds = chance.between(0.5, 3.0);
            // A third of them rests for a while.
            let speed = if chance.one_in(3) { 0.0 } else { WANDER_SPEED };
            let direction = Vec2::from_angle(chance.between(0.0, std::f32::consts::TAU)) * speed;
            wander.velocity = Vec3::new(direction.x, 0.0, direction.y);
        }
        let goal = position.value + wander.velocity * time.delta_secs();
        let inside =
            goal.clamp(Vec3::new(-HALF_EXTENT.x, 0.0, -HALF_EXTENT.y), Vec3::new(HALF_EXTENT.x, 0.0, HALF_EXTENT.y));
        position.set_if_neq(Position { value: inside });
    }
}

/// The server's part of a bolt.
#[derive(Component)]
struct Flight {
    velocity: Vec3,
    seconds_left: f32,
}

/// Every press fires one bolt.
fn fire(
    mut commands: Commands,
    players: Query<(&GhostOwner, &PlayerInput, &Position, &Motion), (With<Player>, Simulate)>,
) {
    let mut shots: Vec<_> = players.iter().filter(|(_, input, ..)| input.fire.is_set()).collect();
    shots.sort_by_key(|(owner, ..)| owner.0);
    for (&owner, input, &position, motion) in shots {
        let velocity = Vec3::new(motion.facing.x, 0.0, motion.facing.y) * BOLT_SPEED;
        for _ in 0..input.fire.count() {
            commands.spawn_ghost::<Bolt>((owner, position, Flight { velocity, seconds_left: BOLT_SECONDS }));
        }
    }
}

fn fly(
    time: Res<Time>,
    mut commands: Commands,
    mut chance: ResMut<Chance>,
    mut bolts: Query<(Entity, &GhostInstance, &GhostOwner, &mut Position, &mut Flight), Without<Wander>>,
    mut wanderers: Query<(&GhostInstance, &mut Position), With<Wander>>,
    mut players: Query<(&GhostOwner, &mut Score), With<Player>>,
) {
    let mut ordered: Vec<_> = bolts.iter_mut().collect();
    ordered.sort_by_key(|(_, ghost, ..)| ghost.ghost_id);
    for (bolt, _, owner, mut position, mut flight) in ordered {
        position.value += flight.velocity * time.delta_secs();
        flight.seconds_left -= time.delta_secs();
        let here = Vec2::new(position.value.x, position.value.z);
        let hit = wanderers
            .iter_mut()
            .filter(|(_, place)| Vec2::new(place.value.x, place.value.z).distance(here) < HIT_DISTANCE)
            .min_by_key(|(ghost, _)| ghost.ghost_id);
        if let Some((_, mut place)) = hit {
            // It begins again elsewhere; so far a jump is not interpolated.
            place.value = somewhere(&mut chance);
            for (_, mut score) in players.iter_mut().filter(|(of, _)| of.0 == owner.0) {
                score.hits += 1;
            }
            commands.entity(bolt).despawn();
        } else if flight.seconds_left <= 0.0 {
            commands.entity(bolt).despawn();
        }
    }
}

fn somewhere(chance: &mut Chance) -> Vec3 {
    Vec3::new(chance.between(-HALF_EXTENT.x, HALF_EXTENT.x), 0.0, chance.between(-HALF_EXTENT.y, HALF_EXTENT.y))
}
