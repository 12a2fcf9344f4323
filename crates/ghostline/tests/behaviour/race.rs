//! The game of the prediction tests: cars that their owners drive in three axes, a ball that everybody predicts, and logs of every step on
//! both sides, so that a test can compare what a client predicted for a tick with what the server made of it.

use bevy_app::{App, Plugin};
use bevy_ecs::component::Mutable;
use bevy_ecs::prelude::*;
use bevy_math::Vec3;
use bevy_time::Time;
use ghostline::prelude::*;
use ghostline::snapshot::newest_rows;
use ghostline_testkit::{Fleet, LinkProfile, Transport};
use std::collections::HashMap;

pub(crate) use crate::common::Position;

/// One step of a quantised position, in metres.
pub(crate) const QUANTUM: f32 = 0.001;
/// What the arithmetic of floats makes of the same motion on two sides, in quanta.
pub(crate) const FLOAT_NOISE: f64 = 0.05;

/// The largest distance of an exact position from a row, by axis, in quanta.
fn quanta_apart(exact: Vec3, row: [i32; 3]) -> f64 {
    let axes = exact.to_array().into_iter().zip(row);
    axes.map(|(exact, lane)| (f64::from(exact) * 1000.0 - f64::from(lane)).abs()).fold(0.0, f64::max)
}

#[derive(Component, InputComponentData, Clone, Copy, Default, PartialEq, Debug)]
pub(crate) struct Wheel {
    pub(crate) x: i8,
    pub(crate) y: i8,
    pub(crate) z: i8,
}

/// What is heard once, and a number that tells which tick it was made for.
#[derive(Component, InputComponentData, Clone, Copy, Default, PartialEq, Debug)]
pub(crate) struct Horn {
    pub(crate) blown: InputEvent,
    pub(crate) sentinel: u32,
}

/// Predicted, not sent: fills while driving, and empties into a boost.
#[derive(Component, Clone, Copy, Default, PartialEq, Debug)]
pub(crate) struct Charge(pub(crate) f32);

/// Predicted, not sent, comes and goes.
#[derive(Component, Clone, Copy, Default, PartialEq, Debug)]
pub(crate) struct Boost {
    ticks_left: u32,
}

#[derive(Component, GhostComponent, Clone, Copy, Default, PartialEq, Debug)]
pub(crate) struct Speed {
    #[ghost]
    pub(crate) value: f32,
}

/// What only the server changes.
#[derive(Component, GhostComponent, Clone, Copy, Default, PartialEq, Debug)]
pub(crate) struct Laps {
    #[ghost]
    pub(crate) count: u32,
}

#[derive(Component, Default)]
pub(crate) struct Car;

#[derive(Component, Default)]
pub(crate) struct Ball;

/// A ghost that every client predicts, with an owner whose input drives it.
#[derive(Component, Default)]
pub(crate) struct Bike;

/// Whether the horn is to be blown in the next frame.
#[derive(Resource, Default)]
pub(crate) struct BlowHorn(pub(crate) bool);

/// Blows of the horn that the rules have seen in full ticks, and the sentinel of the last reading of each tick.
#[derive(Resource, Default)]
pub(crate) struct Heard {
    pub(crate) blows: u32,
    pub(crate) sentinels: HashMap<u32, u32>,
}

/// Whether players drive. Before that nothing moves, so nothing can be mispredicted while clocks settle.
#[derive(Resource, Default)]
struct EnginesRun(bool);

/// Where the first car was after each full tick, the last word on each.
#[derive(Resource, Default)]
struct Log(HashMap<u32, Vec3>);

/// The row of the first car after each tick of the server, as it was sent.
#[derive(Resource, Default)]
struct RowLog(HashMap<u32, [i32; 3]>);

/// What the client's car is to be moved by in the next new tick, as if its prediction had gone wrong.
#[derive(Resource, Default)]
struct Nudge(Vec3);

/// What `NetworkTime` said in each step.
#[derive(Resource, Default)]
pub(crate) struct Steps(pub(crate) Vec<NetworkTime>);

/// The prediction step (by its index in the frame) of each sub-step, with the sub-step's length in seconds.
#[derive(Resource, Default)]
pub(crate) struct SubSteps(pub(crate) Vec<(u32, f32)>);

