//! Server-authoritative netcode for games on Bevy's ECS: prediction, interpolation, delta-compressed snapshots.
//!
//! A process holds any number of worlds side by side: a server, clients, thin clients. Connections are entities. Clients stream commands for a tick
//! in the near future; the server simulates at a fixed rate and streams back snapshots of *ghosts*; clients predict their own and interpolate the
//! others. The README begins with a whole program; this is the shortest one that shows something:
//!
//! ```
//! use bevy_app::prelude::*;
//! use bevy_ecs::prelude::*;
//! use ghostline::prelude::*;
//! use std::time::Duration;
//!
//! #[derive(Component, Default)]
//! struct Clock;
//!
//! #[derive(Component, GhostComponent, Clone, Copy, Default, PartialEq, Debug)]
//! struct Ticks {
//!     #[ghost]
//!     count: u32,
//! }
//!
//! fn game(app: &mut App) {
//!     app.register_ghost::<Clock>(GhostPrefab::new("clock").component::<Ticks>())
//!         .go_in_game_when_connected()
//!         .add_systems_in(WorldFlags::SERVER, Startup, |mut commands: Commands| {
//!             commands.spawn_ghost::<Clock>(());
//!         })
//!         .add_systems_in(WorldFlags::SERVER, Simulation, |mut clock: Single<&mut Ticks>| clock.count += 1);
//! }
//!
//! // Worlds of one process, in virtual time: no sockets needed.
//! let drivers = ghostline::world::InProcessDrivers::default();
//! let mut worlds = ClientServerBootstrap::new(game).drivers(drivers).auto_connect(7979).build()?;
//! for _ in 0..60 {
//!     worlds.run_frame(Duration::from_nanos(16_666_667));
//! }
//! let client = worlds.iter_mut().find(|world| world.kind() == WorldKind::Client).unwrap().world_mut();
//! let shown = client.query::<&Ticks>().single(client)?.count;
//! assert!((40..60).contains(&shown), "interpolated, so a little in the past: {shown}");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Where to look
//!
//! | question | answer |
//! |---|---|
//! | what does a game import? | [`prelude`] |
//! | what runs when, in which world? | [`schedule`], [`world`] |
//! | how is a type of ghost declared? | [`ghost::GhostPrefab`], [`GhostComponent`](macro@GhostComponent) |
//! | how do players steer? | [`InputComponentData`](macro@InputComponentData), [`InputEvent`], [`command`] |
//! | what is predicted, and what does a predicted system owe? | [`prediction`], [`prediction::Simulate`] |
//! | how is a message sent once, reliably? | [`rpc`] |
//! | who is connected, and why no longer? | [`connection`] |
//! | which tick is it? | [`time::NetworkTime`] |
//! | how much is sent? | [`stats::NetworkStats`] |
//!
//! Mistakes that the types can't prevent are logged once, with what to do about them; what a peer sends can neither panic nor reach the game half
//! decoded. Games test with `ghostline_testkit`.

#![forbid(unsafe_code)]

extern crate self as ghostline;

pub mod command;
pub mod connection;
pub mod ghost;
#[cfg(feature = "client")]
mod interpolation;
pub mod prediction;
pub mod prelude;
pub mod rpc;
pub mod schedule;
pub mod snapshot;
pub mod stats;
pub mod time;
pub mod world;

pub use ghostline_transport as transport;
pub use ghostline_wire as wire;

#[doc(hidden)]
#[path = "macro_support.rs"]
pub mod __macro;

// Each derive has the name of the trait that it implements, as with serde.
pub use command::{CommandCodec, CommandData, InputComponentData, InputEvent, InputField};
pub use ghost::{GhostComponent, GhostField};
pub use ghostline_macros::{ApprovalRpcCommand, CommandData, GhostComponent, InputComponentData, RpcCommand};
pub use rpc::{ApprovalRpcCommand, FixedList, FixedString, RpcCommand, RpcField};

/// The README's blocks, compiled as documentation tests.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;
