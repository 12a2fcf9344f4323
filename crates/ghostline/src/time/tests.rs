//! The parts of the time model together: sessions over a simulated link, up to an hour of virtual time.

mod changes;
mod hour;
mod in_process;
mod session;
mod steady;
