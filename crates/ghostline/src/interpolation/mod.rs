//! Interpolation: what a ghost shows at a point in time between the rows that a client holds.

mod sample;

pub(crate) use sample::{Sample, SampleTime, sample};
