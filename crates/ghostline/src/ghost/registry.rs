//! The ghost types that a program knows, and spawning ghosts of them.

use bevy_app::App;
use bevy_ecs::prelude::{Bundle, Commands, Component, Entity, Resource, World};
use bevy_ecs::world::EntityWorldMut;
use bevy_platform::collections::HashMap;
use ghostline_wire::{ComponentSchema, GhostSchema, RowLayout, Smoothing, limits};
use std::any::TypeId;
use std::ops::Range;
use thiserror::Error;

use super::identity::GhostInstance;
use super::owner::{AutoCommandTarget, GhostOwner};
#[cfg(feature = "client")]
use super::prefab::GhostMode;
use super::prefab::{GhostOptimizationMode, GhostPrefab};
use super::vtable::ComponentVtable;
#[cfg(feature = "client")]
use super::vtable::ReceiveReplicated;
use crate::world::{WorldKind, kind_of};

/// One registered ghost type.
pub(crate) struct GhostType {
    pub prefab: GhostPrefab,
    pub schema: GhostSchema,
    pub layout: RowLayout,
    /// The components with their lanes in a row. An owner, if there is one, comes first.
    pub components: Vec<(ComponentVtable, Range<usize>)>,
    /// What takes in the replicated inputs, with their lanes.
    #[cfg(feature = "client")]
    pub replicated_inputs: Vec<(ReceiveReplicated, Range<usize>)>,
    pub insert_marker: fn(&mut EntityWorldMut<'_>),
}

impl GhostType {
    /// The lane of the owner's number.
    #[cfg(feature = "client")]
    pub(crate) fn owner_lane(&self) -> Option<usize> {
        self.prefab.has_owner.then_some(0)
    }

    /// Whether a client that predicts such a ghost leaves some of its components to the server.
    #[cfg(feature = "client")]
    pub(crate) fn has_unpredicted_components(&self) -> bool {
        self.components.iter().any(|(vtable, _)| !vtable.is_predicted)
    }

    /// Whether clients go on showing motion after the newest row.
    pub(crate) fn extrapolates(&self) -> bool {
        let mut fields = self.schema.components.iter().flat_map(|component| &component.fields);
        self.prefab.optimization_mode == GhostOptimizationMode::Dynamic
            && fields.any(|field| field.smoothing == Smoothing::InterpolateAndExtrapolate)
    }

    /// Whether a client predicts a ghost of this type whose owner has this number.
    #[cfg(feature = "client")]
    pub(crate) fn is_predicted(&self, is_own: bool) -> bool {
        match self.prefab.mode {
            GhostMode::Interpolated => false,
            GhostMode::Predicted => true,
            GhostMode::OwnerPredicted => is_own,
        }
    }
}

/// The ghost types of a world, in the order in which they were registered.
#[derive(Resource, Default)]
pub struct GhostRegistry {
    pub(crate) types: Vec<GhostType>,
    by_marker: HashMap<TypeId, u16>,
}

/// Why a ghost type could not be registered, or a ghost not be spawned.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum GhostError {
    /// Names are identities.
    #[error(
        "a ghost type named `{0}` is registered already; give each type a name of its own, and register each marker once"
    )]
    Duplicate(String),
    /// A row must fit.
    #[error("ghost type `{name}` has {lanes} lanes, more than {limit}; replicate less, or split it")]
    TooManyLanes {
        /// The type.
        name: String,
        /// Its lanes.
        lanes: usize,
        /// The bound.
        limit: usize,
    },
    /// The same component twice.
    #[error("ghost type `{name}` has the component `{component}` twice")]
    DuplicateComponent {
        /// The type.
        name: String,
        /// The component.
        component: String,
    },
    /// More types than the wire can name.
    #[error("more than {0} ghost types")]
    TooManyTypes(usize),
    /// `spawn_ghost` of a marker that was never registered.
    #[error("`{0}` is no registered ghost type; call `register_ghost` for it on every side")]
    NotRegistered(&'static str),
}

