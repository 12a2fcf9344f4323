//! A client that loses its connection comes back by itself, and the server knows it again: what it had scored is still there.
//!
//! One server and one client in one process, over a simulated link of 80 ms round trip that loses 2 % of all packets, as players have it; take
//! `simulator` away for a perfect one. Run it with `cargo run -p ghostline --example reconnect`; it ends by itself.

use bevy_app::prelude::*;
use bevy_ecs::prelude::*;
use ghostline::prelude::*;
use ghostline::transport::LinkProfile;
use ghostline::world::DefaultDrivers;
use std::collections::BTreeMap;

/// From a client to the server: it has scored.
#[derive(Component, RpcCommand)]
pub struct Goal;

/// From the server to a client that came in: what it has scored so far, and whether it was here before.
#[derive(Component, RpcCommand)]
pub struct Welcome {
    goals: u32,
    came_back: bool,
}

/// Server: goals by the unique id of a client, which stays when it reconnects. Its `NetworkId` does not.
#[derive(Resource, Default)]
pub struct Goals(BTreeMap<u32, u32>);

/// What happened in this world, one line per entry.
#[derive(Resource, Default)]
pub struct Diary(pub Vec<String>);

/// The game, built in each world.
pub struct Reconnect;

impl Plugin for Reconnect {
    fn build(&self, app: &mut App) {
        app.init_resource::<Goals>()
            .init_resource::<Diary>()
            .register_rpc::<Goal>()
            .register_rpc::<Welcome>()
            .add_systems_in(WorldFlags::SERVER, Simulation, (welcome, count, cut_off).chain())
            .add_systems_in(WorldFlags::CLIENT, Simulation, (score, read, come_back).chain());
    }
}

/// Server: tells whoever comes in what it has. `NetworkStreamIsReconnected` says that it has proven who it is.
fn welcome(
    mut commands: Commands,
    goals: Res<Goals>,
    newcomers: Query<(Entity, &ConnectionUniqueId, Has<NetworkStreamIsReconnected>), Added<NetworkId>>,
) {
    for (connection, id, came_back) in &newcomers {
        let goals = goals.0.get(&id.0).copied().unwrap_or_default();
        commands.spawn((Welcome { goals, came_back }, SendRpcCommandRequest { target: Some(connection) }));
    }
}

/// Server: a goal counts for the client, not for its connection.
fn count(
    mut commands: Commands,
    mut goals: ResMut<Goals>,
    scored: Query<(Entity, &ReceiveRpcCommandRequest), With<Goal>>,
    connections: Query<&ConnectionUniqueId>,
) {
    for (rpc, request) in &scored {
        if let Ok(id) = connections.get(request.source_connection) {
            *goals.0.entry(id.0).or_default() += 1;
        }
        commands.entity(rpc).despawn();
    }
}

/// Server: after two seconds the first connection breaks, for the example's sake.
fn cut_off(mut commands: Commands, mut ticks: Local<u32>, connected: Query<Entity, With<NetworkId>>) {
    for connection in &connected {
        *ticks += 1;
        if *ticks == 120 {
            commands.entity(connection).insert((
                NetworkStreamRequestDisconnect { reason: DisconnectReason::Timeout },
                DisconnectText("the line is bad today".to_owned()),
            ));
        }
    }
}

/// Client: three goals, in the first second.
fn score(mut commands: Commands, mut goals: Local<u32>, mut ticks: Local<u32>, connected: Query<(), With<NetworkId>>) {
    *ticks += u32::from(!connected.is_empty());
    if *goals < 3 && *ticks >= 20 * (*goals + 1) {
        *goals += 1;
        commands.spawn((Goal, SendRpcCommandRequest::default()));
    }
}

/// Client: what the server says to it. The second time is the end of the example.
fn read(
    mut commands: Commands,
    mut diary: ResMut<Diary>,
    mut exit: MessageWriter<AppExit>,
    welcomes: Query<(Entity, &Welcome), With<ReceiveRpcCommandRequest>>,
) {
    for (rpc, welcome) in &welcomes {
        let line = format!("welcome{}, {} goals", if welcome.came_back { " back" } else { "" }, welcome.goals);
        eprintln!("client: {line}");
        diary.0.push(line);
        commands.entity(rpc).despawn();
        if welcome.came_back {
            exit.write(AppExit::Success);
        }
    }
}

/// Client: waits half a second after a connection ended that it didn't end itself, then tries again. What proves who it is (`ResumeToken`) is
/// kept in its world; a game that wants to come back after a restart saves it.
fn come_back(
    mut commands: Commands,
    mut diary: ResMut<Diary>,
    mut wait: Local<Option<u32>>,
    events: Res<ConnectionEvents>,
    driver: Res<NetworkStreamDriver>,
) {
    let ended = events.iter().find(|event| event.state == ConnectionStatus::Disconnected);
    if let Some((event, reason)) = ended.and_then(|event| Some((event, event.disconnect_reason?)))
        && reason != DisconnectReason::ConnectionClose
    {
        let line = format!("{reason}: {}", events.disconnect_text(event.handle));
        eprintln!("client: {line}");
        diary.0.push(line);
        *wait = Some(30);
    }
    match (*wait, driver.last_endpoint()) {
        (Some(0), Some(endpoint)) => {
            commands.spawn(NetworkStreamRequestConnect { endpoint });
            *wait = None;
        }
        (Some(ticks), _) => *wait = Some(ticks - 1),
        (None, _) => {}
    }
}

fn main() -> AppExit {
    let simulator = Some(LinkProfile::rtt(80).with_loss_percent(2.0));
    let drivers = DefaultDrivers { simulator, ..DefaultDrivers::default() };
    ClientServerBootstrap::new(Reconnect).drivers(drivers).auto_connect(7983).run()
}
