//! The game that is attacked: two players with ghosts and inputs, RPCs both ways, and an honest client that must not notice.

use bevy_app::{App, Plugin};
use bevy_ecs::prelude::*;
use bevy_math::Vec3;
use ghostline::connection::{DisconnectReason, NetCodeConnectionEvent};
use ghostline::prelude::*;
use ghostline::snapshot::{GhostRow, newest_rows};
pub(crate) use ghostline_testkit::{Direction, Fleet, MessageKind, Pipeline, Transport};
use ghostline_testkit::{FRAME, WorldOrder};

pub(crate) use crate::dice::Dice;

#[derive(Component, GhostComponent, Clone, Copy, Default, PartialEq, Debug)]
pub(crate) struct Position {
    #[ghost(quantization = 1000, smoothing = interpolate)]
    pub(crate) value: Vec3,
}

#[derive(Component, GhostComponent, Clone, Copy, Default, PartialEq, Debug)]
pub(crate) struct Health {
    #[ghost]
    pub(crate) points: i32,
}

#[derive(Component, InputComponentData, Clone, Copy, Default, PartialEq, Debug)]
pub(crate) struct PlayerInput {
    pub(crate) horizontal: i8,
    pub(crate) jump: InputEvent,
}

#[derive(Component, RpcCommand, Clone, Copy, Debug)]
pub(crate) struct Chat {
    pub(crate) number: u32,
    pub(crate) loud: bool,
}

/// Names a ghost.
#[derive(Component, RpcCommand, Clone, Copy, Debug)]
pub(crate) struct Point {
    pub(crate) at: GhostRef,
}

/// What the points that were heard in this world point at here, in order.
#[derive(Resource, Default)]
pub(crate) struct Pointed(pub(crate) Vec<Option<Entity>>);

/// Says all by its type: the smallest RPC there is.
#[derive(Component, RpcCommand, Clone, Copy, Debug)]
pub(crate) struct Ping;

/// May be lost.
#[derive(Component, RpcCommand, Clone, Copy, Debug)]
#[rpc(unreliable)]
pub(crate) struct Spot {
    pub(crate) number: u32,
}

#[derive(Component, Default)]
pub(crate) struct Crate;

#[derive(Component, Default)]
pub(crate) struct Player;

/// What was heard in this world: the numbers of all chats and spots together.
#[derive(Resource, Default)]
pub(crate) struct Heard(pub(crate) u32);

/// Pings heard so far.
#[derive(Resource, Default)]
pub(crate) struct Pings(pub(crate) usize);

pub(crate) struct Game;

impl Plugin for Game {
    fn build(&self, app: &mut App) {
        app.init_resource::<Heard>()
            .init_resource::<Pings>()
            .init_resource::<Pointed>()
            .register_ghost::<Crate>(GhostPrefab::new("crate").component::<Position>().component::<Health>())
            .register_ghost::<Player>(
                GhostPrefab::new("player")
                    .component::<Position>()
                    .component::<Health>()
                    .owner_predicted()
                    .input::<PlayerInput>(),
            )
            .register_rpc::<Chat>()
            .register_rpc::<Ping>()
            .register_rpc::<Point>()
            .register_rpc::<Spot>()
            .add_systems_in(WorldFlags::CLIENT, GhostInput, walk)
            .add_systems(PredictedSimulation, drive)
            .add_systems(Simulation, (listen, count_pings, follow_points));
    }
}

fn walk(time: Res<NetworkTime>, mut players: Query<&mut PlayerInput, With<GhostOwnerIsLocal>>) {
    for mut input in &mut players {
        input.horizontal = if time.input_target_tick().is_some_and(|tick| tick.index() % 32 < 16) { 1 } else { -1 };
        if time.input_target_tick().is_some_and(|tick| tick.index() % 10 == 0) {
            input.jump.set();
        }
    }
}

fn drive(mut players: Query<(&PlayerInput, &mut Position), Simulate>) {
    for (input, mut position) in &mut players {
        position.value.x += f32::from(input.horizontal) * 0.1;
    }
}

fn listen(
    mut commands: Commands,
    mut heard: ResMut<Heard>,
    said: Query<(Entity, Option<&Chat>, Option<&Spot>), With<ReceiveRpcCommandRequest>>,
) {
    for (entity, chat, spot) in &said {
        if let Some(number) = chat.map(|chat| chat.number).or(spot.map(|spot| spot.number)) {
            heard.0 = heard.0.wrapping_add(number);
            commands.entity(entity).despawn();
        }
    }
}

fn count_pings(
    mut commands: Commands,
    mut heard: ResMut<Pings>,
    pings: Query<Entity, (With<Ping>, With<ReceiveRpcCommandRequest>)>,
) {
    for ping in &pings {
        heard.0 += 1;
        commands.entity(ping).despawn();
    }
}

