//! Approval: a server that asks for a password, takes its time to decide, and tells a player why it says no.
//!
//! One server and two clients in one process, linked in memory and stepped without waiting, so that it is over at once. Run it with
//! `cargo run -p ghostline --example approval`.

use bevy_app::prelude::*;
use bevy_ecs::prelude::*;
use ghostline::FixedString;
use ghostline::prelude::*;
use ghostline::world::InProcessDrivers;
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

/// What this client knows. One of the two knows it wrongly.
#[derive(Resource)]
struct Knows(&'static str);

fn game(app: &mut App) {
    app.register_approval_rpc::<Password>()
        .add_systems_in(WorldFlags::SERVER, Simulation, (read_passwords, decide).chain())
        .add_systems_in(WorldFlags::CLIENT, AfterNetworkReceive, report);
    // On both sides, before anybody listens or connects.
    if let Err(error) = app.world_mut().require_connection_approval(true) {
        tracing::error!("{error}");
    }
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

fn report(events: Res<ConnectionEvents>, knows: Res<Knows>) {
    for event in events.iter() {
        eprintln!("{:?}: {event} {}", knows.0, events.disconnect_text(event.handle));
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let bootstrap = ClientServerBootstrap::new(game).drivers(InProcessDrivers::default()).auto_connect(7979);
    let mut worlds = Worlds::new(bootstrap);
    worlds.create_server_world("server")?;
    for password in ["open sesame", "please"] {
        let client = worlds.create_client_world(password)?;
        let world = worlds.get_mut(client).ok_or("it was just made")?.world_mut();
        world.insert_resource(Knows(password));
        // It waits until the transport is connected.
        world.spawn((Password { text: FixedString::new(password) }, SendRpcCommandRequest::default()));
    }
    for _ in 0..60 {
        worlds.run_frame(Duration::from_nanos(16_666_667));
    }
    let overview = worlds.overview();
    eprintln!("{overview}");
    let connected = overview.worlds.iter().filter(|(_, world)| world.kind == WorldKind::Client && world.is_connected());
    assert_eq!(connected.count(), 1, "one password was right");
    Ok(())
}
