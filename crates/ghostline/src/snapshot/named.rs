//! Which models one client knows by which number. A number is defined in packets until one of them is acknowledged, and gets another meaning
//! only when no packet with the old one can be read any more.

use ghostline_wire::{ModelName, limits};

use super::models::ModelId;

const WINDOW: u64 = limits::ACK_WINDOW as u64;

#[derive(Clone, Copy, Default)]
struct Named {
    model: Option<ModelId>,
    is_known: bool,
    /// How many packets had been sent before the first and before the last one that used it.
    since: u64,
    last_used: u64,
}

/// The models of one connection.
#[derive(Default)]
pub(crate) struct NamedModels {
    numbers: [Named; limits::MAX_MODELS as usize],
}

impl NamedModels {
    fn place_for(&self, model: ModelId, packets_sent: u64) -> Option<usize> {
        let known = self.numbers.iter().position(|named| named.model == Some(model));
        known.or_else(|| self.numbers.iter().position(|named| named.model.is_none())).or_else(|| {
            let (place, oldest) = self.numbers.iter().enumerate().min_by_key(|(_, named)| named.last_used)?;
            (packets_sent > oldest.last_used + WINDOW).then_some(place)
        })
    }

    /// Whether the next packet can name the model.
    pub(crate) fn can_name(&self, model: ModelId, packets_sent: u64) -> bool {
        self.place_for(model, packets_sent).is_some()
    }

    /// Whether a model must be defined where it is named.
    pub(crate) fn must_define(&self, model: ModelId) -> bool {
        !self.numbers.iter().any(|named| named.model == Some(model) && named.is_known)
    }

    /// Gives a model a number for the next packet: none that the packet uses for another.
    pub(crate) fn reserve(&mut self, model: ModelId, packets_sent: u64) {
        let Some(place) = self.place_for(model, packets_sent) else { return };
        let named = &mut self.numbers[place];
        if named.model != Some(model) {
            *named = Named { model: Some(model), since: packets_sent, ..Named::default() };
        }
        named.last_used = packets_sent;
    }

    /// How a model with a number is named.
    pub(crate) fn name(&self, model: ModelId) -> Option<ModelName> {
        let place = self.numbers.iter().position(|named| named.model == Some(model))?;
        Some(ModelName { number: place as u8, is_defined: !self.numbers[place].is_known })
    }

    /// A packet arrived that defined these numbers, a bit each; so many had been sent before it.
    pub(crate) fn acknowledge(&mut self, defined: u16, sent_before: u64) {
        for (number, named) in self.numbers.iter_mut().enumerate() {
            named.is_known |= defined >> number & 1 == 1 && sent_before >= named.since;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(named: &mut NamedModels, model: u32, packets_sent: u64) -> Option<ModelName> {
        named.reserve(ModelId(model), packets_sent);
        named.name(ModelId(model))
    }

    #[test]
    fn a_model_is_defined_until_a_packet_with_it_arrives() {
        let mut named = NamedModels::default();
        let first = ModelName { number: 0, is_defined: true };
        assert_eq!(name(&mut named, 7, 0), Some(first));
        assert_eq!(name(&mut named, 7, 1), Some(first));
        named.acknowledge(0b10, 0);
        assert!(named.must_define(ModelId(7)), "that was about another");
        named.acknowledge(0b01, 0);
        assert_eq!(name(&mut named, 7, 2), Some(ModelName { number: 0, is_defined: false }));
        assert!(!named.must_define(ModelId(7)));
    }

    #[test]
    fn a_number_changes_its_meaning_only_when_old_packets_are_out_of_reach() {
        let mut named = NamedModels::default();
        for model in 0..16 {
            let number = name(&mut named, model, u64::from(model)).map(|name| name.number);
            assert_eq!(number, Some(model as u8));
        }
        named.acknowledge(u16::MAX, 20);
        assert!(
            !named.can_name(ModelId(99), 256),
            "256 packets with the one that used it: it can be acknowledged still"
        );
        assert_eq!(name(&mut named, 99, 257), Some(ModelName { number: 0, is_defined: true }));
        assert_eq!(name(&mut named, 100, 257), None, "the next was used one packet later");
        assert!(named.must_define(ModelId(0)), "it has no number any more");
        named.acknowledge(0b1, 0);
        assert!(named.must_define(ModelId(99)), "that packet defined what the number meant before");
    }

    #[test]
    fn two_models_of_one_packet_never_get_the_same_number() {
        let mut named = NamedModels::default();
        (0..15).for_each(|model| named.reserve(ModelId(model), 5));
        named.reserve(ModelId(50), 5);
        assert!(!named.can_name(ModelId(51), 5), "the last number was just given away");
    }
}
