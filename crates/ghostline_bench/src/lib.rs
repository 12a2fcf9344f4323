//! Workloads and measurements of ghostline: whole worlds (`common`), prediction (`prediction`), hundreds of thin clients in one process (`thin`), and the
//! snapshot codec below the ECS (`cubes`, `asteroids`, and `keys` with many clients on links of their own).
//! The program prints one line of JSON per run; the Criterion benches use the same workloads.

pub mod asteroids;
pub mod codec;
pub mod common;
pub mod crowd;
pub mod cubes;
pub mod keys;
pub mod link;
pub mod measure;
pub mod motion;
pub mod prediction;
pub mod probe;
pub mod replay;
pub mod report;
pub mod thin;

/// Allocations are counted in everything that links this crate.
#[global_allocator]
static ALLOCATOR: measure::CountingAllocator = measure::CountingAllocator;
