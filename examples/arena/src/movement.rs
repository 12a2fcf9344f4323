//! How players move: the one rule that both sides run, the owner ahead of time and the server for good. It reads nothing but the
//! player and its input, so that both come to the same result.

use bevy_ecs::prelude::*;
use bevy_math::{Vec2, Vec3};
use bevy_time::Time;
use ghostline::prelude::*;

use crate::game::{HALF_EXTENT, Motion, Player, PlayerInput, Position};

/// Metres per second.
const SPEED: f32 = 8.0;
/// Metres per second at the start of a jump.
const JUMP: f32 = 6.0;
/// Metres per second squared.
const GRAVITY: f32 = 18.0;

/// Moves every player that simulates now by one step.
pub fn move_players(
    time: Res<Time>,
    mut players: Query<(&PlayerInput, &mut Position, &mut Motion), (With<Player>, Simulate)>,
) {
    let seconds = time.delta_secs();
    for (input, mut position, mut motion) in &mut players {
        let (place, moved) = step(*input, position.value, *motion, seconds);
        // Only what changed is sent.
        position.set_if_neq(Position { value: place });
        motion.set_if_neq(moved);
    }
}

fn step(input: PlayerInput, place: Vec3, mut motion: Motion, seconds: f32) -> (Vec3, Motion) {
    let direction = Vec2::new(f32::from(input.right.signum()), f32::from(input.forward.signum())).normalize_or_zero();
    if direction != Vec2::ZERO {
        motion.facing = direction;
    }
    let on_ground = place.y <= 0.0 && motion.rise <= 0.0;
    motion.rise = match (on_ground, input.jump.is_set()) {
        (true, true) => JUMP,
        (true, false) => 0.0,
        (false, _) => motion.rise - GRAVITY * seconds,
    };
    let ground = (Vec2::new(place.x, place.z) + direction * SPEED * seconds).clamp(-HALF_EXTENT, HALF_EXTENT);
    let height = (place.y + motion.rise * seconds).max(0.0);
    (Vec3::new(ground.x, height, ground.y), motion)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEP: f32 = 1.0 / 60.0;

    #[test]
    fn a_jump_goes_up_and_comes_down_again() {
        let mut jump = PlayerInput::default();
        jump.jump.set();
        let (mut place, mut motion) = step(jump, Vec3::ZERO, Motion::default(), STEP);
        let mut highest = 0.0_f32;
        for _ in 0..60 {
            highest = highest.max(place.y);
            (place, motion) = step(PlayerInput::default(), place, motion, STEP);
        }
        assert!((0.8..1.2).contains(&highest), "{highest}");
        assert_eq!((place.y, motion.rise), (0.0, 0.0));
    }

    #[test]
    fn in_the_air_a_press_does_nothing() {
        let mut jump = PlayerInput::default();
        jump.jump.set();
        let falling = Motion { rise: -1.0, ..Motion::default() };
        let (_, motion) = step(jump, Vec3::Y, falling, STEP);
        assert!(motion.rise < -1.0);
    }

    #[test]
    fn nobody_leaves_the_arena() {
        let input = PlayerInput { right: 1, forward: -1, ..PlayerInput::default() };
        let mut place = Vec3::ZERO;
        for _ in 0..1000 {
            (place, _) = step(input, place, Motion::default(), STEP);
        }
        assert_eq!(place, Vec3::new(HALF_EXTENT.x, 0.0, -HALF_EXTENT.y));
    }
}
