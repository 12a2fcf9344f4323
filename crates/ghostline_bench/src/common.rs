//! The common workload: a server world and its client worlds in one process, agents that walk (`motion`), a link that delays (`link`).
//! What crosses the link is counted by the library, CPU and allocations are measured around it; every client's rows are compared.

use bevy_app::{App, Plugin};
use bevy_ecs::prelude::*;
use bevy_math::{Quat, Vec3};
use ghostline::prelude::*;
use ghostline::snapshot::{GhostSendSystemData, newest_rows, visit_newest_rows};
use ghostline::stats::{NetworkStats, SnapshotBits};
use ghostline::transport::InProcessNetwork;
use ghostline::world::{DriverContext, NetWorld, WorldId};
use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use crate::link::{LOSES, LinkShape, Links};
use crate::measure::{Cost, Stretch, median};
use crate::motion::Motion;
use crate::probe;
use crate::report::Report;

const FRAME: Duration = Duration::from_nanos(16_666_667);
const TICKS_PER_SECOND: f64 = 60.0;
const PORT: u16 = 7979;
/// Snapshot bytes per client and tick: everything that moved must fit, so that what is compared is the same state.
const SNAPSHOT_BYTES: usize = 48 * 1024;
/// A truth older than this is not compared with any more.
const TRUTH_TICKS: usize = 256;

#[derive(Component, GhostComponent, Clone, Copy, Default, PartialEq, Debug)]
struct Position {
    #[ghost(quantization = 1000, smoothing = interpolate)]
    value: Vec3,
}

#[derive(Component, GhostComponent, Clone, Copy, Default, PartialEq, Debug)]
struct Rotation {
    #[ghost(quantization = 1000, smoothing = interpolate)]
    value: Quat,
}

#[derive(Component, GhostComponent, Clone, Copy, Default, PartialEq, Debug)]
struct Health {
    #[ghost]
    points: u16,
}

#[derive(Component, Default)]
struct Agent;

struct Game;

impl Plugin for Game {
    fn build(&self, app: &mut App) {
        app.register_ghost::<Agent>(
            GhostPrefab::new("agent").component::<Position>().component::<Rotation>().component::<Health>(),
        )
        .go_in_game_when_connected()
        .add_systems_in(WorldFlags::SERVER, LateSimulation, || probe::SEND.begin())
        .add_systems_in(WorldFlags::CLIENT, AfterNetworkReceive, || probe::RECEIVE.begin())
        .add_systems_in(WorldFlags::CLIENT, GhostInput, || probe::RECEIVE.end());
    }
}

/// What to run.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    /// Agents.
    pub agents: usize,
    /// Clients.
    pub clients: usize,
    /// Share of agents that moves.
    pub moving: f64,
    /// Age of the newest acknowledged baseline in ticks, 1 or more: the round trip.
    pub lag: u64,
    /// Ticks that are measured.
    pub ticks: usize,
    /// Ticks of motion before that.
    pub warm: usize,
    /// Ticks without motion after the agents have appeared.
    pub idle: usize,
    /// Share of packets that is lost, each way.
    pub loss: f32,
    /// Of the losses.
    pub seed: u64,
    /// Count what the bits are spent on. It takes time, which is measured with the encoding.
    pub bits: bool,
}

/// One measured tick.
#[derive(Clone, Copy, Default, Debug)]
struct TickCost {
    server: Cost,
    send: Cost,
    clients: Cost,
    receive: Cost,
    bytes: u64,
    moved: u64,
}

/// The worlds of a run.
pub struct Workload {
    setup: Setup,
    network: InProcessNetwork,
    server: NetWorld,
    clients: Vec<NetWorld>,
    entities: Vec<Entity>,
    motion: Motion,
    now: Duration,
    /// The server's rows of past ticks: tick index, then all lanes in the order of ids.
    truths: VecDeque<(u32, Vec<u32>)>,
    mismatches: u64,
    compared: u64,
}

