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

/// A program's own presets of link conditions, see [`presets::Presets`](crate::presets::Presets).
pub const MAX_OWN_PRESETS: usize = 1_024;

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
pub const MAX_INJECTED_MESSAGES: usize = 16_384;

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

/// Bytes that a simulated link counts on top of each datagram: the headers of IPv4 and UDP.
pub const SIMULATED_HEADER_BYTES: usize = 28;

/// What a reliable sender on a simulated in-process link waits beyond a round trip before it sends again what was lost,
/// in milliseconds: about the time that a receiver holds an acknowledgement back, and never 0.
pub const RETRANSMIT_MARGIN_MS: u32 = 10;

/// Retransmissions of one message that one delivery makes up for, if the time has jumped.
pub const MAX_RETRANSMISSIONS_PER_DELIVERY: usize = 64;

/// Bytes of the connection ids that the socket driver gives out. One less than usual, so that a datagram carries
/// [`DEFAULT_MESSAGE_BYTES`] beside the byte that names its kind; 2^56 ids are more than enough to be unguessable.
pub const CONNECTION_ID_BYTES: usize = 7;

/// Bytes of a client's first, random connection id: the most that QUIC permits, because the keys of the first packets
/// derive from it.
pub const INITIAL_CONNECTION_ID_BYTES: usize = 20;

/// Smallest UDP payload of a full packet. QUIC asks for it of every path; never below.
pub const MIN_MTU_BYTES: u16 = 1_200;

/// Largest UDP payload that is probed for: Ethernet less the headers of IPv6 and UDP.
pub const MAX_MTU_BYTES: u16 = 1_452;

/// Pause between two searches for a larger UDP payload, in milliseconds: ten minutes, as RFC 8899 recommends.
pub const MTU_INTERVAL_MS: u64 = 600_000;

/// Pause before the next search once full packets have begun to vanish, in milliseconds: they may have been lost to a crowded path.
pub const MTU_BLACK_HOLE_MS: u64 = 60_000;

/// The search for a larger UDP payload ends when it is known to so many bytes.
pub const MTU_PRECISION_BYTES: u16 = 20;

/// A packet counts as lost once so many that were sent later have arrived, or after so many times the round trip (RFC 9002, 6.1).
pub const LOSS_PACKET_THRESHOLD: u32 = 3;

/// See [`LOSS_PACKET_THRESHOLD`].
pub const LOSS_TIME_THRESHOLD: f32 = 9.0 / 8.0;

/// Retransmission time-outs in a row that count as a path that carries nothing (RFC 9002, 7.6). It concerns a congestion window, of
/// which there is none here.
pub const PERSISTENT_LOSS_THRESHOLD: u32 = 3;

/// Largest UDP payload that is accepted: Ethernet less the headers of IPv4 and UDP.
pub const MAX_UDP_PAYLOAD_BYTES: u16 = 1_472;

/// Round trip that is assumed before the first measurement, in milliseconds. QUIC's default of 333 makes the first
/// repetition of a lost packet wait a second: at 33 % loss a client then needs 93 ticks to connect instead of 51.
pub const INITIAL_RTT_MS: u64 = 100;

/// Bidirectional streams that a client may open: the one for reliable messages.
pub const CLIENT_STREAMS: u32 = 1;

/// Bytes of reliable messages that a peer may send ahead of what was read. Messages are read with every poll, so this
/// only has to cover what a link carries in a round trip, and one message of the largest kind.
pub const STREAM_RECEIVE_WINDOW_BYTES: u32 = 512 * 1024;
const _: () = assert!(STREAM_RECEIVE_WINDOW_BYTES as usize > 2 * MAX_RELIABLE_BYTES);

/// Bytes of reliable messages on their way without an acknowledgement; the rest waits in our own queue.
pub const STREAM_SEND_WINDOW_BYTES: u64 = 512 * 1024;

/// Bytes of received datagrams kept until the next poll; the oldest are dropped. Sixteen of the largest fragmented
/// messages in a frame.
pub const DATAGRAM_RECEIVE_BYTES: usize = 256 * 1024;

/// Bytes of datagrams handed to QUIC and not sent; the oldest are dropped. It is empty after nearly every flush,
/// because the budget lets through only what can leave at once.
pub const DATAGRAM_SEND_BYTES: usize = 64 * 1024;

/// Bytes of handshake data kept out of order: a certificate chain of three fits.
pub const CRYPTO_BUFFER_BYTES: usize = 8 * 1024;

/// Clients whose first packet arrived and was not yet looked at. Further first packets are dropped unread; a client
/// repeats them.
pub const MAX_INCOMING: usize = 256;

/// Bytes of further packets kept for one such client: a first flight that spans several packets.
pub const INCOMING_BUFFER_BYTES: u64 = 4 * 1024;

/// Bytes of further packets kept for all such clients together.
pub const INCOMING_BUFFER_TOTAL_BYTES: u64 = 256 * 1024;

/// Handshakes that a server begins per poll. One costs about 0.35 ms; sixteen leave most of a tick of 16.7 ms to the
/// game, and still let a thousand clients in within a second.
pub const HANDSHAKES_PER_POLL: usize = 16;

