//! Whether packets get lost because too many are sent. Told what QUIC counted; tells the brakes when to try with less, and what came of it.

use core::time::Duration;

use super::sample::Feedback;

/// A trial with less takes so long, and a round trip.
const TRIAL: Duration = Duration::from_millis(500);
/// Loss is looked at over so long.
const WINDOW: Duration = Duration::from_secs(1);
/// And over at least so many packets: of fewer, chance decides.
const MIN_PACKETS: u64 = 20;
/// So many in a thousand may be lost, beyond twice what is usual, before it is looked into.
const TOLERATED_PER_MILLE: u64 = 50;
/// So many packets at least must be lost.
const MIN_LOST: u64 = 3;
/// So many are no chance. Fewer must be seen in two windows in a row: a path that loses two percent loses four packets of sixty about
/// twice a minute.
const CERTAINLY_LOST: u64 = 10;
/// What is usual is the mean of so many windows, or of all if there were fewer.
const REMEMBERED: u64 = 8;

/// Totals of packets at some moment.
#[derive(Clone, Copy, Debug)]
struct Mark {
    at: Duration,
    sent: u64,
    lost: u64,
}

impl Mark {
    fn new(at: Duration, feedback: &Feedback) -> Self {
        Self { at, sent: feedback.sent_packets, lost: feedback.lost_packets }
    }

    /// How many packets of a thousand were lost since, and how many were lost; `None` if too few were sent to tell.
    fn lost_since(&self, feedback: &Feedback) -> Option<(u64, u64)> {
        let sent = feedback.sent_packets.saturating_sub(self.sent);
        let lost = feedback.lost_packets.saturating_sub(self.lost);
        (sent >= MIN_PACKETS).then(|| (lost.saturating_mul(1_000).checked_div(sent).unwrap_or(0), lost))
    }
}

/// An attempt with less, to see whether less is lost.
#[derive(Clone, Copy, Debug)]
struct Trial {
    share_before: u64,
    /// When what was sent before is known to have arrived or not.
    counts_from: Duration,
    mark: Option<Mark>,
}

/// What the brakes are to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    /// Nothing.
    Fine,
    /// Send less, and see.
    Try,
    /// A trial is on, or will be if the next window is like the last: nothing that would change what is lost.
    Trying,
    /// Less is lost: it was too much.
    TooMuch,
    /// As much is lost as before: it has nothing to do with how much is sent.
    NotOurs,
}

#[derive(Clone, Debug)]
pub(super) struct LossWatch {
    /// What is lost whatever is sent, of a thousand packets.
    usual: u64,
    /// Of how many windows that is the mean, up to [`REMEMBERED`].
    windows: u64,
    /// The last window had more.
    is_suspicious: bool,
    window: Option<Mark>,
    trial: Option<Trial>,
}

impl LossWatch {
    pub(super) const fn new() -> Self {
        Self { usual: 0, windows: 0, is_suspicious: false, window: None, trial: None }
    }

    /// What arrives of what is sent if nothing is too much, of a thousand packets. Never 0.
    pub(super) fn usual_arrival(&self) -> u64 {
        1_000_u64.saturating_sub(self.usual).max(1)
    }

    /// The rate was changed for another reason: what a trial would find means nothing.
    pub(super) fn disturb(&mut self) {
        self.trial = None;
        self.window = None;
        self.is_suspicious = false;
    }

    /// Looks at what was lost. `may_try`: enough is sent that sending less is an option.
    pub(super) fn advance(&mut self, now: Duration, feedback: &Feedback, may_try: bool) -> Verdict {
        if let Some(trial) = self.trial {
            return self.go_on_trying(now, feedback, trial);
        }
        let window = *self.window.get_or_insert_with(|| Mark::new(now, feedback));
        if now.saturating_sub(window.at) < WINDOW {
            return if self.is_suspicious { Verdict::Trying } else { Verdict::Fine };
        }
        let Some((share, lost)) = window.lost_since(feedback) else {
            return Verdict::Fine;
        };
        self.window = Some(Mark::new(now, feedback));
        let tolerated = self.usual.saturating_mul(2).saturating_add(TOLERATED_PER_MILLE);
        let was_suspicious = core::mem::replace(&mut self.is_suspicious, false);
        if may_try && lost >= MIN_LOST && share > tolerated {
            if !was_suspicious && lost < CERTAINLY_LOST {
                self.is_suspicious = true;
                return Verdict::Trying;
            }
            let counts_from = now.saturating_add(feedback.rtt);
            self.trial = Some(Trial { share_before: share, counts_from, mark: None });
            return Verdict::Try;
        }
        self.windows = self.windows.saturating_add(1).min(REMEMBERED);
        let before = self.usual.saturating_mul(self.windows.saturating_sub(1));
        self.usual = before.saturating_add(share).checked_div(self.windows).unwrap_or(share);
        Verdict::Fine
    }

    fn go_on_trying(&mut self, now: Duration, feedback: &Feedback, mut trial: Trial) -> Verdict {
        if now < trial.counts_from {
            return Verdict::Trying;
        }
        let mark = *trial.mark.get_or_insert_with(|| Mark::new(now, feedback));
        self.trial = Some(trial);
        // A loss is known a round trip after the packet was sent, and some packets more.
        if now.saturating_sub(mark.at) < feedback.rtt.saturating_add(TRIAL) {
            return Verdict::Trying;
        }
        let Some((share, _lost)) = mark.lost_since(feedback) else {
            return Verdict::Trying;
        };
        self.disturb();
        if share.saturating_mul(10) > trial.share_before.saturating_mul(6) {
            (self.usual, self.windows) = (share, REMEMBERED);
            Verdict::NotOurs
        } else {
            Verdict::TooMuch
        }
    }
}
