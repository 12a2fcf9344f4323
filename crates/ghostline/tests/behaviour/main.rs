//! What ghostline promises, chapter by chapter, on the testkit's virtual time.

mod approval;
mod common;
mod connection;
mod cycles;
mod embedded;
mod ghosts;
mod parts;
mod prediction;
mod protocol;
mod race;
mod readme;
mod rpc;
mod session;
mod tidy;
