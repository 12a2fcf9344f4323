//! What a world is: local, server, client or thin client.
//! Decided when the world is made, before any plugin builds, and never changed; systems and plain code can ask for it.

use bevy_ecs::prelude::{Resource, World};
use bitflags::bitflags;

/// The role of a world. A resource of every world that ghostline makes, there before any plugin builds.
#[derive(Resource, Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum WorldKind {
    /// Offline: menus and single player. It has input, prediction and presentation, but no network.
    Local,
    /// Authoritative: simulates at a fixed rate, receives commands, sends snapshots.
    Server,
    /// Presents the game: sends commands, applies snapshots, predicts and interpolates.
    Client,
    /// A client without ghosts and presentation, for load tests.
    ThinClient,
}

bitflags! {
    /// The kinds of worlds that a system is meant for.
    #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
    pub struct WorldFlags: u8 {
        /// Local worlds.
        const LOCAL = 1;
        /// Server worlds.
        const SERVER = 2;
        /// Client worlds (not thin ones).
        const CLIENT = 4;
        /// Thin client worlds. Nothing runs there without this flag.
        const THIN_CLIENT = 8;
        /// What a system without an explicit filter gets at the root: local, server and client.
        const DEFAULT = Self::LOCAL.bits() | Self::SERVER.bits() | Self::CLIENT.bits();
        /// Both kinds of clients.
        const ALL_CLIENTS = Self::CLIENT.bits() | Self::THIN_CLIENT.bits();
        /// Every world that has a network.
        const NETWORK = Self::SERVER.bits() | Self::ALL_CLIENTS.bits();
        /// Every world.
        const ALL = Self::LOCAL.bits() | Self::NETWORK.bits();
    }
}

impl WorldKind {
    /// This kind as a flag.
    pub const fn flag(self) -> WorldFlags {
        match self {
            Self::Local => WorldFlags::LOCAL,
            Self::Server => WorldFlags::SERVER,
            Self::Client => WorldFlags::CLIENT,
            Self::ThinClient => WorldFlags::THIN_CLIENT,
        }
    }

    /// Whether this is a server world.
    pub const fn is_server(self) -> bool {
        matches!(self, Self::Server)
    }

    /// Whether this is a client world; thin clients are clients too.
    pub const fn is_client(self) -> bool {
        matches!(self, Self::Client | Self::ThinClient)
    }

    /// Whether this is a thin client world.
    pub const fn is_thin_client(self) -> bool {
        matches!(self, Self::ThinClient)
    }

    /// Whether this world has a network.
    pub const fn is_network(self) -> bool {
        !matches!(self, Self::Local)
    }
}

/// The kind of a world that ghostline made; a world that it didn't make counts as local.
pub fn kind_of(world: &World) -> WorldKind {
    world.get_resource::<WorldKind>().copied().unwrap_or(WorldKind::Local)
}

/// Whether `world` is a server world.
pub fn is_server(world: &World) -> bool {
    kind_of(world).is_server()
}

/// Whether `world` is a client world; thin clients are clients too.
pub fn is_client(world: &World) -> bool {
    kind_of(world).is_client()
}

/// Whether `world` is a thin client world.
pub fn is_thin_client(world: &World) -> bool {
    kind_of(world).is_thin_client()
}

/// Whether `world` is both server and client. Never so: a listen server is two worlds and an in-process link.
pub fn is_host(_world: &World) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thin_client_is_a_client_too() {
        assert!(WorldKind::ThinClient.is_client() && WorldKind::ThinClient.is_thin_client());
        assert!(WorldKind::Client.is_client() && !WorldKind::Client.is_thin_client());
        assert!(!WorldKind::Server.is_client() && WorldKind::Server.is_server());
    }

    #[test]
    fn a_system_without_a_filter_is_not_meant_for_thin_clients() {
        assert!(!WorldFlags::DEFAULT.contains(WorldFlags::THIN_CLIENT));
    }

    #[test]
    fn a_world_of_unknown_origin_counts_as_local() {
        assert_eq!(kind_of(&World::new()), WorldKind::Local);
    }
}
