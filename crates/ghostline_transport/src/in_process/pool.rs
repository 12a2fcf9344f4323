//! The buffers in which messages travel, shared by all drivers of an in-process network.
//! Drivers take a batch when they run out and give back what was recycled; steady traffic allocates nothing.

use crate::limits::{MAX_POOLED_BUFFERS, MAX_POOLED_BYTES};

/// What the buffers of an in-process network have been through, since it was made.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct PoolStats {
    /// Buffers allocated because none was free.
    pub allocated: u64,
    /// Buffers that were too small for their message and had to grow.
    pub grown: u64,
    /// Buffers handed out again.
    pub reused: u64,
    /// Buffers freed because enough were free already.
    pub discarded: u64,
}

/// Free buffers, all empty, bounded in number and bytes.
#[derive(Default)]
pub(super) struct BufferPool {
    free: Vec<Vec<u8>>,
    free_bytes: usize,
    pub(super) stats: PoolStats,
}

impl BufferPool {
    /// Moves up to `count` free buffers to `batch`; if there is none, allocates one of `capacity` bytes.
    pub(super) fn take_batch(&mut self, count: usize, capacity: usize, batch: &mut Vec<Vec<u8>>) {
        let first = self.free.len().saturating_sub(count);
        for buffer in self.free.drain(first..) {
            self.free_bytes = self.free_bytes.saturating_sub(buffer.capacity());
            self.stats.reused = self.stats.reused.saturating_add(1);
            batch.push(buffer);
        }
        if batch.is_empty() {
            self.stats.allocated = self.stats.allocated.saturating_add(1);
            batch.push(Vec::with_capacity(capacity));
        }
    }

    /// A buffer with a copy of `bytes`.
    pub(super) fn copy_of(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut buffer = match self.free.pop() {
            Some(buffer) => {
                self.free_bytes = self.free_bytes.saturating_sub(buffer.capacity());
                self.stats.reused = self.stats.reused.saturating_add(1);
                buffer
            }
            None => {
                self.stats.allocated = self.stats.allocated.saturating_add(1);
                Vec::with_capacity(bytes.len())
            }
        };
        if buffer.capacity() < bytes.len() {
            self.stats.grown = self.stats.grown.saturating_add(1);
        }
        buffer.extend_from_slice(bytes);
        buffer
    }

    /// Adds what a driver counted by itself, and clears its counters.
    pub(super) fn count(&mut self, grown: &mut u64, discarded: &mut u64) {
        self.stats.grown = self.stats.grown.saturating_add(core::mem::take(grown));
        self.stats.discarded = self.stats.discarded.saturating_add(core::mem::take(discarded));
    }

    /// Takes one buffer back, or frees it at the bounds.
    pub(super) fn give(&mut self, mut buffer: Vec<u8>) {
        let bytes = self.free_bytes.saturating_add(buffer.capacity());
        if self.free.len() >= MAX_POOLED_BUFFERS || bytes > MAX_POOLED_BYTES {
            self.stats.discarded = self.stats.discarded.saturating_add(1);
            return;
        }
        buffer.clear();
        self.free_bytes = bytes;
        self.free.push(buffer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_given_back_is_handed_out_again_empty() {
        let mut pool = BufferPool::default();
        let mut batch = Vec::new();
        pool.take_batch(4, 100, &mut batch);
        assert_eq!(batch.len(), 1, "nothing was free, so only what is needed is made");
        batch[0].extend_from_slice(b"old");
        let address = batch[0].as_ptr();
        pool.give(batch.remove(0));
        pool.take_batch(4, 100, &mut batch);
        assert_eq!(batch.len(), 1);
        assert_eq!(batch[0].as_ptr(), address);
        assert!(batch[0].is_empty());
        let stats = PoolStats { allocated: 1, reused: 1, ..PoolStats::default() };
        assert_eq!(pool.stats, stats);
        assert_eq!(pool.free_bytes, 0);
    }

    #[test]
    fn buffers_over_the_bound_of_bytes_are_freed() {
        let mut pool = BufferPool::default();
        pool.give(Vec::with_capacity(MAX_POOLED_BYTES));
        pool.give(Vec::with_capacity(1));
        assert_eq!((pool.free.len(), pool.stats.discarded), (1, 1));
    }

    #[test]
    fn buffers_over_the_bound_of_number_are_freed() {
        let mut pool = BufferPool::default();
        for _ in 0..=MAX_POOLED_BUFFERS {
            pool.give(Vec::new());
        }
        assert_eq!((pool.free.len(), pool.stats.discarded), (MAX_POOLED_BUFFERS, 1));
    }
}
