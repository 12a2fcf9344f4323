//! Entering the game: never by itself, unless the game asks for that once.

use bevy_app::App;
use bevy_ecs::prelude::{Commands, Entity, Query, With, Without};

use super::components::{NetworkId, NetworkStreamInGame};
use crate::schedule::AfterNetworkReceive;
use crate::world::{AddSystemsIn, WorldFlags};

/// Opting in to entering the game automatically.
pub trait InGameAppExt {
    /// Every connection enters the game as soon as it has its [`NetworkId`], on server, client and thin client worlds. Without
    /// this call nothing does: commands and snapshots flow only after the game has added [`NetworkStreamInGame`] on both sides.
    fn go_in_game_when_connected(&mut self) -> &mut Self;
}

impl InGameAppExt for App {
    fn go_in_game_when_connected(&mut self) -> &mut Self {
        self.add_systems_in(WorldFlags::NETWORK, AfterNetworkReceive, enter_game)
    }
}

fn enter_game(mut commands: Commands, connected: Query<Entity, (With<NetworkId>, Without<NetworkStreamInGame>)>) {
    for connection in &connected {
        commands.entity(connection).insert(NetworkStreamInGame);
    }
}
