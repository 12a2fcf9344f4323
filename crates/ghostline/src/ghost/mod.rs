//! Ghosts: what is replicated, how its fields become lanes, and who a ghost is.

mod blend;
#[cfg(feature = "server")]
mod columns;
mod component;
mod field;
mod identity;
mod owner;
mod prefab;
mod registry;
#[cfg(feature = "server")]
mod track;
mod vtable;
#[cfg(feature = "client")]
mod writer;

#[cfg(feature = "server")]
pub(crate) use columns::ColumnCollector;
pub use component::GhostComponent;
pub use field::GhostField;
#[cfg(feature = "server")]
pub(crate) use identity::GhostChanges;
#[cfg(feature = "client")]
pub(crate) use identity::LostGhosts;
pub(crate) use identity::Slot;
pub use identity::{GhostInstance, SpawnedGhostEntityMap};
pub use owner::{AutoCommandTarget, GhostOwner, GhostOwnerIsLocal};
pub use prefab::{GhostMode, GhostOptimizationMode, GhostPrefab};
#[cfg(feature = "client")]
pub(crate) use registry::insert_ghost_components;
pub use registry::{GhostAppExt, GhostError, GhostRegistry, SpawnGhostExt};
pub(crate) use registry::{GhostType, columns_of};
#[cfg(feature = "server")]
pub use track::{assign_ids, note_vanished};
#[cfg(feature = "client")]
pub(crate) use writer::ColumnWriter;
