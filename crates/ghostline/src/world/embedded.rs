//! The other embedding: ghostline inside an ordinary Bevy `App`, whose main world is the presenting client from the start (its menu is
//! that client before it connects). Servers and thin clients live beside it and are stepped from within its frame.

use bevy_app::{App, AppExit, MainScheduleOrder, Plugin, PreUpdate};
use bevy_ecs::message::Messages;
use bevy_ecs::prelude::{Resource, World};
use bevy_ecs::schedule::ScheduleLabel;
use bevy_platform::cell::SyncCell;
use bevy_time::{Real, Time, TimePlugin};
use ghostline_transport::DriverStore;
use std::sync::Arc;
use std::time::Duration;

use super::bootstrap::ClientServerBootstrap;
use super::config::{AutomaticBootstrap, ConfigError};
use super::drivers::{DriverConstructionError, DriverContext};
use super::filter::remove_foreign_schedules;
use super::frame;
use super::kind::WorldKind;
use super::messages;
use super::net_world::SharedPlugin;
use super::play_type::PlayType;
use super::stalls;
use super::world_commands::WorldCommands;
use super::world_error::WorldError;
use super::worlds::{MAIN_WORLD, WorldOrder, Worlds};
use crate::connection::{ConnectionWorldExt, NetworkStreamDriver};

/// Makes an `App`'s main world a client world, with the game's plugin built in it. See [`ClientServerBootstrap::embedded`].
///
/// The bootstrap's own initialisation, if it has one, makes the worlds beside the main one; with automatic bootstrap off there are none, and
/// the main world doesn't connect, until the game says so.
pub struct EmbeddedClient {
    bootstrap: ClientServerBootstrap,
}

/// The schedule of the app's main world in which all worlds run: after `PreUpdate`, where Bevy reads devices, and before `Update`.
#[derive(ScheduleLabel, Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct RunEmbeddedWorlds;

/// The worlds beside the main one. A resource of an embedded main world.
#[derive(Resource)]
pub struct EmbeddedWorlds {
    worlds: SyncCell<Worlds>,
}

impl EmbeddedWorlds {
    /// The worlds beside the main one: servers, thin clients, further clients. They can be made and disposed at any time.
    pub fn worlds(&mut self) -> &mut Worlds {
        self.worlds.get()
    }
}

impl ClientServerBootstrap {
    /// A plugin for an ordinary Bevy `App` instead of [`run`](Self::run): the app's main world becomes the client, and its runner (a window's, say)
    /// drives everything. With [`PlayType::ClientAndServer`] a server world is made beside it; with [`PlayType::Server`] nothing is
    /// embedded, and an error says so.
    ///
    /// ```
    /// # use ghostline::prelude::*;
    /// # use bevy_app::App;
    /// # fn game(_: &mut App) {}
    /// let mut app = App::new();
    /// # let alone = ghostline::world::InProcessDrivers::default();
    /// app.add_plugins(ClientServerBootstrap::new(game).drivers(alone).auto_connect(7979).embedded());
    /// app.finish();
    /// app.cleanup();
    /// app.update();
    /// ```
    pub fn embedded(self) -> EmbeddedClient {
        EmbeddedClient { bootstrap: self }
    }
}

impl Plugin for EmbeddedClient {
    fn build(&self, app: &mut App) {
        if !app.is_plugin_added::<TimePlugin>() {
            app.add_plugins(TimePlugin);
        }
        let worlds = Worlds::new(self.bootstrap.clone());
        self.bootstrap.apply_config(app.world_mut(), WorldKind::Client);
        let drivers = self.make_drivers(&worlds).unwrap_or_else(|error| {
            tracing::error!("the main world has no driver and can't connect: {error}");
            DriverStore::new()
        });
        let version = self.bootstrap.game_version;
        let prepared = frame::prepare(app.world_mut(), WorldKind::Client, version, Duration::ZERO, || Ok(drivers));
        debug_assert!(prepared.is_ok(), "the drivers are there");
        messages::keep_bevys_message_update(app.world_mut());
        app.insert_resource(EmbeddedWorlds { worlds: SyncCell::new(worlds) });
        app.add_plugins(SharedPlugin(Arc::clone(&self.bootstrap.plugin)));
        let mut order = app.world_mut().get_resource_or_init::<MainScheduleOrder>();
        order.insert_after(PreUpdate, RunEmbeddedWorlds);
        app.add_systems(RunEmbeddedWorlds, run_frame);
    }

