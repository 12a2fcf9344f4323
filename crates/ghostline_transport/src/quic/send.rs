//! The way out of one connection: what the budget lets through goes to QUIC, datagrams first; the rest waits or is
//! dropped. Also the end of it: what a connection still sends after it was closed from above.

use core::time::Duration;
use std::time::Instant;

use bytes::Bytes;
use quinn_proto::WriteError;

use super::brakes::Feedback;
use super::cause;
use super::clock::Clock;
use super::congestion::Totals;
use super::fragment::{FRAGMENT_HEADER_BYTES, datagrams};
use super::link::{Link, Phase};
use crate::limits;
use crate::settings::DriverSettings;
use crate::statistics::{DriverStatistics, count};

impl Link {
    /// Hands to QUIC what the budget permits. Returns the bytes that were paid for.
    pub(super) fn hand_over(
        &mut self,
        clock: &Clock,
        settings: &DriverSettings,
        stats: &mut DriverStatistics,
        spare: &mut Vec<Vec<u8>>,
    ) -> usize {
        let (now, patience) = (clock.now(), clock.patience());
        let totals = self.note_acks();
        let rtt = self.connection.rtt();
        let measured = self.connection.stats();
        let Totals { acked_bytes, lost_bytes } = totals;
        let feedback = Feedback {
            sent_bytes: measured.udp_tx.bytes,
            sent_packets: measured.path.sent_packets,
            acked_bytes,
            lost_bytes,
            lost_packets: measured.path.lost_packets,
            rtt,
        };
        self.budget.advance(now, feedback);
        if self.is_silent(patience) {
            self.keep_alive(now, settings, stats, spare);
            return 0;
        }
        let mut paid = self.hand_over_datagrams(stats, spare, true);
        paid = paid.saturating_add(self.hand_over_reliable(now, self.budget.reliable_allowance()));
        if paid > 0 {
            self.talked_at = Some(now);
            self.silent_since = self.silent_since.or(Some(patience));
        }
        paid
    }

    /// Whether QUIC's own frames, acknowledgements above all, should wait for the packet of the next tick.
    pub(super) fn holds_acks(&self, now: Duration) -> bool {
        let hold = Duration::from_millis(limits::ACK_HOLD_MS);
        self.talked_at.is_some_and(|at| at < now && now.saturating_sub(at) < hold)
    }

    /// The peer acknowledges nothing: signs of life only, at the pace of the heartbeat.
    fn keep_alive(
        &mut self,
        now: Duration,
        settings: &DriverSettings,
        stats: &mut DriverStatistics,
        spare: &mut Vec<Vec<u8>>,
    ) {
        for (_pipeline, buffer) in self.unreliable.drain(..) {
            count(&mut stats.unreliable_dropped.by_silence);
            count(&mut self.dropped.by_silence);
            spare.push(buffer);
        }
        self.unreliable_bytes = 0;
        let interval = Duration::from_millis(settings.heartbeat_timeout_ms.into());
        if now.saturating_sub(self.pinged_at) >= interval {
            self.pinged_at = now;
            self.connection.ping();
            count(&mut self.keep_alives);
        }
    }

    fn hand_over_datagrams(
        &mut self,
        stats: &mut DriverStatistics,
        spare: &mut Vec<Vec<u8>>,
        is_budgeted: bool,
    ) -> usize {
        let mut paid = 0_usize;
        let reliable_waits = !self.reliable.is_empty();
        self.unreliable_bytes = 0;
        while let Some((pipeline, message)) = self.unreliable.pop_front() {
            if is_budgeted && !self.budget.admits_datagram(reliable_waits) {
                count(&mut stats.unreliable_dropped.by_budget);
                count(&mut self.dropped.by_budget);
                spare.push(message);
                continue;
            }
            let mut cost = 0_usize;
            let mut queue = self.connection.datagrams();
            let max_datagram = queue.max_size().unwrap_or(FRAGMENT_HEADER_BYTES);
            let number = self.next_message;
            self.next_message = self.next_message.wrapping_add(1);
            let mut is_taken = true;
            let cut = datagrams(pipeline, &message, number, max_datagram, |datagram| {
                let bytes = datagram.len().saturating_add(limits::PACKET_OVERHEAD_BYTES);
                cost = cost.saturating_add(bytes);
                is_taken &= queue.send(Bytes::from(datagram), true).is_ok();
            });
            if cut.is_err() || !is_taken {
                count(&mut stats.unreliable_dropped.by_size);
                count(&mut self.dropped.by_size);
            }
            self.budget.spend_datagram(cost);
            paid = paid.saturating_add(cost);
            spare.push(message);
        }
        paid
    }

    fn hand_over_reliable(&mut self, now: Duration, allowance: usize) -> usize {
        let Some(id) = self.stream else {
            return 0;
        };
        let mut left = allowance;
        let mut written = 0_usize;
        while left > 0
            && let Some(mut front) = self.reliable.pop_front()
        {
            let rest = front.split_off(front.len().min(left));
            let part_bytes = front.len();
            let mut part = [front];
            let bytes = match self.connection.send_stream(id).write_chunks(&mut part) {
                Ok(written) => written.bytes,
                Err(WriteError::Blocked | WriteError::Stopped(_) | WriteError::ClosedStream) => 0,
            };
            let [unwritten] = part;
            for piece in [rest, unwritten] {
                if !piece.is_empty() {
                    self.reliable.push_front(piece);
                }
            }
            written = written.saturating_add(bytes);
            left = left.saturating_sub(bytes);
            if bytes < part_bytes {
                break;
            }
        }
        if written == 0 {
            self.budget.spend_reliable(0, self.reliable.is_empty());
            return 0;
        }
        self.reliable_bytes = self.reliable_bytes.saturating_sub(written);
        self.reliable_sent_at = Some(now);
        let packets = written.div_ceil(usize::from(limits::MIN_MTU_BYTES));
        let cost = written.saturating_add(packets.saturating_mul(limits::PACKET_OVERHEAD_BYTES));
        self.budget.spend_reliable(cost, self.reliable.is_empty());
        cost
    }

    /// Sends what is left, and closes once the reliable messages have arrived or time is up.
    pub(super) fn linger(
        &mut self,
        now: Duration,
        instant: Instant,
        stats: &mut DriverStatistics,
        spare: &mut Vec<Vec<u8>>,
    ) {
        let Phase::Lingering { since, .. } = &self.phase else {
            return;
        };
        let since = *since;
        self.hand_over_datagrams(stats, spare, false);
        let burst = usize::try_from(limits::MAX_BURST_BYTES).unwrap_or(usize::MAX);
        self.hand_over_reliable(now, burst);
        let limit = Duration::from_millis(limits::LINGER_MS);
        // What was sent longer ago has arrived, or will not.
        let is_recent = self.reliable_sent_at.is_some_and(|at| now.saturating_sub(at) < limit);
        let is_over = now.saturating_sub(since) >= limit;
        if let Some(id) = self.stream
            && (is_recent || !self.reliable.is_empty())
            && !self.is_finished
            && !is_over
        {
            if self.reliable.is_empty() {
                // Its end is acknowledged when everything before it is. A second call is an error that says so.
                let _already = self.connection.send_stream(id).finish();
            }
            return;
        }
        if let Phase::Lingering { reason, .. } = core::mem::replace(&mut self.phase, Phase::Closing { since: now }) {
            self.connection.close(instant, cause::code(&reason), Bytes::from(reason.text));
        }
    }
}
