//! Ghosts: what is replicated, and how its fields become lanes.

mod component;
mod field;

pub use component::GhostComponent;
pub use field::GhostField;
