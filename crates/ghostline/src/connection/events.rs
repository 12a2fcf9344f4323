//! Connection events: what happened to connections in this simulation tick.
//! Filled by the receive step, cleared by the next one; valid for exactly one tick.

use bevy_ecs::event::Event;
use bevy_ecs::message::{Message, Messages};
use bevy_ecs::prelude::{Entity, Resource, World};
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
        write!(f, "connection {} ({}): {:?}", self.network_id, self.handle, self.state)?;
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
pub struct ConnectionEvents {
    events: Vec<NetCodeConnectionEvent>,
    texts: Vec<(ConnectionHandle, String)>,
}

impl ConnectionEvents {
    /// The events of this tick, in the order in which they happened.
    pub fn iter(&self) -> impl Iterator<Item = &NetCodeConnectionEvent> {
        self.events.iter()
    }

    /// The events of this tick, in the order in which they happened.
    pub fn as_slice(&self) -> &[NetCodeConnectionEvent] {
        &self.events
    }

    /// What the side that closed this connection in this tick has written for people to read; empty if nothing.
    pub fn disconnect_text(&self, handle: ConnectionHandle) -> &str {
        self.texts.iter().find(|(closed, _)| *closed == handle).map_or("", |(_, text)| text)
    }

    /// Whether this entity was a connection that ended in this tick.
    pub(crate) fn has_ended(&self, entity: Entity) -> bool {
        self.events.iter().any(|event| event.entity == entity && event.state == ConnectionStatus::Disconnected)
    }

    /// Whether any connection ended in this tick.
    pub(crate) fn any_ended(&self) -> bool {
        self.events.iter().any(|event| event.state == ConnectionStatus::Disconnected)
    }

    pub(super) fn clear(&mut self) {
        self.events.clear();
        self.texts.clear();
    }

    pub(super) fn push(&mut self, event: NetCodeConnectionEvent, text: &str) {
        if !text.is_empty() {
            self.texts.push((event.handle, text.to_owned()));
        }
        self.events.push(event);
    }
}

/// A connection event for readers outside the simulation pass: each reaches every observer once, at the end of the receive step, and a
/// `MessageReader` that runs once per frame once, whatever number of ticks a frame holds.
#[derive(Message, Event, Clone, PartialEq, Eq, Debug)]
pub struct ConnectionChanged {
    /// What happened.
    pub event: NetCodeConnectionEvent,
    /// What the side that closed has written for people to read; often empty. Text from a peer: show it, don't interpret it.
    pub text: String,
}

/// Hands this tick's events to the readers that are not bound to the tick.
pub(super) fn publish(world: &mut World) {
    let events = world.resource::<ConnectionEvents>();
    let changes: Vec<ConnectionChanged> = events
        .iter()
        .map(|&event| ConnectionChanged { event, text: events.disconnect_text(event.handle).to_owned() })
        .collect();
    for change in changes {
        world.trigger(change.clone());
        world.resource_mut::<Messages<ConnectionChanged>>().write(change);
    }
}

/// Once per frame: what every reader has had a frame's time to read is dropped.
pub(crate) fn rotate_changes(world: &mut World) {
    if let Some(mut messages) = world.get_resource_mut::<Messages<ConnectionChanged>>() {
        messages.update();
    }
}