/// The ticks in which effects happened that must happen once.
#[derive(Resource, Default)]
pub(crate) struct FirstTimes(pub(crate) Vec<NetworkTick>);

/// How often cars and balls were simulated in full ticks, and how many of those were new.
#[derive(Resource, Clone, Copy, Default)]
pub(crate) struct Simulated {
    pub(crate) cars: usize,
    pub(crate) balls: usize,
    pub(crate) first_times: usize,
}

/// How often a boost began, simulated again or not.
#[derive(Resource, Default)]
pub(crate) struct Boosts(pub(crate) u32);

/// Where the first car was at the end of the last full tick of each frame, since the test began to watch.
#[derive(Resource, Default)]
struct Frames(Vec<(NetworkTick, Vec3)>);

/// What a player does in a tick: held for some ticks, then something else.
fn input_of(tick: NetworkTick) -> [i8; 3] {
    let held = (tick.index() / 7).wrapping_mul(0x9E37_79B9);
    [0, 8, 16].map(|shift| ((held >> shift & 0xFF) % 3) as i8 - 1)
}

/// The lanes of a car's row that hold its position; owner and laps stand before it.
const POSITION_LANES: std::ops::Range<usize> = 2..5;

struct RaceGame {
    with_turbo: bool,
    smoothing: Option<ErrorSmoothing>,
}

impl Plugin for RaceGame {
    fn build(&self, app: &mut App) {
        let car = GhostPrefab::new("car").unpredicted_component::<Laps>().component::<Position>();
        app.register_ghost::<Car>(car.owner_predicted().input::<Wheel>())
            .register_ghost::<Ball>(GhostPrefab::new("ball").component::<Position>().component::<Speed>().predicted())
            .register_ghost::<Bike>(
                GhostPrefab::new("bike").component::<Position>().predicted().owned().input::<Horn>(),
            )
            .init_resource::<BlowHorn>()
            .init_resource::<Heard>()
            .add_systems_in(WorldFlags::CLIENT, GhostInput, blow)
            .add_systems(PredictedSimulation, hear)
            .init_resource::<SubSteps>()
            .add_systems(PredictedFixedStepSimulation, log_sub_step)
            .register_predicted_state::<Charge>()
            .register_predicted_state::<Boost>()
            .init_resource::<EnginesRun>()
            .init_resource::<Log>()
            .init_resource::<RowLog>()
            .add_systems_in(WorldFlags::SERVER, BeforeNetworkReceive, log_row)
            .init_resource::<Steps>()
            .init_resource::<FirstTimes>()
            .init_resource::<Simulated>()
            .init_resource::<Boosts>()
            .init_resource::<Frames>()
            .add_systems_in(WorldFlags::CLIENT, GhostInput, steer)
            .add_systems(
                PredictedSimulation,
                (drive, nudge, roll, log_step, log_first_time.run_if(first_time_predicted)).chain(),
            )
            .init_resource::<Nudge>();
        if self.with_turbo {
            app.add_systems(PredictedSimulation, charge_up.before(drive));
        }
        if let Some(smoothing) = self.smoothing {
            app.smooth_errors::<Position>(smoothing);
        }
    }
}

fn steer(time: Res<NetworkTime>, engines: Res<EnginesRun>, mut wheels: Query<&mut Wheel, With<GhostOwnerIsLocal>>) {
    let Some(tick) = time.input_target_tick() else { return };
    let [x, y, z] = if engines.0 { input_of(tick) } else { [0; 3] };
    for mut wheel in &mut wheels {
        *wheel = Wheel { x, y, z };
    }
}

/// The sentinel of a tick.
pub(crate) fn sentinel_of(tick: NetworkTick) -> u32 {
    tick.index().wrapping_mul(0x85EB_CA6B) | 1
}

fn blow(time: Res<NetworkTime>, mut blow: ResMut<BlowHorn>, mut horns: Query<&mut Horn, With<GhostOwnerIsLocal>>) {
    let Some(tick) = time.input_target_tick() else { return };
    for mut horn in &mut horns {
        *horn = Horn { sentinel: sentinel_of(tick), ..Horn::default() };
        if std::mem::take(&mut blow.0) {
            horn.blown.set();
        }
    }
}

