//! Prediction: the game's rules run ahead of the server on clients, once per tick on the server, and offline in local worlds.
//! On a client `rollback` compares what arrived with what was predicted (`compare`, `history`) and decides where each ghost starts;
//! `run_loop` simulates from there to the present, `step` by step.

mod compare;
mod components;
mod freeze;
mod history;
mod news;
mod rollback;
mod run_loop;
mod scope;
mod settings;
mod smoothing;
mod state;
mod step;
mod switching;
mod tracks;

use bevy_ecs::prelude::{Entity, QueryState, Resource, World};
use ghostline_wire::NetworkTick;
use std::any::TypeId;
use std::ops::Range;

use crate::ghost::GhostRegistry;
use crate::stats::{FieldPredictionError, PredictionStats, RollbackCause};
use crate::world::{WorldKind, kind_of};
use compare::RowRules;
use history::{PredictedStates, PredictionSlot};
use tracks::{TrackChanges, Tracks};

pub use components::{Frozen, PredictedGhost, Simulate, first_time_predicted};
pub use history::PREDICTION_HISTORY_TICKS;
pub(crate) use history::{StateColumn, ghost_column};
pub use settings::{PredictionSettings, RollbackGroup, RollbackMode, RollbackScope};
pub use smoothing::{ErrorSmoothing, Smoothed, SmoothingAction, SmoothingAppExt, SmoothingContext, show_smoothed};
pub use state::PredictionAppExt;
pub(crate) use switching::follow_owners;

/// The prediction step of a pass.
pub fn run(world: &mut World) {
    match kind_of(world) {
        WorldKind::Client => run_loop::run(world),
        WorldKind::Server | WorldKind::Local => step::run_authoritative(world),
        WorldKind::ThinClient => {}
    }
}

/// A ghost type as prediction sees it.
struct PredictedType {
    rules: RowRules,
    /// The column of each predicted component, with its lanes in a row.
    columns: Vec<(usize, Range<usize>)>,
    /// The columns of its components that are left to the server.
    unpredicted: Vec<usize>,
    /// Where its components and fields begin in the statistics.
    first_cause: usize,
    first_error: usize,
}

/// Everything that a client world's prediction remembers from frame to frame.
#[derive(Resource, Default)]
pub(crate) struct Prediction {
    tracks: Tracks,
    columns: Vec<Box<dyn StateColumn>>,
    types: Vec<PredictedType>,
    /// The full tick that the last frame ended at.
    last_full: Option<NetworkTick>,
    /// The newest tick that was ever predicted in full.
    newest_full: Option<NetworkTick>,
    /// Whether the last frame simulated a part of a tick after it.
    ended_partial: bool,
    /// Ghosts that sit out, with the tick whose state they have. Empty outside the loop.
    frozen: Vec<(NetworkTick, Entity)>,
    /// By slot: the tick whose exact state a ghost is to be given.
    wanted: Vec<Option<NetworkTick>>,
    /// The ticks at which this frame's full steps ended.
    step_ends: Vec<NetworkTick>,
    /// What games are shown of a ghost's prediction.
    shown: Option<QueryState<(&'static PredictionSlot, &'static mut PredictedGhost)>>,
    newspaper: news::Newspaper,
    starts: Vec<scope::GroupStart>,
    scratch: rollback::Scratch,
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
