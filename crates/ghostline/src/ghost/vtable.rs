//! The typed operations on a ghost's components, as plain function pointers: what lets the snapshot code work on lanes
//! without knowing any component's type.

use bevy_ecs::prelude::{Component, World};
use bevy_ecs::world::EntityWorldMut;
use ghostline_wire::ComponentSchema;

#[cfg(feature = "server")]
use super::columns::{Column, ColumnCollector};
use super::component::GhostComponent;
#[cfg(feature = "client")]
use super::writer::{ColumnWriter, Writer};
use crate::command::{self, InputComponentData};
#[cfg(feature = "client")]
use crate::prediction::{StateColumn, ghost_column};

/// The operations on one replicated component.
#[derive(Clone)]
pub(crate) struct ComponentVtable {
    pub schema: fn() -> ComponentSchema,
    pub lanes: usize,
    /// Whether clients predict the component on ghosts that they predict; if not, they show what the server said last.
    #[cfg(feature = "client")]
    pub is_predicted: bool,
    /// Identity of the component type, to share one column among ghost types.
    pub type_id: std::any::TypeId,
    #[cfg(feature = "server")]
    pub new_column: fn(&mut World) -> Box<dyn ColumnCollector>,
    #[cfg(feature = "client")]
    pub new_writer: fn(&mut World) -> Box<dyn ColumnWriter>,
    /// The component's exact values over time, for prediction.
    #[cfg(feature = "client")]
    pub new_history: fn(&mut World) -> Box<dyn StateColumn>,
    /// Inserts the default value if the entity lacks the component.
    pub insert_default: fn(&mut EntityWorldMut<'_>),
    /// Takes the ghost fields from a row, touching the component only if its value differs.
    #[cfg(feature = "client")]
    pub read_lanes: fn(&mut EntityWorldMut<'_>, &[u32]),
    /// Shows a blend of two rows, touching the component only if its value differs.
    #[cfg(feature = "client")]
    pub blend: fn(&mut EntityWorldMut<'_>, &[u32], &[u32], f32),
}

impl ComponentVtable {
    /// A component that no client predicts.
    pub(crate) fn unpredicted<C: GhostComponent + PartialEq>() -> Self {
        Self {
            #[cfg(feature = "client")]
            is_predicted: false,
            ..Self::of::<C>()
        }
    }

    pub(crate) fn of<C: GhostComponent + PartialEq>() -> Self {
        Self {
            schema: C::schema,
            lanes: C::LANES,
            #[cfg(feature = "client")]
            is_predicted: true,
            type_id: std::any::TypeId::of::<C>(),
            #[cfg(feature = "server")]
            new_column: |world| Box::new(Column::<C>::new(world)),
            #[cfg(feature = "client")]
            new_writer: |world| Box::new(Writer::<C>::new(world)),
            #[cfg(feature = "client")]
            new_history: ghost_column::<C>,
            insert_default: |entity| {
                if !entity.contains::<C>() {
                    entity.insert(C::default());
                }
            },
            #[cfg(feature = "client")]
            read_lanes: |entity, lanes| change::<C>(entity, |component| component.read_lanes(lanes)),
            #[cfg(feature = "client")]
            blend: |entity, from, to, factor| change::<C>(entity, |component| component.blend(from, to, factor)),
        }
    }
}

/// Changes a component through a copy, so that change detection sees only real changes.
#[cfg(feature = "client")]
fn change<C: GhostComponent + PartialEq>(entity: &mut EntityWorldMut<'_>, edit: impl FnOnce(&mut C)) {
    let Some(current) = entity.get::<C>() else { return };
    let mut edited = current.clone();
    edit(&mut edited);
    if edited != *current
        && let Some(mut component) = entity.get_mut::<C>()
    {
        *component = edited;
    }
}

/// The operations on one input component of a ghost type.
#[derive(Clone)]
pub(crate) struct InputVtable {
    /// Makes the input's commands known to a world.
    pub register: fn(&mut World),
    /// Inserts the input component and its hidden command buffer.
    pub insert: fn(&mut EntityWorldMut<'_>),
    pub name: fn() -> String,
    /// The hidden component with what others need of it, if any field is replicated.
    pub replicated: Option<ComponentVtable>,
    /// Client: takes in what that component was after a tick. True if prediction did not expect it.
    #[cfg(feature = "client")]
    pub receive_replicated: ReceiveReplicated,
}

/// See [`InputVtable::receive_replicated`].
#[cfg(feature = "client")]
pub(crate) type ReceiveReplicated = fn(&mut EntityWorldMut<'_>, ghostline_wire::NetworkTick, &[u32]) -> bool;

impl InputVtable {
    pub(crate) fn of<I: InputComponentData + Component>() -> Self {
        Self {
            register: command::register_input::<I>,
            insert: |entity| {
                if !entity.contains::<I>() {
                    entity.insert(I::default());
                }
                if !entity.contains::<command::CommandBuffer<I>>() {
                    entity.insert(command::CommandBuffer::<I>::default());
                }
            },
            name: || I::schema().name,
            replicated: (I::GHOST_LANES > 0).then(ComponentVtable::unpredicted::<command::ReplicatedInput<I>>),
            #[cfg(feature = "client")]
            receive_replicated: command::receive_replicated::<I>,
        }
    }
}
