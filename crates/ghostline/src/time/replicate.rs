//! The opt-in to tell clients of tick rates that change while they play. Read by the connection systems of a server.

use bevy_ecs::resource::Resource;
use ghostline_wire::TickRateBlock;

#[cfg(any(feature = "server", doc))]
use super::tick_rate::ClientServerTickRate;

/// A server world that has it tells its clients when its [`ClientServerTickRate`] changes: at the end of the tick, to everyone who is
/// connected. Without it a change stays on the server, and whoever is connected goes on with the rates of the handshake.
///
/// What is sent is what the handshake tells, see [`ClientServerTickRate::to_block`]. A client takes it over when it arrives, half a round
/// trip later, so that its clock has to find the server's again; change rates between rounds, not within.
#[derive(Resource, Clone, Debug, Default, PartialEq, Eq)]
pub struct ReplicateTickRate {
    /// What clients were told last; `None` before the first tick.
    told: Option<TickRateBlock>,
}

impl ReplicateTickRate {
    /// Takes in the rates in force. Returns what clients must be told, if it is news to those who were told before.
    #[cfg(feature = "server")]
    pub(crate) fn note(&mut self, rate: &ClientServerTickRate) -> Option<TickRateBlock> {
        let block = rate.to_block();
        let told = self.told.replace(block);
        told.is_some_and(|told| told != block).then_some(block)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_change_is_news() {
        let mut replicate = ReplicateTickRate::default();
        let rate = |hertz| ClientServerTickRate { simulation_tick_rate: hertz, ..Default::default() };
        assert_eq!(replicate.note(&rate(60)), None);
        assert_eq!(replicate.note(&rate(0)), None, "the default is the same rate");
        assert_eq!(replicate.note(&rate(30)).map(|block| block.simulation_tick_rate), Some(30));
        assert_eq!(replicate.note(&rate(30)), None);
    }
}
