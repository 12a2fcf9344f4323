//! One client's link: say how bad it is, cut it, put bytes on it, read what crossed it.

use ghostline::transport::{Direction, LinkProfile, LinkStats, Pipeline, Recorded};
use ghostline::wire::MessageKind;

use crate::network::Network;

/// The link between one client and the server.
pub struct Link<'a> {
    network: &'a Network,
    client: u64,
}

impl<'a> Link<'a> {
    pub(crate) fn new(network: &'a Network, client: u64) -> Self {
        Self { network, client }
    }

    /// From the next tick on the link is like this. What is on its way arrives as was decided. Whether clients take the link for a socket was
    /// decided when the fleet was built, and stays.
    ///
    /// # Panics
    /// The profile is not valid.
    pub fn set(&mut self, profile: LinkProfile) {
        if let Err(error) = self.network.set_profile(self.client, profile) {
            panic!("the link can't be like that: {error}");
        }
    }

    /// What became of the packets of one direction: over QUIC of all that met no cut, in process while the link was not perfect.
    pub fn stats(&self, direction: Direction) -> LinkStats {
        self.network.stats(self.client, direction)
    }

    /// From the next tick on nothing passes in this direction, until [`mend`](Self::mend). Over QUIC what is on its way still arrives.
    pub fn cut(&mut self, direction: Direction) {
        self.network.cut(self.client, direction, true);
    }

    /// Takes back [`cut`](Self::cut); reliable messages that were held back arrive.
    pub fn mend(&mut self, direction: Direction) {
        self.network.cut(self.client, direction, false);
    }

    /// Puts a message on the link as if the side that sends in this direction had sent it: `bytes` are what follows the kind. Over QUIC that
    /// is inside the encryption, and happens when that side's world is ticked.
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

    /// Like [`inject_raw`](Self::inject_raw); false if the link takes no more.
    pub fn try_inject(&mut self, direction: Direction, pipeline: Pipeline, message: Vec<u8>) -> bool {
        self.network.inject(self.client, direction, pipeline, message).is_ok()
    }

    /// Starts keeping what crosses the link.
    pub fn record(&mut self) {
        self.network.record(self.client);
    }

    /// What has crossed the link since [`record`](Self::record) or the last call. Over QUIC it is what was sent, inside the encryption,
    /// whatever became of it: `lost` is never set.
    pub fn recorded(&mut self) -> Vec<Recorded> {
        self.network.take_recorded(self.client)
    }
}
