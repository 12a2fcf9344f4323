//! Peers that hold a valid connection and misbehave on it. By every message that can be damaged, forged or sent too often: nobody panics,
//! nobody else notices, and the answer is the one in `docs/security.md`.

#[path = "../behaviour/dice.rs"]
#[expect(dead_code, reason = "shared with the behaviour tests, which use all of it")]
mod dice;
mod encrypted;
mod game;
mod rpcs;
mod snapshot_engine;
mod strangers;
mod toward_client;
mod toward_server;
