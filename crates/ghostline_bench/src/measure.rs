//! What a run costs: CPU time of this thread by the kernel's clock, allocations by a counting allocator.
//! Workloads read both around the work they measure; `report` prints them.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};

/// The system's allocator, counted.
pub struct CountingAllocator;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);
static LIVE_BYTES: AtomicI64 = AtomicI64::new(0);

/// A size as it is added up.
fn bytes(size: usize) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX)
}

#[expect(unsafe_code, reason = "an allocator is unsafe to implement; this one only counts and hands on")]
// SAFETY: every call is handed on unchanged to the system's allocator, which keeps the contract.
unsafe impl GlobalAlloc for CountingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Relaxed);
        LIVE_BYTES.fetch_add(bytes(layout.size()), Relaxed);
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE_BYTES.fetch_sub(bytes(layout.size()), Relaxed);
        // SAFETY: the pointer comes from the system's allocator.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Relaxed);
        LIVE_BYTES.fetch_add(bytes(layout.size()), Relaxed);
        // SAFETY: the caller keeps the contract of `alloc_zeroed`.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Relaxed);
        LIVE_BYTES.fetch_add(bytes(size).saturating_sub(bytes(layout.size())), Relaxed);
        // SAFETY: the pointer comes from the system's allocator.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

/// Allocations since the program began; a reallocation counts as one.
pub fn allocations() -> u64 {
    ALLOCATIONS.load(Relaxed)
}

/// Bytes that are allocated now.
pub fn live_bytes() -> i64 {
    LIVE_BYTES.load(Relaxed)
}

/// CPU time of this thread, in ns: what others do on the machine does not count.
pub fn cpu_ns() -> u64 {
    clock_ns(libc::CLOCK_THREAD_CPUTIME_ID)
}

/// CPU time of all threads of this process, in ns.
pub fn process_cpu_ns() -> u64 {
    clock_ns(libc::CLOCK_PROCESS_CPUTIME_ID)
}

fn clock_ns(clock: libc::clockid_t) -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    #[expect(unsafe_code, reason = "the standard library has no clock of CPU time")]
    // SAFETY: the pointer is to a local value, which the call fills.
    unsafe {
        libc::clock_gettime(clock, &raw mut time);
    }
    time.tv_sec.unsigned_abs() * 1_000_000_000 + time.tv_nsec.unsigned_abs()
}

/// CPU time and allocations of a stretch of work, or the sum of several.
#[derive(Clone, Copy, Default, Debug)]
pub struct Cost {
    /// ns of CPU time.
    pub cpu_ns: u64,
    /// Allocations.
    pub allocations: u64,
}

impl Cost {
    /// Adds another stretch.
    pub fn add(&mut self, other: Self) {
        self.cpu_ns += other.cpu_ns;
        self.allocations += other.allocations;
    }
}

/// The begin of a stretch of work.
#[derive(Clone, Copy)]
pub struct Stretch {
    cpu_ns: u64,
    allocations: u64,
}

impl Stretch {
    /// Begins here.
    pub fn begin() -> Self {
        Self { allocations: allocations(), cpu_ns: cpu_ns() }
    }

    /// What it cost up to here.
    pub fn end(self) -> Cost {
        let cpu_ns = cpu_ns() - self.cpu_ns;
        Cost { cpu_ns, allocations: allocations() - self.allocations }
    }
}

/// The median of per-tick figures; 0 of none.
pub fn median(values: &mut [f64]) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}
