//! One world of a fleet: what a test looks at and changes in it.

use bevy_ecs::prelude::{Entity, World};
use ghostline::connection::{ConnectionEvents, NetCodeConnectionEvent, NetworkId, NetworkStreamDriver};
use ghostline::time::NetworkTime;
use ghostline::wire::NetworkTick;
use ghostline::world::NetWorld;
use std::time::Duration;

use crate::checks::Memory;

/// One world of a fleet, with its own clock.
pub struct FleetWorld {
    pub(crate) world: NetWorld,
    pub(crate) clock: Duration,
    pub(crate) memory: Memory,
    /// By which the network knows it and its link; kept when the world migrates.
    pub(crate) number: u64,
}

impl FleetWorld {
    /// The ECS world.
    pub fn world(&self) -> &World {
        self.world.world()
    }

    /// The ECS world.
    pub fn world_mut(&mut self) -> &mut World {
        self.world.world_mut()
    }

    /// The world with its name, kind and schedules.
    pub fn net_world(&mut self) -> &mut NetWorld {
        &mut self.world
    }

    /// The server tick of this world: on the server the one simulated last, on a client the one predicted. `None` before the first.
    pub fn server_tick(&self) -> Option<NetworkTick> {
        self.network_time().server_tick
    }

    /// The network time.
    pub fn network_time(&self) -> &NetworkTime {
        self.world().resource::<NetworkTime>()
    }

    /// The connection events of this world's last tick.
    pub fn events(&self) -> Vec<NetCodeConnectionEvent> {
        self.world().resource::<ConnectionEvents>().as_slice().to_vec()
    }

    /// The connection entities, in the order in which they were made.
    pub fn connections(&self) -> Vec<Entity> {
        self.world().resource::<NetworkStreamDriver>().connections().map(|(_, entity)| entity).collect()
    }

    /// The number of this client; `None` before it has one.
    pub fn network_id(&mut self) -> Option<NetworkId> {
        let world = self.world.world_mut();
        world.query::<&NetworkId>().iter(world).next().copied()
    }

    pub(crate) fn tick(&mut self, dt: Duration) {
        self.clock += dt;
        self.world.run_frame(self.clock, dt);
    }
}
