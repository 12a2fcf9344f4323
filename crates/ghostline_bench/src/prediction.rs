//! What prediction costs beside the simulation that it repeats: a server world and a client world, ghosts that every client predicts, and a server
//! whose word puts all of them, some of them or none of them back in every frame.

use bevy_app::{App, Plugin};
use bevy_ecs::prelude::*;
use bevy_math::Vec3;
use ghostline::prediction::RollbackMode;
use ghostline::prelude::*;
use ghostline::snapshot::GhostSendSystemData;
use ghostline::stats::PredictionStats;
use ghostline::transport::InProcessNetwork;
use ghostline::world::{DriverContext, NetWorld, WorldId};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use crate::link::{LOSES, LinkShape, Links};
use crate::measure::{Cost, Stretch, median};
use crate::probe;
use crate::report::Report;

const FRAME: Duration = Duration::from_nanos(16_666_667);
const PORT: u16 = 7980;
/// Everything that moves fits into a tick.
const SNAPSHOT_BYTES: usize = 64 * 1024;
/// Ticks that commands arrive early, and so are predicted beyond the round trip.
const SLACK: u64 = 2;

/// 64 bytes of state, of which position and velocity are sent.
#[derive(Component, GhostComponent, Clone, Copy, Default, PartialEq, Debug)]
struct Body {
    #[ghost(quantization = 1000, smoothing = interpolate)]
    position: Vec3,
    #[ghost]
    velocity: Vec3,
    phase: [f32; 10],
}

/// Predicted by everybody.
#[derive(Component, Default)]
struct Mover;

/// Shown in the past: the crowd that prediction must not touch.
#[derive(Component, Default)]
struct Bystander;

/// What to run.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    /// Predicted ghosts.
    pub ghosts: usize,
    /// Interpolated ghosts beside them.
    pub crowd: usize,
    /// Ticks from the newest snapshot to prediction: so many are simulated again when the server disagrees. 3 or more.
    pub replayed: u64,
    /// How many ghosts the server puts back in each tick.
    pub wrong: Wrong,
    /// Rounds of arithmetic per ghost and tick; a round takes about three nanoseconds.
    pub work: u32,
    /// Frames that are measured.
    pub frames: usize,
}

/// Whom the server puts back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wrong {
    /// Nobody: a quiet world.
    Nobody,
    /// So many ghosts, in each tick.
    Some(usize),
    /// Every ghost, as with rules that don't repeat exactly.
    Everybody,
}

#[derive(Resource, Clone, Copy)]
struct Work(u32);

/// How many ghosts the server pushes in each tick.
#[derive(Resource, Clone, Copy)]
struct Pushes(usize);

/// How many ghosts were simulated, tick by tick.
#[derive(Resource, Default)]
struct Simulated(u64);

struct Game {
    setup: Setup,
}

impl Plugin for Game {
    fn build(&self, app: &mut App) {
        let pushed = if let Wrong::Some(count) = self.setup.wrong { count } else { 0 };
        app.register_ghost::<Mover>(GhostPrefab::new("mover").component::<Body>().predicted())
            .register_ghost::<Bystander>(GhostPrefab::new("bystander").component::<Body>())
            .insert_resource(Work(self.setup.work))
            .insert_resource(Pushes(pushed))
            .init_resource::<Simulated>()
            .go_in_game_when_connected()
            .add_systems(PredictedSimulation, simulate)
            .add_systems_in(WorldFlags::SERVER, PredictedSimulation, push.after(simulate))
            .add_systems_in(WorldFlags::CLIENT, GhostInput, || probe::RECEIVE.begin())
            .add_systems_in(WorldFlags::CLIENT, Simulation, || probe::RECEIVE.end());
    }
}

fn simulate(work: Res<Work>, mut simulated: ResMut<Simulated>, mut movers: Query<&mut Body, (With<Mover>, Simulate)>) {
    let mut count = 0;
    for mut body in &mut movers {
        count += 1;
        let mut phase = body.phase[0];
        for round in 0..work.0 {
            phase = (phase * 0.999 + round as f32 * 1e-4).sqrt();
        }
        body.phase[0] = phase;
        let velocity = body.velocity;
        // Around a circle of half a metre.
        body.velocity = Vec3::new(velocity.x - velocity.z * 0.01, 0.0, velocity.z + velocity.x * 0.01);
        body.position += velocity * 0.016;
    }
    simulated.0 += count;
}

