//! One connection: QUIC's state machine, what waits to be sent, and what is half received.
//! The port feeds it packets and time; it hands messages on as events, and takes messages for the next flush.

use core::time::Duration;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Instant;

use bytes::Bytes;
use quinn_proto::{Connection, ConnectionError, Dir, Event, StreamEvent, StreamId, VarInt};

use super::budget::Budget;
use super::clock::Clock;
use super::congestion::Totals;
use super::fragment::Reassembler;
use super::frame::{FrameReader, STREAM_VERSION, framed};
use super::trust::{Expectation, Verdict};
use crate::close::CloseReason;
use crate::driver::{DriverConnection, DriverEvent, Pipeline};
use crate::error::SendError;
use crate::limits;
use crate::settings::DriverSettings;
use crate::statistics::{ConnectionStatistics, DriverStatistics, UnreliableDrops, count};

/// Where an attempt to connect may lead, over all its tries.
pub(super) struct Target {
    /// Above, it is known by this.
    pub(super) handle: DriverConnection,
    /// When `connect` was called, by the clock of patience, as all that has a time limit is.
    pub(super) first: Duration,
    /// Addresses, and what the server there must show. At least one.
    pub(super) candidates: Vec<(SocketAddr, Expectation)>,
    pub(super) tries: usize,
}

impl Target {
    /// The address that is next.
    pub(super) fn next(&mut self) -> Option<(SocketAddr, Expectation)> {
        let place = self.tries.checked_rem(self.candidates.len())?;
        self.tries = self.tries.saturating_add(1);
        self.candidates.get(place).cloned()
    }

    /// How long the present try may go unanswered. Of several addresses, some often lead nowhere.
    pub(super) fn patience(&self, settings: &DriverSettings) -> Duration {
        let usual = Duration::from_millis(settings.connect_timeout_ms.into());
        if self.tries < self.candidates.len() {
            usual.min(Duration::from_millis(limits::NEXT_ADDRESS_MS))
        } else {
            usual
        }
    }
}

/// One try to connect.
pub(super) struct Attempt {
    pub(super) target: Target,
    pub(super) since: Duration,
    pub(super) verdict: Verdict,
}

/// Where a connection stands.
pub(super) enum Phase {
    /// As a server, before the handshake is complete. Nobody above knows of it.
    Handshaking {
        since: Duration,
    },
    /// As a client, before the handshake is complete.
    Connecting(Attempt),
    Open,
    /// Closed from above, with reliable messages on their way.
    Lingering {
        since: Duration,
        reason: CloseReason,
    },
    /// Closed; QUIC still answers whoever did not hear of it.
    Closing {
        since: Duration,
    },
}

/// What a service of the state machine brought to light.
#[derive(Default)]
pub(super) struct News {
    pub(super) is_connected: bool,
    pub(super) lost: Option<ConnectionError>,
    pub(super) is_stream_broken: bool,
}

/// The other side broke a rule of ours.
pub(super) struct Broken;

pub(super) struct Link {
    pub(super) connection: Connection,
    pub(super) phase: Phase,
    /// Above, it is known by this; `None` before and after.
    pub(super) handle: Option<DriverConnection>,
    /// UDP packets or timers since the last service.
    pub(super) is_due: bool,
    pub(super) budget: Budget,
    pub(super) stream: Option<StreamId>,
    pub(super) reader: FrameReader,
    pub(super) reassembler: Reassembler,
    pub(super) unreliable: VecDeque<(Pipeline, Vec<u8>)>,
    pub(super) unreliable_bytes: usize,
    pub(super) reliable: VecDeque<Bytes>,
    pub(super) reliable_bytes: usize,
    pub(super) reliable_sent_at: Option<Duration>,
    /// When messages were last handed to QUIC.
    pub(super) talked_at: Option<Duration>,
    pub(super) is_finished: bool,
    pub(super) next_message: u16,
    pub(super) acked_bytes: u64,
    /// When the other side was heard last, by the clock of patience.
    pub(super) heard: Duration,
    /// Since when something is on its way and nothing at all was acknowledged, by the same clock.
    pub(super) silent_since: Option<Duration>,
    pub(super) pinged_at: Duration,
    pub(super) malformed: u32,
    pub(super) malformed_since: Duration,
    pub(super) dropped: UnreliableDrops,
    pub(super) keep_alives: u64,
    pub(super) acks_alone: u64,
}

