//! The link of the common workload: the in-process driver, with snapshots and commands delivered late or not at all.
//! Wraps the driver of every world; `common` says how late and how often.

use ghostline::transport::{
    Capabilities, CloseReason, ConnectError, Driver, DriverConnection, DriverEvent, DriverSettings, DriverStore,
    InProcessDriver, InProcessNetwork, ListenError, Pipeline, SendError,
};
use ghostline::world::{DriverConstructionError, DriverConstructor, DriverContext};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::motion::Rng;
use crate::probe;

/// How a link delays and loses.
#[derive(Clone, Copy, Debug)]
pub struct LinkShape {
    /// Ticks that messages to clients wait.
    pub down_ticks: u64,
    /// Ticks that messages to the server wait.
    pub up_ticks: u64,
    /// Share of unreliable messages that is lost, in each direction.
    pub loss: f32,
    /// Where the losses begin.
    pub seed: u64,
}

/// Whether messages are lost now: connecting is done on a clean link.
pub static LOSES: AtomicU64 = AtomicU64::new(0);

/// Makes the drivers of the workload's worlds.
pub struct Links(pub LinkShape);

impl Links {
    fn store(
        &self,
        network: &InProcessNetwork,
        delay: u64,
        is_server: bool,
    ) -> Result<DriverStore, DriverConstructionError> {
        let settings =
            DriverSettings { queue_messages: 65_536, queue_bytes: 64 * 1024 * 1024, ..DriverSettings::default() };
        let inner = network.driver_with(settings)?.posing_as_socket(true);
        let rng = Rng(self.0.seed.wrapping_add(inner.number()));
        let driver = Late {
            inner,
            is_server,
            delay,
            loss: self.0.loss,
            rng,
            polls: 0,
            waiting: VecDeque::new(),
            polled: Vec::new(),
        };
        let mut store = DriverStore::new();
        store.register(Box::new(driver))?;
        Ok(store)
    }
}

impl DriverConstructor for Links {
    fn create_server_drivers(&self, context: &DriverContext<'_>) -> Result<DriverStore, DriverConstructionError> {
        self.store(context.network, self.0.up_ticks, true)
    }

    fn create_client_driver(&self, context: &DriverContext<'_>) -> Result<DriverStore, DriverConstructionError> {
        self.store(context.network, self.0.down_ticks, false)
    }
}

/// Hands unreliable messages out some polls after they arrived.
struct Late {
    inner: InProcessDriver,
    is_server: bool,
    delay: u64,
    loss: f32,
    rng: Rng,
    polls: u64,
    waiting: VecDeque<(u64, DriverEvent)>,
    polled: Vec<DriverEvent>,
}

impl Driver for Late {
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }
    fn listen(&mut self, address: SocketAddr) -> Result<SocketAddr, ListenError> {
        self.inner.listen(address)
    }
    fn stop_listening(&mut self) {
        self.inner.stop_listening();
    }
    fn is_listening(&self) -> bool {
        self.inner.is_listening()
    }
    fn local_address(&self) -> Option<SocketAddr> {
        self.inner.local_address()
    }
    fn remote_address(&self, connection: DriverConnection) -> Option<SocketAddr> {
        self.inner.remote_address(connection)
    }
    fn connect(&mut self, address: SocketAddr, now: Duration) -> Result<DriverConnection, ConnectError> {
        self.inner.connect(address, now)
    }
    fn send(&mut self, connection: DriverConnection, pipeline: Pipeline, bytes: &[u8]) -> Result<(), SendError> {
        self.inner.send(connection, pipeline, bytes)
    }
    fn disconnect(&mut self, connection: DriverConnection, reason: CloseReason) {
        self.inner.disconnect(connection, reason);
    }

    fn poll(&mut self, now: Duration, events: &mut Vec<DriverEvent>) {
        self.polls += 1;
        self.inner.poll(now, &mut self.polled);
        for event in self.polled.drain(..) {
            match event {
                DriverEvent::Received {
                    pipeline: Pipeline::Unreliable | Pipeline::UnreliableFragmented,
                    bytes,
                    ..
                } if LOSES.load(Relaxed) != 0 && self.loss > 0.0 && self.rng.unit() < self.loss => {
                    self.inner.recycle(bytes);
                }
                DriverEvent::Received { pipeline: Pipeline::Unreliable | Pipeline::UnreliableFragmented, .. } => {
                    self.waiting.push_back((self.polls + self.delay, event));
                }
                other => events.push(other),
            }
        }
        while self.waiting.front().is_some_and(|(due, _)| *due <= self.polls) {
            events.extend(self.waiting.pop_front().map(|(_, event)| event));
        }
    }

    fn flush(&mut self, now: Duration) {
        if self.is_server {
            probe::SEND.end();
        }
        self.inner.flush(now);
    }

    fn recycle(&mut self, buffer: Vec<u8>) {
        self.inner.recycle(buffer);
    }
}