impl Workload {
    /// Makes the worlds, connects them and lets all agents appear on every client.
    ///
    /// # Panics
    /// The worlds can't be made or joined: the program is broken.
    pub fn new(setup: Setup) -> Self {
        let lag = setup.lag.max(1);
        let down_ticks = lag / 2;
        let shape = LinkShape { down_ticks, up_ticks: lag - 1 - down_ticks, loss: setup.loss, seed: setup.seed };
        LOSES.store(0, Relaxed);
        let bootstrap = ClientServerBootstrap::new(Game).drivers(Links(shape));
        let network = InProcessNetwork::new();
        let make = |number: usize, name: &str, kind| {
            let context = DriverContext {
                network: &network,
                world: WorldId(number as u64),
                kind,
                play_type: PlayType::ClientAndServer,
                has_server_world: true,
            };
            NetWorld::new(&bootstrap, &context, name, Duration::ZERO)
                .unwrap_or_else(|error| panic!("the world `{name}` could not be made: {error}"))
        };
        let mut server = make(0, "server", WorldKind::Server);
        let clients = (1..=setup.clients).map(|number| make(number, "client", WorldKind::Client)).collect();
        let motion = Motion::new(setup.agents, setup.moving);
        let world = server.world_mut();
        world.insert_resource(GhostSendSystemData {
            default_snapshot_packet_size: SNAPSHOT_BYTES,
            ..Default::default()
        });
        let entities = (0..setup.agents)
            .map(|i| {
                let position = Position { value: Vec3::from_array(motion.positions[i]) };
                let rotation = Rotation { value: Quat::from_array(motion.rotations[i]) };
                world.spawn_ghost::<Agent>((position, rotation, Health { points: motion.health[i] }))
            })
            .collect();
        let endpoint = SocketAddr::from((Ipv4Addr::LOCALHOST, PORT));
        world.listen(endpoint).unwrap_or_else(|error| panic!("the server can't listen: {error}"));
        let mut workload = Self {
            setup,
            network,
            server,
            clients,
            entities,
            motion,
            now: Duration::ZERO,
            truths: VecDeque::new(),
            mismatches: 0,
            compared: 0,
        };
        for client in &mut workload.clients {
            client.world_mut().connect(endpoint).unwrap_or_else(|error| panic!("a client can't connect: {error}"));
        }
        workload.join();
        LOSES.store(1, Relaxed);
        workload
    }

    /// Ticks until every client holds every agent.
    fn join(&mut self) {
        const MOST: usize = 3600;
        for _ in 0..MOST {
            self.frame();
            let all = self.setup.agents;
            if self.clients.iter().all(|client| client.world().resource::<GhostCount>().instantiated as usize == all) {
                return;
            }
        }
        panic!("the agents did not appear on all clients within {MOST} ticks");
    }

    /// One frame of all worlds, server first.
    fn frame(&mut self) -> TickCost {
        self.now += FRAME;
        let sent = |world: &World| world.resource::<NetworkStats>().sent_snapshot_bytes;
        let before = sent(self.server.world());
        probe::SEND.take();
        let stretch = Stretch::begin();
        self.server.run_frame(self.now, FRAME);
        let server = stretch.end();
        let send = probe::SEND.take();
        let bytes = sent(self.server.world()) - before;
        self.network.deliver();
        probe::RECEIVE.take();
        let stretch = Stretch::begin();
        for client in &mut self.clients {
            client.run_frame(self.now, FRAME);
        }
        let clients = stretch.end();
        self.network.deliver();
        TickCost { server, send, clients, receive: probe::RECEIVE.take(), bytes, moved: 0 }
    }

    /// A tick of the game: the agents move, all worlds run.
    fn moving_frame(&mut self) -> TickCost {
        if self.setup.moving > 0.0 {
            self.motion.step();
        }
        let world = self.server.world_mut();
        for &index in &self.motion.moved {
            let i = index as usize;
            let mut entity = world.entity_mut(self.entities[i]);
            if let Some(mut position) = entity.get_mut::<Position>() {
                position.value = Vec3::from_array(self.motion.positions[i]);
            }
            if let Some(mut rotation) = entity.get_mut::<Rotation>() {
                rotation.value = Quat::from_array(self.motion.rotations[i]);
            }
        }
        for &index in &self.motion.hurt {
            let i = index as usize;
            if let Some(mut health) = world.get_mut::<Health>(self.entities[i]) {
                health.points = self.motion.health[i];
            }
        }
        TickCost { moved: self.motion.moved.len() as u64, ..self.frame() }
    }

    /// One tick of the game that counts for nothing but its time; for benches that measure themselves.
    pub fn tick(&mut self) {
        self.moving_frame();
    }

    /// One tick of the game; returns the CPU time of the server's frame in ns.
    pub fn server_tick_ns(&mut self) -> u64 {
        self.moving_frame().server.cpu_ns
    }

