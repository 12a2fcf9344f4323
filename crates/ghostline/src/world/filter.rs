//! Which system runs in which kind of world: decided once, when it is registered, so that a world's
//! schedules hold nothing that doesn't run there.

use bevy_app::{App, SubApp};
use bevy_ecs::observer::IntoObserver;
use bevy_ecs::prelude::World;
use bevy_ecs::schedule::{
    InternedScheduleLabel, IntoScheduleConfigs, ScheduleLabel, Schedules, SingleThreadedExecutor,
};
use bevy_ecs::system::ScheduleSystem;

use super::bootstrap::ScheduleExecutor;
use super::kind::{WorldFlags, WorldKind, kind_of};
use crate::schedule;

/// Registers systems and observers for some kinds of worlds only.
pub trait AddSystemsIn {
    /// Adds `systems` to `schedule` if this world is one of `worlds` and has that schedule; else does nothing.
    ///
    /// An explicit flag never brings a schedule into a world that lacks it: a system for
    /// [`Presentation`](crate::schedule::Presentation) is absent from servers whatever its flags say.
    ///
    /// ```
    /// # use ghostline::prelude::*;
    /// # use bevy_app::prelude::*;
    /// # fn spawn_players() {} fn sample_keyboard() {} fn random_input() {}
    /// fn game(app: &mut App) {
    ///     app.add_systems_in(WorldFlags::SERVER, Simulation, spawn_players)
    ///         .add_systems_in(WorldFlags::CLIENT, GhostInput, sample_keyboard)
    ///         .add_systems_in(WorldFlags::THIN_CLIENT, GhostInput, random_input);
    /// }
    /// ```
    fn add_systems_in<M>(
        &mut self,
        worlds: WorldFlags,
        schedule: impl ScheduleLabel,
        systems: impl IntoScheduleConfigs<ScheduleSystem, M>,
    ) -> &mut Self;

    /// Adds `observer` if this world is one of `worlds`; else does nothing. The way to give a ghost its visual where it is shown:
    ///
    /// ```
    /// # use ghostline::prelude::*;
    /// # use bevy_app::prelude::*;
    /// # use bevy_ecs::prelude::*;
    /// # #[derive(Component)] struct Player;
    /// # #[derive(Component)] struct Mesh(&'static str);
    /// fn attach_mesh(player: On<Add<Player>>, mut commands: Commands) {
    ///     commands.entity(player.entity).insert(Mesh("player.glb"));
    /// }
    ///
    /// fn game(app: &mut App) {
    ///     app.add_observer_in(WorldFlags::CLIENT, attach_mesh);
    /// }
    /// ```
    fn add_observer_in<M>(&mut self, worlds: WorldFlags, observer: impl IntoObserver<M>) -> &mut Self;
}

/// The label to add to in this world, if anything is to be added.
fn placement(world: &World, worlds: WorldFlags, label: InternedScheduleLabel) -> Option<InternedScheduleLabel> {
    let kind = kind_of(world);
    let has_schedule = schedule::schedule_worlds(label).is_none_or(|flags| flags.contains(kind.flag()));
    (worlds.contains(kind.flag()) && has_schedule).then(|| schedule::label_in(kind, label))
}

impl AddSystemsIn for App {
    fn add_systems_in<M>(
        &mut self,
        worlds: WorldFlags,
        schedule: impl ScheduleLabel,
        systems: impl IntoScheduleConfigs<ScheduleSystem, M>,
    ) -> &mut Self {
        if let Some(label) = placement(self.world(), worlds, schedule.intern()) {
            self.add_systems(label, systems);
        }
        self
    }

    fn add_observer_in<M>(&mut self, worlds: WorldFlags, observer: impl IntoObserver<M>) -> &mut Self {
        if worlds.contains(kind_of(self.world()).flag()) {
            self.add_observer(observer);
        }
        self
    }
}

impl AddSystemsIn for SubApp {
    fn add_systems_in<M>(
        &mut self,
        worlds: WorldFlags,
        schedule: impl ScheduleLabel,
        systems: impl IntoScheduleConfigs<ScheduleSystem, M>,
    ) -> &mut Self {
        if let Some(label) = placement(self.world(), worlds, schedule.intern()) {
            self.add_systems(label, systems);
        }
        self
    }

    fn add_observer_in<M>(&mut self, worlds: WorldFlags, observer: impl IntoObserver<M>) -> &mut Self {
        if worlds.contains(kind_of(self.world()).flag()) {
            self.add_observer(observer);
        }
        self
    }
}

/// Removes what plain `add_systems` put into ghostline schedules that this kind of world doesn't have (bevy_ecs makes a
/// schedule at its first mention).
pub(crate) fn remove_foreign_schedules(world: &mut World, kind: WorldKind) {
    let Some(mut schedules) = world.get_resource_mut::<Schedules>() else { return };
    let labels: Vec<InternedScheduleLabel> = schedules.iter().map(|(_, schedule)| schedule.label()).collect();
    for label in labels {
        let has_it = |worlds: WorldFlags| !kind.is_thin_client() && worlds.contains(kind.flag());
        if schedule::schedule_worlds(label).is_some_and(|worlds| !has_it(worlds)) {
            schedules.remove(label);
        }
    }
}

/// Makes every schedule of this world run its systems as the game wants.
pub(crate) fn choose_executor(world: &mut World, executor: ScheduleExecutor) {
    let Some(mut schedules) = world.get_resource_mut::<Schedules>() else { return };
    for (_, schedule) in schedules.iter_mut() {
        match executor {
            ScheduleExecutor::SingleThreaded => schedule.set_executor(SingleThreadedExecutor::new()),
            // What bevy_ecs was compiled with.
            ScheduleExecutor::MultiThreaded => schedule,
        };
    }
}

/// Reports, in one line, systems in schedules of Bevy's that this world never runs.
pub(crate) fn warn_of_idle_schedules(world: &World, name: &str) {
    let Some(schedules) = world.get_resource::<Schedules>() else { return };
    let mut idle: Vec<String> = schedules
        .iter()
        .filter(|(_, schedule)| bevy_never_runs_here(schedule.label()) && !schedule.graph().systems.is_empty())
        .map(|(_, schedule)| format!("{:?}", schedule.label()))
        .collect();
    if !idle.is_empty() {
        idle.sort();
        tracing::warn!(
            world = name,
            "systems in {} never run in this world: only an application's main world runs Bevy's own schedules. \
             Use ghostline's `Simulation`, `PredictedSimulation`, `GhostInput` or `Presentation` instead",
            idle.join(", ")
        );
    }
}

/// Bevy's schedules, which only the runner of a main world runs. A game's own schedules are run by the game itself.
fn bevy_never_runs_here(label: InternedScheduleLabel) -> bool {
    use bevy_app::{
        First, FixedFirst, FixedLast, FixedMain, FixedPostUpdate, FixedPreUpdate, FixedUpdate, Last, Main, PostUpdate,
        PreUpdate, RunFixedMainLoop, Update,
    };
    let bevy: [InternedScheduleLabel; 13] = [
        Main.intern(),
        First.intern(),
        PreUpdate.intern(),
        Update.intern(),
        PostUpdate.intern(),
        Last.intern(),
        FixedFirst.intern(),
        FixedPreUpdate.intern(),
        FixedUpdate.intern(),
        FixedPostUpdate.intern(),
        FixedLast.intern(),
        FixedMain.intern(),
        RunFixedMainLoop.intern(),
    ];
    bevy.contains(&label)
}
