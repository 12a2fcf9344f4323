//! One run of the arena: the worlds, a frame of all of them, the still moment at the end. What happens is told to the samples;
//! whoever drives a session (`headless`, the tests) decides how time passes.

use bevy_ecs::prelude::World;
use ghostline::connection::NetworkSnapshotAck;
use ghostline::prelude::*;
use ghostline::stats::PredictionStats;
use ghostline::world::{NetWorld, WorldError};
use std::time::{Duration, Instant};

use crate::args::Args;
use crate::game::{Arena, Still};
use crate::keys::Hands;
use crate::link::SimulatedLinks;
use crate::samples::Samples;

/// Where the server listens, within the process.
const PORT: u16 = 7979;
/// The still moment: bolts fly out, players land, interpolation catches up.
pub const STILL: Duration = Duration::from_secs(2);
/// A frame is never longer than this for the game: a machine that stalled is not to be caught up with at once.
pub const LONGEST_FRAME: Duration = Duration::from_millis(60);

/// The worlds of a run, and what was measured of them.
pub struct Session {
    pub worlds: Worlds,
    pub samples: Samples,
}

impl Session {
    /// Makes a server, a client and the thin clients; they connect by themselves in the first frames.
    pub fn new(args: &Args) -> Result<Self, WorldError> {
        // Several ticks of a frame run one by one: merged ones would be mispredicted.
        let rate = ClientServerTickRate {
            simulation_tick_rate: args.tick_rate as i32,
            max_simulation_steps_per_frame: ClientServerTickRate::MAX_STEPS_PER_FRAME,
            ..ClientServerTickRate::default()
        };
        let worlds = ClientServerBootstrap::new(Arena { seed: args.seed, wanderers: args.wanderers })
            .tick_rate(rate)
            .drivers(SimulatedLinks::new(args))
            .network_seed(args.seed)
            .thin_clients(args.thin_clients)
            .auto_connect(PORT)
            .build()?;
        Ok(Self { worlds, samples: Samples::default() })
    }

    /// One frame of every world: clients, thin clients, then the server.
    pub fn frame(&mut self, dt: Duration) {
        let dt = dt.min(LONGEST_FRAME);
        let tick_before = self.server_ticks();
        self.worlds.begin_frame(dt);
        let started = Instant::now();
        self.worlds.run_stage(&[WorldKind::Client, WorldKind::ThinClient], dt);
        let between = Instant::now();
        self.worlds.run_stage(&[WorldKind::Server], dt);
        self.samples.add_frame(between - started, between.elapsed(), self.server_ticks() - tick_before);
        if let Some(client) = self.worlds.client_world() {
            let rtt = only_connection(client.world()).and_then(|ack| ack.rtt.estimated_ms());
            self.samples.add_client(rtt, client.world().resource::<NetworkTime>());
            self.samples.add_prediction(client.world().resource::<PredictionStats>());
        }
    }

    /// Ticks that the server has simulated.
    pub fn server_ticks(&self) -> u32 {
        let tick = self.worlds.server_world().and_then(|server| server.world().resource::<NetworkTime>().server_tick);
        tick.map_or(0, NetworkTick::index)
    }

    /// From now on nothing moves in any world.
    pub fn be_still(&mut self) {
        for world in self.worlds.iter_mut() {
            world.world_mut().insert_resource(Still(true));
        }
    }

    /// Tells the client's world what the player's hands do.
    pub fn set_hands(&mut self, hands: Hands) {
        if let Some(client) = self.worlds.iter_mut().find(|world| world.kind() == WorldKind::Client) {
            client.world_mut().insert_resource(hands);
        }
    }

    /// The number of the client that is no thin one.
    pub fn client_network_id(&self) -> Option<NetworkId> {
        let world = self.worlds.client_world()?.world();
        let (_, connection) = world.resource::<NetworkStreamDriver>().connections().next()?;
        world.get::<NetworkId>(connection).copied()
    }

    /// The clients, thin ones too.
    pub fn clients(&self) -> impl Iterator<Item = &NetWorld> {
        self.worlds.iter().filter(|world| world.kind().is_client())
    }
}

/// Acknowledgements and clocks of a client's connection.
fn only_connection(world: &World) -> Option<&NetworkSnapshotAck> {
    let (_, connection) = world.resource::<NetworkStreamDriver>().connections().next()?;
    world.get::<NetworkSnapshotAck>(connection)
}
