//! Connection events: what happened to connections in this simulation tick.
//! Filled by the receive step, cleared by the next one; valid for exactly one tick.

use bevy_ecs::prelude::{Entity, Resource};
use ghostline_transport::ConnectionHandle;
use std::fmt;

use super::components::{ConnectionStatus, NetworkId};
use super::reason::DisconnectReason;

/// One change of one connection's state.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NetCodeConnectionEvent {
    /// The client's number; [`NetworkId::NONE`] before it has one.
    pub network_id: NetworkId,
    /// The transport's handle, still telling connections apart after the entity is gone.
    pub handle: ConnectionHandle,
    /// The state that was entered.
    pub state: ConnectionStatus,
    /// Why, if the state is [`ConnectionStatus::Disconnected`].
    pub disconnect_reason: Option<DisconnectReason>,
    /// The connection entity; already despawned when the state is [`ConnectionStatus::Disconnected`].
    pub entity: Entity,
}

impl fmt::Display for NetCodeConnectionEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "connection {} ({:?}): {:?}", self.network_id, self.handle, self.state)?;
        match self.disconnect_reason {
            Some(reason) => write!(f, ", {reason}"),
            None => Ok(()),
        }
    }
}

/// The connection events of this simulation tick.
///
/// A system after the receive step reads this tick's events, one before it those of the tick before. Outside the simulation
/// pass they are missed or seen twice, because a frame may hold no tick or several.
#[derive(Resource, Default, Debug)]
pub struct ConnectionEvents(pub(crate) Vec<NetCodeConnectionEvent>);

impl ConnectionEvents {
    /// The events of this tick, in the order in which they happened.
    pub fn iter(&self) -> impl Iterator<Item = &NetCodeConnectionEvent> {
        self.0.iter()
    }

    /// The events of this tick, in the order in which they happened.
    pub fn as_slice(&self) -> &[NetCodeConnectionEvent] {
        &self.0
    }
}
