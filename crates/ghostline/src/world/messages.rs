//! Bevy's messages in a world of ghostline's: updated once per simulation pass, with what systems say by them to the runner.

use bevy_app::AppExit;
use bevy_ecs::change_detection::Tick;
use bevy_ecs::message::{MessageRegistry, Messages};
use bevy_ecs::prelude::{Resource, World};

use super::taken::with_taken;

/// In an embedded main world Bevy itself updates messages, once per frame.
#[derive(Resource)]
struct BevyUpdatesMessages;

/// Leaves the update of messages to Bevy, which runs this world's own schedules.
#[cfg(feature = "client")]
pub(super) fn keep_bevys_message_update(world: &mut World) {
    world.insert_resource(BevyUpdatesMessages);
}

/// The exit that systems asked for in earlier passes. A frame may have more passes than a message lives.
#[derive(Resource, Default)]
pub(super) struct AskedToExit(Option<AppExit>);

/// The exit that the systems of this world have asked for; an error goes before a success.
pub(super) fn asked_exit(world: &World) -> Option<AppExit> {
    let before = world.get_resource::<AskedToExit>().and_then(|asked| asked.0.as_ref());
    let messages = world.get_resource::<Messages<AppExit>>();
    let mut cursor = messages.map(Messages::get_cursor).unwrap_or_default();
    let mut exits: Vec<&AppExit> = before.into_iter().collect();
    if let Some(messages) = messages {
        exits.extend(cursor.read(messages));
    }
    exits.iter().find(|exit| exit.is_error()).or(exits.first()).map(|&exit| exit.clone())
}

/// Bevy's message update: what was written two passes ago is dropped.
pub(crate) fn rotate_messages(world: &mut World) {
    let exit = asked_exit(world);
    if exit.is_some() {
        world.insert_resource(AskedToExit(exit));
    }
    if world.contains_resource::<BevyUpdatesMessages>() {
        return;
    }
    if !world.contains_resource::<MessageRegistry>() {
        return;
    }
    let rotated = world.get_resource::<MessagesRotated>().map_or(world.last_change_tick(), |rotated| rotated.0);
    with_taken(world, |world, registry: &mut MessageRegistry| registry.run_updates(world, rotated));
    let now = world.increment_change_tick();
    match world.get_resource_mut::<MessagesRotated>() {
        Some(mut rotated) => rotated.0 = now,
        None => world.insert_resource(MessagesRotated(now)),
    }
}

/// Up to where writes of messages were seen. The world's own mark moves with every frame, past what the frame wrote last.
#[derive(Resource)]
struct MessagesRotated(Tick);
