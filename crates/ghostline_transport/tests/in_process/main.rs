//! What the in-process driver promises, seen from outside: one test binary, one file per subject.
//! Virtual time and explicit delivery throughout; nothing here waits or measures.

mod bounds;
mod closing;
mod connecting;
mod harness;
mod instruments;
mod links;
mod links_harness;
mod links_in_order;
mod links_repeat;
mod messages;
mod order_of_worlds;
mod properties;
