//! Who a client is beyond one connection: a public unique id, and the secret of 128 bits that proves it when it comes back.
//! Given out by the server's `sessions` when a client is let in; shown by the client in its next handshake with the same address (`joining`).

use bevy_ecs::prelude::{Component, Resource};
use ghostline_wire::ResumeClaim;
use std::net::SocketAddr;

/// A number of this client on its server that stays when it reconnects. Public; unique among live connections, never 0.
#[derive(Component, Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct ConnectionUniqueId(pub u32);

/// On both sides: this client was on this server before, and has proven it.
#[derive(Component, Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct NetworkStreamIsReconnected;

/// Of a client world: what it shows to be known again, and to whom. Kept across connections; remove it to come back as a stranger.
#[derive(Resource, Clone, PartialEq, Eq, Debug)]
pub struct ResumeToken {
    /// The server that gave it. Nobody else is shown the secret.
    pub endpoint: SocketAddr,
    /// The public number and the secret.
    pub claim: ResumeClaim,
}
