//! Payloads of the internal RPCs, `docs/wire-format.md` section 3.1: versions, approval, tick rates.
//! Exchanged once per connection before anything else runs; numbers below 16 are kept for such RPCs.
//! What the values mean and whether they make sense is for the connection systems to judge.

use crate::bits::{BitReader, BitWriter};
use crate::error::DecodeError;

/// The type numbers of RPCs that the library sends by itself.
pub mod internal_rpc {
    /// [`ProtocolVersion`](crate::ProtocolVersion), both ways, first of all.
    pub const PROTOCOL_VERSION: u16 = 0;
    /// [`ApprovalRequest`](crate::ApprovalRequest), from the server.
    pub const REQUEST_APPROVAL: u16 = 1;
    /// [`ConnectionApproved`](crate::ConnectionApproved), from the server.
    pub const CONNECTION_APPROVED: u16 = 2;
    /// [`ProtocolDetails`](crate::ProtocolDetails), both ways, when the versions differ.
    pub const PROTOCOL_DETAILS: u16 = 3;
    /// [`ResumeClaim`](crate::ResumeClaim), from a client that comes back.
    pub const RESUME: u16 = 4;
    /// [`SessionIdentity`](crate::SessionIdentity), from the server, before it lets a client in.
    pub const IDENTITY: u16 = 5;
    /// [`CommandTypes`](crate::CommandTypes), from a server with dynamic collections, before that.
    pub const COMMAND_TYPES: u16 = 6;
    /// [`TickRateBlock`](crate::TickRateBlock), from a server whose rates have changed and which tells that.
    pub const TICK_RATE: u16 = 7;
    /// The first number of a game's own RPC.
    pub const FIRST_GAME_RPC: u16 = 16;
}

/// What two peers must agree on to understand each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProtocolVersion {
    /// The byte format, [`WIRE_VERSION`](crate::limits::WIRE_VERSION), and whether collections are
    /// [dynamic](Self::DYNAMIC_COLLECTIONS).
    pub wire: u32,
    /// The game's own version.
    pub game: u32,
    /// The hash of all RPC types.
    pub rpc_collection: u64,
    /// The hash of all component and command types.
    pub component_collection: u64,
}

impl ProtocolVersion {
    /// The bit of [`wire`](Self::wire) which says that this side's collections may be others than the peer's: RPCs are named by id.
    pub const DYNAMIC_COLLECTIONS: u32 = 1 << 31;

    /// The number of the byte format.
    #[must_use]
    pub const fn wire_version(&self) -> u32 {
        self.wire & !Self::DYNAMIC_COLLECTIONS
    }

    /// Whether collections are dynamic.
    #[must_use]
    pub const fn has_dynamic_collections(&self) -> bool {
        self.wire & Self::DYNAMIC_COLLECTIONS != 0
    }

    /// Whether two sides understand each other.
    #[must_use]
    pub fn is_compatible_with(&self, other: &Self) -> bool {
        let collections_agree = self.has_dynamic_collections()
            || (self.rpc_collection, self.component_collection) == (other.rpc_collection, other.component_collection);
        (self.wire, self.game) == (other.wire, other.game) && collections_agree
    }

    /// Writes the payload, 24 bytes.
    pub fn encode(&self, out: &mut BitWriter) {
        out.write_u32(self.wire);
        out.write_u32(self.game);
        out.write_u64(self.rpc_collection);
        out.write_u64(self.component_collection);
    }

    /// Reads the payload. Whether anything follows is the caller's to check.
    ///
    /// # Errors
    /// [`DecodeError::UnexpectedEnd`] if it is cut off.
    pub fn decode(input: &mut BitReader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            wire: input.read_u32()?,
            game: input.read_u32()?,
            rpc_collection: input.read_u64()?,
            component_collection: input.read_u64()?,
        })
    }
}

/// The server's rates that its clients must share. Received values can be any; the receiver resolves and checks them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TickRateBlock {
    /// Simulation steps per second; 60 by default.
    pub simulation_tick_rate: i32,
    /// Snapshots per second and connection; 60 by default.
    pub network_tick_rate: i32,
    /// The most ticks merged into one step; 4 by default.
    pub max_simulation_step_batch_size: i32,
    /// The most steps in one frame; 1 by default.
    pub max_simulation_steps_per_frame: i32,
    /// Steps of the fixed-step group in a simulation step; 1 by default.
    pub predicted_fixed_step_simulation_tick_ratio: i32,
    /// Time for handshake and approval together, in ms; 5000 by default.
    pub handshake_approval_timeout_ms: u32,
}

impl Default for TickRateBlock {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl TickRateBlock {
    const DEFAULT: Self = Self {
        simulation_tick_rate: 60,
        network_tick_rate: 60,
        max_simulation_step_batch_size: 4,
        max_simulation_steps_per_frame: 1,
        predicted_fixed_step_simulation_tick_ratio: 1,
        handshake_approval_timeout_ms: 5_000,
    };

    /// The fields in the order of the wire.
    const fn to_lanes(self) -> [u32; 6] {
        [
            self.simulation_tick_rate.cast_unsigned(),
            self.network_tick_rate.cast_unsigned(),
            self.max_simulation_step_batch_size.cast_unsigned(),
            self.max_simulation_steps_per_frame.cast_unsigned(),
            self.predicted_fixed_step_simulation_tick_ratio.cast_unsigned(),
            self.handshake_approval_timeout_ms,
        ]
    }

