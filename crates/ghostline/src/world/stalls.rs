//! Worlds whose application stopped ticking for a while: what they remember of it, and what is said about it in the log.

use bevy_ecs::prelude::World;
use std::time::Duration;

use super::frame::FrameClock;
use super::kind::kind_of;
use crate::connection::live_connections;
use crate::time::{Stall, StallWatchdog};

/// Takes in the length of a frame before it is run, and tells a stall that endangers the world's connections. Returns one that is worth a line in the
/// log and was not told.
pub(super) fn note_stall(world: &mut World, now: Duration, dt: Duration) -> Option<Stall> {
    let alarms = is_alarming(world, dt);
    let mut watchdog = world.resource_mut::<StallWatchdog>();
    let stall = watchdog.note_frame(now, dt);
    let logs = watchdog.logs;
    if alarms {
        watchdog.note_alarm();
        tracing::error!(
            "the application stopped ticking for {:.1} s while this {:?} world was connected; its peers soon take it for dead. Let the game run in \
             the background (or disconnect before it pauses); `StallWatchdog::alarm_after` says after how long this is an error",
            dt.as_secs_f64(),
            kind_of(world)
        );
    }
    world.resource_mut::<FrameClock>().is_after_stall = stall.is_some_and(|stall| stall.is_sudden);
    stall.filter(|stall| stall.is_news && logs && !alarms)
}

/// Whether this world tells a stall of this length by itself.
pub(super) fn is_alarming(world: &World, length: Duration) -> bool {
    world.resource::<StallWatchdog>().would_alarm(length)
        && kind_of(world).is_network()
        && live_connections(world).next().is_some()
}

/// Says that the application, or one of its worlds, stopped ticking.
pub(super) fn warn_of_stall(stall: Stall, world: Option<&str>) {
    let seconds = stall.length.as_secs_f64();
    let text = format!(
        "the application stopped ticking for {seconds:.1} s: ticks that are missing are made up for within the limits of the tick rate, \
         and nothing was sent or received meanwhile"
    );
    match world {
        Some(world) => tracing::warn!(world, "{text}"),
        None => tracing::warn!("{text}"),
    }
}
