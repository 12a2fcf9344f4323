//! The links between the clients and the server: in memory, with the delay, jitter and loss that the command line asks for.

use ghostline::transport::{DriverId, DriverStore, LinkProfile};
use ghostline::world::{DriverConstructionError, DriverConstructor, DriverContext, InProcessDrivers};

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
    fn create_server_drivers(&self, context: &DriverContext<'_>) -> Result<DriverStore, DriverConstructionError> {
        InProcessDrivers::default().create_server_drivers(context)
    }

    fn create_client_driver(&self, context: &DriverContext<'_>) -> Result<DriverStore, DriverConstructionError> {
        let mut store = InProcessDrivers::default().create_client_driver(context)?;
        if let Err(error) = store.set_link_profile(DriverId::FIRST, self.profile) {
            tracing::error!("the link is not simulated: {error}");
        }
        Ok(store)
    }
}
