//! C-55: an application that stops ticking while it is connected, so that its peers take it for dead.

use crate::common::*;
use ghostline::prelude::*;
use ghostline::time::StallWatchdog;
use ghostline::transport::{DriverStore, InProcessNetwork};
use ghostline_testkit::DriverSettings;
use std::time::Duration;

#[test]
fn a_pause_is_reported_once_by_each_connected_world_and_can_be_silenced() {
    let mut fleet = Fleet::builder().plugin(Game).clients(2).thin_clients(1).build();
    fleet.logs().expect(r"the application stopped ticking for 6.0 s while this \w+ world was connected");
    fleet.logs().tolerate("merges ticks|stopped ticking for (4.9|6.0) s: ");
    fleet.listen();
    fleet.connect(0);
    let endpoint = fleet.endpoint();
    fleet.thin_client(0).world_mut().connect(endpoint).unwrap();
    fleet.ticks(10);
    // Shorter ones are no danger.
    fleet.tick_by(Duration::from_millis(4_900));
    assert_eq!(fleet.logs().count("was connected"), 0);
    for _ in 0..3 {
        fleet.tick_by(Duration::from_secs(6));
        fleet.ticks(3);
    }
    for kind in ["Server", "Client", "ThinClient"] {
        assert_eq!(fleet.logs().count(&format!("this {kind} world was connected")), 1, "{kind}");
    }

    let mut fleet = Fleet::builder().plugin(Game).build();
    fleet.logs().tolerate("merges ticks");
    fleet.connect_all();
    let set = |fleet: &mut Fleet, change: fn(&mut StallWatchdog)| {
        change(&mut fleet.server().world_mut().resource_mut());
        change(&mut fleet.client(0).world_mut().resource_mut());
    };
    set(&mut fleet, |watchdog| watchdog.alarm_after = None);
    fleet.logs().tolerate("stopped ticking|more time is missing");
    fleet.tick_by(Duration::from_secs(60));
    assert_eq!(fleet.logs().count("was connected"), 0);
    set(&mut fleet, |watchdog| watchdog.logs = false);
    let told = fleet.logs().count("stopped ticking");
    fleet.tick_by(Duration::from_secs(120));
    assert_eq!(fleet.logs().count("stopped ticking"), told);
}

/// The length is half of the time after which the drivers give a silent peer up, also after they were replaced; not if the game has its own.
#[test]
fn how_long_a_pause_may_be_follows_the_settings_of_the_drivers() {
    let drivers = DriverSettings { disconnect_timeout_ms: 2_000, ..DriverSettings::default() };
    let mut fleet = Fleet::builder().plugin(Game).driver_settings(drivers).build();
    fleet.logs().tolerate("merges ticks|stopped ticking for 0.9 s: ");
    fleet.logs().expect(r"the application stopped ticking for 1.0 s while this \w+ world was connected");
    fleet.connect_all();
    fleet.tick_by(Duration::from_millis(900));
    assert_eq!(fleet.logs().count("was connected"), 0);
    fleet.tick_by(Duration::from_millis(1_000));
    for kind in ["Server", "Client"] {
        assert_eq!(fleet.logs().count(&format!("this {kind} world was connected")), 1, "{kind}");
    }
    let connection = fleet.client(0).connections()[0];
    fleet.client(0).world_mut().disconnect(connection, DisconnectReason::ConnectionClose);
    fleet.ticks(3);
    let network = InProcessNetwork::new();
    let replace = |fleet: &mut Fleet, disconnect_timeout_ms: u32| {
        let settings = DriverSettings { disconnect_timeout_ms, ..DriverSettings::default() };
        let mut store = DriverStore::new();
        store.register(Box::new(network.driver_with(settings).unwrap())).unwrap();
        fleet.server().world_mut().reset_driver_store(store).unwrap();
        fleet.server().world().resource::<StallWatchdog>().alarm_after.map(|limit| limit.as_millis())
    };
    assert_eq!(replace(&mut fleet, 3_000), Some(1_500));
    fleet.server().world_mut().resource_mut::<StallWatchdog>().alarm_after = Some(Duration::from_secs(9));
    assert_eq!(replace(&mut fleet, 4_000), Some(9_000));
}
