//! Managed thin clients: so many as are wanted, made at a chosen pace. The load-test tool of a running program.

use ghostline_transport::ServerAddress;
use std::time::Duration;

use super::bootstrap::MAX_THIN_CLIENTS;
use super::kind::WorldKind;
use super::net_world::WorldId;
use super::world_error::WorldError;
use super::worlds::Worlds;
use crate::connection::{ConnectionWorldExt, NetworkStreamDriver};

/// How many thin client worlds there are to be, and how fast they come. Part of [`Worlds`]; worlds that were made otherwise are left alone.
#[derive(Debug, Default)]
pub struct ThinClients {
    requested: u32,
    creation_frequency_hz: f32,
    managed: Vec<WorldId>,
    /// Time since the last one was made.
    waited: Duration,
    /// How many were ever made, for their names.
    made: u64,
    /// Where the main world of an application connected to last, if there is one.
    main_server: Option<ServerAddress>,
}

impl ThinClients {
    /// Asks for `count` thin clients, at most [`MAX_THIN_CLIENTS`]. When the number shrinks the newest are disposed.
    pub fn request(&mut self, count: u32) {
        self.requested = count.min(MAX_THIN_CLIENTS);
    }

    /// How many are asked for.
    pub fn requested(&self) -> u32 {
        self.requested
    }

    /// How many are made per second; 0 (the default) makes all at once.
    pub fn set_creation_frequency_hz(&mut self, hertz: f32) {
        self.creation_frequency_hz = if hertz.is_finite() { hertz.max(0.0) } else { 0.0 };
    }

    /// Where the client connected to that is no world of this process's list, but an application's main world.
    #[cfg(feature = "client")]
    pub(super) fn follow(&mut self, server: Option<&ServerAddress>) {
        if self.main_server.as_ref() != server {
            self.main_server = server.cloned();
        }
    }

    /// The worlds that were made for the request, oldest first.
    pub fn managed(&self) -> &[WorldId] {
        &self.managed
    }

    /// How many may be made now.
    fn due(&mut self, dt: Duration) -> u32 {
        let missing = self.requested.saturating_sub(self.managed.len() as u32);
        if missing == 0 {
            self.waited = Duration::ZERO;
            return 0;
        }
        if self.creation_frequency_hz == 0.0 {
            return missing;
        }
        self.waited += dt;
        let interval =
            Duration::try_from_secs_f64(1.0 / f64::from(self.creation_frequency_hz)).unwrap_or(Duration::MAX);
        let mut due = 0;
        while due < missing && self.waited >= interval {
            self.waited -= interval;
            due += 1;
        }
        due
    }
}

impl Worlds {
    /// Makes and disposes managed thin clients as requested. Called once per frame.
    ///
    /// # Errors
    /// A world can't be made or can't connect; the request is given up.
    pub(super) fn update_thin_clients(&mut self, dt: Duration) -> Result<(), WorldError> {
        let alive: Vec<WorldId> = self.of_kind(WorldKind::ThinClient).map(|world| world.id()).collect();
        self.thin_clients.managed.retain(|id| alive.contains(id));
        while self.thin_clients.managed.len() > self.thin_clients.requested as usize
            && let Some(id) = self.thin_clients.managed.pop()
        {
            self.dispose(id);
        }
        for _ in 0..self.thin_clients.due(dt) {
            let result = self.make_thin_client();
            match result {
                Ok(id) => self.thin_clients.managed.push(id),
                Err(error) => {
                    self.thin_clients.requested = self.thin_clients.managed.len() as u32;
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    fn make_thin_client(&mut self) -> Result<WorldId, WorldError> {
        let number = self.thin_clients.made;
        self.thin_clients.made += 1;
        let id = self.create_thin_client_world(&format!("thin client {number}"))?;
        // Without auto-connect they follow the first client.
        let server = self.client_server();
        if let (Some(server), Some(world)) = (server, self.get_mut(id)) {
            let world = world.world_mut();
            if world.resource::<NetworkStreamDriver>().connections().len() == 0 {
                world.join(&server)?;
            }
        }
        Ok(id)
    }

    /// Where the first client connected to last.
    fn client_server(&self) -> Option<ServerAddress> {
        let client = || self.client_world()?.world().resource::<NetworkStreamDriver>().last_server().cloned();
        self.thin_clients.main_server.clone().or_else(client)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connection::NetworkId;
    use crate::world::{ClientServerBootstrap, InProcessDrivers, PlayType};
    use std::net::SocketAddr;

    const FRAME: Duration = Duration::from_millis(100);

    fn worlds() -> Worlds {
        ClientServerBootstrap::new(|_: &mut bevy_app::App| {})
            .drivers(InProcessDrivers::default())
            .auto_connect(7979)
            .build()
            .expect("the settings are valid")
    }

    fn thin(worlds: &Worlds) -> usize {
        worlds.of_kind(WorldKind::ThinClient).count()
    }

    #[test]
    fn ten_at_five_per_second_are_there_after_two_seconds_and_seven_go_when_three_are_wanted() {
        let mut worlds = worlds();
        let by_hand = worlds.create_thin_client_world("by hand").expect("it can be made");
        worlds.thin_clients().request(10);
        worlds.thin_clients().set_creation_frequency_hz(5.0);
        for _ in 0..10 {
            worlds.run_frame(FRAME);
        }
        assert_eq!(thin(&worlds), 1 + 5);
        for _ in 0..10 {
            worlds.run_frame(FRAME);
        }
        assert_eq!(thin(&worlds), 1 + 10);
        worlds.thin_clients().request(3);
        worlds.run_frame(FRAME);
        assert_eq!(thin(&worlds), 1 + 3);
        assert!(worlds.get(by_hand).is_some());
    }

    #[test]
    fn no_more_than_a_thousand_are_made() {
        let mut thin_clients = ThinClients::default();
        thin_clients.request(1001);
        assert_eq!(thin_clients.requested(), 1000);
    }

    #[test]
    fn they_connect_like_the_first_client_also_without_auto_connect() {
        let mut worlds = ClientServerBootstrap::new(|_: &mut bevy_app::App| {})
            .drivers(InProcessDrivers::default())
            .play_type(PlayType::ClientAndServer)
            .build()
            .expect("the settings are valid");
        let endpoint = SocketAddr::from(([127, 0, 0, 1], 7979));
        for world in worlds.iter_mut() {
            let result = if world.kind().is_server() {
                world.world_mut().listen(endpoint)
            } else {
                world.world_mut().connect(endpoint).map(|_| ())
            };
            result.expect("it is the first call");
        }
        worlds.thin_clients().request(2);
        for _ in 0..20 {
            worlds.run_frame(FRAME);
        }
        let ids: Vec<usize> = worlds
            .iter_mut()
            .filter(|world| world.kind().is_thin_client())
            .map(|world| {
                let world = world.world_mut();
                world.query::<&NetworkId>().iter(world).count()
            })
            .collect();
        assert_eq!(ids, [1, 1]);
    }
}
