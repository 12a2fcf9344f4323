//! A chat on RPCs: clients send lines to the server, which sends each to everybody.
//! One server and three clients in one process; run it with `cargo run -p ghostline --example rpc_chat`.

use bevy_app::App;
use bevy_ecs::prelude::*;
use ghostline::FixedString;
use ghostline::prelude::*;
use std::time::Duration;

/// From a client to the server.
#[derive(Component, RpcCommand)]
struct Say {
    text: FixedString<128>,
}

/// From the server to everybody.
#[derive(Component, RpcCommand)]
struct Said {
    by: u32,
    text: FixedString<128>,
}

/// Client: what was said, in the order of the server.
#[derive(Resource, Default)]
struct Log(Vec<String>);

fn game(app: &mut App) {
    app.init_resource::<Log>()
        .register_rpc::<Say>()
        .register_rpc::<Said>()
        .add_systems_in(WorldFlags::CLIENT, Simulation, (greet, listen))
        .add_systems_in(WorldFlags::SERVER, Simulation, pass_on);
}

/// A client says hello as soon as it has its number.
fn greet(connected: Query<(Entity, &NetworkId), Added<NetworkId>>, mut rpcs: RpcSender) {
    for (server, id) in &connected {
        let text = FixedString::new(&format!("hello, I am {id}"));
        if let Err(error) = rpcs.send(server, Say { text }) {
            tracing::warn!("not said: {error}");
        }
    }
}

fn pass_on(
    mut commands: Commands,
    said: Query<(Entity, &Say, &ReceiveRpcCommandRequest)>,
    ids: Query<&NetworkId>,
    mut rpcs: RpcSender,
) {
    let mut lines: Vec<_> = said.iter().collect();
    lines.sort_by_key(|(_, _, request)| request.sequence());
    for (entity, say, request) in lines {
        let by = ids.get(request.source_connection).map_or(0, |id| id.0);
        if let Err(error) = rpcs.broadcast(Said { by, text: say.text }) {
            tracing::warn!("not passed on: {error}");
        }
        commands.entity(entity).despawn();
    }
}

fn listen(mut commands: Commands, said: Query<(Entity, &Said, &ReceiveRpcCommandRequest)>, mut log: ResMut<Log>) {
    let mut lines: Vec<_> = said.iter().collect();
    lines.sort_by_key(|(_, _, request)| request.sequence());
    for (entity, said, _) in lines {
        log.0.push(format!("{}: {}", said.by, said.text.as_str()));
        commands.entity(entity).despawn();
    }
}

#[expect(clippy::print_stdout, reason = "the example shows what was said")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut worlds = ClientServerBootstrap::new(game).auto_connect(7979).build()?;
    for frame in 0..60 {
        if frame == 20 || frame == 40 {
            worlds.create_client_world("late")?;
        }
        worlds.run_frame(Duration::from_nanos(16_666_667));
    }
    for client in worlds.of_kind(WorldKind::Client) {
        let log = &client.world().resource::<Log>().0;
        println!("{} heard {log:?}", client.name());
        assert!(log.last().is_some_and(|line| line == "3: hello, I am 3"));
    }
    Ok(())
}
