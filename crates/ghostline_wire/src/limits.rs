//! Every bound of the wire format, by name and with its reason.
//! Decoders check received numbers against these before they allocate or loop; encoders keep within them.
//! `docs/wire-format.md` states the same numbers, and a test compares the two.

/// The version of the byte format. Any change of bytes raises it; peers whose versions differ part at the handshake.
pub const WIRE_VERSION: u32 = 4;

/// Slots in a chunk of ghosts of one type: one bit each in a 64-bit mask.
pub const CHUNK_SLOTS: u32 = 64;

/// Chunks in a world. Bounds what a client allocates by chunk number: 4,194,304 ghosts.
pub const MAX_CHUNKS: u32 = 65_536;

/// The highest ghost id: `64 × chunk + slot + 1` of the last slot. 0 is nobody.
pub const MAX_GHOST_ID: u32 = MAX_CHUNKS * CHUNK_SLOTS;

/// Despawns in one snapshot packet. More wait for the next one; a bound below a datagram's size leaves room for news.
pub const MAX_DESPAWNS_PER_PACKET: u32 = 256;

/// Entries of the prefab section of one packet: 16 bytes each, so that a full section is under half a datagram.
pub const MAX_PREFABS_PER_PACKET: u32 = 32;

/// Ghost types in a game. Bounds the receiver's table of types.
pub const MAX_PREFABS: u32 = 4_096;

/// Packets that one ack block tells of, the newest included. More than four seconds at 60 packets per second.
pub const ACK_WINDOW: u32 = 256;

/// Entries of one command block: half a second of commands at 60 Hz.
pub const MAX_COMMAND_ENTRIES: u32 = 32;

/// The body of one command block, in bytes: what fits into a datagram beside the header.
pub const MAX_COMMAND_BLOCK_BYTES: usize = 1_024;

/// The payload of one RPC, in bytes: the most whole bytes whose bits a `u16` can count.
pub const MAX_RPC_PAYLOAD_BYTES: usize = 8_191;

/// Frames of one RPC packet: what fits into the largest datagram with room to spare. Bounds what one message can make its receiver do.
pub const MAX_RPC_FRAMES_PER_PACKET: usize = 512;

/// Lanes of one row. Registration of a ghost or command type beyond it fails.
pub const MAX_ROW_LANES: usize = 1_024;

/// Ticks merged into one simulation step: the largest batch that a server may be set to.
pub const MAX_BATCH_LENGTH: u32 = 16;

/// A server names a row's tick only while bodies of its chunk were sent at fewer ticks after it than this: below [`CLIENT_TICKS`], so that the
/// client surely still holds it, and with room for packets that are overtaken.
pub const MAX_NAMED_TICKS: u32 = 48;

/// Ticks with bodies of one chunk whose rows a client keeps at least, to have the rows that a server names.
pub const CLIENT_TICKS: usize = 64;

/// The longest age of a baseline that rows are predicted from, and the longest span to an earlier row, in ticks.
pub const MAX_SLOPE_TICKS: u32 = 255;

/// Numbers of models of a connection: parameters that rows are coded with. Bounds what a client remembers.
pub const MAX_MODELS: u32 = 16;

/// Lines of one RPC that says what a side registered; all of them at their longest still fit the payload of an RPC.
pub const MAX_PROTOCOL_LINES_PER_RPC: u32 = 31;

/// One line of it, in bytes of UTF-8: what a `u8` can count.
pub const MAX_PROTOCOL_LINE_BYTES: usize = 255;

/// Command types that a server with dynamic collections tells its clients of: what fits the payload of an RPC, rounded down.
pub const MAX_COMMAND_TYPES: u32 = 1_000;
