//! Approval: a server that asks for a password, takes its time to decide, and tells a player why it says no.
//! One server and two clients in one process; run it with `cargo run -p ghostline --example approval`.

use bevy_app::App;
use bevy_ecs::prelude::*;
use ghostline::FixedString;
use ghostline::prelude::*;
use ghostline::world::WorldId;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

/// What a client shows before it is let in.
#[derive(Component, ApprovalRpcCommand)]
struct Password {
    text: FixedString<64>,
}

/// Server: a decision that takes a while, as one of a web service does.
#[derive(Component)]
struct Deciding {
    ticks_left: u32,
    approve: bool,
}

fn game(app: &mut App) {
    app.register_approval_rpc::<Password>()
        .add_systems_in(WorldFlags::SERVER, Simulation, (read_passwords, decide).chain())
        .add_systems_in(WorldFlags::CLIENT, AfterNetworkReceive, report);
}

fn read_passwords(mut commands: Commands, shown: Query<(Entity, &Password, &ReceiveRpcCommandRequest)>) {
    for (entity, password, request) in &shown {
        let approve = password.text.as_str() == "open sesame";
        commands.entity(request.source_connection).insert(Deciding { ticks_left: 30, approve });
        commands.entity(entity).despawn();
    }
}

fn decide(mut commands: Commands, mut waiting: Query<(Entity, &mut Deciding)>) {
    for (connection, mut deciding) in &mut waiting {
        if deciding.ticks_left > 0 {
            deciding.ticks_left -= 1;
            continue;
        }
        let mut connection = commands.entity(connection);
        connection.remove::<Deciding>();
        if deciding.approve {
            connection.insert(ConnectionApproved);
        } else {
            let text = DisconnectText("the password is wrong".to_owned());
            connection.insert((NetworkStreamRequestDisconnect { reason: DisconnectReason::ApprovalFailure }, text));
        }
    }
}

#[expect(clippy::print_stdout, reason = "the example shows what happens")]
fn report(events: Res<ConnectionEvents>) {
    for event in events.iter() {
        println!("{event} {}", events.disconnect_text(event.handle));
    }
}

fn join(
    worlds: &mut Worlds,
    client: WorldId,
    endpoint: SocketAddr,
    password: &str,
) -> Result<(), Box<dyn std::error::Error>> {
    let world = worlds.get_mut(client).ok_or("the world is there")?.world_mut();
    world.require_connection_approval(true)?;
    world.connect(endpoint)?;
    // Sent as soon as the transport is connected.
    world.spawn((Password { text: FixedString::new(password) }, SendRpcCommandRequest::default()));
    Ok(())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut worlds = Worlds::new(ClientServerBootstrap::new(game));
    let endpoint = SocketAddr::from((Ipv4Addr::LOCALHOST, 7979));
    let server = worlds.create_server_world("server")?;
    let server = worlds.get_mut(server).ok_or("the world is there")?.world_mut();
    server.require_connection_approval(true)?;
    server.listen(endpoint)?;
    for (name, password) in [("guest", "open sesame"), ("stranger", "please")] {
        let client = worlds.create_client_world(name)?;
        join(&mut worlds, client, endpoint, password)?;
    }
    for _ in 0..60 {
        worlds.run_frame(Duration::from_nanos(16_666_667));
    }
    let connected = worlds
        .of_kind(WorldKind::Client)
        .filter(|client| client.world().resource::<NetworkStreamDriver>().connections().len() == 1);
    assert_eq!(connected.count(), 1, "one password was right");
    Ok(())
}
