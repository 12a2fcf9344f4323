//! What runs in a world, and in which order: the tables of `schedule.rs` with the game's systems in their places.
//! For the log of a game that wonders why a system does not run, and for tests.

use bevy_ecs::prelude::World;
use bevy_ecs::schedule::{InternedScheduleLabel, Schedule, Schedules};
use std::fmt::Write as _;

use super::kind::{WorldKind, kind_of};
use crate::schedule::{FRAME_END, FRAME_START, PREDICTED_STEP, SIMULATION_PASS, Step, label_in};
use crate::time::NetworkTime;

/// What runs in a world, in order: one line per step, and one per system of the game in a schedule.
///
/// Before a world's first frame a schedule has no order yet; [`build_schedules`] gives it one. Systems have names only with the cargo
/// feature `debug_names`.
///
/// ```
/// # use ghostline::prelude::*;
/// # use ghostline::world::{build_schedules, describe_frame};
/// # fn game(_: &mut bevy_app::App) {}
/// let mut worlds = ClientServerBootstrap::new(game).build().unwrap();
/// for world in worlds.iter_mut() {
///     build_schedules(world.world_mut());
///     println!("{} ({:?})\n{}", world.name(), world.kind(), describe_frame(world.world()));
/// }
/// ```
pub fn describe_frame(world: &World) -> String {
    let mut text = String::new();
    for (title, steps) in [("frame start", FRAME_START), ("simulation pass", SIMULATION_PASS), ("frame end", FRAME_END)]
    {
        line(&mut text, 0, title);
        describe_steps(world, kind_of(world), steps, 1, &mut text);
    }
    text
}

/// Puts every schedule of ghostline's in this world into its final order, as its first run would. What is wrong with a schedule is logged.
pub fn build_schedules(world: &mut World) {
    let kind = kind_of(world);
    let labels: Vec<InternedScheduleLabel> = [FRAME_START, SIMULATION_PASS, PREDICTED_STEP, FRAME_END]
        .into_iter()
        .flatten()
        .filter_map(|step| match *step {
            Step::Game { label, .. } => Some(label_in(kind, label())),
            Step::Library { .. } => None,
        })
        .collect();
    for label in labels {
        // A schedule that isn't there is no mistake: nobody put anything into it.
        let _ = world.try_schedule_scope(label, |world, schedule| {
            if let Err(error) = schedule.initialize(world) {
                tracing::error!("schedule {label:?} can't be put into order: {error:?}");
            }
        });
    }
}

fn describe_steps(world: &World, kind: WorldKind, steps: &[Step], depth: usize, text: &mut String) {
    for step in steps {
        match *step {
            Step::Game { label, worlds } if worlds.contains(kind.flag()) => {
                let label = label();
                let schedules = world.get_resource::<Schedules>();
                let schedule = schedules.and_then(|schedules| schedules.get(label_in(kind, label)));
                let systems = schedule.map_or(0, |schedule| schedule.graph().systems.len());
                if systems > 0 || !kind.is_thin_client() {
                    line(text, depth, &format!("schedule {label:?}: {systems} systems"));
                }
                if let Some(schedule) = schedule.filter(|_| names_are_compiled_in(world)) {
                    names(schedule).iter().for_each(|name| line(text, depth + 1, name));
                }
            }
            Step::Library { name, worlds, inside, .. } if worlds.contains(kind.flag()) => {
                line(text, depth, &format!("library: {name}"));
                describe_steps(world, kind, inside, depth + 1, text);
            }
            _ => {}
        }
    }
}

/// The systems of a schedule in the order in which they run; nothing if that is not settled yet.
fn names(schedule: &Schedule) -> Vec<String> {
    schedule.systems().map(|systems| systems.map(|(_, system)| system.name().to_string()).collect()).unwrap_or_default()
}

/// Bevy drops the names of all types unless it was built with its feature `debug`: then they are one and the same text.
fn names_are_compiled_in(world: &World) -> bool {
    let name = |id| world.components().get_name(id).map(|name| name.to_string());
    let kind = world.component_id::<WorldKind>().and_then(name);
    kind != world.component_id::<NetworkTime>().and_then(name)
}

fn line(text: &mut String, depth: usize, content: &str) {
    let written = writeln!(text, "{:indent$}{content}", "", indent = 2 * depth);
    debug_assert!(written.is_ok(), "writing to a string succeeds");
}
