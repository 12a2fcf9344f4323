//! A game that stands still while it is connected, because its window lost the focus or its machine slept: its peers give it up.
//! Told the length of every frame; says so once per world.

use bevy_ecs::prelude::{Resource, World};
use std::time::Duration;

use super::lifecycle::live_connections;
use crate::world::kind_of;

/// How long a frame of a connected world may take before an error says that the game must not stand still. A resource of network worlds;
/// insert it with `None` to hear nothing.
///
/// Default: 5 s, half of the default time after which a silent peer is given up
/// ([`disconnect_timeout_ms`](crate::transport::DriverSettings::disconnect_timeout_ms)).
#[derive(Resource, Clone, Copy, PartialEq, Eq, Debug)]
pub struct PauseWarning {
    /// A frame this long, or longer, is reported, once per world; `None`: never.
    pub after: Option<Duration>,
}

impl Default for PauseWarning {
    fn default() -> Self {
        Self { after: Some(Duration::from_secs(5)) }
    }
}

/// This world has had its report.
#[derive(Resource)]
struct PauseReported;

/// Looks at the time since the frame before.
pub(crate) fn watch_pauses(world: &mut World, dt: Duration) {
    let limit = world.get_resource::<PauseWarning>().copied().unwrap_or_default().after;
    let is_pause = limit.is_some_and(|limit| dt >= limit);
    if !is_pause || world.contains_resource::<PauseReported>() || live_connections(world).next().is_none() {
        return;
    }
    world.insert_resource(PauseReported);
    tracing::error!(
        "this {:?} world stood still for {dt:?} while it was connected; its peers soon take it for dead. Let the game run in the background \
         (or disconnect before it pauses); `PauseWarning` says after how long this is reported",
        kind_of(world)
    );
}