    /// Keeps the server's rows of this tick, and compares what every client received with the rows of the tick it came from.
    fn compare(&mut self) {
        let lanes = newest_rows(self.server.world()).into_iter().flat_map(|row| row.lanes).collect();
        let tick = self.server.world().resource::<NetworkTime>().server_tick.map_or(0, NetworkTick::index);
        self.truths.push_back((tick, lanes));
        if self.truths.len() > TRUTH_TICKS {
            self.truths.pop_front();
        }
        for client in &self.clients {
            let world = client.world();
            let (mut compared, mut mismatches) = (0, 0);
            visit_newest_rows(world, |ghost_id, tick, lanes| {
                // A row may be old, where packets were lost or not everything fitted; it must be the truth of its own tick.
                let truth = self.truths.iter().rev().find(|(index, _)| *index == tick.index());
                let start = (ghost_id as usize - 1) * lanes.len();
                if let Some((_, truth)) = truth {
                    compared += 1;
                    mismatches += u64::from(truth.get(start..start + lanes.len()) != Some(lanes));
                }
            });
            self.compared += compared;
            self.mismatches += mismatches;
        }
    }

    /// After the motion has ended every client must come to hold the server's rows.
    fn settle(&mut self) {
        for _ in 0..20 * self.setup.lag.max(1) + 20 {
            self.frame();
        }
        let truth = newest_rows(self.server.world());
        for client in &self.clients {
            let held = newest_rows(client.world());
            let wrong = truth.iter().zip(&held).filter(|(truth, held)| truth != held).count();
            self.mismatches += (wrong + truth.len().abs_diff(held.len())) as u64;
            self.compared += truth.len() as u64;
        }
    }
}

/// Runs the workload and reports it.
pub fn run(setup: Setup) -> Report {
    let mut workload = Workload::new(setup);
    for _ in 0..setup.idle {
        workload.frame();
    }
    for _ in 0..setup.warm {
        workload.moving_frame();
    }
    if setup.bits {
        workload.server.world_mut().insert_resource(SnapshotBits::default());
    }
    let mut costs = Vec::with_capacity(setup.ticks);
    for tick in 0..setup.ticks {
        costs.push(workload.moving_frame());
        // The comparison costs more than what it checks: not on every tick.
        if tick % 16 == 15 || tick + 1 == setup.ticks {
            for _ in 0..=setup.lag {
                workload.compare();
                workload.moving_frame();
            }
        }
    }
    let bits = workload.server.world_mut().remove_resource::<SnapshotBits>();
    workload.settle();
    summarise(setup, &workload, &costs).bits(bits)
}

fn summarise(setup: Setup, workload: &Workload, costs: &[TickCost]) -> Report {
    let per_tick = |figure: &dyn Fn(&TickCost) -> f64| median(&mut costs.iter().map(figure).collect::<Vec<_>>());
    let micros = |cost: Cost| cost.cpu_ns as f64 / 1e3;
    let (ticks, clients) = (costs.len().max(1) as f64, setup.clients.max(1) as f64);
    let bytes = costs.iter().map(|cost| cost.bytes).sum::<u64>() as f64 / clients;
    let moved = costs.iter().map(|cost| cost.moved).sum::<u64>() as f64;
    let per_moved = |value: f64| if moved > 0.0 { value / moved } else { 0.0 };
    let server_us = per_tick(&|cost| micros(cost.server));
    let clients_us = per_tick(&|cost| micros(cost.clients) / clients);
    let send_allocations = costs.iter().map(|cost| cost.send.allocations).sum::<u64>() as f64 / ticks;
    let receive_allocations = costs.iter().map(|cost| cost.receive.allocations).sum::<u64>() as f64 / ticks / clients;
    let server_allocations = costs.iter().map(|cost| cost.server.allocations).sum::<u64>() as f64 / ticks;
    let client_allocations = costs.iter().map(|cost| cost.clients.allocations).sum::<u64>() as f64 / ticks / clients;
    Report::new("common")
        .count("n", setup.agents as u64)
        .count("c", setup.clients as u64)
        .number("p", setup.moving)
        .count("lag", setup.lag)
        .number("kbit_s", bytes / ticks * 8.0 * TICKS_PER_SECOND / 1e3)
        .number("bytes_per_moved", per_moved(bytes))
        .number("encode_us", per_tick(&|cost| micros(cost.send)))
        .number("decode_us", per_tick(&|cost| micros(cost.receive) / clients))
        .number("allocations", send_allocations + receive_allocations)
        .count("mismatches", workload.mismatches)
        .count("compared", workload.compared)
        .number("server_us_per_tick", server_us)
        .number("client_us_per_tick", clients_us)
        .number("ns_per_moved_client", per_moved(server_us * 1e3 * ticks / clients))
        .number("bytes_per_tick", bytes / ticks)
        .number("server_allocations", server_allocations)
        .number("client_allocations", client_allocations)
}
