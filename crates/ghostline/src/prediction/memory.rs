//! Everything that a client's prediction remembers from frame to frame, and how it is made once the ghost types are known.

use bevy_ecs::prelude::{Entity, QueryState, Resource, World};
use ghostline_wire::NetworkTick;
use std::any::TypeId;
use std::ops::Range;

use super::compare::RowRules;
use super::components::PredictedGhost;
use super::history::{PredictedStates, PredictionSlot, StateColumn};
use super::settings::PredictionSettings;
use super::tracks::{TrackChanges, Tracks};
use super::{freeze, news, rollback, scope};
use crate::ghost::GhostRegistry;
use crate::stats::{FieldPredictionError, PredictionStats, RollbackCause};

/// A ghost type as prediction sees it.
pub(super) struct PredictedType {
    pub(super) rules: RowRules,
    /// The column of each predicted component, with its lanes in a row.
    pub(super) columns: Vec<(usize, Range<usize>)>,
    /// The columns of its components that are left to the server.
    pub(super) unpredicted: Vec<usize>,
    /// Where its components and fields begin in the statistics.
    pub(super) first_cause: usize,
    pub(super) first_error: usize,
}

/// Everything that a client world's prediction remembers from frame to frame.
#[derive(Resource, Default)]
pub(crate) struct Prediction {
    pub(super) tracks: Tracks,
    pub(super) columns: Vec<Box<dyn StateColumn>>,
    pub(super) types: Vec<PredictedType>,
    /// The full tick that the last frame ended at.
    pub(super) last_full: Option<NetworkTick>,
    /// The newest tick that was ever predicted in full.
    pub(super) newest_full: Option<NetworkTick>,
    /// Whether the last frame simulated a part of a tick after it.
    pub(super) ended_partial: bool,
    /// Ghosts that sit out, with the tick whose state they have. Empty outside the loop.
    pub(super) frozen: Vec<(NetworkTick, Entity)>,
    /// By slot: the tick whose exact state a ghost is to be given.
    pub(super) wanted: Vec<Option<NetworkTick>>,
    /// The ticks at which this frame's full steps ended.
    pub(super) step_ends: Vec<NetworkTick>,
    /// What games are shown of a ghost's prediction.
    pub(super) shown: Option<QueryState<(&'static PredictionSlot, &'static mut PredictedGhost)>>,
    pub(super) newspaper: news::Newspaper,
    pub(super) starts: Vec<scope::GroupStart>,
    pub(super) scratch: rollback::Scratch,
}

/// What a client world needs for prediction, once its ghost types are known.
pub(crate) fn prepare(world: &mut World) {
    let mut column_types: Vec<(TypeId, fn(&mut World) -> Box<dyn StateColumn>)> = Vec::new();
    let mut stats = PredictionStats::default();
    let mut types = Vec::new();
    let registry = world.get_resource_or_init::<GhostRegistry>();
    for (vtable, _) in registry.types.iter().flat_map(|ty| &ty.components).filter(|(vtable, _)| vtable.is_predicted) {
        if !column_types.iter().any(|(id, _)| *id == vtable.type_id) {
            column_types.push((vtable.type_id, vtable.new_history));
        }
    }
    for ty in &registry.types {
        let (first_cause, first_error) = (stats.causes.len(), stats.errors.len());
        let (mut columns, mut unpredicted) = (Vec::with_capacity(ty.components.len()), Vec::new());
        for (vtable, lanes) in &ty.components {
            // What is predicted on no ghost has no column.
            let Some(column) = column_types.iter().position(|(id, _)| *id == vtable.type_id) else { continue };
            if vtable.is_predicted {
                columns.push((column, lanes.clone()));
            } else {
                unpredicted.push(column);
            }
        }
        for schema in &ty.schema.components {
            stats.causes.push(RollbackCause::new(&ty.schema.name, &schema.name));
            let fields = schema.fields.iter();
            stats
                .errors
                .extend(fields.map(|field| FieldPredictionError::new(&ty.schema.name, &schema.name, &field.name)));
        }
        let is_predicted = |index: usize| ty.components.get(index).is_none_or(|(vtable, _)| vtable.is_predicted);
        let rules = RowRules::new(&ty.schema.components, is_predicted);
        types.push(PredictedType { rules, columns, unpredicted, first_cause, first_error });
    }
    for (id, new_column) in world.remove_resource::<PredictedStates>().unwrap_or_default().columns {
        if !column_types.iter().any(|(known, _)| *known == id) {
            column_types.push((id, new_column));
        }
    }
    let columns = column_types.into_iter().map(|(_, new_column)| new_column(world)).collect();
    world.insert_resource(Prediction { columns, types, ..Prediction::default() });
    world.insert_resource(stats);
    world.init_resource::<PredictionSettings>();
    world.init_resource::<TrackChanges>();
    world.add_observer(freeze::follow_parent);
}