/// Unfinished handshakes above which a client must first prove its address with a Retry: one more round trip, and
/// nothing is kept until it is back.
pub const RETRY_ABOVE_HANDSHAKES: usize = 32;

/// Unfinished handshakes of a server; further clients are not answered until one ends.
pub const MAX_HANDSHAKES: usize = 256;

/// How long a client may take to come back with a Retry, in milliseconds.
pub const RETRY_LIFETIME_MS: u64 = 15_000;

/// Shortest time between two answers to packets of unknown connections, in milliseconds: a peer that was forgotten
/// learns so, a flood of strays does not become a flood of answers.
pub const RESET_INTERVAL_MS: u64 = 20;

/// Connections that were closed and still tell their peer so. Beyond it the oldest is forgotten at once; its peer
/// learns from its own time-out.
pub const MAX_CLOSING: usize = 1_024;

/// A closed connection answers who did not hear of it for so long at most, in milliseconds. QUIC lets most go sooner; not
/// those whose first packet was their last.
pub const CLOSING_MS: u64 = 10_000;

/// How long a closed connection goes on to repeat reliable messages that were sent before the close, in milliseconds.
pub const LINGER_MS: u64 = 2_000;

/// UDP packets that one poll takes from one socket. What is left waits in the socket's buffer, and is lost when that is
/// full: a flood costs the flooded socket, not the frame.
pub const RECEIVE_PACKETS_PER_POLL: usize = 8_192;

/// UDP packets handed to the operating system with one call.
pub const MAX_SEGMENTS: usize = 16;

/// Buffers that one call fills from a socket.
pub const RECEIVE_BATCH: usize = 8;

/// Bytes of the send and receive buffers that are asked of the operating system for a socket: a tick of 1,000 clients.
pub const SOCKET_BUFFER_BYTES: usize = 4 * 1024 * 1024;

/// Sockets of one driver: a listener, one per address family to connect from, and one that stopped listening and still
/// has connections.
pub const MAX_SOCKETS: usize = 4;

/// Fragments of one message: sixteen of the smallest MTU hold [`MAX_FRAGMENTED_BYTES`].
pub const MAX_FRAGMENTS: usize = 16;

/// Messages of one connection that may be half received. Fragments of a newer message displace the oldest.
pub const MAX_REASSEMBLIES: usize = 4;

/// Malformed datagrams of one peer within [`MALFORMED_WINDOW_MS`] above which the connection ends.
pub const MAX_MALFORMED: u32 = 64;

/// See [`MAX_MALFORMED`]; in milliseconds.
pub const MALFORMED_WINDOW_MS: u64 = 10_000;

/// Time without any acknowledgement after which a connection gets keep-alives only, in milliseconds.
pub const SILENCE_MS: u64 = 1_000;

/// After a packet with messages, what QUIC alone has to say (acknowledgements, mostly) waits this long for the next one to
/// carry it, in milliseconds: a frame without a tick between two that send needs no packet of its own.
pub const ACK_HOLD_MS: u64 = 40;

/// Bytes per second that a connection may send at first, headers included: a busy game, or a third of a slow LAN.
pub const INITIAL_RATE: u64 = 512 * 1024;

/// Bytes per second below which nothing pushes a connection but a queue that goes on growing: the commands of a player, or
/// a few snapshots.
pub const MIN_RATE: u64 = 8 * 1024;

/// Bytes per second below which nothing at all pushes a connection: a command now and then.
pub const LOWEST_RATE: u64 = 1024;

/// Bytes per second above which no connection grows.
pub const MAX_RATE: u64 = 16 * 1024 * 1024;

/// Smallest burst that the budget saves up, in bytes: three full packets.
pub const MIN_BURST_BYTES: i64 = 4 * 1024;

/// Largest burst that the budget saves up, in bytes: what a socket buffer of the usual size holds.
pub const MAX_BURST_BYTES: i64 = 192 * 1024;

/// Bytes of headers around a message, as the budget counts them: IPv6 and UDP 48, QUIC 32.
pub const PACKET_OVERHEAD_BYTES: usize = 80;

/// Bytes of a certificate or key in PEM or DER that are read at most.
pub const MAX_IDENTITY_BYTES: usize = 64 * 1024;

/// Packets on their way to, or waiting at, one socket of a simulated network; further ones are dropped.
pub const MAX_SIMULATED_INBOX: usize = 65_536;

/// Packets kept by the recorder of a simulated network until they are taken; later ones are not kept.
pub const MAX_RECORDED_PACKETS: usize = 1_048_576;

/// Bytes of the headers of IPv4 and UDP around each QUIC packet, as the budget counts them.
pub const UDP_HEADER_BYTES: usize = 28;

/// Bytes of a host's name: what the domain name system allows.
pub const MAX_HOST_NAME_BYTES: usize = 253;

/// Names that one resolver looks up at once; further ones fail. A name server that is down holds each for up to half a
/// minute, and a client has one connection.
pub const MAX_LOOKUPS: usize = 16;

/// Addresses of a name that are tried; further ones are not.
pub const MAX_RESOLVED_ADDRESSES: usize = 8;

/// How long each address of a name gets for a first answer before the next one is tried, in milliseconds: what RFC 8305
/// recommends, rounded.
pub const NEXT_ADDRESS_MS: u64 = 250;
