//! Watches connections: every change of state on either side, why a connection ended, and after each change the overview of the world: what
//! listens, who is connected to whom. The server closes each connection a second after it was made; the client then leaves the program.
//!
//! One server and one client in one process, over a simulated link of 80 ms round trip that loses 2 % of all packets, as players have it; take
//! `simulator` away for a perfect one. Run it with `cargo run -p ghostline --example connection_monitor`.

use bevy_app::prelude::*;
use bevy_ecs::prelude::*;
use ghostline::connection::WorldOverview;
use ghostline::prelude::*;
use ghostline::transport::LinkProfile;
use ghostline::world::DefaultDrivers;

/// What was seen in this world, one line per event.
#[derive(Resource, Default)]
pub struct Seen(pub Vec<String>);

/// Watches, in each world.
pub struct Monitor;

impl Plugin for Monitor {
    fn build(&self, app: &mut App) {
        app.init_resource::<Seen>()
            .add_systems(Simulation, (watch, overview).chain())
            .add_systems_in(WorldFlags::SERVER, Simulation, close_after_a_second)
            .add_systems_in(WorldFlags::CLIENT, Simulation, leave);
    }
}

/// Events are valid for one tick, so they are read in a schedule that runs in every tick, after the receive step.
fn watch(events: Res<ConnectionEvents>, kind: Res<WorldKind>, mut seen: ResMut<Seen>) {
    for event in events.iter() {
        let reason = event.disconnect_reason.map_or_else(String::new, |reason| format!(": {reason}"));
        let line = format!("{:?}{reason}", event.state);
        eprintln!("{:?}: connection {}: {line}", *kind, event.network_id);
        seen.0.push(line);
    }
}

/// One call tells how a world is connected, as data or as lines for a log.
fn overview(world: &mut World) {
    if world.resource::<ConnectionEvents>().iter().next().is_some() {
        eprintln!("{}", WorldOverview::of(world));
    }
}

/// A connection is closed by adding a request to its entity.
fn close_after_a_second(mut commands: Commands, mut age: Local<u32>, connected: Query<Entity, With<NetworkId>>) {
    for connection in &connected {
        *age += 1;
        if *age == 60 {
            commands.entity(connection).insert(NetworkStreamRequestDisconnect::default());
        }
    }
}

fn leave(events: Res<ConnectionEvents>, mut exit: MessageWriter<AppExit>) {
    if events.iter().any(|event| event.state == ConnectionStatus::Disconnected) {
        exit.write(AppExit::Success);
    }
}

fn main() -> AppExit {
    let simulator = Some(LinkProfile::rtt(80).with_loss_percent(2.0));
    let drivers = DefaultDrivers { simulator, ..DefaultDrivers::default() };
    ClientServerBootstrap::new(Monitor).drivers(drivers).auto_connect(7981).run()
}
