//! Sending an RPC without a request entity: straight into the outgoing buffer of a connection, from any system, with what went wrong as a
//! value.

use bevy_ecs::prelude::{Entity, Query, Res};
use bevy_ecs::system::SystemParam;
use ghostline_wire::{BitWriter, NetworkTick, RpcName};
use thiserror::Error;

use super::data::{RpcCommand, RpcDelivery, RpcValueError};
use super::ghost_ref::GhostMapping;
use super::registry::RpcCollection;
use super::send::may_send;
use crate::connection::{ConnectionStatus, NetworkStreamConnection, NetworkStreamDriver, OutgoingRpcDataStreamBuffer};
use crate::ghost::GhostInstance;

/// Why an RPC was not taken. Nothing of it was queued (but see [`FullForSome`](Self::FullForSome)), and what was queued before is untouched.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum SendRpcError {
    /// Its type was never registered.
    #[error("RPC `{0}` is not registered; call `register_rpc` for it on every side")]
    NotRegistered(&'static str),
    /// The target is no connection, or no longer.
    #[error("{0} is no connection (any more)")]
    NotAConnection(Entity),
    /// There is no connection at all.
    #[error("there is no connection")]
    NoConnection,
    /// The connection isn't ready for this RPC.
    #[error("the connection is still {0:?}; wait for its NetworkId")]
    NotReady(ConnectionStatus),
    /// Too much waits for the other side already: back off.
    #[error("{limit} bytes of RPCs wait on this connection already; send less, or less often")]
    Full {
        /// [`MAX_WAITING_RPC_BYTES`](super::MAX_WAITING_RPC_BYTES), of unreliable RPCs
        /// [`MAX_WAITING_UNRELIABLE_RPC_BYTES`](super::MAX_WAITING_UNRELIABLE_RPC_BYTES).
        limit: usize,
    },
    /// Of a broadcast: it is on its way to `sent` connections, but `full` others have no room for it.
    #[error(
        "{full} of the connections hold {limit} bytes of RPCs already and miss this one, {sent} get it; send less, or less often"
    )]
    FullForSome {
        /// Connections that get it.
        sent: usize,
        /// Connections that miss it.
        full: usize,
        /// As in [`Full`](Self::Full).
        limit: usize,
    },
    /// A field's value can't be sent.
    #[error(transparent)]
    Value(#[from] RpcValueError),
    /// More than one RPC may carry.
    #[error("its payload of {bytes} bytes is above the limit of {limit}; split it")]
    TooLarge {
        /// Bytes of the payload.
        bytes: usize,
        /// [`MAX_RPC_PAYLOAD_BYTES`](crate::connection::MAX_RPC_PAYLOAD_BYTES).
        limit: usize,
    },
}

/// A system parameter that sends RPCs. They leave in the order of the calls; request entities follow them at the end of the pass.
///
/// ```
/// # use ghostline::prelude::*;
/// # use bevy_ecs::prelude::*;
/// #[derive(Component, RpcCommand)]
/// struct Chat { line: u32 }
///
/// fn say(mut rpcs: RpcSender) {
///     if let Err(error) = rpcs.broadcast(Chat { line: 7 }) {
///         tracing::warn!("{error}");
///     }
/// }
/// ```
#[derive(SystemParam)]
pub struct RpcSender<'w, 's> {
    collection: Res<'w, RpcCollection>,
    facade: Res<'w, NetworkStreamDriver>,
    connections: Query<'w, 's, (&'static NetworkStreamConnection, &'static mut OutgoingRpcDataStreamBuffer)>,
    ghosts: Query<'w, 's, &'static GhostInstance>,
}

impl RpcSender<'_, '_> {
    /// Sends to one connection.
    ///
    /// # Errors
    /// See [`SendRpcError`].
    pub fn send<T: RpcCommand>(&mut self, target: Entity, rpc: T) -> Result<(), SendRpcError> {
        let encoded = self.encode(rpc)?;
        self.push(target, &encoded)
    }

    /// Sends to the server, from a client.
    ///
    /// # Errors
    /// See [`SendRpcError`].
    pub fn send_to_server<T: RpcCommand>(&mut self, rpc: T) -> Result<(), SendRpcError> {
        let (_, server) = self.facade.connections().next().ok_or(SendRpcError::NoConnection)?;
        self.send(server, rpc)
    }

    /// Sends to every connection that is ready for it, and returns to how many. A connection without room costs the others nothing.
    ///
    /// # Errors
    /// See [`SendRpcError`].
    pub fn broadcast<T: RpcCommand>(&mut self, rpc: T) -> Result<usize, SendRpcError> {
        let encoded = self.encode(rpc)?;
        let targets: Vec<Entity> = self.facade.connections().map(|(_, entity)| entity).collect();
        if targets.is_empty() {
            return Err(SendRpcError::NoConnection);
        }
        let (mut sent, mut full, mut limit) = (0, 0, 0);
        for target in targets {
            match self.push(target, &encoded) {
                Ok(()) => sent += 1,
                Err(SendRpcError::NotReady(_) | SendRpcError::NotAConnection(_)) => {}
                Err(SendRpcError::Full { limit: reached }) => (full, limit) = (full + 1, reached),
                Err(error) => return Err(error),
            }
        }
        if full == 0 { Ok(sent) } else { Err(SendRpcError::FullForSome { sent, full, limit }) }
    }

    fn encode<T: RpcCommand>(&self, mut rpc: T) -> Result<Encoded, SendRpcError> {
        let (name, entry) = self.collection.of_type::<T>().ok_or(SendRpcError::NotRegistered(T::name()))?;
        let (is_approval, delivery) = (entry.is_approval, entry.delivery);
        rpc.check()?;
        let identity_of = |entity| identity(self.ghosts.get(entity).ok()?);
        rpc.map_ghosts(&GhostMapping::sending(&identity_of));
        let mut payload = BitWriter::new();
        rpc.encode(&mut payload);
        Ok(Encoded { name, is_approval, delivery, payload })
    }

    fn push(&mut self, target: Entity, rpc: &Encoded) -> Result<(), SendRpcError> {
        let Ok((connection, mut outgoing)) = self.connections.get_mut(target) else {
            return Err(SendRpcError::NotAConnection(target));
        };
        if !may_send(connection.state, rpc.is_approval) {
            return Err(SendRpcError::NotReady(connection.state));
        }
        outgoing.push(rpc.name, rpc.delivery, &rpc.payload)
    }
}

/// An RPC as it travels, whoever it goes to.
struct Encoded {
    name: RpcName,
    is_approval: bool,
    delivery: RpcDelivery,
    payload: BitWriter,
}

/// What the link knows a ghost by, once it has an id.
pub(super) fn identity(ghost: &GhostInstance) -> Option<(u32, NetworkTick)> {
    Some((ghost.ghost_id, ghost.spawn_tick?))
}
