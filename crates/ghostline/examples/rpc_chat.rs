//! A chat: what a client says goes to the server as an RPC, and from there to everybody. RPCs need no ghosts and no game: they flow
//! as soon as a connection has its `NetworkId`. Ends when everybody has read everything.
//!
//! One server and one client in one process, over a simulated link of 80 ms round trip that loses 2 % of all packets, as players have it; take
//! `simulator` away for a perfect one. Every line arrives all the same, and in order. Run it with `cargo run -p ghostline --example rpc_chat`.

use bevy_app::prelude::*;
use bevy_ecs::prelude::*;
use ghostline::FixedString;
use ghostline::prelude::*;
use ghostline::transport::LinkProfile;
use ghostline::world::DefaultDrivers;

/// From a client to the server.
#[derive(Component, RpcCommand)]
pub struct Say {
    text: FixedString<64>,
}

/// From the server to everybody.
#[derive(Component, RpcCommand)]
pub struct Said {
    by: u32,
    text: FixedString<64>,
}

/// What a client has read so far, one line per entry.
#[derive(Resource, Default)]
pub struct Transcript(pub Vec<String>);

/// The chat, built in each world.
pub struct Chat;

impl Plugin for Chat {
    fn build(&self, app: &mut App) {
        app.init_resource::<Transcript>()
            .register_rpc::<Say>()
            .register_rpc::<Said>()
            .add_systems_in(WorldFlags::SERVER, Simulation, relay)
            .add_systems_in(WorldFlags::CLIENT, Simulation, (greet, read).chain());
    }
}

/// Client: says two things as soon as it is somebody. They arrive in this order.
fn greet(mut commands: Commands, connected: Query<&NetworkId, Added<NetworkId>>) {
    for id in &connected {
        for text in [format!("I am {id}"), "hello".to_owned()] {
            commands.spawn((Say { text: FixedString::new(&text) }, SendRpcCommandRequest::default()));
        }
    }
}

/// Server: tells everybody what was said, and by whom: that is what it knows, not what a client claims.
fn relay(
    mut commands: Commands,
    said: Query<(Entity, &Say, &ReceiveRpcCommandRequest)>,
    connections: Query<&NetworkId>,
) {
    for (rpc, say, request) in &said {
        if let Ok(id) = connections.get(request.source_connection) {
            commands.spawn((Said { by: id.0, text: say.text }, SendRpcCommandRequest::default()));
        }
        commands.entity(rpc).despawn();
    }
}

/// Client: reads what arrived.
fn read(
    mut commands: Commands,
    arrived: Query<(Entity, &Said), With<ReceiveRpcCommandRequest>>,
    mut transcript: ResMut<Transcript>,
    mut exit: MessageWriter<AppExit>,
) {
    for (rpc, said) in &arrived {
        let line = format!("{}: {}", said.by, said.text);
        eprintln!("{line}");
        transcript.0.push(line);
        commands.entity(rpc).despawn();
    }
    if transcript.0.len() == 2 {
        exit.write(AppExit::Success);
    }
}

fn main() -> AppExit {
    let simulator = Some(LinkProfile::rtt(80).with_loss_percent(2.0));
    let drivers = DefaultDrivers { simulator, ..DefaultDrivers::default() };
    ClientServerBootstrap::new(Chat).drivers(drivers).auto_connect(7982).run()
}
