//! Things on their way, each with the time at which it arrives.
//! Filled by whoever decided that time; emptied, in order of arrival and then of sending, by whoever receives.

use core::cmp::{Ordering, Reverse};
use core::time::Duration;
use std::collections::BinaryHeap;

struct Entry<T> {
    due: Duration,
    /// The place in the order of sending: the tie-breaker.
    order: u64,
    item: T,
}

impl<T> Entry<T> {
    fn key(&self) -> Reverse<(Duration, u64)> {
        Reverse((self.due, self.order))
    }
}

impl<T> PartialEq for Entry<T> {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl<T> Eq for Entry<T> {}

impl<T> PartialOrd for Entry<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Entry<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key().cmp(&other.key())
    }
}

/// A queue by time. Once it has grown to its usual length, it allocates nothing.
pub(crate) struct DueQueue<T> {
    heap: BinaryHeap<Entry<T>>,
    pushed: u64,
}

impl<T> Default for DueQueue<T> {
    fn default() -> Self {
        Self { heap: BinaryHeap::new(), pushed: 0 }
    }
}

impl<T> DueQueue<T> {
    pub(crate) fn push(&mut self, due: Duration, item: T) {
        let order = self.pushed;
        self.pushed = order.saturating_add(1);
        self.heap.push(Entry { due, order, item });
    }

    /// The next thing that has arrived at `now`.
    pub(crate) fn pop_due(&mut self, now: Duration) -> Option<T> {
        if self.next_due()? > now {
            return None;
        }
        self.heap.pop().map(|entry| entry.item)
    }

    pub(crate) fn next_due(&self) -> Option<Duration> {
        self.heap.peek().map(|entry| entry.due)
    }

    pub(crate) fn len(&self) -> usize {
        self.heap.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn things_leave_in_order_of_arrival_and_then_of_sending_and_never_early() {
        let mut queue = DueQueue::default();
        for (due, name) in [(20, "c"), (10, "a"), (20, "d"), (10, "b"), (30, "e")] {
            queue.push(Duration::from_millis(due), name);
        }
        assert_eq!(queue.len(), 5);
        assert_eq!(queue.next_due(), Some(Duration::from_millis(10)));
        assert_eq!(queue.pop_due(Duration::from_micros(9_999)), None);
        let now = Duration::from_millis(20);
        let arrived: Vec<_> = core::iter::from_fn(|| queue.pop_due(now)).collect();
        assert_eq!(arrived, ["a", "b", "c", "d"]);
        assert_eq!(queue.pop_due(Duration::MAX), Some("e"));
        assert_eq!(queue.next_due(), None);
    }
}
