//! Ghosts: what is replicated, how its fields become lanes, and who a ghost is.

mod columns;
mod component;
mod field;
mod identity;
mod owner;
mod prefab;
mod registry;
mod track;
mod vtable;
mod writer;

pub(crate) use columns::ColumnCollector;
pub use component::GhostComponent;
pub use field::GhostField;
pub(crate) use identity::{GhostChanges, LostGhosts, Slot};
pub use identity::{GhostInstance, SpawnedGhostEntityMap};
pub use owner::{AutoCommandTarget, GhostOwner, GhostOwnerIsLocal};
pub use prefab::{GhostMode, GhostOptimizationMode, GhostPrefab};
pub use registry::{GhostAppExt, GhostError, GhostRegistry, SpawnGhostExt};
pub(crate) use registry::{GhostType, columns_of, insert_ghost_components};
pub use track::{assign_ids, note_vanished};
pub(crate) use writer::ColumnWriter;