fn follow_points(
    mut commands: Commands,
    mut pointed: ResMut<Pointed>,
    points: Query<(Entity, &ReceiveRpcCommandRequest, &Point)>,
) {
    let mut points: Vec<_> = points.iter().collect();
    points.sort_by_key(|(_, request, _)| request.sequence());
    for (entity, _, point) in points {
        pointed.0.push(point.at.entity());
        commands.entity(entity).despawn();
    }
}

/// Who is ticked first in the tests in process.
pub(crate) const ORDERS: [WorldOrder; 2] = [WorldOrder::ServerFirst, WorldOrder::ClientFirst];

/// Over what the worlds talk, and who is ticked first.
pub(crate) type Shape = (Transport, WorldOrder);

pub(crate) const SHAPES: [Shape; 4] = [
    (Transport::InProcess, WorldOrder::ServerFirst),
    (Transport::InProcess, WorldOrder::ClientFirst),
    (Transport::Quic, WorldOrder::ServerFirst),
    (Transport::Quic, WorldOrder::ClientFirst),
];

/// The attacker is client 0, or the server towards client 0. Client 1 is honest.
pub(crate) const ATTACKER: usize = 0;
pub(crate) const HONEST: usize = 1;

/// What a client says whose clock was put off. Who lies about the ticks of its commands is told how to correct a clock that was right; an
/// honest client never says this.
pub(crate) const JUMP: &str = "the predicted server tick jumped";

pub(crate) struct Arena {
    pub(crate) fleet: Fleet,
    pub(crate) crates: Vec<Entity>,
    pub(crate) players: Vec<Entity>,
    /// Why and when clients were disconnected, as the server and client 0 saw it.
    pub(crate) ends_on_server: Vec<NetCodeConnectionEvent>,
    pub(crate) ends_on_attacked: Vec<NetCodeConnectionEvent>,
    order: WorldOrder,
    step: u32,
    seed: u64,
}

impl Arena {
    pub(crate) fn in_process(order: WorldOrder, seed: u64) -> Self {
        Self::over((Transport::InProcess, order), seed)
    }

    pub(crate) fn over((transport, order): Shape, seed: u64) -> Self {
        let mut fleet = Fleet::builder().plugin(Game).clients(2).seed(seed).transport(transport).order(order).build();
        fleet.connect_all();
        fleet.go_in_game_all();
        let mut players = Vec::new();
        for client in [ATTACKER, HONEST] {
            let owner = fleet.client(client).network_id().unwrap();
            players.push(fleet.server().world_mut().spawn_ghost::<Player>(GhostOwner(owner)));
        }
        let crates = (0..40)
            .map(|number| {
                fleet.server().world_mut().spawn_ghost::<Crate>((Position::default(), Health { points: number }))
            })
            .collect();
        let mut arena = Self {
            fleet,
            crates,
            players,
            ends_on_server: Vec::new(),
            ends_on_attacked: Vec::new(),
            order,
            step: 0,
            seed,
        };
        arena.ticks(40);
        arena
    }

    /// A tick in which something happens, watched.
    pub(crate) fn tick(&mut self) {
        self.step += 1;
        let moved = self.crates[self.step as usize % self.crates.len()];
        self.fleet.server().world_mut().get_mut::<Position>(moved).unwrap().value.x += 0.25;
        if self.order == WorldOrder::ServerFirst {
            self.fleet.tick_server(FRAME);
        }
        self.fleet.tick_client(ATTACKER, FRAME);
        let told = self.fleet.logs().line_count();
        self.fleet.tick_client(HONEST, FRAME);
        let jumped = self.fleet.logs().lines_after(told).iter().any(|line| line.text.contains(JUMP));
        assert!(!jumped, "seed {}: the honest client's clock was put off", self.seed);
        if self.order == WorldOrder::ClientFirst {
            self.fleet.tick_server(FRAME);
        }
        let is_end = |event: &NetCodeConnectionEvent| event.disconnect_reason.is_some();
        self.ends_on_server.extend(self.fleet.server().events().into_iter().filter(is_end));
        self.ends_on_attacked.extend(self.fleet.client(ATTACKER).events().into_iter().filter(is_end));
        assert!(
            !self.fleet.client(HONEST).events().iter().any(is_end),
            "seed {}: the honest client was cut off",
            self.seed
        );
    }

    pub(crate) fn ticks(&mut self, count: usize) {
        for _ in 0..count {
            self.tick();
        }
    }

