//! Three clients that connect and disconnect over and over, at every tick of a connection's life and after every gap, with RPCs under way:
//! RPC-12 to RPC-14, CONN-04, DISC-06. `GHOSTLINE_SOAK` is the number of cycles per shape, 1 stands for 10,000.

use crate::common::*;
use bevy_app::App;
use bevy_ecs::prelude::*;
use ghostline::connection::ConnectionStatus;
use ghostline::prelude::*;
use std::collections::{BTreeMap, VecDeque};

/// From a client: who it is, and in which of its connections.
#[derive(Component, RpcCommand, Clone, Copy)]
struct Ping {
    client: u32,
    session: u32,
}

/// From the server: on which of its connections.
#[derive(Component, RpcCommand, Clone, Copy)]
struct Pong {
    connection: u64,
}

const CLIENTS: usize = 3;
/// A connection is connected by then; one more offset is one more tick in game.
const OFFSETS: usize = 16;
/// A client comes back after so many ticks, at most. Its old connection may be there yet, on the server.
const GAPS: usize = 12;
/// An end is known on both sides after so many ticks, at most.
const END_TICKS: usize = 12;
/// After so many cycles everybody leaves, and nothing may be left.
const ROUND: usize = 64;

fn game(app: &mut App) {
    app.add_plugins(Game);
    app.register_rpc::<Ping>().register_rpc::<Pong>().go_in_game_when_connected();
}

fn entities(world: &mut World) -> usize {
    world.query::<Entity>().iter(world).count()
}

/// Takes the received RPCs of one type, with the connections that they came over.
fn take<T: Component + Copy>(world: &mut World) -> Vec<(T, Entity)> {
    let received: Vec<_> = world
        .query::<(Entity, &T, &ReceiveRpcCommandRequest)>()
        .iter(world)
        .map(|(entity, rpc, request)| (entity, *rpc, request.source_connection))
        .collect();
    received
        .into_iter()
        .map(|(entity, rpc, source)| {
            world.despawn(entity);
            (rpc, source)
        })
        .collect()
}

/// The numbers of clients as they have to be: freed ones first, the oldest of them first.
#[derive(Default)]
struct Numbers {
    free: VecDeque<u32>,
    highest: u32,
}

impl Numbers {
    fn follow(&mut self, fleet: &mut Fleet) {
        for event in fleet.server().events() {
            match event.state {
                ConnectionStatus::Connected => {
                    let expected = self.free.pop_front().unwrap_or_else(|| {
                        self.highest += 1;
                        self.highest
                    });
                    assert_eq!(event.network_id, NetworkId(expected));
                }
                ConnectionStatus::Disconnected if event.network_id != NetworkId::NONE => {
                    self.free.push_back(event.network_id.0);
                }
                _ => {}
            }
        }
    }
}

enum Phase {
    Away { ticks: usize },
    There { ticks: usize },
}

struct Player {
    phase: Phase,
    session: u32,
    /// The server's connection of this session, and of the last one, once it has said so.
    servers: [Option<u64>; 2],
}

struct Play {
    fleet: Fleet,
    players: Vec<Player>,
    numbers: Numbers,
    /// Who speaks on each connection of the server.
    speakers: BTreeMap<Entity, (u32, u32)>,
    cycle: usize,
}

impl Play {
    fn new(shape: Shape) -> Self {
        let mut fleet = shape.fleet().plugin(game).clients(CLIENTS).build();
        fleet.listen();
        fleet.server().world_mut().spawn_ghost::<Walker>(Position::default());
        let player = |place| Player { phase: Phase::Away { ticks: 3 * place }, session: 0, servers: [None; 2] };
        let players = (0..CLIENTS).map(player).collect();
        Self { fleet, players, numbers: Numbers::default(), speakers: BTreeMap::new(), cycle: 0 }
    }

    fn tick(&mut self) {
        self.fleet.tick();
        self.numbers.follow(&mut self.fleet);
        self.check_server();
        for client in 0..CLIENTS {
            self.check_client(client);
        }
    }

    /// Nobody is heard on a connection that is gone, and on each always the same one.
    fn check_server(&mut self) {
        let live = self.fleet.server().connections();
        self.speakers.retain(|connection, _| live.contains(connection));
        for (ping, source) in take::<Ping>(self.fleet.server().world_mut()) {
            assert!(live.contains(&source), "an RPC of a connection that is gone");
            let speaker = *self.speakers.entry(source).or_insert((ping.client, ping.session));
            assert_eq!(speaker, (ping.client, ping.session), "an RPC of another connection");
        }
    }

    fn check_client(&mut self, client: usize) {
        let live = self.fleet.client(client).connections();
        let [current, last] = &mut self.players[client].servers;
        for (pong, source) in take::<Pong>(self.fleet.client(client).world_mut()) {
            assert!(live.contains(&source), "an RPC of a connection that is gone");
            assert_eq!(*current.get_or_insert(pong.connection), pong.connection, "an RPC of another connection");
            assert_ne!(*last, Some(pong.connection), "an RPC of an earlier connection");
        }
    }

