//! What there is to see in a world: every ghost as a mark on the ground. Read from the client's world and from the server's alike.

use bevy_ecs::prelude::*;
use ghostline::prelude::*;

use crate::game::{Bolt, Player, Position, Score, Wanderer};
use crate::session::Session;

/// What a mark stands for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shape {
    /// The player of the client that is drawn.
    Own,
    Player,
    Wanderer,
    Bolt,
}

/// A ghost, seen from above.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Mark {
    pub shape: Shape,
    /// In metres.
    pub x: f32,
    /// In metres.
    pub z: f32,
    pub in_the_air: bool,
}

/// What there is to see in one world.
#[derive(Clone, Default, PartialEq, Debug)]
pub struct Scene {
    /// What is drawn later lies on top.
    pub marks: Vec<Mark>,
    /// Hits of the client's own player.
    pub hits: u32,
}

impl Scene {
    /// Of the first world of this kind.
    pub fn of(session: &mut Session, kind: WorldKind) -> Self {
        let own = session.client_network_id();
        let Some(world) = session.worlds.iter_mut().find(|world| world.kind() == kind) else { return Self::default() };
        Self::of_world(world.world_mut(), own)
    }

    fn of_world(world: &mut World, own: Option<NetworkId>) -> Self {
        let mark = |shape, position: &Position| Mark {
            shape,
            x: position.value.x,
            z: position.value.z,
            in_the_air: position.value.y > 0.05,
        };
        let mut scene = Self::default();
        let mut wanderers = world.query_filtered::<&Position, With<Wanderer>>();
        scene.marks.extend(wanderers.iter(world).map(|position| mark(Shape::Wanderer, position)));
        let mut bolts = world.query_filtered::<&Position, With<Bolt>>();
        scene.marks.extend(bolts.iter(world).map(|position| mark(Shape::Bolt, position)));
        let mut players = world.query_filtered::<(&GhostOwner, &Position, &Score), With<Player>>();
        let mut last = None;
        for (owner, position, score) in players.iter(world) {
            if own == Some(owner.0) {
                last = Some(mark(Shape::Own, position));
                scene.hits = score.hits;
            } else {
                scene.marks.push(mark(Shape::Player, position));
            }
        }
        scene.marks.extend(last);
        scene
    }

    /// Where the client's own player is.
    pub fn own(&self) -> Option<&Mark> {
        self.marks.iter().find(|mark| mark.shape == Shape::Own)
    }
}
