//! What ghostline promises, chapter by chapter, on the testkit's virtual time.

mod commands;
mod common;
mod connection;
mod determinism;
mod dice;
mod embedded;
mod ghosts;
mod interpolation;
mod prediction;
mod presses;
mod race;
mod readme;
mod snapshots;
mod tidy;
mod time;
mod worlds;