impl GhostRegistry {
    fn register(
        &mut self,
        marker: TypeId,
        prefab: GhostPrefab,
        insert_marker: fn(&mut EntityWorldMut<'_>),
    ) -> Result<(), GhostError> {
        let name = prefab.name.clone();
        if self.by_marker.contains_key(&marker) || self.types.iter().any(|known| known.prefab.name == name) {
            return Err(GhostError::Duplicate(name));
        }
        if self.types.len() >= limits::MAX_PREFABS as usize {
            return Err(GhostError::TooManyTypes(limits::MAX_PREFABS as usize));
        }
        // Whose a ghost is, the server alone decides.
        let owner = prefab.has_owner.then(ComponentVtable::unpredicted::<GhostOwner>);
        let replicated = prefab.inputs.iter().filter_map(|input| input.replicated.clone());
        let vtables: Vec<ComponentVtable> =
            owner.into_iter().chain(prefab.components.iter().cloned()).chain(replicated).collect();
        let schemas: Vec<ComponentSchema> = vtables.iter().map(|vtable| (vtable.schema)()).collect();
        for (index, schema) in schemas.iter().enumerate() {
            if schemas[..index].iter().any(|other| other.name == schema.name) {
                return Err(GhostError::DuplicateComponent { name, component: schema.name.clone() });
            }
        }
        let layout = RowLayout::new(&schemas);
        if layout.lanes() > limits::MAX_ROW_LANES {
            return Err(GhostError::TooManyLanes { name, lanes: layout.lanes(), limit: limits::MAX_ROW_LANES });
        }
        let mut first = 0;
        let components: Vec<(ComponentVtable, Range<usize>)> = vtables
            .into_iter()
            .map(|vtable| {
                let range = first..first + vtable.lanes;
                first = range.end;
                (vtable, range)
            })
            .collect();
        if !prefab.inputs.is_empty() && !prefab.has_owner {
            tracing::warn!(
                "ghost type `{name}` has the input `{}` but no owner: nobody's input can reach it. Add `.owner_predicted()` or `.owned()`",
                prefab.inputs.iter().map(|input| (input.name)()).collect::<Vec<_>>().join("`, `")
            );
        }
        #[cfg(feature = "client")]
        let replicated_inputs = replicated_inputs(&prefab, &components);
        let schema = GhostSchema { name, options: prefab.options_text(), components: schemas };
        let index = self.types.len() as u16;
        self.types.push(GhostType {
            #[cfg(feature = "client")]
            replicated_inputs,
            prefab,
            schema,
            layout,
            components,
            insert_marker,
        });
        self.by_marker.insert(marker, index);
        Ok(())
    }

    /// The index of the type with this marker.
    pub(crate) fn index_of<T: 'static>(&self) -> Option<u16> {
        self.by_marker.get(&TypeId::of::<T>()).copied()
    }

    /// One type.
    pub(crate) fn get(&self, index: u16) -> Option<&GhostType> {
        self.types.get(usize::from(index))
    }

    /// The hashes of all component schemas in use, for the handshake.
    pub(crate) fn component_hashes(&self) -> Vec<u64> {
        let mut hashes: Vec<u64> =
            self.types.iter().flat_map(|ty| ty.schema.components.iter().map(ComponentSchema::hash)).collect();
        hashes.sort_unstable();
        hashes.dedup();
        hashes
    }

    /// One line per component schema, for the log of a version mismatch.
    pub(crate) fn describe(&self) -> Vec<String> {
        let mut lines: Vec<String> = self
            .types
            .iter()
            .flat_map(|ty| &ty.schema.components)
            .map(|component| format!("component {:016x} {}", component.hash(), component.canonical_text()))
            .collect();
        lines.sort();
        lines.dedup();
        lines
    }
}

/// What takes in the replicated inputs of a type, whose lanes are the last.
#[cfg(feature = "client")]
fn replicated_inputs(
    prefab: &GhostPrefab,
    components: &[(ComponentVtable, Range<usize>)],
) -> Vec<(ReceiveReplicated, Range<usize>)> {
    let receivers = prefab.inputs.iter().filter(|input| input.replicated.is_some());
    let lanes = components.iter().skip(components.len() - receivers.clone().count());
    receivers.zip(lanes).map(|(input, (_, lanes))| (input.receive_replicated, lanes.clone())).collect()
}

/// Every component of all ghost types, and by ghost type its first lane in the type's rows.
pub(crate) fn columns_of(registry: &GhostRegistry) -> Vec<(ComponentVtable, Vec<Option<usize>>)> {
    let mut columns: Vec<(ComponentVtable, Vec<Option<usize>>)> = Vec::new();
    for (index, ty) in registry.types.iter().enumerate() {
        for (vtable, lanes) in &ty.components {
            let position = columns.iter().position(|(known, _)| known.type_id == vtable.type_id).unwrap_or_else(|| {
                columns.push((vtable.clone(), vec![None; registry.types.len()]));
                columns.len() - 1
            });
            columns[position].1[index] = Some(lanes.start);
        }
    }
    columns
}

