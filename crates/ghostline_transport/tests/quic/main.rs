//! What the QUIC driver promises, seen from outside: one test binary, one file per subject.
//! Virtual time and a network in memory, except for a few tests over real UDP with bounded waits.

#![cfg(feature = "quic")]

mod bounds;
mod closing;
mod connecting;
mod harness;
mod hostile;
mod messages;
mod names;
mod repeat;
mod roaming;
mod timeouts;
mod trust;
mod udp;
