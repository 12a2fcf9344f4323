//! Commands: what players ask for, tick by tick.
