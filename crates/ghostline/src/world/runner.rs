//! The stand-alone runner: the one place where ghostline reads a wall clock and sleeps. What it does when is decided by `time::FramePacer`.

use bevy_app::AppExit;
use std::time::{Duration, Instant};

use super::exit_signal::ExitSignal;
use super::worlds::Worlds;
use crate::time::FramePacer;

/// Runs the worlds in real time until one of them writes an `AppExit`, or Ctrl-C; both times the other sides of all connections are told.
///
/// Between frames it sleeps, so that each has one tick of the server, or goes on at once: as
/// [`ClientServerTickRate::target_frame_rate_mode`](crate::time::ClientServerTickRate::target_frame_rate_mode) says.
pub fn run_in_real_time(mut worlds: Worlds) -> AppExit {
    let exit_signal = ExitSignal::watch();
    let start = Instant::now();
    let mut pacer = FramePacer::new();
    loop {
        let demand = worlds.frame_demand();
        let wait = pacer.wait(start.elapsed(), demand);
        if !wait.is_zero() {
            std::thread::sleep(wait);
        }
        let is_first = worlds.now() == Duration::ZERO;
        let dt = pacer.begin_frame(start.elapsed());
        worlds.run_frame(dt);
        if let Some(exit) = worlds.should_exit() {
            return exit;
        }
        if exit_signal.is_set() {
            tracing::info!("asked to end: the other sides are told, and the worlds go");
            return AppExit::Success;
        }
        // The first frame has no length, and so no tick.
        if let Some(warning) =
            worlds.ticks_of_last_frame().filter(|_| !is_first).and_then(|ticks| pacer.note_ticks(ticks, demand))
        {
            tracing::warn!(
                "in the last {:?}, {} of {} frames of the server did not have exactly one tick: this machine doesn't wake a sleeping process \
                 in time, or frames take too long. Make ticks cheaper, lower the tick rate, or set `target_frame_rate_mode` to `BusyWait`",
                FramePacer::WARNING_WINDOW,
                warning.uneven,
                warning.frames
            );
        }
    }
}
