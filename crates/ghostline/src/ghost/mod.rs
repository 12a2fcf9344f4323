//! Ghosts: what is replicated, and how its fields become lanes.
