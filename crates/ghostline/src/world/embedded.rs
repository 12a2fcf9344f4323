//! The other embedding: ghostline inside an ordinary Bevy `App`, whose main world is the presenting client from the start (its menu is
//! that client before it connects). Servers and thin clients live beside it and are stepped from within its frame.

use bevy_app::{App, AppExit, Plugin, PreUpdate};
use bevy_ecs::message::Messages;
use bevy_ecs::prelude::{Resource, World};
use bevy_platform::cell::SyncCell;
use bevy_time::{Real, Time, TimePlugin};
use ghostline_transport::DriverStore;
use std::sync::Arc;
use std::time::Duration;

use super::bootstrap::ClientServerBootstrap;
use super::drivers::{DriverConstructionError, DriverContext};
use super::filter::remove_foreign_schedules;
use super::frame;
use super::kind::WorldKind;
use super::worlds::{PlayType, SharedPlugin, WorldError, WorldId, WorldOrder, Worlds};
use crate::connection::{ConnectionWorldExt, NetworkStreamDriver};

/// The main world's number for its driver: it is in no list, and no world of one has it.
const MAIN_WORLD: WorldId = WorldId(u64::MAX);

/// Makes an `App`'s main world a client world, with the game's plugin built in it. See [`ClientServerBootstrap::embedded`].
pub struct EmbeddedClient {
    bootstrap: ClientServerBootstrap,
}

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
        let drivers = self.make_drivers(&worlds).unwrap_or_else(|error| {
            tracing::error!("the main world has no driver and can't connect: {error}");
            DriverStore::new()
        });
        frame::prepare(app.world_mut(), WorldKind::Client, Some(drivers), self.bootstrap.game_version, Duration::ZERO);
        frame::keep_bevys_message_update(app.world_mut());
        self.bootstrap.apply_config(app.world_mut(), WorldKind::Client);
        app.insert_resource(EmbeddedWorlds { worlds: SyncCell::new(worlds) });
        app.add_plugins(SharedPlugin(Arc::clone(&self.bootstrap.plugin)));
        app.add_systems(PreUpdate, run_frame);
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
        self.bootstrap.drivers.create_client_driver(&DriverContext {
            network: worlds.network(),
            world: MAIN_WORLD,
            kind: WorldKind::Client,
            play_type: self.bootstrap.play_type,
            has_server_world: self.bootstrap.play_type == PlayType::ClientAndServer,
        })
    }

    fn make_other_worlds(&self, world: &mut World) -> Result<(), WorldError> {
        let bootstrap = &self.bootstrap;
        let errors = bootstrap.validate();
        if !errors.is_empty() {
            return Err(WorldError::InvalidConfiguration(errors));
        }
        if bootstrap.play_type == PlayType::Server {
            return Err(WorldError::InvalidConfiguration(vec![
                "an embedded main world is a client; use `run` for a server alone".to_owned(),
            ]));
        }
        let mut beside = world.resource_mut::<EmbeddedWorlds>();
        let worlds = beside.worlds();
        if bootstrap.play_type == PlayType::ClientAndServer {
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
    if let Err(error) = worlds.update_thin_clients(dt) {
        tracing::error!("no more thin clients are made: {error}");
    }
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