fn hear(
    time: Res<NetworkTime>,
    mut heard: ResMut<Heard>,
    mut bikes: Query<(&Horn, &mut Position), (With<Bike>, Simulate)>,
) {
    let Some(tick) = time.server_tick.filter(|_| !time.is_partial_tick()) else { return };
    for (horn, mut position) in &mut bikes {
        heard.blows += horn.blown.count();
        heard.sentinels.insert(tick.raw(), horn.sentinel);
        position.value.x += horn.blown.count() as f32;
    }
}

fn charge_up(
    mut commands: Commands,
    time: Res<NetworkTime>,
    mut boosts: ResMut<Boosts>,
    mut cars: Query<(Entity, &Wheel, Option<&mut Charge>, Option<&mut Boost>), (With<Car>, Simulate)>,
) {
    for (car, wheel, charge, boost) in &mut cars {
        let Some(mut charge) = charge else {
            commands.entity(car).insert(Charge::default());
            continue;
        };
        if *wheel != Wheel::default() && !time.is_partial_tick() {
            charge.0 += 0.0625;
        }
        match boost {
            Some(mut boost) if boost.ticks_left > 0 => boost.ticks_left -= u32::from(!time.is_partial_tick()),
            Some(_) => {
                commands.entity(car).remove::<Boost>();
            }
            None if charge.0 >= 1.0 => {
                charge.0 = 0.0;
                boosts.0 += 1;
                commands.entity(car).insert(Boost { ticks_left: 9 });
            }
            None => {}
        }
    }
}

fn drive(
    time: Res<Time>,
    mut cars: Query<(&Wheel, &mut Position, Option<&Charge>, Has<Boost>), (With<Car>, Simulate)>,
) {
    for (wheel, mut position, charge, boosted) in &mut cars {
        let speed = 2.237 * if boosted { 3.0 } else { 1.0 } + charge.map_or(0.0, |charge| charge.0);
        let direction = Vec3::new(wheel.x.into(), wheel.y.into(), wheel.z.into());
        if direction != Vec3::ZERO {
            position.value += direction * speed * time.delta_secs();
        }
    }
}

/// A metre per tick at speed 1.
fn roll(time: Res<Time>, mut balls: Query<(&Speed, &mut Position), (With<Ball>, Simulate)>) {
    for (speed, mut position) in &mut balls {
        position.value.x += speed.value * time.delta_secs() * 60.0;
    }
}

/// The row of the tick before: rows are made at the end of a tick.
fn log_row(world: &mut World) {
    let Ok(car) = world.query_filtered::<&GhostInstance, With<Car>>().single(world) else { return };
    let id = car.ghost_id;
    let tick = world.resource::<NetworkTime>().server_tick.unwrap().prev();
    if let Some(row) = newest_rows(world).into_iter().find(|row| row.ghost_id == id) {
        let lanes = &row.lanes[POSITION_LANES];
        world.resource_mut::<RowLog>().0.insert(tick.raw(), [0, 1, 2].map(|axis| lanes[axis].cast_signed()));
    }
}

fn log_step(
    time: Res<NetworkTime>,
    mut steps: ResMut<Steps>,
    mut log: ResMut<Log>,
    mut simulated: ResMut<Simulated>,
    mut frames: ResMut<Frames>,
    cars: Query<&Position, (With<Car>, Simulate)>,
    balls: Query<(), (With<Ball>, Simulate)>,
) {
    steps.0.push(time.clone());
    let Some(tick) = time.server_tick.filter(|_| !time.is_partial_tick()) else { return };
    simulated.cars += cars.iter().count();
    simulated.balls += balls.iter().count();
    simulated.first_times += usize::from(time.is_first_time_fully_predicting_tick());
    if let Some(position) = cars.iter().next() {
        log.0.insert(tick.raw(), position.value);
        if time.is_final_full_prediction_tick() {
            frames.0.push((tick, position.value));
        }
    }
}

