//! One world with its schedules: made from the bootstrap's recipe, alone or out of a prepared world, and run frame by frame.

use bevy_app::{App, AppExit, First, Plugin, SubApp};
use bevy_ecs::prelude::{Resource, World};
use bevy_ecs::schedule::Schedules;
use std::sync::Arc;
use std::time::Duration;

use super::bootstrap::ClientServerBootstrap;
use super::drivers::DriverContext;
use super::filter::{choose_executor, remove_foreign_schedules, warn_of_idle_schedules};
use super::flavour::BUILD_FLAVOUR;
use super::frame;
use super::kind::WorldKind;
use super::messages;
use super::migration;
use super::prepared::PreparedWorld;
use super::stalls;
use super::world_error::WorldError;

/// Tells the worlds of a process apart, also after some are gone. A resource of each world.
#[derive(Resource, Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct WorldId(pub u64);

/// A game's plugin, built once in each world.
#[derive(Clone)]
pub(crate) struct SharedPlugin(pub Arc<dyn Plugin>);

impl Plugin for SharedPlugin {
    fn build(&self, app: &mut App) {
        self.0.build(app);
    }
    fn ready(&self, app: &App) -> bool {
        self.0.ready(app)
    }
    fn finish(&self, app: &mut App) {
        self.0.finish(app);
    }
    fn cleanup(&self, app: &mut App) {
        self.0.cleanup(app);
    }
    fn name(&self) -> &str {
        self.0.name()
    }
}

/// One world with its schedules.
pub struct NetWorld {
    id: WorldId,
    name: String,
    kind: WorldKind,
    app: SubApp,
    started: bool,
}

impl NetWorld {
    /// Makes a world by the recipe. It neither listens nor connects.
    ///
    /// # Errors
    /// Invalid settings, or its drivers can't be made.
    pub fn new(
        bootstrap: &ClientServerBootstrap,
        context: &DriverContext<'_>,
        name: &str,
        now: Duration,
    ) -> Result<Self, WorldError> {
        Self::populate(PreparedWorld::new(), bootstrap, context, name, now)
    }

    /// Like [`new`](Self::new), out of a world that is there already: its entities and resources stay, and so do the connections of one
    /// that was migrated.
    ///
    /// # Errors
    /// Invalid settings, or drivers that can't be made; a world that was prepared for another kind; a world that has systems already; a migrated one whose new plugin
    /// speaks another protocol.
    pub fn populate(
        prepared: PreparedWorld,
        bootstrap: &ClientServerBootstrap,
        context: &DriverContext<'_>,
        name: &str,
        now: Duration,
    ) -> Result<Self, WorldError> {
        let &DriverContext { world: id, kind, .. } = context;
        BUILD_FLAVOUR.check(kind)?;
        let errors = bootstrap.validate();
        if !errors.is_empty() {
            return Err(WorldError::InvalidConfiguration(errors));
        }
        let mut app = prepared.into_app(kind)?;
        // Bevy puts its message update there, which a world of ours does once per simulation pass instead.
        app.world_mut().resource_mut::<Schedules>().remove(First);
        bootstrap.apply_config(app.world_mut(), kind);
        frame::prepare(app.world_mut(), kind, bootstrap.game_version, now, || {
            let drivers = bootstrap.driver_constructor();
            match kind {
                WorldKind::Server => drivers.create_server_drivers(context),
                _ => drivers.create_client_driver(context),
            }
        })?;
        app.insert_resource(id);
        app.add_message::<AppExit>();
        app.add_plugins(SharedPlugin(Arc::clone(&bootstrap.plugin)));
        app.finish();
        app.cleanup();
        frame::finish(app.world_mut(), kind);
        migration::finish(app.world_mut())?;
        remove_foreign_schedules(app.world_mut(), kind);
        choose_executor(app.world_mut(), bootstrap.executor);
        warn_of_idle_schedules(app.world(), name);
        Ok(Self { id, name: name.to_owned(), kind, app, started: false })
    }

    /// Its identity within the process.
    pub fn id(&self) -> WorldId {
        self.id
    }

    /// The name given when it was made.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its kind.
    pub fn kind(&self) -> WorldKind {
        self.kind
    }

    /// The ECS world.
    pub fn world(&self) -> &World {
        self.app.world()
    }

    /// The ECS world.
    pub fn world_mut(&mut self) -> &mut World {
        self.app.world_mut()
    }

    /// The world with its plugins and schedules.
    pub fn app_mut(&mut self) -> &mut SubApp {
        &mut self.app
    }

    /// Runs one frame of this world alone. `now` is the time since the process began; what it sends waits for the next delivery.
    pub fn run_frame(&mut self, now: Duration, dt: Duration) {
        if let Some(stall) = stalls::note_stall(self.app.world_mut(), now, dt) {
            stalls::warn_of_stall(stall, Some(&self.name));
        }
        self.run(now, dt);
    }

    /// Runs one frame of this world as one of many: a stall is the whole process's, and told once for all.
    pub(super) fn run_frame_of_process(&mut self, now: Duration, dt: Duration) {
        stalls::note_stall(self.app.world_mut(), now, dt);
        self.run(now, dt);
    }

    fn run(&mut self, now: Duration, dt: Duration) {
        let world = self.app.world_mut();
        if !std::mem::replace(&mut self.started, true) {
            frame::run_startup(world);
        }
        frame::run(world, self.kind, now, dt);
        world.clear_trackers();
    }

    /// The `AppExit` that a system of this world has asked for, if any.
    pub fn should_exit(&self) -> Option<AppExit> {
        messages::asked_exit(self.world())
    }
}
