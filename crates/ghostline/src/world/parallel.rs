//! The worlds of one stage on several threads. They share nothing but the in-process network, which changes only when it delivers, between
//! the stages: so the bytes are those of a serial run, whatever the number of threads and whoever is faster.

use std::time::Duration;
use tracing::dispatcher;

use super::net_world::NetWorld;

/// Runs a frame of each world, on up to `threads` threads, the caller's among them.
pub(super) fn run_in_parallel(mut worlds: Vec<&mut NetWorld>, threads: usize, now: Duration, dt: Duration) {
    let share = worlds.len().div_ceil(threads.max(1)).max(1);
    let run = |worlds: &mut [&mut NetWorld]| {
        for world in worlds {
            world.run_frame_of_process(now, dt);
        }
    };
    let mut shares = worlds.chunks_mut(share);
    let Some(own) = shares.next() else { return };
    // What is logged goes where the caller's lines go.
    let log = dispatcher::get_default(Clone::clone);
    let (run, log) = (&run, &log);
    std::thread::scope(|scope| {
        for share in shares {
            scope.spawn(move || dispatcher::with_default(log, || run(share)));
        }
        run(own);
    });
}
