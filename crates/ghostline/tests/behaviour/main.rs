//! What ghostline promises, chapter by chapter, on the testkit's virtual time.

mod agreement;
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
mod scopes;
mod session;
mod smoothing;
mod snapshots;
mod tidy;
mod time;
mod worlds;
