//! A server and clients on simulated links, stepped frame by frame: the server's stage, then the clients'.
//! Tests say what is sent in which frame; they get what each side saw, with the time of the poll that saw it.

use std::time::Duration;

use ghostline_transport::{
    Driver, DriverConnection, DriverEvent, DriverSettings, InProcessDriver, InProcessNetwork, LinkProfile, Pipeline,
};

use crate::harness::{address, poll};

/// A frame at 60 Hz.
pub(crate) const FRAME: Duration = Duration::from_nanos(16_666_667);

pub(crate) const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Something seen by a poll at this time.
pub(crate) type Seen = (Duration, DriverEvent);

pub(crate) struct Linked {
    pub(crate) network: InProcessNetwork,
    pub(crate) server: InProcessDriver,
    pub(crate) client: InProcessDriver,
    /// The server's handle, once it has accepted.
    pub(crate) to_client: Option<DriverConnection>,
    /// The client's handle.
    pub(crate) to_server: DriverConnection,
    pub(crate) is_connected: bool,
    pub(crate) now: Duration,
    pub(crate) frame: Duration,
}

impl Linked {
    /// The client has called `connect`, and nothing has run yet.
    pub(crate) fn connecting(seed: u64, profile: LinkProfile) -> Self {
        Self::connecting_with(seed, profile, DriverSettings::default())
    }

    pub(crate) fn connecting_with(seed: u64, profile: LinkProfile, settings: DriverSettings) -> Self {
        let network = InProcessNetwork::with_seed(seed);
        let mut server = network.driver_with(settings).unwrap();
        let mut client = network.driver_with(settings).unwrap();
        network.set_profile(client.number(), profile).unwrap();
        server.listen(address()).unwrap();
        let now = Duration::from_secs(1);
        let to_server = client.connect(address(), now).unwrap();
        client.flush(now);
        network.deliver_at(now);
        Self { network, server, client, to_client: None, to_server, is_connected: false, now, frame: FRAME }
    }

    /// Both sides are connected, and then the link gets this profile.
    pub(crate) fn connected(seed: u64, profile: LinkProfile) -> Self {
        Self::connected_with(seed, profile, DriverSettings::default())
    }

    pub(crate) fn connected_with(seed: u64, profile: LinkProfile, settings: DriverSettings) -> Self {
        let mut linked = Self::connecting_with(seed, LinkProfile::perfect(), settings);
        linked.run_frame();
        assert!(linked.is_connected, "a perfect link connects in one frame");
        linked.set_profile(profile);
        linked
    }

    pub(crate) fn set_profile(&self, profile: LinkProfile) {
        self.network.set_profile(self.client.number(), profile).unwrap();
    }

    /// A frame later, the server polls and flushes, then the client. Returns what they saw.
    pub(crate) fn run_frame(&mut self) -> (Vec<Seen>, Vec<Seen>) {
        self.now += self.frame;
        (self.server_stage(), self.client_stage())
    }

    pub(crate) fn server_stage(&mut self) -> Vec<Seen> {
        let now = self.now;
        let events = poll(&mut self.server, now);
        for event in &events {
            if let DriverEvent::Accepted { connection } = event {
                self.to_client = Some(*connection);
            }
        }
        self.server.flush(now);
        self.network.deliver_at(now);
        events.into_iter().map(|event| (now, event)).collect()
    }

    pub(crate) fn client_stage(&mut self) -> Vec<Seen> {
        let now = self.now;
        let events = poll(&mut self.client, now);
        self.is_connected |= events.contains(&DriverEvent::Connected { connection: self.to_server });
        self.client.flush(now);
        self.network.deliver_at(now);
        events.into_iter().map(|event| (now, event)).collect()
    }

    /// So many frames; returns everything that the server and the client saw.
    pub(crate) fn run_frames(&mut self, count: usize) -> (Vec<Seen>, Vec<Seen>) {
        let (mut server, mut client) = (Vec::new(), Vec::new());
        for _ in 0..count {
            let (at_server, at_client) = self.run_frame();
            server.extend(at_server);
            client.extend(at_client);
        }
        (server, client)
    }

    /// Sends and flushes at the present time, as a side does at the end of its stage.
    pub(crate) fn send_to_server(&mut self, pipeline: Pipeline, bytes: &[u8]) {
        self.client.send(self.to_server, pipeline, bytes).unwrap();
        self.client.flush(self.now);
        self.network.deliver_at(self.now);
    }

    /// The other way.
    pub(crate) fn send_to_client(&mut self, pipeline: Pipeline, bytes: &[u8]) {
        let to_client = self.to_client.expect("accepted");
        self.server.send(to_client, pipeline, bytes).unwrap();
        self.server.flush(self.now);
        self.network.deliver_at(self.now);
    }
}

/// The messages among what was seen, each with its time.
pub(crate) fn messages(seen: &[Seen]) -> Vec<(Duration, &[u8])> {
    let message = |(at, event): &'_ Seen| matches!(event, DriverEvent::Received { .. }).then_some(*at);
    let times = seen.iter().filter_map(message);
    let bytes = seen.iter().filter_map(|(_, event)| match event {
        DriverEvent::Received { bytes, .. } => Some(bytes.as_slice()),
        _ => None,
    });
    times.zip(bytes).collect()
}

/// The messages alone, in the order in which they were read.
pub(crate) fn contents(seen: &[Seen]) -> Vec<&[u8]> {
    messages(seen).into_iter().map(|(_, bytes)| bytes).collect()
}
