//! Sending an RPC without a request entity: straight into the outgoing buffer of a connection, from any system, with what went wrong as a
//! value.

use bevy_ecs::prelude::{Entity, Query, Res};
use bevy_ecs::system::SystemParam;
use ghostline_wire::{BitWriter, NetworkTick};
use thiserror::Error;

use super::data::RpcCommand;
use super::ghost_ref::GhostMapping;
use super::registry::RpcCollection;
use super::send::may_send;
use crate::connection::{ConnectionStatus, NetworkStreamConnection, NetworkStreamDriver, OutgoingRpcDataStreamBuffer};
use crate::ghost::GhostInstance;

/// Why an RPC was not taken. Nothing of it was queued, and what was queued before is untouched.
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
        /// [`MAX_WAITING_RPC_BYTES`](super::MAX_WAITING_RPC_BYTES).
        limit: usize,
    },
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
        let (type_index, payload, is_approval) = self.encode(rpc)?;
        self.push(target, type_index, &payload, is_approval)
    }

    /// Sends to the server, from a client.
    ///
    /// # Errors
    /// See [`SendRpcError`].
    pub fn send_to_server<T: RpcCommand>(&mut self, rpc: T) -> Result<(), SendRpcError> {
        let (_, server) = self.facade.connections().next().ok_or(SendRpcError::NoConnection)?;
        self.send(server, rpc)
    }

    /// Sends to every connection that is ready for it, and returns to how many.
    ///
    /// # Errors
    /// See [`SendRpcError`]. The first connection without room ends it; those before it get the RPC.
    pub fn broadcast<T: RpcCommand>(&mut self, rpc: T) -> Result<usize, SendRpcError> {
        let (type_index, payload, is_approval) = self.encode(rpc)?;
        let targets: Vec<Entity> = self.facade.connections().map(|(_, entity)| entity).collect();
        if targets.is_empty() {
            return Err(SendRpcError::NoConnection);
        }
        let mut sent = 0;
        for target in targets {
            match self.push(target, type_index, &payload, is_approval) {
                Ok(()) => sent += 1,
                Err(SendRpcError::NotReady(_) | SendRpcError::NotAConnection(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(sent)
    }

    fn encode<T: RpcCommand>(&self, mut rpc: T) -> Result<(u16, BitWriter, bool), SendRpcError> {
        let (type_index, entry) = self.collection.of_type::<T>().ok_or(SendRpcError::NotRegistered(T::name()))?;
        let is_approval = entry.is_approval;
        let identity_of = |entity| identity(self.ghosts.get(entity).ok()?);
        rpc.map_ghosts(&GhostMapping::sending(&identity_of));
        let mut payload = BitWriter::new();
        rpc.encode(&mut payload);
        Ok((type_index, payload, is_approval))
    }

    fn push(
        &mut self,
        target: Entity,
        type_index: u16,
        payload: &BitWriter,
        is_approval: bool,
    ) -> Result<(), SendRpcError> {
        let Ok((connection, mut outgoing)) = self.connections.get_mut(target) else {
            return Err(SendRpcError::NotAConnection(target));
        };
        if !may_send(connection.state, is_approval) {
            return Err(SendRpcError::NotReady(connection.state));
        }
        outgoing.push(type_index, payload)
    }
}

/// What the link knows a ghost by, once it has an id.
pub(super) fn identity(ghost: &GhostInstance) -> Option<(u32, NetworkTick)> {
    Some((ghost.ghost_id, ghost.spawn_tick?))
}
