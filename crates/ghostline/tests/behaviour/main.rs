//! What ghostline promises, chapter by chapter, on the testkit's virtual time.

mod common;
mod connection;
mod embedded;
mod ghosts;
mod readme;
mod tidy;
