//! The links between the clients and the server: in memory, with the delay, jitter and loss that the command line asks for.

use ghostline::transport::{DriverStore, InProcessNetwork, LinkProfile};
use ghostline::world::{DriverConstructor, InProcessDrivers};

use crate::args::Args;

/// Makes drivers whose links have this profile.
pub struct SimulatedLinks {
    profile: LinkProfile,
}

impl SimulatedLinks {
    /// Without delay, jitter and loss the links are what they are in one process: perfect, and known to be so.
    pub fn new(args: &Args) -> Self {
        let is_perfect = args.rtt == 0 && args.jitter == 0 && args.loss == 0.0;
        let simulated = LinkProfile::rtt(args.rtt).with_jitter_ms(args.jitter).with_loss_percent(args.loss);
        Self { profile: if is_perfect { LinkProfile::in_process() } else { simulated } }
    }
}

impl DriverConstructor for SimulatedLinks {
    fn create_server_drivers(&self, network: &InProcessNetwork) -> DriverStore {
        InProcessDrivers::default().create_server_drivers(network)
    }

    fn create_client_driver(&self, network: &InProcessNetwork) -> DriverStore {
        let mut store = DriverStore::new();
        let driver = network.driver();
        if let Err(error) = network.set_profile(driver.number(), self.profile) {
            tracing::error!("the link is not simulated: {error}");
        }
        if let Err(error) = store.register(Box::new(driver)) {
            tracing::error!("the client has no driver: {error}");
        }
        store
    }
}
