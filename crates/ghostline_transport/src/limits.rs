//! Every bound of the transport under its name, with the reason for its value.
//! Settings are validated against these, queues and pools are cut off at them.

/// Drivers in one [`DriverStore`](crate::DriverStore). The reference holds three; eight leave room for an
/// in-process link, several sockets and a relay side by side.
pub const MAX_DRIVERS: usize = 8;
const _: () = assert!(MAX_DRIVERS >= 3 && MAX_DRIVERS <= u8::MAX as usize);

/// Connections of one driver, in either role. Far above what one simulation can feed, far below what a table of
/// slots notices.
pub const MAX_CONNECTIONS: usize = 16_384;

/// Bytes of text in a [`CloseReason`](crate::CloseReason): one line for a person to read, small enough for any
/// closing packet.
pub const MAX_CLOSE_TEXT_BYTES: usize = 256;

/// Smallest permitted `max_message_bytes`: a packet header and one small record must fit.
pub const MIN_MESSAGE_BYTES: usize = 64;

/// Largest permitted `max_message_bytes`: an Ethernet frame of 1,500 bytes less the headers of IPv6 and UDP.
pub const MAX_MESSAGE_BYTES: usize = 1_452;

/// Default of `max_message_bytes`: what a datagram of the socket driver carries at the smallest path MTU, so that
/// a game sees the same packets in process as on the wire.
pub const DEFAULT_MESSAGE_BYTES: usize = 1_162;

/// Largest message on [`Pipeline::UnreliableFragmented`](crate::Pipeline::UnreliableFragmented).
pub const MAX_FRAGMENTED_BYTES: usize = 16 * 1024;

/// Largest message on [`Pipeline::ReliableOrdered`](crate::Pipeline::ReliableOrdered): eight of the largest RPCs.
pub const MAX_RELIABLE_BYTES: usize = 64 * 1024;

/// Upper end of the settings that are times in milliseconds: one hour. Above it a "time-out" is a leak.
pub const MAX_TIMEOUT_MS: u32 = 3_600_000;

/// Upper end of `max_connect_attempts`.
pub const MAX_CONNECT_ATTEMPTS: u32 = 10_000;

/// Upper end of `queue_messages`, per connection, direction and class (unreliable, reliable).
pub const MAX_QUEUE_MESSAGES: usize = 65_536;

/// Lower end of `queue_bytes`: one message of the largest kind must fit, else it could never be sent.
pub const MIN_QUEUE_BYTES: usize = MAX_RELIABLE_BYTES;

/// Upper end of `queue_bytes`, per connection, direction and class.
pub const MAX_QUEUE_BYTES: usize = 256 * 1024 * 1024;

/// First port of the range from which a listener on port 0 gets its port (the dynamic range of RFC 6335).
pub const FIRST_DYNAMIC_PORT: u16 = 49_152;

/// Number of ports in the dynamic range.
pub const DYNAMIC_PORTS: u16 = 16_384;

/// Buffers that a driver takes from the shared pool at once, so that sending rarely takes the lock.
pub const POOL_BATCH: usize = 16;

/// Free buffers kept in the shared pool of an in-process network; further ones are freed.
pub const MAX_POOLED_BUFFERS: usize = 16_384;

/// Bytes of capacity kept in the shared pool of an in-process network; further buffers are freed.
pub const MAX_POOLED_BYTES: usize = 64 * 1024 * 1024;

/// Recycled buffers that one driver keeps between two flushes; further ones are freed.
pub const MAX_SPARE_BUFFERS: usize = 4_096;

/// Injected messages that may wait on the link of one client and direction.
pub const MAX_INJECTED_MESSAGES: usize = 1_024;

/// Messages kept by a recorder until they are taken; later ones are numbered but not kept.
pub const MAX_RECORDED_MESSAGES: usize = 262_144;

/// Upper end of the simulated delay and jitter, in milliseconds: a minute is longer than any connection survives.
pub const MAX_SIMULATED_DELAY_MS: u32 = 60_000;

/// Default of `max_packets`, the packets on their way in one direction of a simulated link: three packets per frame at
/// 60 Hz over five seconds.
pub const DEFAULT_SIMULATED_PACKETS: u32 = 1_024;

/// Upper end of `max_packets`.
pub const MAX_SIMULATED_PACKETS: u32 = 1_048_576;

/// Bytes that wait for the bandwidth of a simulated link before further packets are dropped: the buffer of a home
/// router.
pub const SIMULATED_QUEUE_BYTES: u32 = 64 * 1024;

/// Extra delay of a packet that the simulator lets others overtake, in milliseconds: three frames at 60 Hz.
pub const REORDER_DELAY_MS: u32 = 50;

/// Longest mean length of a burst of simulated losses, in packets: beyond it a burst is an outage, for which there are
/// profiles to switch to.
pub const MAX_BURST_LENGTH: u32 = 1_000;

/// Most bits that the simulator flips in one packet.
pub const MAX_CORRUPTED_BITS: usize = 8;

/// Bytes that a simulated in-process link counts on top of each datagram: the headers of IPv4 and UDP.
pub const SIMULATED_HEADER_BYTES: usize = 28;

/// What a reliable sender on a simulated in-process link waits beyond a round trip before it sends again what was lost,
/// in milliseconds: about the time that a receiver holds an acknowledgement back, and never 0.
pub const RETRANSMIT_MARGIN_MS: u32 = 10;

/// Retransmissions of one message that one delivery makes up for, if the time has jumped.
pub const MAX_RETRANSMISSIONS_PER_DELIVERY: usize = 64;
