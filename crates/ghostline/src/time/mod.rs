//! The time model: tick rates, the loops that turn frames into ticks, and clock synchronisation.
