//! What the network simulator promises, seen from outside: one test binary, one file per subject.
//! Fixed seeds and virtual time throughout; nothing here waits, measures or can come out differently.

mod harness;
mod order;
mod properties;
mod statistics;
