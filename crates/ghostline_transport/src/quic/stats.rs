//! Counters of a QUIC driver, the one source for tools and tests.
//! Counted where things happen; copied out by `QuicDriver::stats`.

/// What a driver has seen since it was made.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct QuicStats {
    /// UDP packets received.
    pub packets_received: u64,
    /// Of these, the ones that belong to no connection and begin none: malformed, stray, or more than may wait.
    pub packets_stray: u64,
    /// Of these, the ones that told their connection nothing: they failed authentication, or came twice.
    pub packets_discarded: u64,
    /// UDP packets sent.
    pub packets_sent: u64,
    /// UDP packets that the socket did not take.
    pub packets_unsent: u64,
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
    /// Unreliable messages dropped because their queue was full.
    pub dropped_by_queue: u64,
    /// Unreliable messages dropped because the budget of their connection was spent.
    pub dropped_by_budget: u64,
    /// Unreliable messages dropped because the peer acknowledged nothing.
    pub dropped_by_silence: u64,
    /// Unreliable messages dropped because the path or the peer carries none of their size.
    pub dropped_by_size: u64,
}

/// Adds one to a counter.
pub(super) fn count(counter: &mut u64) {
    *counter = counter.saturating_add(1);
}