    const fn from_lanes(lanes: [u32; 6]) -> Self {
        let [simulation, network, batch, steps, ratio, timeout] = lanes;
        Self {
            simulation_tick_rate: simulation.cast_signed(),
            network_tick_rate: network.cast_signed(),
            max_simulation_step_batch_size: batch.cast_signed(),
            max_simulation_steps_per_frame: steps.cast_signed(),
            predicted_fixed_step_simulation_tick_ratio: ratio.cast_signed(),
            handshake_approval_timeout_ms: timeout,
        }
    }

    /// Writes the differences from the defaults: 12 bits if there are none.
    pub fn encode(&self, out: &mut BitWriter) {
        for (value, default) in self.to_lanes().into_iter().zip(Self::DEFAULT.to_lanes()) {
            out.write_delta(value, default);
        }
    }

    /// Reads the differences from the defaults.
    ///
    /// # Errors
    /// What reading packed integers can end in.
    pub fn decode(input: &mut BitReader<'_>) -> Result<Self, DecodeError> {
        let mut lanes = Self::DEFAULT.to_lanes();
        for lane in &mut lanes {
            *lane = input.read_delta(*lane)?;
        }
        Ok(Self::from_lanes(lanes))
    }
}

/// The server lets a client in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionApproved {
    /// The client's number on this server.
    pub network_id: u32,
    /// The rates that it must follow.
    pub tick_rate: TickRateBlock,
}

impl ConnectionApproved {
    /// Writes the payload.
    pub fn encode(&self, out: &mut BitWriter) {
        out.write_packed(self.network_id);
        self.tick_rate.encode(out);
    }

    /// Reads the payload. Whether anything follows is the caller's to check.
    ///
    /// # Errors
    /// What reading packed integers can end in.
    pub fn decode(input: &mut BitReader<'_>) -> Result<Self, DecodeError> {
        Ok(Self { network_id: input.read_packed()?, tick_rate: TickRateBlock::decode(input)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn default_tick_rates_take_12_bits() {
        let mut out = BitWriter::new();
        TickRateBlock::default().encode(&mut out);
        assert_eq!(out.bit_len(), 12);
        assert_eq!(TickRateBlock::decode(&mut BitReader::new(out.as_bytes())), Ok(TickRateBlock::default()));
    }

    #[test]
    fn a_version_takes_24_bytes_and_comes_back() {
        let version =
            ProtocolVersion { wire: 1, game: u32::MAX, rpc_collection: 2, component_collection: u64::MAX - 1 };
        let mut out = BitWriter::new();
        version.encode(&mut out);
        assert_eq!(out.bit_len(), 24 * 8);
        let mut input = BitReader::new(out.as_bytes());
        assert_eq!(ProtocolVersion::decode(&mut input), Ok(version));
        assert!(input.is_empty());
        let cut = ProtocolVersion::decode(&mut BitReader::new(&out.as_bytes()[..23]));
        assert_eq!(cut, Err(DecodeError::UnexpectedEnd));
    }

    #[test]
    fn collections_may_differ_only_where_both_sides_are_dynamic() {
        let fixed = ProtocolVersion { wire: 3, game: 0, rpc_collection: 1, component_collection: 2 };
        let other = ProtocolVersion { rpc_collection: 9, component_collection: 8, ..fixed };
        let dynamic = |version: ProtocolVersion| ProtocolVersion {
            wire: version.wire | ProtocolVersion::DYNAMIC_COLLECTIONS,
            ..version
        };
        assert!(fixed.is_compatible_with(&fixed) && !fixed.is_compatible_with(&other));
        assert!(dynamic(fixed).is_compatible_with(&dynamic(other)));
        assert!(!dynamic(fixed).is_compatible_with(&fixed) && !fixed.is_compatible_with(&dynamic(fixed)));
        assert!(!dynamic(fixed).is_compatible_with(&dynamic(ProtocolVersion { game: 1, ..fixed })));
        assert_eq!((dynamic(fixed).wire_version(), fixed.has_dynamic_collections()), (3, false));
    }

    #[test]
    fn default_rates_cost_two_bits_each() {
        let mut out = BitWriter::new();
        TickRateBlock::default().encode(&mut out);
        assert_eq!((out.bit_len(), out.as_bytes()), (12, &[0, 0][..]));
    }

    #[test]
    fn any_rates_come_back() {
        for rate in [i32::MIN, -1, 0, 30, i32::MAX] {
            let approved = ConnectionApproved {
                network_id: 77,
                tick_rate: TickRateBlock {
                    simulation_tick_rate: rate,
                    network_tick_rate: rate.wrapping_add(1),
                    max_simulation_step_batch_size: rate.wrapping_add(2),
                    max_simulation_steps_per_frame: rate.wrapping_add(3),
                    predicted_fixed_step_simulation_tick_ratio: rate.wrapping_add(4),
                    handshake_approval_timeout_ms: rate.cast_unsigned(),
                },
            };
            let mut out = BitWriter::new();
            approved.encode(&mut out);
            let mut input = BitReader::with_bits(out.as_bytes(), out.bit_len());
            assert_eq!(ConnectionApproved::decode(&mut input), Ok(approved));
            assert!(input.is_empty());
        }
    }
}
