//! One client's link: cut it, put bytes on it, read what crossed it.

use ghostline::transport::{Direction, InProcessNetwork, Pipeline, Recorded};
use ghostline::wire::MessageKind;

/// What a link is like.
#[derive(Clone, PartialEq, Debug)]
pub struct LinkProfile {
    /// Whether the in-process link poses as a socket, so that clients keep slack and delay as on a network.
    pub poses_as_socket: bool,
}

impl Default for LinkProfile {
    fn default() -> Self {
        Self { poses_as_socket: true }
    }
}

impl LinkProfile {
    /// The link of a client and a server in one process: no slack, no delay.
    pub fn in_process() -> Self {
        Self { poses_as_socket: false }
    }
}

/// The link between one client and the server.
pub struct Link<'a> {
    network: &'a InProcessNetwork,
    client: u64,
}

impl<'a> Link<'a> {
    pub(crate) fn new(network: &'a InProcessNetwork, client: u64) -> Self {
        Self { network, client }
    }

    /// From the next tick on nothing passes in this direction, until [`mend`](Self::mend).
    pub fn cut(&mut self, direction: Direction) {
        self.network.cut(self.client, direction, true);
    }

    /// Takes back [`cut`](Self::cut); reliable messages that were held back arrive.
    pub fn mend(&mut self, direction: Direction) {
        self.network.cut(self.client, direction, false);
    }

    /// Puts a message on the link as if the side that sends in this direction had sent it: `bytes` are what follows the kind.
    ///
    /// # Panics
    /// There is no open connection.
    pub fn inject(&mut self, direction: Direction, kind: MessageKind, bytes: &[u8]) {
        let mut message = vec![kind.byte()];
        message.extend_from_slice(bytes);
        let pipeline = match kind {
            MessageKind::Rpc => Pipeline::ReliableOrdered,
            _ => Pipeline::Unreliable,
        };
        self.inject_raw(direction, pipeline, message);
    }

    /// Puts any bytes on the link, its kind included.
    ///
    /// # Panics
    /// There is no open connection.
    pub fn inject_raw(&mut self, direction: Direction, pipeline: Pipeline, message: Vec<u8>) {
        if let Err(error) = self.network.inject(self.client, direction, pipeline, message) {
            panic!("nothing can be injected: {error}");
        }
    }

    /// Starts keeping what crosses the link.
    pub fn record(&mut self) {
        self.network.record(self.client, true);
    }

    /// What has crossed the link since [`record`](Self::record) or the last call.
    pub fn recorded(&mut self) -> Vec<Recorded> {
        self.network.take_recorded(self.client)
    }
}