/// What no client can know: in each tick the next few ghosts are moved.
fn push(time: Res<NetworkTime>, pushes: Res<Pushes>, mut movers: Query<(&GhostInstance, &mut Body), With<Mover>>) {
    if pushes.0 == 0 {
        return;
    }
    let tick = time.server_tick.map_or(0, NetworkTick::index) as usize;
    let count = movers.iter().len();
    for (ghost, mut body) in &mut movers {
        let turn = (ghost.ghost_id as usize + count - tick * pushes.0 % count) % count;
        if turn < pushes.0 {
            body.position.y += 0.05;
        }
    }
}

/// The two worlds of a run.
pub struct Workload {
    network: InProcessNetwork,
    server: NetWorld,
    client: NetWorld,
    now: Duration,
}

/// What one frame's prediction did and cost.
#[derive(Clone, Copy, Default, Debug)]
pub struct FrameCost {
    /// From the end of input to the end of prediction.
    pub cost: Cost,
    /// Ghosts × ticks that were simulated.
    pub simulated: u64,
    /// Steps of the prediction loop.
    pub ticks: u64,
    /// Ghosts that were put back.
    pub rollbacks: u64,
}

impl Workload {
    /// Makes the worlds, joins them, and runs until their clocks have settled.
    ///
    /// # Panics
    /// The worlds can't be made or joined: the program is broken.
    pub fn new(setup: Setup) -> Self {
        let lag = setup.replayed.saturating_sub(SLACK).max(1);
        let down_ticks = lag / 2;
        let shape = LinkShape { down_ticks, up_ticks: lag - 1 - down_ticks, loss: 0.0, seed: 1 };
        LOSES.store(0, Relaxed);
        let bootstrap = ClientServerBootstrap::new(Game { setup }).drivers(Links(shape));
        let network = InProcessNetwork::new();
        let make = |number: u64, name: &str, kind| {
            let context = DriverContext {
                network: &network,
                world: WorldId(number),
                kind,
                play_type: PlayType::ClientAndServer,
                has_server_world: true,
            };
            NetWorld::new(&bootstrap, &context, name, Duration::ZERO)
                .unwrap_or_else(|error| panic!("the world `{name}` could not be made: {error}"))
        };
        let (mut server, mut client) = (make(0, "server", WorldKind::Server), make(1, "client", WorldKind::Client));
        let endpoint = SocketAddr::from((Ipv4Addr::LOCALHOST, PORT));
        let world = server.world_mut();
        world.insert_resource(GhostSendSystemData {
            default_snapshot_packet_size: SNAPSHOT_BYTES,
            ..GhostSendSystemData::default()
        });
        for index in 0..setup.ghosts {
            let angle = index as f32;
            let velocity = Vec3::new(angle.sin(), 0.0, angle.cos());
            world.spawn_ghost::<Mover>(Body { position: Vec3::X * angle, velocity, ..Body::default() });
        }
        for index in 0..setup.crowd {
            world.spawn_ghost::<Bystander>(Body { position: Vec3::Z * index as f32, ..Body::default() });
        }
        world.listen(endpoint).unwrap_or_else(|error| panic!("the server can't listen: {error}"));
        client.world_mut().connect(endpoint).unwrap_or_else(|error| panic!("the client can't connect: {error}"));
        let mut workload = Self { network, server, client, now: Duration::ZERO };
        let all = setup.ghosts + setup.crowd;
        for _ in 0..3600 {
            workload.frame();
            if workload.client.world().resource::<GhostCount>().instantiated as usize == all {
                break;
            }
        }
        if setup.wrong == Wrong::Everybody {
            workload.client.world_mut().resource_mut::<PredictionSettings>().rollback = RollbackMode::Always;
        }
        for _ in 0..300 {
            workload.frame();
        }
        workload
    }

