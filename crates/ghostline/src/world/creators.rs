//! The creators of worlds: one per kind, out of nothing or of an existing world, listening or connecting at once if auto-connect is on.

use bevy_ecs::prelude::World;
use ghostline_transport::DriverStore;
use std::time::Duration;

use super::drivers::{DriverConstructionError, DriverContext};
use super::kind::WorldKind;
use super::net_world::{NetWorld, WorldId};
use super::play_type::PlayType;
use super::prepared::PreparedWorld;
use super::world_error::WorldError;
use super::worlds::{MAIN_WORLD, Worlds};
use crate::connection::{ConnectionError, ConnectionWorldExt, NetworkStreamDriver};

impl Worlds {
    /// Makes exactly the worlds of the requested play type, server first, and the thin clients asked for.
    ///
    /// # Errors
    /// Invalid settings, or auto-connect failed.
    pub fn create_default_client_server_worlds(&mut self) -> Result<(), WorldError> {
        let play_type = self.bootstrap.requested_play_type();
        if play_type != PlayType::Client {
            self.create_server_world("server")?;
        }
        if play_type != PlayType::Server {
            self.create_client_world("client")?;
        }
        self.thin_clients.request(self.bootstrap.thin_clients);
        self.update_thin_clients(Duration::ZERO)
    }

    /// Makes a world without a network.
    ///
    /// # Errors
    /// Invalid settings.
    pub fn create_local_world(&mut self, name: &str) -> Result<WorldId, WorldError> {
        self.create_local_world_in(name, PreparedWorld::new())
    }

    /// Makes a server world; with auto-connect on, it listens at once.
    ///
    /// # Errors
    /// Invalid settings, or the port can't be listened on.
    pub fn create_server_world(&mut self, name: &str) -> Result<WorldId, WorldError> {
        self.create_server_world_in(name, PreparedWorld::new())
    }

    /// Makes a client world; with auto-connect on, it connects at once.
    ///
    /// # Errors
    /// Invalid settings, or the address can't be connected to.
    pub fn create_client_world(&mut self, name: &str) -> Result<WorldId, WorldError> {
        self.create_client_world_in(name, PreparedWorld::new())
    }

    /// Makes a thin client world; with auto-connect on, it connects at once.
    ///
    /// # Errors
    /// Invalid settings, or the address can't be connected to.
    pub fn create_thin_client_world(&mut self, name: &str) -> Result<WorldId, WorldError> {
        self.create_thin_client_world_in(name, PreparedWorld::new())
    }

    /// Like [`create_local_world`](Self::create_local_world), out of an existing world: its entities and resources stay.
    ///
    /// # Errors
    /// As `create_local_world`; a world that was prepared for another kind, or that has systems.
    pub fn create_local_world_in(&mut self, name: &str, world: PreparedWorld) -> Result<WorldId, WorldError> {
        self.create(name, WorldKind::Local, world)
    }

    /// Like [`create_server_world`](Self::create_server_world), out of an existing world, as after a migration. One that listens already goes on.
    ///
    /// # Errors
    /// As `create_server_world`; a world that was prepared for another kind, or that has systems; a migrated world in which the game
    /// speaks another protocol.
    pub fn create_server_world_in(&mut self, name: &str, world: PreparedWorld) -> Result<WorldId, WorldError> {
        let id = self.create(name, WorldKind::Server, world)?;
        if let Some(endpoint) = self.bootstrap.auto_listen_endpoint() {
            self.auto(id, NetworkStreamDriver::is_listening, |world| world.listen(endpoint))?;
        }
        Ok(id)
    }

    /// Like [`create_client_world`](Self::create_client_world), out of an existing world, as after a migration. One that is connected stays so.
    ///
    /// # Errors
    /// As `create_client_world`; a world that was prepared for another kind, or that has systems; a migrated world in which the game
    /// speaks another protocol.
    pub fn create_client_world_in(&mut self, name: &str, world: PreparedWorld) -> Result<WorldId, WorldError> {
        self.create_connecting(name, WorldKind::Client, world)
    }

    /// Like [`create_thin_client_world`](Self::create_thin_client_world), out of an existing world, as after a migration.
    ///
    /// # Errors
    /// As [`create_client_world_in`](Self::create_client_world_in).
    pub fn create_thin_client_world_in(&mut self, name: &str, world: PreparedWorld) -> Result<WorldId, WorldError> {
        self.create_connecting(name, WorldKind::ThinClient, world)
    }

    fn create_connecting(&mut self, name: &str, kind: WorldKind, world: PreparedWorld) -> Result<WorldId, WorldError> {
        let id = self.create(name, kind, world)?;
        if let Some(server) = self.bootstrap.auto_connect_endpoint() {
            let is_connected = |facade: &NetworkStreamDriver| facade.connections().len() > 0;
            self.auto(id, is_connected, |world| world.join(&server).map(|_| ()))?;
        }
        Ok(id)
    }

    /// Sets a new world going, unless it is: a migrated one goes on.
    fn auto(
        &mut self,
        id: WorldId,
        is_going: impl FnOnce(&NetworkStreamDriver) -> bool,
        call: impl FnOnce(&mut World) -> Result<(), ConnectionError>,
    ) -> Result<(), WorldError> {
        let Some(world) = self.get_mut(id).map(NetWorld::world_mut) else { return Ok(()) };
        if is_going(world.resource::<NetworkStreamDriver>()) {
            return Ok(());
        }
        if let Err(error) = call(world) {
            // A world that could not do what it was made for is none.
            self.dispose(id);
            return Err(error.into());
        }
        world.resource_mut::<NetworkStreamDriver>().set_by_auto_connect();
        Ok(())
    }

    fn create(&mut self, name: &str, kind: WorldKind, prepared: PreparedWorld) -> Result<WorldId, WorldError> {
        let id = WorldId(self.next_id);
        let world = NetWorld::populate(prepared, &self.bootstrap, &self.driver_context(id, kind), name, self.now)?;
        self.next_id += 1;
        self.worlds.push(world);
        Ok(id)
    }

    /// What the drivers of a new world depend on.
    fn driver_context(&self, world: WorldId, kind: WorldKind) -> DriverContext<'_> {
        DriverContext {
            network: &self.network,
            world,
            kind,
            play_type: self.bootstrap.requested_play_type(),
            has_server_world: self.has_server_world(),
        }
    }

    /// The driver that a client world would get if it were made now. For one that is there already and whose player has chosen anew: with
    /// [`reset_driver_store`](ConnectionWorldExt::reset_driver_store) the main world of an application goes from a server in its own process,
    /// reached in memory, to one elsewhere, and back.
    ///
    /// # Errors
    /// The driver can't be made.
    pub fn create_client_driver(&self) -> Result<DriverStore, DriverConstructionError> {
        let context = self.driver_context(MAIN_WORLD, WorldKind::Client);
        self.bootstrap.driver_constructor().create_client_driver(&context)
    }
}