    /// By now every plugin is finished: the collections can be frozen, and the other worlds be made.
    fn cleanup(&self, app: &mut App) {
        frame::finish(app.world_mut(), WorldKind::Client);
        remove_foreign_schedules(app.world_mut(), WorldKind::Client);
        if let Err(error) = self.make_other_worlds(app.world_mut()) {
            tracing::error!("{error}");
        }
    }
}

impl EmbeddedClient {
    fn make_drivers(&self, worlds: &Worlds) -> Result<DriverStore, DriverConstructionError> {
        let play_type = self.bootstrap.requested_play_type();
        self.bootstrap.driver_constructor().create_client_driver(&DriverContext {
            network: worlds.network(),
            world: MAIN_WORLD,
            kind: WorldKind::Client,
            play_type,
            has_server_world: play_type == PlayType::ClientAndServer,
        })
    }

    fn make_other_worlds(&self, world: &mut World) -> Result<(), WorldError> {
        let bootstrap = &self.bootstrap;
        let mut errors = bootstrap.validate();
        if bootstrap.requested_play_type() == PlayType::Server {
            errors.push(ConfigError::ServerEmbedded);
        }
        if !errors.is_empty() {
            return Err(WorldError::InvalidConfiguration(errors));
        }
        if bootstrap.automatic() == AutomaticBootstrap::Disabled {
            return Ok(());
        }
        let mut beside = world.resource_mut::<EmbeddedWorlds>();
        let worlds = beside.worlds();
        if let Some(initialize) = &bootstrap.initialize {
            // The main world is there whatever it says.
            initialize(worlds)?;
            return Ok(());
        }
        if bootstrap.requested_play_type() == PlayType::ClientAndServer {
            worlds.create_server_world("server")?;
        }
        worlds.thin_clients().request(bootstrap.thin_clients);
        if let Some(server) = bootstrap.auto_connect_endpoint() {
            world.join(&server)?;
            world.resource_mut::<NetworkStreamDriver>().set_by_auto_connect();
        }
        Ok(())
    }
}

/// One frame of the main world and of all worlds beside it, in the configured order.
fn run_frame(world: &mut World) {
    let Some(mut beside) = world.remove_resource::<EmbeddedWorlds>() else { return };
    let (now, dt) = {
        let real = world.resource::<Time<Real>>();
        (real.elapsed(), real.delta())
    };
    let worlds = beside.worlds();
    worlds.set_now(now);
    worlds.thin_clients().follow(world.resource::<NetworkStreamDriver>().last_server());
    let is_told = stalls::is_alarming(world, dt);
    stalls::note_stall(world, now, dt);
    worlds.note_frame(dt, is_told);
    let servers = [WorldKind::Local, WorldKind::Server];
    let clients = [WorldKind::Client, WorldKind::ThinClient];
    match worlds.order() {
        WorldOrder::ClientFirst => {
            run_main_world(world, worlds, now, dt);
            worlds.run_stage(&clients, dt);
            worlds.run_stage(&servers, dt);
        }
        WorldOrder::ServerFirst => {
            worlds.run_stage(&servers, dt);
            run_main_world(world, worlds, now, dt);
            worlds.run_stage(&clients, dt);
        }
    }
    let mut commands = std::mem::take(&mut *world.resource_mut::<WorldCommands>());
    commands.run(worlds);
    worlds.end_frame();
    if let (Some(exit), Some(mut exits)) = (worlds.should_exit(), world.get_resource_mut::<Messages<AppExit>>()) {
        exits.write(exit);
    }
    world.insert_resource(beside);
}

/// The main world's frame. Its `Time` is Bevy's again afterwards, for everything that the app itself runs.
fn run_main_world(world: &mut World, worlds: &mut Worlds, now: Duration, dt: Duration) {
    let time = *world.resource::<Time>();
    frame::run(world, WorldKind::Client, now, dt);
    *world.resource_mut::<Time>() = time;
    worlds.network().deliver();
}
