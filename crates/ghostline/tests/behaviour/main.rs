//! What ghostline promises, chapter by chapter, on the testkit's virtual time.

mod approval;
mod commands;
mod common;
mod connection;
mod cycles;
mod determinism;
mod dice;
mod embedded;
mod examples;
mod ghosts;
mod interpolation;
mod parts;
mod prediction;
mod presses;
mod protocol;
mod race;
mod readme;
mod rpc;
mod session;
mod snapshot_model;
mod snapshots;
mod tidy;
mod time;
mod worlds;
