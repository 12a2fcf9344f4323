//! Clocks around steps of the library that a workload can't call by itself: begun by a system in the schedule before, ended by what
//! comes behind. All worlds of a run share one thread.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use crate::measure::{Cost, allocations, cpu_ns};

/// Sums what a step costs.
pub struct Probe {
    running: AtomicBool,
    begun_ns: AtomicU64,
    begun_allocations: AtomicU64,
    cpu_ns: AtomicU64,
    allocations: AtomicU64,
}

/// The server, from collecting rows to handing packets to the transport.
pub static SEND: Probe = Probe::new();
/// Clients, from decoding packets to components.
pub static RECEIVE: Probe = Probe::new();

impl Probe {
    const fn new() -> Self {
        Self {
            running: AtomicBool::new(false),
            begun_ns: AtomicU64::new(0),
            begun_allocations: AtomicU64::new(0),
            cpu_ns: AtomicU64::new(0),
            allocations: AtomicU64::new(0),
        }
    }

    /// The step begins.
    pub fn begin(&self) {
        self.running.store(true, Relaxed);
        self.begun_allocations.store(allocations(), Relaxed);
        self.begun_ns.store(cpu_ns(), Relaxed);
    }

    /// The step is over; without a begin it says nothing.
    pub fn end(&self) {
        let now = cpu_ns();
        if self.running.swap(false, Relaxed) {
            self.cpu_ns.fetch_add(now - self.begun_ns.load(Relaxed), Relaxed);
            self.allocations.fetch_add(allocations() - self.begun_allocations.load(Relaxed), Relaxed);
        }
    }

    /// Takes the sum, and begins at 0 again.
    pub fn take(&self) -> Cost {
        Cost { cpu_ns: self.cpu_ns.swap(0, Relaxed), allocations: self.allocations.swap(0, Relaxed) }
    }
}
