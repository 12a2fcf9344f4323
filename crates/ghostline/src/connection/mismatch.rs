//! When two sides don't speak the same protocol: both tell each other what they registered, log what differs, and part.
//! Fed by the handshake; ends in a close with `BadProtocolVersion`.

use bevy_ecs::prelude::{Component, Entity, World};
use ghostline_wire::{BitWriter, DecodeError, ProtocolDetails, ProtocolVersion, internal_rpc};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use super::components::NetworkStreamRequestDisconnect;
use super::handshake::NetworkProtocolVersion;
use super::lifecycle::close;
use super::log_limit::{LogLimits, Unlogged};
use super::reason::DisconnectReason;
use crate::rpc;
use crate::world::FrameClock;

/// A side waits so long for the other's list.
pub const MISMATCH_GRACE: Duration = Duration::from_secs(1);

/// So many lines of the other side's list are kept; what exceeds them is not compared.
pub const MAX_PROTOCOL_LINES: usize = 2048;

/// A connection whose versions differ, until both lists are known.
#[derive(Component)]
pub(super) struct ProtocolMismatch {
    remote: ProtocolVersion,
    since: Duration,
    /// Whether this one is reported, and how many were not since the last: of a crowd, nothing is gathered but for the report.
    report: Option<Unlogged>,
    lines: Vec<String>,
    complete: bool,
}

/// The versions differ. The other side is told what this one has, if it can read that and it would help.
pub(super) fn begin(world: &mut World, entity: Entity, remote: &ProtocolVersion) {
    let local = world.resource::<NetworkProtocolVersion>().clone();
    let same_collections = (local.version.rpc_collection, local.version.component_collection)
        == (remote.rpc_collection, remote.component_collection);
    // Where collections may differ, or the two sides don't agree on that, they are not what ends this.
    let are_fixed = !local.version.has_dynamic_collections() && !remote.has_dynamic_collections();
    let nothing_to_tell = local.version.wire_version() != remote.wire_version() || same_collections || !are_fixed;
    if !nothing_to_tell {
        send_details(world, entity, &local.description);
    }
    let since = world.resource::<FrameClock>().now;
    let report = world.resource_mut::<LogLimits>().mismatches.take_turn(since);
    let mismatch = ProtocolMismatch { remote: *remote, since, report, lines: Vec::new(), complete: nothing_to_tell };
    let is_done = nothing_to_tell || mismatch.report.is_none();
    world.entity_mut(entity).insert(mismatch);
    if is_done {
        finish(world, entity);
    }
}

fn send_details(world: &mut World, entity: Entity, lines: &[String]) {
    let sent = lines.get(..MAX_PROTOCOL_LINES).unwrap_or(lines);
    let mut chunks = sent.chunks(ghostline_wire::limits::MAX_PROTOCOL_LINES_PER_RPC as usize).peekable();
    loop {
        let chunk = chunks.next().unwrap_or_default();
        let last = chunks.peek().is_none();
        let mut payload = BitWriter::new();
        ProtocolDetails { last, lines: chunk.to_vec() }.encode(&mut payload);
        rpc::push_internal(world, entity, internal_rpc::PROTOCOL_DETAILS, &payload);
        if last {
            return;
        }
    }
}

/// Whether the versions of this connection differ.
pub(super) fn is_found(world: &World, entity: Entity) -> bool {
    world.get::<ProtocolMismatch>(entity).is_some()
}

/// Whether the versions of this connection differ, or it is about to be closed: nothing of the game's is read on it any more.
pub(crate) fn is_ending(world: &World, entity: Entity) -> bool {
    is_found(world, entity) || world.get::<NetworkStreamRequestDisconnect>(entity).is_some()
}

/// A part of the other side's list. It may come before this side has seen the other's version only if the peer is broken.
pub(super) fn receive(world: &mut World, entity: Entity, details: ProtocolDetails) -> Result<(), DecodeError> {
    if world.get::<NetworkStreamRequestDisconnect>(entity).is_some() {
        // Enough is known; it is being closed.
        return Ok(());
    }
    let Some(mut mismatch) = world.get_mut::<ProtocolMismatch>(entity) else {
        return Err(DecodeError::BadValue { what: "protocol details without a mismatch" });
    };
    let room = MAX_PROTOCOL_LINES.saturating_sub(mismatch.lines.len());
    mismatch.lines.extend(details.lines.into_iter().take(room));
    if details.last || room == 0 {
        mismatch.complete = true;
        finish(world, entity);
    }
    Ok(())
}

/// Ends the wait for a list that doesn't come.
pub(super) fn check_grace(world: &mut World, entity: Entity) {
    let now = world.resource::<FrameClock>().now;
    if world
        .get::<ProtocolMismatch>(entity)
        .is_some_and(|mismatch| now.saturating_sub(mismatch.since) >= MISMATCH_GRACE)
    {
        finish(world, entity);
    }
}

/// Logs the difference and closes the connection. Once: what is known when it ends is what is logged.
pub(super) fn finish(world: &mut World, entity: Entity) {
    let Some(mismatch) = world.get_entity_mut(entity).ok().and_then(|mut entity| entity.take::<ProtocolMismatch>())
    else {
        return;
    };
    let local = world.resource::<NetworkProtocolVersion>().version;
    close(world, entity, DisconnectReason::BadProtocolVersion, summary(&local, &mismatch.remote));
    let Some(unlogged) = mismatch.report else { return };
    let local = world.resource::<NetworkProtocolVersion>();
    let lines = mismatch.complete.then_some(mismatch.lines.as_slice());
    let report = describe(local, &mismatch.remote, lines);
    tracing::error!("the two sides do not speak the same protocol: {report}{unlogged}");
}