/// Puts the car somewhere else, once, in the next new tick.
fn nudge(
    mut nudge: ResMut<Nudge>,
    time: Res<NetworkTime>,
    mut cars: Query<&mut Position, (With<Car>, With<PredictedGhost>, Simulate)>,
) {
    if nudge.0 != Vec3::ZERO && time.is_first_time_fully_predicting_tick() {
        for mut position in &mut cars {
            position.value += std::mem::take(&mut nudge.0);
        }
    }
}

fn log_sub_step(network: Res<NetworkTime>, time: Res<Time>, mut sub_steps: ResMut<SubSteps>) {
    sub_steps.0.push((network.predicted_tick_index, time.delta_secs()));
}

fn log_first_time(time: Res<NetworkTime>, mut first_times: ResMut<FirstTimes>) {
    first_times.0.extend(time.server_tick);
}

/// What a race is like.
pub(crate) struct RaceOptions {
    pub(crate) profile: LinkProfile,
    pub(crate) order: WorldOrder,
    pub(crate) clients: usize,
    pub(crate) seed: u64,
    pub(crate) start_tick: Option<NetworkTick>,
    pub(crate) client_tick_rate: ClientTickRate,
    pub(crate) with_turbo: bool,
    pub(crate) with_ball: bool,
    pub(crate) without_cars: bool,
    pub(crate) with_bike: bool,
    pub(crate) simulation_tick_rate: i32,
    pub(crate) sub_steps: i32,
    pub(crate) transport: Transport,
    pub(crate) smoothing: Option<ErrorSmoothing>,
}

impl Default for RaceOptions {
    fn default() -> Self {
        Self {
            profile: LinkProfile::perfect(),
            order: WorldOrder::ServerFirst,
            clients: 1,
            seed: 1,
            start_tick: None,
            client_tick_rate: ClientTickRate::default(),
            with_turbo: false,
            with_ball: false,
            without_cars: false,
            with_bike: false,
            simulation_tick_rate: 60,
            sub_steps: 1,
            transport: Transport::InProcess,
            smoothing: None,
        }
    }
}

/// A fleet in the game; the first client owns a car.
pub(crate) struct Race {
    pub(crate) fleet: Fleet,
}

impl Race {
    pub(crate) fn new(options: RaceOptions) -> Self {
        let mut builder = Fleet::builder()
            .seed(options.seed)
            .plugin(RaceGame { with_turbo: options.with_turbo, smoothing: options.smoothing })
            .clients(options.clients)
            .link(options.profile)
            .order(options.order)
            .transport(options.transport)
            .tick_rate(ClientServerTickRate {
                simulation_tick_rate: options.simulation_tick_rate,
                max_simulation_steps_per_frame: 4,
                predicted_fixed_step_simulation_tick_ratio: options.sub_steps,
                ..ClientServerTickRate::default()
            })
            .client_tick_rate(options.client_tick_rate);
        if let Some(tick) = options.start_tick {
            builder = builder.start_tick(tick);
        }
        let mut fleet = builder.build();
        fleet.connect_all();
        fleet.go_in_game_all();
        let owner = fleet.client(0).network_id().unwrap();
        let world = fleet.server().world_mut();
        if !options.without_cars {
            // Between the steps of the quantisation, so that a client that takes it from the wire starts a little beside it.
            let value = Vec3::new(0.000_31, 1.000_44, -3.000_27);
            world.spawn_ghost::<Car>((GhostOwner(owner), Position { value }));
        }
        if options.with_bike {
            world.spawn_ghost::<Bike>(GhostOwner(owner));
        }
        if options.with_ball {
            world.spawn_ghost::<Ball>(Position::default());
        }
        Self { fleet }
    }

    /// A race under way: clocks have settled, the cars drive.
    pub(crate) fn started(profile: LinkProfile) -> Self {
        let mut race = Self::new(RaceOptions { profile, ..RaceOptions::default() });
        race.fleet.ticks(100);
        race.start_engines();
        race.fleet.ticks(60);
        race.watch_from_now();
        race
    }

    /// Makes the first client's prediction wrong by so much, once, in the next tick.
    pub(crate) fn nudge_client(&mut self, by: Vec3) {
        self.fleet.client(0).world_mut().resource_mut::<Nudge>().0 = by;
    }

