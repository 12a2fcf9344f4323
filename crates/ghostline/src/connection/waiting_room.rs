//! Clients that come to a full server: they are told so, unless their first words prove that they come back to a place of their own, which
//! a connection still holds that they have lost. Nobody else hears of them.

use bevy_ecs::prelude::{Resource, World};
use ghostline_transport::{ConnectionHandle, Pipeline};
use ghostline_wire::{MessageKind, ResumeClaim, frames, internal_rpc};
use std::collections::VecDeque;
use std::time::Duration;

use super::admission::admit;
use super::driver::NetworkStreamDriver;
use super::lifecycle::sort_message;
use super::reason::DisconnectReason;
use super::sessions;
use crate::world::{FrameClock, resolved_rate};

/// Of a server world: connections without an entity, the oldest first.
#[derive(Resource, Default)]
pub(crate) struct WaitingRoom(VecDeque<(ConnectionHandle, Duration)>);

/// A client has connected to a full server.
pub(super) fn enter(world: &mut World, handle: ConnectionHandle) {
    let now = world.resource::<FrameClock>().now;
    let limit = world.resource::<NetworkStreamDriver>().max_pending_clients();
    let mut room = world.resource_mut::<WaitingRoom>();
    room.0.push_back((handle, now));
    if room.0.len() > limit
        && let Some((oldest, _)) = room.0.pop_front()
    {
        refuse(world, oldest);
    }
}

/// The connection is gone.
pub(super) fn leave(world: &mut World, handle: ConnectionHandle) {
    if let Some(mut room) = world.get_resource_mut::<WaitingRoom>() {
        room.0.retain(|&(waiting, _)| waiting != handle);
    }
}

/// Their drivers are gone.
pub(super) fn clear(world: &mut World) {
    if let Some(mut room) = world.get_resource_mut::<WaitingRoom>() {
        room.0.clear();
    }
}

/// The first message of a connection that waits. Gives it back if none does.
pub(super) fn receive(
    world: &mut World,
    handle: ConnectionHandle,
    pipeline: Pipeline,
    message: Vec<u8>,
) -> Option<Vec<u8>> {
    let is_waiting =
        world.get_resource::<WaitingRoom>().is_some_and(|room| room.0.iter().any(|&(waiting, _)| waiting == handle));
    if !is_waiting {
        return Some(message);
    }
    leave(world, handle);
    let has_room = world.resource::<NetworkStreamDriver>().full().is_none();
    if has_room || claim_in(&message).is_some_and(|claim| sessions::holds_a_place(world, &claim)) {
        let entity = admit(world, handle);
        sort_message(world, entity, pipeline, message);
    } else {
        refuse(world, handle);
    }
    None
}

/// What the first packet shows to be known again.
fn claim_in(message: &[u8]) -> Option<ResumeClaim> {
    let (kind, body) = message.split_first()?;
    if MessageKind::from_byte(*kind) != Some(MessageKind::Rpc) {
        return None;
    }
    // In a first packet all RPCs are internal ones, which have a number however the game's are named.
    let claim = frames(body).ok()?.find(|frame| frame.name == internal_rpc::RESUME.into())?;
    ResumeClaim::decode(&mut claim.reader()).ok()
}

/// Those who say nothing have waited long enough.
pub(super) fn expire(world: &mut World) {
    let Some(room) = world.get_resource::<WaitingRoom>().filter(|room| !room.0.is_empty()) else { return };
    let patience = Duration::from_millis(resolved_rate(world).handshake_approval_timeout_ms.into());
    let now = world.resource::<FrameClock>().now;
    let expired: Vec<ConnectionHandle> = room
        .0
        .iter()
        .take_while(|(_, since)| now.saturating_sub(*since) >= patience)
        .map(|&(handle, _)| handle)
        .collect();
    for handle in expired {
        leave(world, handle);
        refuse(world, handle);
    }
}

fn refuse(world: &mut World, handle: ConnectionHandle) {
    let mut facade = world.resource_mut::<NetworkStreamDriver>();
    let text = facade.full().unwrap_or_else(|| "the server is full".to_owned());
    facade.store.get().disconnect(handle, DisconnectReason::ServerFull.to_close(&text));
}