/// Registering ghost types.
pub trait GhostAppExt {
    /// Makes ghosts with the marker component `T` known, on every side alike, while plugins are built. A mistake is logged as an error.
    fn register_ghost<T: Component + Default>(&mut self, prefab: GhostPrefab) -> &mut Self;

    /// Like [`register_ghost`](Self::register_ghost), with the mistake as a value.
    ///
    /// # Errors
    /// A name or marker that is known already, too many types, too many lanes.
    fn try_register_ghost<T: Component + Default>(&mut self, prefab: GhostPrefab) -> Result<(), GhostError>;
}

impl GhostAppExt for App {
    fn register_ghost<T: Component + Default>(&mut self, prefab: GhostPrefab) -> &mut Self {
        if let Err(error) = self.try_register_ghost::<T>(prefab) {
            tracing::error!("{error}");
        }
        self
    }

    fn try_register_ghost<T: Component + Default>(&mut self, prefab: GhostPrefab) -> Result<(), GhostError> {
        let world = self.world_mut();
        let inputs: Vec<fn(&mut World)> = prefab.inputs.iter().map(|input| input.register).collect();
        world.get_resource_or_init::<GhostRegistry>().register(TypeId::of::<T>(), prefab, |entity| {
            if !entity.contains::<T>() {
                entity.insert(T::default());
            }
        })?;
        for register in inputs {
            register(world);
        }
        Ok(())
    }
}

/// Spawning ghosts.
pub trait SpawnGhostExt {
    /// Spawns a ghost of the type with marker `T`: `bundle`, and the default of every component that the type has and the bundle lacks.
    ///
    /// On a server it is replicated from the next tick on. On a client ghosts come from the server: there this logs an error and
    /// returns an entity without components.
    fn spawn_ghost<T: Component + Default>(&mut self, bundle: impl Bundle) -> Entity;
}

impl SpawnGhostExt for World {
    fn spawn_ghost<T: Component + Default>(&mut self, bundle: impl Bundle) -> Entity {
        let entity = self.spawn_empty().id();
        fill_ghost::<T>(self, entity, bundle);
        entity
    }
}

impl SpawnGhostExt for Commands<'_, '_> {
    fn spawn_ghost<T: Component + Default>(&mut self, bundle: impl Bundle) -> Entity {
        let entity = self.spawn_empty().id();
        self.queue(move |world: &mut World| fill_ghost::<T>(world, entity, bundle));
        entity
    }
}

fn fill_ghost<T: Component + Default>(world: &mut World, entity: Entity, bundle: impl Bundle) {
    let kind = kind_of(world);
    if kind.is_client() {
        tracing::error!("ghosts are spawned by the server; a client can't spawn `{}`", std::any::type_name::<T>());
        return;
    }
    let Some(index) = world.get_resource::<GhostRegistry>().and_then(|registry| registry.index_of::<T>()) else {
        tracing::error!("{}", GhostError::NotRegistered(std::any::type_name::<T>()));
        return;
    };
    let Ok(mut entity) = world.get_entity_mut(entity) else { return };
    entity.insert(bundle);
    insert_ghost_components(&mut entity, index, kind);
    entity.insert(GhostInstance::unassigned(index));
}

/// Inserts what a ghost of this type has in a world of this kind, except its [`GhostInstance`]. The marker comes last, so that an
/// observer of it sees the whole ghost.
pub(crate) fn insert_ghost_components(entity: &mut EntityWorldMut<'_>, ghost_type: u16, kind: WorldKind) {
    let Some((defaults, inputs, marker, auto_target, has_owner)) = entity.world_scope(|world| {
        let ty = world.resource::<GhostRegistry>().get(ghost_type)?;
        let defaults: Vec<_> = ty.components.iter().map(|(vtable, _)| vtable.insert_default).collect();
        let inputs: Vec<_> = ty.prefab.inputs.iter().map(|input| input.insert).collect();
        Some((defaults, inputs, ty.insert_marker, ty.prefab.auto_command_target, ty.prefab.has_owner))
    }) else {
        return;
    };
    for insert in defaults.into_iter().chain(inputs) {
        insert(entity);
    }
    if has_owner && auto_target && !entity.contains::<AutoCommandTarget>() {
        entity.insert(AutoCommandTarget::default());
    }
    if kind == WorldKind::Server && !entity.contains::<crate::prediction::PredictedGhost>() {
        entity.insert(crate::prediction::PredictedGhost::default());
    }
    marker(entity);
}
