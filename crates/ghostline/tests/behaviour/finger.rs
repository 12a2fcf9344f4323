//! A finger on a key: a client that presses in the frame after the test has said so, and a server that counts what it sees of it.

use crate::common::*;
use bevy_app::{App, Plugin};
use bevy_ecs::prelude::*;
use ghostline::prelude::*;

/// On a client.
#[derive(Resource, Default)]
pub(crate) struct Finger {
    /// Whether it presses in the next frame.
    pub(crate) press: bool,
    /// How often it has.
    pub(crate) pressed: u32,
}

/// On the server: the presses that it saw, by the number of the player.
#[derive(Resource, Default)]
pub(crate) struct Seen(pub(crate) [u32; 8]);

impl Seen {
    pub(crate) fn total(&self) -> u32 {
        self.0.iter().sum()
    }
}

/// Presses are jumps.
pub(crate) struct Fingers;

impl Plugin for Fingers {
    fn build(&self, app: &mut App) {
        app.init_resource::<Finger>()
            .init_resource::<Seen>()
            .add_systems_in(WorldFlags::CLIENT, GhostInput, press)
            .add_systems_in(WorldFlags::SERVER, PredictedSimulation, see);
    }
}

fn press(mut finger: ResMut<Finger>, mut players: Query<&mut PlayerInput, With<GhostOwnerIsLocal>>) {
    for mut input in &mut players {
        if std::mem::take(&mut finger.press) {
            input.jump.set();
            finger.pressed += 1;
        }
    }
}

fn see(mut seen: ResMut<Seen>, players: Query<(&GhostOwner, &PlayerInput), Simulate>) {
    for (owner, input) in &players {
        seen.0[owner.0.0 as usize] += input.jump.count();
    }
}
