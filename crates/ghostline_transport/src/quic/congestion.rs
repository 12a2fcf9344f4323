//! The congestion controller that is none: it lets everything through and counts what arrives.
//! Called by quinn-proto; its totals are read by the connection and feed the budget, which is the real brake.

use std::any::Any;
use std::sync::Arc;
use std::time::Instant;

use quinn_proto::RttEstimator;
use quinn_proto::congestion::{Controller, ControllerFactory, ControllerMetrics};

/// Above `u32::MAX` quinn-proto's pacer is off, too.
const WINDOW: u64 = 1 << 40;
const _: () = assert!(WINDOW > u32::MAX as u64);

/// Totals since the path began.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(super) struct Totals {
    pub(super) acked_bytes: u64,
    pub(super) lost_bytes: u64,
}

impl Totals {
    /// Reads the totals through the only window that quinn-proto leaves open: numbers meant for its log.
    pub(super) fn of(controller: &dyn Controller) -> Self {
        let metrics = controller.metrics();
        Self { acked_bytes: metrics.ssthresh.unwrap_or(0), lost_bytes: metrics.pacing_rate.unwrap_or(0) }
    }
}

#[derive(Clone)]
struct Counter(Totals);

impl Controller for Counter {
    fn on_ack(&mut self, _now: Instant, _sent: Instant, bytes: u64, _app_limited: bool, _rtt: &RttEstimator) {
        self.0.acked_bytes = self.0.acked_bytes.saturating_add(bytes);
    }

    fn on_congestion_event(&mut self, _now: Instant, _sent: Instant, _persistent: bool, lost_bytes: u64) {
        self.0.lost_bytes = self.0.lost_bytes.saturating_add(lost_bytes);
    }

    fn on_mtu_update(&mut self, _new_mtu: u16) {}

    fn window(&self) -> u64 {
        WINDOW
    }

    fn metrics(&self) -> ControllerMetrics {
        let mut metrics = ControllerMetrics::default();
        metrics.congestion_window = WINDOW;
        metrics.ssthresh = Some(self.0.acked_bytes);
        metrics.pacing_rate = Some(self.0.lost_bytes);
        metrics
    }

    fn clone_box(&self) -> Box<dyn Controller> {
        Box::new(self.clone())
    }

    fn initial_window(&self) -> u64 {
        WINDOW
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}

/// Gives each path a counter of its own.
pub(super) struct NoCongestionControl;

impl ControllerFactory for NoCongestionControl {
    fn build(self: Arc<Self>, _now: Instant, _current_mtu: u16) -> Box<dyn Controller> {
        Box::new(Counter(Totals::default()))
    }
}