    /// What crossed the attacker's link in this direction with this kind, kind byte included.
    pub(crate) fn record(&mut self, direction: Direction, kind: MessageKind, ticks: usize) -> Vec<Vec<u8>> {
        self.fleet.link(ATTACKER).record();
        for tick in 0..ticks {
            if kind == MessageKind::Rpc && tick % 4 == 0 {
                let chat = (Chat { number: 7, loud: true }, SendRpcCommandRequest::default());
                match direction {
                    Direction::ToServer => self.fleet.client(ATTACKER).world_mut().spawn(chat),
                    Direction::ToClient => self.fleet.server().world_mut().spawn(chat),
                };
            }
            self.tick();
        }
        let recorded = self.fleet.link(ATTACKER).recorded();
        let messages: Vec<Vec<u8>> = recorded
            .into_iter()
            .filter(|message| !message.injected && message.direction == direction)
            .filter(|message| message.bytes.first() == Some(&kind.byte()))
            .map(|message| message.bytes)
            .collect();
        assert!(messages.len() >= 4, "only {} messages were recorded: {kind:?} {direction:?}", messages.len());
        messages
    }

    pub(crate) fn inject(&mut self, direction: Direction, kind: MessageKind, message: Vec<u8>) {
        let pipeline = if kind == MessageKind::Rpc { Pipeline::ReliableOrdered } else { Pipeline::Unreliable };
        self.fleet.link(ATTACKER).inject_raw(direction, pipeline, message);
    }

    /// The attacker's connection on the server.
    pub(crate) fn is_attacker_connected(&mut self) -> bool {
        self.fleet.server().connections().len() == 2
    }

    /// Why the attacker was thrown out, if it was.
    pub(crate) fn reason_on_server(&self) -> Option<DisconnectReason> {
        self.ends_on_server.first().and_then(|event| event.disconnect_reason)
    }

    /// Lets the attacker in again if it was thrown out.
    pub(crate) fn reconnect(&mut self) {
        self.ends_on_server.clear();
        self.ends_on_attacked.clear();
        // What it has lied about itself may have put its own clock back: then it hears of its end when that has come round again.
        while !self.fleet.client(ATTACKER).connections().is_empty() {
            self.tick();
        }
        self.fleet.connect_all();
        self.fleet.go_in_game_all();
        let owner = self.fleet.client(ATTACKER).network_id().unwrap();
        let player = self.players[ATTACKER];
        self.fleet.server().world_mut().get_mut::<GhostOwner>(player).unwrap().0 = owner;
        self.ticks(20);
    }

    /// The honest client holds what the server holds, is commanded as ever, and hears what is said.
    pub(crate) fn assert_honest_client_is_well(&mut self, context: &str) {
        let seed = self.seed;
        let before = self.fleet.server().world().get::<Position>(self.players[HONEST]).unwrap().value.x;
        let mut moved = false;
        for _ in 0..6 {
            self.tick();
            let now = self.fleet.server().world().get::<Position>(self.players[HONEST]).unwrap().value.x;
            moved |= (now - before).abs() > 0.05;
        }
        assert!(moved, "seed {seed}, {context}: the honest player's commands are not used");
        // A tick without changes, but for those of the honest player itself.
        self.fleet.ticks(3);
        let [mine, truth] = self.rows(HONEST);
        assert_eq!(mine, truth, "seed {seed}, {context}: the honest client's rows");
    }

    /// The newest rows that a client holds, and those of the server, when the client has had its turn after the server.
    pub(crate) fn rows(&mut self, client: usize) -> [Vec<GhostRow>; 2] {
        let is_ahead = self.order == WorldOrder::ClientFirst;
        if is_ahead {
            self.fleet.tick_client(ATTACKER, FRAME);
            self.fleet.tick_client(HONEST, FRAME);
        }
        let rows = [newest_rows(self.fleet.client(client).world()), newest_rows(self.fleet.server().world())];
        if is_ahead {
            self.fleet.tick_server(FRAME);
        }
        rows
    }
}

/// Cuts a message short, lengthens it, or flips bits of it behind the kind.
pub(crate) fn damage(message: &[u8], dice: &mut Dice) -> Vec<u8> {
    let mut damaged = message.to_vec();
    assert!(message.len() > 1, "there is nothing to damage");
    match dice.below(4) {
        0 => damaged.truncate(1 + dice.below(message.len() - 1)),
        1 => damaged.extend((0..1 + dice.below(20)).map(|_| dice.next() as u8)),
        _ => {
            for _ in 0..1 + dice.below(4) {
                let bit = 8 + dice.below((message.len() - 1) * 8);
                damaged[bit / 8] ^= 1 << (bit % 8);
            }
        }
    }
    damaged
}

/// Random bytes behind a kind.
pub(crate) fn garbage(kind: MessageKind, dice: &mut Dice) -> Vec<u8> {
    let length = dice.below(300);
    std::iter::once(kind.byte()).chain((0..length).map(|_| dice.next() as u8)).collect()
}
