//! What ghostline promises, chapter by chapter, on the testkit's virtual time.

mod common;
mod connection;
mod embedded;
mod ghosts;
mod prediction;
mod race;
mod readme;
mod tidy;