impl Link {
    pub(super) fn new(connection: Connection, phase: Phase, clock: &Clock) -> Self {
        let (now, heard) = (clock.now(), clock.patience());
        let is_server = matches!(phase, Phase::Handshaking { .. });
        Self {
            connection,
            phase,
            handle: None,
            is_due: true,
            budget: Budget::new(now),
            stream: None,
            reader: FrameReader::new(is_server),
            reassembler: Reassembler::default(),
            unreliable: VecDeque::new(),
            unreliable_bytes: 0,
            reliable: VecDeque::new(),
            reliable_bytes: 0,
            reliable_sent_at: None,
            talked_at: None,
            is_finished: false,
            next_message: 0,
            acked_bytes: 0,
            heard,
            silent_since: None,
            pinged_at: now,
            malformed: 0,
            malformed_since: now,
            dropped: UnreliableDrops::default(),
            keep_alives: 0,
            acks_alone: 0,
        }
    }

    pub(super) fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Open)
    }

    /// Numbers for tools.
    pub(super) fn statistics(&self, patience: Duration) -> ConnectionStatistics {
        let stats = self.connection.stats();
        let Totals { acked_bytes, lost_bytes } = Totals::of(self.connection.congestion_state());
        let silent_since = self.silent_since.unwrap_or(patience);
        let budget = self.budget.numbers();
        ConnectionStatistics {
            round_trip: stats.path.rtt,
            usual_round_trip: budget.brakes.usual_rtt,
            packets_sent: stats.path.sent_packets,
            packets_lost: stats.path.lost_packets,
            packets_of_acks_alone: self.acks_alone,
            bytes_sent: stats.udp_tx.bytes,
            bytes_received: stats.udp_rx.bytes,
            bytes_acknowledged: acked_bytes,
            bytes_lost: lost_bytes,
            largest_packet_bytes: stats.path.current_mtu,
            budget_bytes_per_second: budget.brakes.rate,
            budget_burst_bytes: budget.burst,
            budget_unreliable_bytes: budget.datagram_tokens,
            budget_reliable_bytes: budget.reliable_tokens,
            arriving_bytes_per_second: budget.brakes.arriving,
            brakes_for_loss: budget.brakes.for_loss,
            brakes_for_delay: budget.brakes.for_delay,
            is_braking: budget.brakes.is_braking,
            unreliable_dropped: self.dropped,
            unreliable_incomplete: self.reassembler.displaced(),
            reliable_waiting_bytes: self.reliable_bytes as u64,
            silent_for: patience.saturating_sub(silent_since),
            is_silent: self.is_silent(patience),
            keep_alives_sent: self.keep_alives,
        }
    }

    /// Takes a message for the next flush.
    pub(super) fn send(
        &mut self,
        pipeline: Pipeline,
        bytes: &[u8],
        mut buffer: Vec<u8>,
        settings: &DriverSettings,
        stats: &mut DriverStatistics,
    ) -> Result<(), SendError> {
        let (messages, waiting) = match pipeline {
            Pipeline::ReliableOrdered => (self.reliable.len(), self.reliable_bytes),
            Pipeline::Unreliable | Pipeline::UnreliableFragmented => (self.unreliable.len(), self.unreliable_bytes),
        };
        let is_full = messages >= settings.queue_messages || waiting.saturating_add(bytes.len()) > settings.queue_bytes;
        if pipeline == Pipeline::ReliableOrdered {
            if is_full {
                return Err(SendError::QueueFull);
            }
            let frame = framed(bytes);
            self.reliable_bytes = self.reliable_bytes.saturating_add(frame.len());
            self.reliable.push_back(Bytes::from(frame));
        } else if is_full {
            count(&mut stats.unreliable_dropped.by_queue);
            count(&mut self.dropped.by_queue);
        } else {
            buffer.clear();
            buffer.extend_from_slice(bytes);
            self.unreliable_bytes = self.unreliable_bytes.saturating_add(bytes.len());
            self.unreliable.push_back((pipeline, buffer));
        }
        Ok(())
    }

    /// Fetches what the state machine has to tell.
    pub(super) fn news(&mut self) -> News {
        let mut news = News::default();
        while let Some(event) = self.connection.poll() {
            match event {
                Event::Connected => news.is_connected = true,
                Event::ConnectionLost { reason } => news.lost = Some(reason),
                Event::Stream(StreamEvent::Opened { dir: Dir::Bi }) => {
                    self.stream = self.stream.or(self.connection.streams().accept(Dir::Bi));
                }
                Event::Stream(StreamEvent::Stopped { .. }) => news.is_stream_broken = true,
                Event::Stream(StreamEvent::Finished { .. }) => self.is_finished = true,
                _ => {}
            }
        }
        news
    }

    /// As a client that is connected now: opens the stream, so that the server may use it too.
    pub(super) fn open_stream(&mut self) {
        self.stream = self.connection.streams().open(Dir::Bi);
        if let Some(id) = self.stream {
            // One byte into an empty stream always fits.
            let _written = self.connection.send_stream(id).write(&[STREAM_VERSION]);
        }
    }

    /// Hands on all messages that have arrived.
    pub(super) fn read(
        &mut self,
        handle: DriverConnection,
        now: Duration,
        settings: &DriverSettings,
        stats: &mut DriverStatistics,
        spare: &mut Vec<Vec<u8>>,
        events: &mut Vec<DriverEvent>,
    ) -> Result<(), Broken> {
        let mut buffer = spare.pop().unwrap_or_default();
        while let Some(datagram) = self.connection.datagrams().recv() {
            match self.reassembler.receive(&datagram, settings.max_message_bytes, &mut buffer) {
                Ok(Some(pipeline)) => {
                    let bytes = core::mem::replace(&mut buffer, spare.pop().unwrap_or_default());
                    events.push(DriverEvent::Received { connection: handle, pipeline, bytes });
                }
                Ok(None) => {}
                Err(_malformed) => {
                    count(&mut stats.malformed);
                    self.note_malformed(now)?;
                }
            }
        }
        spare.push(buffer);
        self.read_stream(handle, spare, events)
    }

    fn read_stream(
        &mut self,
        handle: DriverConnection,
        spare: &mut Vec<Vec<u8>>,
        events: &mut Vec<DriverEvent>,
    ) -> Result<(), Broken> {
        let Some(id) = self.stream else {
            return Ok(());
        };
        let mut stream = self.connection.recv_stream(id);
        // Closed after its end was read.
        let Ok(mut chunks) = stream.read(true) else {
            return Ok(());
        };
        let mut outcome = Ok(());
        loop {
            match chunks.next(usize::MAX) {
                Ok(Some(chunk)) => {
                    let read = self.reader.read(&chunk.bytes, |message| {
                        let mut bytes = spare.pop().unwrap_or_default();
                        bytes.clear();
                        bytes.extend_from_slice(message);
                        let pipeline = Pipeline::ReliableOrdered;
                        events.push(DriverEvent::Received { connection: handle, pipeline, bytes });
                    });
                    if read.is_err() {
                        outcome = Err(Broken);
                        break;
                    }
                }
                // The other side is about to close: it sends nothing more.
                Ok(None) | Err(quinn_proto::ReadError::Blocked) => break,
                Err(quinn_proto::ReadError::Reset(_)) => {
                    outcome = Err(Broken);
                    break;
                }
            }
        }
        // What it asks to transmit leaves with the next flush.
        let _transmit = chunks.finalize();
        outcome
    }

    fn note_malformed(&mut self, now: Duration) -> Result<(), Broken> {
        if now.saturating_sub(self.malformed_since) > Duration::from_millis(limits::MALFORMED_WINDOW_MS) {
            self.malformed_since = now;
            self.malformed = 0;
        }
        self.malformed = self.malformed.saturating_add(1);
        if self.malformed > limits::MAX_MALFORMED { Err(Broken) } else { Ok(()) }
    }

    /// Discards what arrives on a connection that nobody above knows any more.
    pub(super) fn discard(&mut self) {
        while self.connection.datagrams().recv().is_some() {}
        if let Some(id) = self.stream
            && let Ok(mut chunks) = self.connection.recv_stream(id).read(true)
        {
            while let Ok(Some(_chunk)) = chunks.next(usize::MAX) {}
            let _transmit = chunks.finalize();
        }
    }

    pub(super) fn note_acks(&mut self) -> Totals {
        let totals = Totals::of(self.connection.congestion_state());
        if totals.acked_bytes != self.acked_bytes {
            self.acked_bytes = totals.acked_bytes;
            self.silent_since = None;
        }
        totals
    }

    /// How long nothing was heard of the other side, or nothing acknowledged of what was sent there.
    pub(super) fn silence(&mut self, patience: Duration) -> Duration {
        self.note_acks();
        let since = self.silent_since.map_or(self.heard, |since| since.min(self.heard));
        patience.saturating_sub(since)
    }

    pub(super) fn is_silent(&self, patience: Duration) -> bool {
        let limit = Duration::from_millis(limits::SILENCE_MS);
        self.silent_since.is_some_and(|since| patience.saturating_sub(since) >= limit)
    }

    /// Nobody above knows this connection any more; what was sent before still leaves, then the reason.
    pub(super) fn begin_closing(&mut self, now: Duration, reason: CloseReason) {
        self.handle = None;
        self.phase = match self.phase {
            Phase::Open => Phase::Lingering { since: now, reason },
            _ => Phase::Closing { since: now },
        };
    }

    /// Closes at once, with a code of the driver's own.
    pub(super) fn abort(&mut self, now: Duration, instant: Instant, code: u32) {
        self.handle = None;
        self.phase = Phase::Closing { since: now };
        self.connection.close(instant, VarInt::from_u32(code), Bytes::new());
    }
}
