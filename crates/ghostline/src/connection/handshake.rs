//! The handshake, as far as it is the same on both sides: protocol versions are compared, and time-outs kept. The server's part is in `admission`, the client's in
//! `joining`.

use bevy_ecs::prelude::{Entity, Resource, World};
use ghostline_wire::{BitReader, BitWriter, DecodeError, ProtocolDetails, ProtocolVersion, internal_rpc, limits};

#[cfg(feature = "server")]
use super::admission;
use super::approval;
use super::components::{ConnectionStatus, NetworkStreamConnection, NetworkStreamRequestDisconnect};
#[cfg(feature = "client")]
use super::joining;
use super::lifecycle::live_connections;
use super::mismatch;
use crate::rpc;
use crate::world::kind_of;

/// What this world's program speaks: compared with the other side's before anything else. Fixed when the world's plugins are finished.
#[derive(Resource, Clone, PartialEq, Eq, Debug)]
pub struct NetworkProtocolVersion {
    /// The numbers that are compared.
    pub version: ProtocolVersion,
    /// What they were made from, one line each, sorted: logged when they differ.
    pub description: Vec<String>,
}

/// The transport is connected: this side's version is the first message on every connection, ahead of what was queued before.
/// A client that was here before says so behind it.
pub(super) fn begin(world: &mut World, entity: Entity) {
    rpc::queue_first(world, entity, |world| {
        let version = world.resource::<NetworkProtocolVersion>().version;
        let mut payload = BitWriter::new();
        version.encode(&mut payload);
        rpc::push_internal(world, entity, internal_rpc::PROTOCOL_VERSION, &payload);
        #[cfg(feature = "client")]
        joining::send_claim(world, entity);
    });
}

/// Executes an RPC of the library itself.
///
/// # Errors
/// The payload can't be read, or that side or state doesn't send it.
pub(crate) fn execute_internal(
    world: &mut World,
    entity: Entity,
    type_index: u16,
    mut payload: BitReader<'_>,
) -> Result<(), DecodeError> {
    match type_index {
        internal_rpc::PROTOCOL_VERSION => {
            let remote = ProtocolVersion::decode(&mut payload)?;
            // Another wire version may say more; this one can't read it, and needn't.
            if remote.wire_version() == limits::WIRE_VERSION {
                payload.expect_empty()?;
            }
            compare_versions(world, entity, &remote)
        }
        internal_rpc::PROTOCOL_DETAILS => {
            let details = ProtocolDetails::decode(&mut payload)?;
            payload.expect_empty()?;
            mismatch::receive(world, entity, details)
        }
        #[cfg(feature = "server")]
        _ if kind_of(world).is_server() => admission::execute_internal(world, entity, type_index, payload),
        #[cfg(feature = "client")]
        _ if kind_of(world).is_client() => joining::execute_internal(world, entity, type_index, payload),
        _ => Err(DecodeError::BadValue { what: "internal RPC" }),
    }
}

fn compare_versions(world: &mut World, entity: Entity, remote: &ProtocolVersion) -> Result<(), DecodeError> {
    let is_compatible = world.resource::<NetworkProtocolVersion>().version.is_compatible_with(remote);
    let differed_before = mismatch::is_found(world, entity);
    let Some(mut connection) = world.get_mut::<NetworkStreamConnection>(entity) else { return Ok(()) };
    if connection.state != ConnectionStatus::Handshake || connection.protocol_version_received || differed_before {
        return Err(DecodeError::BadValue { what: "a second protocol version" });
    }
    if is_compatible {
        connection.protocol_version_received = true;
    } else {
        mismatch::begin(world, entity, remote);
    }
    Ok(())
}

/// Takes every connection whose handshake isn't over one step further: versions, approval, time-outs.
pub(super) fn advance(world: &mut World) {
    let is_server = kind_of(world).is_server();
    for entity in live_connections(world) {
        let Some(connection) = world.get::<NetworkStreamConnection>(entity).copied() else { continue };
        let closing = world.get::<NetworkStreamRequestDisconnect>(entity).is_some();
        if connection.state == ConnectionStatus::Connected || closing {
            continue;
        }
        mismatch::check_grace(world, entity);
        #[cfg(feature = "server")]
        if is_server && admission::advance(world, entity, &connection) {
            continue;
        }
        approval::check_timeout(world, entity, &connection, is_server);
    }
}

/// The version of this build with these collections.
pub(crate) fn protocol_version(
    game_version: u32,
    rpc_collection: u64,
    component_collection: u64,
    is_dynamic: bool,
) -> ProtocolVersion {
    let dynamic = if is_dynamic { ProtocolVersion::DYNAMIC_COLLECTIONS } else { 0 };
    ProtocolVersion { wire: limits::WIRE_VERSION | dynamic, game: game_version, rpc_collection, component_collection }
}