/// What differs in one line, for the people on the other side.
fn summary(local: &ProtocolVersion, remote: &ProtocolVersion) -> String {
    let differs = [
        ("wire version", local.wire_version() != remote.wire_version()),
        ("setting of `dynamic_assembly_list`", local.has_dynamic_collections() != remote.has_dynamic_collections()),
        ("game version", local.game != remote.game),
        ("RPCs", local.rpc_collection != remote.rpc_collection),
        ("components and commands", local.component_collection != remote.component_collection),
    ];
    let names: Vec<&str> = differs.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| name).collect();
    format!("the two sides differ in: {}", names.join(", "))
}

/// The whole report. `remote_lines` is `None` if the other side's list is not known.
fn describe(local: &NetworkProtocolVersion, remote: &ProtocolVersion, remote_lines: Option<&[String]>) -> String {
    let mut text = format!("local {:?}, remote {remote:?}.", local.version);
    let (wire, remote_wire) = (local.version.wire_version(), remote.wire_version());
    if wire != remote_wire {
        let _ = write!(
            text,
            "\nthe wire version differs: local {wire}, remote {remote_wire}; use the same release of ghostline"
        );
    }
    let (dynamic, remote_dynamic) = (local.version.has_dynamic_collections(), remote.has_dynamic_collections());
    if dynamic != remote_dynamic {
        let _ = write!(
            text,
            "\nthe setting `dynamic_assembly_list` differs: local {dynamic}, remote {remote_dynamic}; set it alike on both sides"
        );
    }
    if local.version.game != remote.game {
        let _ = write!(text, "\nthe game version differs: local {}, remote {}", local.version.game, remote.game);
    }
    if let Some(lines) = remote_lines.filter(|lines| !lines.is_empty()) {
        for difference in differences(&local.description, lines) {
            let _ = write!(text, "\n{difference}");
        }
    }
    let (rpcs, others): (Vec<&String>, Vec<&String>) =
        local.description.iter().partition(|line| line.starts_with("rpc "));
    for (what, lines) in [("RPCs", rpcs), ("components and commands", others)] {
        let _ = write!(text, "\nthis side registered {} {what}:", lines.len());
        for line in lines {
            let _ = write!(text, "\n  {line}");
        }
    }
    text
}

/// What only one side has, and what both have under one name but with different members. Sorted by kind and name.
fn differences(local: &[String], remote: &[String]) -> Vec<String> {
    let mut by_name: BTreeMap<String, (Vec<String>, Vec<String>)> = BTreeMap::new();
    for line in local {
        let line = ProtocolDetails::cut(line);
        by_name.entry(name_of(line)).or_default().0.push(line.to_owned());
    }
    for line in remote {
        // Text of a peer goes into a log: no line breaks, no control characters.
        let line: String = line.chars().map(|c| if c.is_control() { '\u{FFFD}' } else { c }).collect();
        by_name.entry(name_of(&line)).or_default().1.push(line);
    }
    let mut found = Vec::new();
    for (name, (mut ours, mut theirs)) in by_name {
        ours.sort();
        theirs.sort();
        if ours == theirs {
            continue;
        }
        found.push(match (ours.is_empty(), theirs.is_empty()) {
            (false, true) => format!("only this side has {name}: {}", ours.join(", ")),
            (true, _) => format!("only the other side has {name}: {}", theirs.join(", ")),
            (false, false) => format!("{name} differs: local {}, remote {}", ours.join(", "), theirs.join(", ")),
        });
    }
    found
}

/// `rpc Chat` of `rpc 0123456789abcdef Chat(text:string64)`.
fn name_of(line: &str) -> String {
    let mut words = line.splitn(3, ' ');
    let (kind, _hash, text) = (words.next().unwrap_or_default(), words.next(), words.next().unwrap_or_default());
    let name = text.split(['(', '{']).next().unwrap_or_default();
    format!("{kind} `{name}`")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines<const N: usize>(lines: [&str; N]) -> Vec<String> {
        lines.map(str::to_owned).to_vec()
    }

    #[test]
    fn the_difference_names_what_is_missing_and_what_changed() {
        let local = lines(["rpc 1 A()", "rpc 2 B(x:u8,y:u8)", "component 3 C{v:f32}"]);
        let remote = lines(["rpc 1 A()", "rpc 9 B(y:u8,x:u8)", "command 4 D{v:u8}"]);
        assert_eq!(
            differences(&local, &remote),
            [
                "only the other side has command `D`: command 4 D{v:u8}",
                "only this side has component `C`: component 3 C{v:f32}",
                "rpc `B` differs: local rpc 2 B(x:u8,y:u8), remote rpc 9 B(y:u8,x:u8)",
            ]
        );
    }

    #[test]
    fn what_a_peer_wrote_cannot_break_a_line_of_the_log() {
        let found = differences(&[], &lines(["rpc 1 A()\nERROR all is lost\u{1b}[31m"]));
        assert!(found.iter().all(|line| !line.contains(['\n', '\u{1b}'])), "{found:?}");
    }
}