    fn set_engines(&mut self, run: bool) {
        for client in 0..self.fleet.client_count() {
            self.fleet.client(client).world_mut().resource_mut::<EnginesRun>().0 = run;
        }
    }

    /// Forgets what the first client has shown so far.
    pub(crate) fn watch_from_now(&mut self) {
        self.fleet.client(0).world_mut().resource_mut::<Frames>().0.clear();
    }

    pub(crate) fn start_engines(&mut self) {
        self.set_engines(true);
    }

    pub(crate) fn stop_engines(&mut self) {
        self.set_engines(false);
    }

    pub(crate) fn client_cars(&mut self, client: usize) -> Vec<Entity> {
        let world = self.fleet.client(client).world_mut();
        world.query_filtered::<Entity, With<Car>>().iter(world).collect()
    }

    pub(crate) fn client_car<C: Component<Mutability = Mutable>>(&mut self, client: usize) -> Mut<'_, C> {
        let car = self.client_cars(client)[0];
        self.fleet.client(client).world_mut().get_mut::<C>(car).unwrap()
    }

    pub(crate) fn server_car<C: Component<Mutability = Mutable>>(&mut self) -> Mut<'_, C> {
        let world = self.fleet.server().world_mut();
        let car = world.query_filtered::<Entity, With<Car>>().single(world).unwrap();
        world.get_mut::<C>(car).unwrap()
    }

    pub(crate) fn set_ball_speed(&mut self, speed: f32) {
        let world = self.fleet.server().world_mut();
        for mut ball in world.query::<&mut Speed>().iter_mut(world) {
            ball.value = speed;
        }
    }

    /// How far the ball has rolled on the client or on the server.
    pub(crate) fn ball(&mut self, on_client: bool) -> f32 {
        let world = if on_client { self.fleet.client(0).world_mut() } else { self.fleet.server().world_mut() };
        world.query_filtered::<&Position, With<Ball>>().single(world).unwrap().value.x
    }

    /// How often the first client has simulated cars and balls.
    pub(crate) fn simulated(&mut self) -> Simulated {
        *self.fleet.client(0).world().resource::<Simulated>()
    }

    /// How many ticks are known on both sides. In each of them the client's exact position was within a quantum of the row that the server sent.
    pub(crate) fn ticks_within_a_quantum_of_the_row(&mut self) -> usize {
        let rows = self.fleet.server().world().resource::<RowLog>().0.clone();
        let client = &self.fleet.client(0).world().resource::<Log>().0;
        let mut compared = 0;
        for (tick, predicted) in client {
            let Some(row) = rows.get(tick) else { continue };
            let quanta = quanta_apart(*predicted, *row);
            assert!(quanta <= 1.0 + FLOAT_NOISE, "tick {}: {predicted} on the client, the row is {row:?}", tick >> 1);
            compared += 1;
        }
        compared
    }

    /// How far the client's car is from the newest row that the server made, in quanta.
    pub(crate) fn quanta_from_the_row(&mut self) -> f64 {
        let predicted = self.client_car::<Position>(0).value;
        let world = self.fleet.server().world_mut();
        let id = world.query_filtered::<&GhostInstance, With<Car>>().single(world).unwrap().ghost_id;
        let row = newest_rows(world).into_iter().find(|row| row.ghost_id == id).unwrap();
        quanta_apart(predicted, [0, 1, 2].map(|axis| row.lanes[POSITION_LANES][axis].cast_signed()))
    }

    /// The number of the last frame, from 1, in which the first client showed its car elsewhere than the server had it in that tick.
    pub(crate) fn last_wrong_frame(&mut self, tolerance: f32) -> Option<usize> {
        let server = self.fleet.server().world().resource::<Log>().0.clone();
        let frames = &self.fleet.client(0).world().resource::<Frames>().0;
        let is_wrong = |(tick, shown): &(NetworkTick, Vec3)| {
            server.get(&tick.raw()).is_some_and(|truth| (*shown - *truth).abs().max_element() > tolerance)
        };
        frames.iter().rposition(is_wrong).map(|index| index + 1)
    }
}
