//! Bytes to values and back: ticks, bit streams, quantisation, schemas, and the codecs of every ghostline message.
//! Fed with plain arrays by the ECS side and with datagrams by the transport; neither is known here.
//! The format is `docs/wire-format.md`, which this crate follows section by section.
//!
//! No dependency, no `unsafe`, no clock, no I/O, no threads. Decoders are total: whatever the bytes, they end in a value
//! or a [`DecodeError`], allocate at most what [`limits`] allows, and loop at most as often as the message has bits.

#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects,
        clippy::panic
    )
)]

mod ack;
mod bits;
mod command;
mod error;
#[doc(hidden)]
pub mod fuzz;
mod handshake;
pub mod limits;
mod packed;
mod packet;
mod predicted;
mod quantise;
mod row;
mod rpc;
mod schema;
mod session;
mod snapshot;
mod tick;

pub use ack::{Epoch, PacketSequence, ReceivedPackets, Reception, SnapshotAcks};
pub use bits::{BitReader, BitWriter};
pub use command::{
    BlockEntries, BlockReader, BlockTarget, BlockTooLarge, CommandEntry, CommandHeader, DecodedBlock, EntryForm,
    RawBlock, read_block, read_block_of, write_block, write_block_of, write_blocks_end,
};
pub use error::DecodeError;
pub use handshake::{ConnectionApproved, ProtocolVersion, TickRateBlock, internal_rpc};
pub use limits::{
    ACK_WINDOW, CHUNK_SLOTS, CLIENT_TICKS, MAX_BATCH_LENGTH, MAX_CHUNKS, MAX_COMMAND_BLOCK_BYTES, MAX_COMMAND_ENTRIES,
    MAX_DESPAWNS_PER_PACKET, MAX_GHOST_ID, MAX_MODELS, MAX_NAMED_TICKS, MAX_PREFABS, MAX_PREFABS_PER_PACKET,
    MAX_ROW_LANES, MAX_RPC_PAYLOAD_BYTES, MAX_SLOPE_TICKS, WIRE_VERSION,
};
pub use packed::packed_bits;
pub use packet::MessageKind;
pub use predicted::{
    BaseRows, CLASSES, FieldModel, ModelName, Order, PredictionBase, RowCoder, RowForm, RowModel, SILENT, Steps,
};
pub use quantise::{QuantiseStats, dequantise, quantise};
pub use row::{decode_row, decode_row_by_component, encode_row, is_absolute_row_below};
pub use rpc::{
    FrameIter, FrameTooLarge, RpcFrame, RpcName, RpcNaming, UNRELIABLE_RPC_HEADER_BYTES, begin_packet,
    begin_unreliable_packet, frames, named_frames, push_frame, split_unreliable_packet,
};
pub use schema::{
    ComponentSchema, FieldKind, FieldSchema, GhostSchema, LaneCodec, RowLayout, Smoothing, collection_hash, fnv1a64,
};
pub use session::{ApprovalRequest, CommandTypes, ProtocolDetails, ResumeClaim, SessionIdentity};
pub use snapshot::{
    BodyForm, ChunkCover, ChunkGap, ChunkStep, DespawnEntry, DespawnReason, GhostBody, MOST_MASK_BITS, PrefabEntry,
    SnapshotClock, SnapshotHeader, mask_bits, read_despawns, read_ghost_body, read_mask, read_prefabs, write_despawns,
    write_ghost_body, write_mask, write_prefabs,
};
pub use tick::{DisplayTick, NetworkTick};
