//! The time model: tick rates, the loops that turn frames into ticks, and clock synchronisation.
//! Plain state machines over `(now, dt)`: nothing here knows a world or reads a clock; the schedule runner feeds them and
//! writes what they return into the resources [`NetworkTime`] and [`UnscaledClientTime`].
//!
//! A server frame goes `dt` → [`ServerLoop::advance`] → steps → [`ServerLoop::apply_step`] → [`NetworkTime`].
//! A client frame goes acknowledgement bookkeeping ([`RttEstimator`], [`LocalClock`]) → [`TimeSync::update`] → targets →
//! [`ClientLoop::advance`] → [`NetworkTime`].

mod client_loop;
mod client_tick_rate;
mod clock;
mod network_time;
mod pacer;
mod replicate;
mod rtt;
mod server_loop;
mod stall;
mod step;
mod sync;
mod tick_point;
mod tick_rate;

#[cfg(test)]
mod tests;

pub use client_loop::{ClientFrame, ClientFrameInput, ClientLoop, TickJumpBack, in_process_frame_dt};
pub use client_tick_rate::{ClientTickRate, PredictionLoopUpdateMode};
pub use clock::LocalClock;
pub use network_time::{NetworkTime, NetworkTimeFlags, UnscaledClientTime};
pub use pacer::{FrameDemand, FramePacer, SleepWarning};
pub use replicate::ReplicateTickRate;
pub use rtt::RttEstimator;
pub use server_loop::{BatchedTicksMonitor, BatchedTicksWarning, ServerLoop, ServerStep, ServerSteps, StepTime};
pub use stall::{Stall, StallWatchdog};
pub use step::TickStep;
pub use sync::{PredictionRolledBack, TimeSync, TimeSyncInput, TimeSyncOutput, TimeSyncStatistics};
pub use tick_point::{TickPoint, TickSpan};
pub use tick_rate::{ClientServerTickRate, TargetFrameRateMode, TickRateError, max_send_rate_interval};
