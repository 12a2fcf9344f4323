//! What drivers count and measure, of a connection and of all together: the one source for tools, tests and games.
//! Counted where things happen; copied out by `Driver::statistics` and `Driver::driver_statistics`.

use core::time::Duration;

/// Unreliable messages that a side dropped instead of sending them, by why.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct UnreliableDrops {
    /// Their queue was full.
    pub by_queue: u64,
    /// The budget of their connection was spent.
    pub by_budget: u64,
    /// The peer acknowledges nothing.
    pub by_silence: u64,
    /// The path or the peer carries none of their size.
    pub by_size: u64,
}

impl UnreliableDrops {
    /// All of them.
    pub fn total(&self) -> u64 {
        let Self { by_queue, by_budget, by_silence, by_size } = *self;
        by_queue.saturating_add(by_budget).saturating_add(by_silence).saturating_add(by_size)
    }
}

/// What a driver measures on one connection, as totals since it began unless said otherwise.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct ConnectionStatistics {
    /// Smoothed round trip. It contains delayed acknowledgements and the time that packets wait for a poll.
    pub round_trip: Duration,
    /// The round trip that the brakes take for normal: the shortest so far, or the one that stayed after a brake.
    pub usual_round_trip: Duration,
    /// UDP packets sent.
    pub packets_sent: u64,
    /// Of these, the ones taken for lost.
    pub packets_lost: u64,
    /// Of these, the ones that carried acknowledgements and nothing else.
    pub packets_of_acks_alone: u64,
    /// UDP payload sent, in bytes.
    pub bytes_sent: u64,
    /// UDP payload received, in bytes.
    pub bytes_received: u64,
    /// Of the bytes sent, those that the other side has acknowledged.
    pub bytes_acknowledged: u64,
    /// Of the bytes sent, those taken for lost.
    pub bytes_lost: u64,
    /// Largest UDP payload that is sent at present, in bytes.
    pub largest_packet_bytes: u16,
    /// What the connection may send at present, headers included.
    pub budget_bytes_per_second: u64,
    /// The most that the budget saves up for one moment, in bytes.
    pub budget_burst_bytes: i64,
    /// What unreliable messages may use at once; negative while a large one is being paid for.
    pub budget_unreliable_bytes: i64,
    /// What reliable messages may use at once; negative while a large one is being paid for.
    pub budget_reliable_bytes: i64,
    /// The best of the last measurements of how much arrives, below which loss never brakes.
    pub arriving_bytes_per_second: u64,
    /// How often the budget was lowered because packets got lost.
    pub brakes_for_loss: u64,
    /// How often the budget was lowered because the round trip grew.
    pub brakes_for_delay: u64,
    /// The budget is lowered for a round trip that grew, and it is not yet known whether that helps.
    pub is_braking: bool,
    /// Unreliable messages that this side dropped instead of sending them.
    pub unreliable_dropped: UnreliableDrops,
    /// Fragmented messages of which some fragments never came.
    pub unreliable_incomplete: u64,
    /// Reliable messages that wait on this side, in bytes.
    pub reliable_waiting_bytes: u64,
    /// For how long the other side has acknowledged nothing of what is on its way; zero if nothing is.
    pub silent_for: Duration,
    /// The other side has acknowledged nothing for a second, and gets keep-alives only.
    pub is_silent: bool,
    /// Keep-alives sent while it was.
    pub keep_alives_sent: u64,
}

/// What a driver has seen since it was made.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct DriverStatistics {
    /// UDP packets received.
    pub packets_received: u64,
    /// UDP payload received, in bytes.
    pub bytes_received: u64,
    /// Of these packets, the ones that belong to no connection and begin none: malformed, stray, or more than may wait.
    pub packets_stray: u64,
    /// Of these packets, the ones that told their connection nothing: they failed authentication, or came twice.
    pub packets_discarded: u64,
    /// UDP packets sent.
    pub packets_sent: u64,
    /// UDP payload sent, in bytes.
    pub bytes_sent: u64,
    /// Of these packets, the ones that carried acknowledgements and nothing else.
    pub packets_of_acks_alone: u64,
    /// UDP packets that the socket did not take.
    pub packets_unsent: u64,
    /// Messages taken to be sent, in bytes.
    pub message_bytes_sent: u64,
    /// Handshakes begun as a server.
    pub handshakes: u64,
    /// Of these, the ones that ended without a connection.
    pub handshakes_failed: u64,
    /// Clients asked to prove their address first.
    pub retries: u64,
    /// Clients refused because the table of connections was full.
    pub refused: u64,
    /// Clients not answered because too many handshakes were unfinished.
    pub unanswered: u64,
    /// Connections accepted as a server.
    pub accepted: u64,
    /// Malformed datagrams inside connections.
    pub malformed: u64,
    /// Unreliable messages dropped instead of being sent.
    pub unreliable_dropped: UnreliableDrops,
}

/// Adds one to a counter.
#[cfg(feature = "quic")]
pub(crate) fn count(counter: &mut u64) {
    *counter = counter.saturating_add(1);
}