    fn speak(&mut self) {
        for client in 0..CLIENTS {
            if self.fleet.client(client).network_id().is_some() {
                let ping = Ping { client: client as u32, session: self.players[client].session };
                self.fleet.client(client).world_mut().spawn((ping, SendRpcCommandRequest::default()));
            }
        }
        let world = self.fleet.server().world_mut();
        let connected: Vec<Entity> = world.query_filtered::<Entity, With<NetworkId>>().iter(world).collect();
        for connection in connected {
            let pong = Pong { connection: connection.to_bits() };
            world.spawn((pong, SendRpcCommandRequest { target: Some(connection) }));
        }
    }

    /// One step of every player; nobody comes back who has to stay away.
    fn step(&mut self, may_come: bool) {
        for client in 0..CLIENTS {
            match &mut self.players[client].phase {
                Phase::Away { ticks } | Phase::There { ticks } if *ticks > 0 => *ticks -= 1,
                Phase::Away { .. } => {
                    // Who was thrown out has to hear of it first.
                    if may_come && self.fleet.client(client).connections().is_empty() {
                        self.come(client);
                    }
                }
                Phase::There { .. } => self.leave(client),
            }
        }
    }

    fn come(&mut self, client: usize) {
        self.fleet.connect(client);
        let player = &mut self.players[client];
        player.session += 1;
        player.servers = [None, player.servers[0].or(player.servers[1])];
        player.phase = Phase::There { ticks: self.cycle % OFFSETS };
    }

    /// The client leaves, the server throws it out, or both at once.
    fn leave(&mut self, client: usize) {
        let cycle = self.cycle;
        self.cycle += 1;
        let way = (cycle + cycle / OFFSETS + cycle / (OFFSETS * GAPS)) % 3;
        let id = self.fleet.client(client).network_id();
        let world = self.fleet.server().world_mut();
        let mut query = world.query::<(Entity, &NetworkId)>();
        let on_server = query.iter(world).find(|&(_, network_id)| Some(*network_id) == id).map(|(entity, _)| entity);
        if let Some(connection) = on_server.filter(|_| way != 0) {
            world.disconnect(connection, DisconnectReason::ConnectionClose);
        }
        let on_client = self.fleet.client(client).connections();
        if let [connection] = on_client[..] {
            if way != 1 || on_server.is_none() {
                self.fleet.client(client).world_mut().disconnect(connection, DisconnectReason::ConnectionClose);
            }
            let endpoint = self.fleet.endpoint();
            let too_early = self.fleet.client(client).world_mut().connect(endpoint);
            assert_eq!(too_early, Err(ConnectionError::AlreadyConnected { by_auto_connect: false }));
        }
        self.players[client].phase = Phase::Away { ticks: cycle / OFFSETS % GAPS };
    }

    fn is_over(&self) -> bool {
        self.players.iter().all(|player| matches!(player.phase, Phase::Away { .. }))
    }

    /// So many cycles, then everybody leaves. Returns how many entities are left in each world.
    fn round(&mut self, cycles: usize) -> Vec<usize> {
        let end = self.cycle + cycles;
        while self.cycle < end || !self.is_over() {
            self.step(self.cycle < end);
            self.speak();
            self.tick();
        }
        for _ in 0..END_TICKS {
            self.tick();
        }
        let mut left = vec![entities(self.fleet.server().world_mut())];
        assert!(self.fleet.server().connections().is_empty());
        for client in 0..CLIENTS {
            assert!(self.fleet.client(client).connections().is_empty());
            left.push(entities(self.fleet.client(client).world_mut()));
        }
        left
    }
}

/// Bytes of memory that this process holds, where the system tells.
fn resident_bytes() -> Option<u64> {
    let pages = std::fs::read_to_string("/proc/self/statm").ok()?;
    pages.split_whitespace().nth(1)?.parse::<u64>().ok().map(|pages| pages * 4096)
}

#[test]
fn connections_that_come_and_go_at_every_tick_leave_nothing_behind() {
    // Every offset with every gap.
    let short = OFFSETS * GAPS;
    let soak = std::env::var("GHOSTLINE_SOAK").ok().and_then(|cycles| cycles.parse().ok());
    let cycles = soak.map_or(short, |cycles: usize| if cycles == 1 { 10_000 } else { cycles });
    for shape in SHAPES {
        let mut play = Play::new(shape);
        // The first round makes what is made once, such as observers and resources.
        let baseline = play.round(ROUND);
        let mut settled = None;
        while play.cycle < cycles {
            assert_eq!(play.round(ROUND), baseline, "{shape:?}: entities are left after {} cycles", play.cycle);
            if play.cycle >= cycles / 4 && settled.is_none() {
                settled = resident_bytes();
            }
        }
        if soak.is_some()
            && let (Some(before), Some(after)) = (settled, resident_bytes())
        {
            assert!(after < before + (2 << 20), "{shape:?}: memory grew from {before} to {after} bytes");
        }
        play.fleet.connect_all();
        play.fleet.ticks(4);
        let mut ids: Vec<_> = (0..CLIENTS).map(|client| play.fleet.client(client).network_id()).collect();
        ids.sort();
        assert!(ids.iter().all(Option::is_some) && play.numbers.highest as usize <= 2 * CLIENTS, "{ids:?}");
    }
}
