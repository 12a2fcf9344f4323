//! A reference to a ghost in an RPC: an entity on either side, its ghost id and spawn tick on the link.
//! Turned into the id when the RPC is sent, and back into this world's entity when it becomes an entity here.

use bevy_ecs::prelude::{Entity, World};
use ghostline_wire::{BitReader, BitWriter, DecodeError, NetworkTick};

use super::data::RpcField;
use crate::ghost::SpawnedGhostEntityMap;
#[cfg(feature = "client")]
use crate::snapshot::ClientSnapshots;

/// A ghost in an RPC. What the other side can't resolve arrives as none: an entity that is no ghost, has no id yet, is gone, or isn't
/// known there.
///
/// ```
/// # use ghostline::prelude::*;
/// # use bevy_ecs::prelude::*;
/// #[derive(Component, RpcCommand)]
/// struct Open { chest: GhostRef }
///
/// fn open(chest: Entity, mut commands: Commands) {
///     commands.spawn((Open { chest: chest.into() }, SendRpcCommandRequest::default()));
/// }
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct GhostRef {
    entity: Option<Entity>,
    on_wire: Option<(u32, NetworkTick)>,
}

impl GhostRef {
    /// No ghost.
    pub const NONE: Self = Self { entity: None, on_wire: None };

    /// The entity in this world; `None` if it could not be resolved.
    pub const fn entity(self) -> Option<Entity> {
        self.entity
    }
}

impl From<Entity> for GhostRef {
    fn from(entity: Entity) -> Self {
        Self { entity: Some(entity), on_wire: None }
    }
}

/// Turns references into what the link carries, or back. Handed to [`RpcField::map_ghosts`].
pub struct GhostMapping<'a>(Way<'a>);

enum Way<'a> {
    Sending(&'a dyn Fn(Entity) -> Option<(u32, NetworkTick)>),
    Received(&'a World),
}

impl<'a> GhostMapping<'a> {
    pub(super) fn sending(identity_of: &'a dyn Fn(Entity) -> Option<(u32, NetworkTick)>) -> Self {
        Self(Way::Sending(identity_of))
    }

    pub(super) fn received(world: &'a World) -> Self {
        Self(Way::Received(world))
    }
}

/// The ghost of this identity. A client that knows of its end shows it on until its time has come; to an RPC it is gone, as on the server.
fn resolve(world: &World, ghost_id: u32, spawn_tick: NetworkTick) -> Option<Entity> {
    let entity = world.get_resource::<SpawnedGhostEntityMap>()?.get(ghost_id, spawn_tick)?;
    #[cfg(feature = "client")]
    if world.get_resource::<ClientSnapshots>().is_some_and(|snapshots| snapshots.is_over(ghost_id, spawn_tick)) {
        return None;
    }
    Some(entity)
}

/// 1 bit; with a ghost, its id packed and 31 bits for its spawn tick.
impl RpcField for GhostRef {
    fn type_text() -> String {
        "ghost".into()
    }

    fn encode(&self, out: &mut BitWriter) {
        out.write_bool(self.on_wire.is_some());
        if let Some((ghost_id, spawn_tick)) = self.on_wire {
            out.write_packed(ghost_id);
            out.write_tick(spawn_tick);
        }
    }

    fn decode(input: &mut BitReader<'_>) -> Result<Self, DecodeError> {
        let on_wire = if input.read_bool()? { Some((input.read_packed()?, input.read_tick()?)) } else { None };
        Ok(Self { entity: None, on_wire })
    }

    fn map_ghosts(&mut self, mapping: &GhostMapping<'_>) {
        match &mapping.0 {
            Way::Sending(identity_of) => self.on_wire = self.entity.and_then(identity_of),
            Way::Received(world) => {
                // The identity has done its duty, and must not be sent on by mistake.
                self.entity =
                    self.on_wire.take().and_then(|(ghost_id, spawn_tick)| resolve(world, ghost_id, spawn_tick));
            }
        }
    }
}