    /// One frame of both worlds, the server first.
    pub fn frame(&mut self) -> FrameCost {
        self.now += FRAME;
        self.server.run_frame(self.now, FRAME);
        self.network.deliver();
        probe::RECEIVE.take();
        let before = self.totals();
        self.client.run_frame(self.now, FRAME);
        let after = self.totals();
        let cost = probe::RECEIVE.take();
        self.network.deliver();
        let [simulated, ticks, rollbacks] = [0, 1, 2].map(|figure: usize| after[figure] - before[figure]);
        FrameCost { cost, simulated, ticks, rollbacks }
    }

    fn totals(&self) -> [u64; 3] {
        let world = self.client.world();
        let stats = world.resource::<PredictionStats>();
        [world.resource::<Simulated>().0, stats.first_time_ticks + stats.resimulated_ticks, stats.rollbacks]
    }

    /// The same rules on the same ghosts without prediction around them: so many ticks.
    pub fn pure_ticks(&mut self, ticks: u64) -> Cost {
        let world = self.client.world_mut();
        let stretch = Stretch::begin();
        for _ in 0..ticks {
            world.run_schedule(PredictedSimulation);
        }
        stretch.end()
    }
}

/// Runs the workload and reports it.
pub fn run(setup: Setup) -> Report {
    let mut workload = Workload::new(setup);
    let mut frames = Vec::with_capacity(setup.frames);
    let mut pure = Vec::with_capacity(setup.frames);
    for _ in 0..setup.frames {
        let frame = workload.frame();
        frames.push(frame);
        if setup.wrong == Wrong::Everybody {
            // In pairs, so that what else runs on the machine slows both. What the rules do to the ghosts is undone by the next rollback.
            pure.push(workload.pure_ticks(frame.ticks).cpu_ns as f64 / frame.ticks.max(1) as f64);
        }
    }
    if pure.is_empty() {
        // Nothing would undo it.
        pure.extend((0..setup.frames).map(|_| workload.pure_ticks(1).cpu_ns as f64));
    }
    let count = frames.len().max(1) as f64;
    let mut per_frame: Vec<f64> = frames.iter().map(|frame| frame.cost.cpu_ns as f64 / 1e3).collect();
    let mean = |figure: &dyn Fn(&FrameCost) -> u64| frames.iter().map(figure).sum::<u64>() as f64 / count;
    let (simulated, ticks) = (mean(&|frame| frame.simulated), mean(&|frame| frame.ticks));
    let prediction_us = median(&mut per_frame);
    // What the simulated ghosts alone would have cost, at the price of a ghost in a tick.
    let per_ghost_us = median(&mut pure) / setup.ghosts.max(1) as f64 / 1e3;
    let pure_us = per_ghost_us * simulated;
    Report::new("prediction")
        .count("n", setup.ghosts as u64)
        .count("crowd", setup.crowd as u64)
        .number("ticks_per_frame", ticks)
        .number("simulated_per_frame", simulated)
        .number("rollbacks_per_frame", mean(&|frame| frame.rollbacks))
        .number("prediction_us", prediction_us)
        .number("pure_us", pure_us)
        .number("overhead", if pure_us > 0.0 { prediction_us / pure_us } else { 0.0 })
        .number("ns_per_ghost_and_tick", per_ghost_us * 1e3)
        .number("allocations", mean(&|frame| frame.cost.allocations))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn setup(wrong: Wrong) -> Setup {
        Setup { ghosts: 50, crowd: 20, replayed: 8, wrong, work: 1, frames: 20 }
    }

    /// A frame that ends within a tick takes one step more, for the part of that tick.
    #[test]
    fn who_is_wrong_is_simulated_again_and_nobody_else() {
        for (wrong, simulated) in [(Wrong::Nobody, 50..=100), (Wrong::Some(5), 70..=160), (Wrong::Everybody, 380..=520)]
        {
            let mut workload = Workload::new(setup(wrong));
            let (frames, mut total, mut rollbacks) = (60, 0, 0);
            for _ in 0..frames {
                let frame = workload.frame();
                (total, rollbacks) = (total + frame.simulated, rollbacks + frame.rollbacks);
            }
            assert!(simulated.contains(&(total / frames)), "{wrong:?}: {} ghosts per frame", total / frames);
            assert_eq!(rollbacks == 0, wrong == Wrong::Nobody, "{wrong:?}: {rollbacks} rollbacks");
        }
    }
}
