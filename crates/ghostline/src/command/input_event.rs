//! A press: something that happened in a frame, and that the simulation must see exactly once.
//! Set by the game's input systems; added up in the command buffer; read in prediction as the presses of one step.

use ghostline_wire::{FieldKind, QuantiseStats};

use crate::command::InputField;
use crate::ghost::GhostField;

/// How often something was pressed since it was last looked at.
///
/// A flag would be lost with the packet that carries it, or be seen again when a tick is simulated again. A count
/// that only ever grows is neither: in the command buffer each tick's count includes all earlier ones, and a step
/// sees the difference between its tick and the one before it, whichever packets arrived. Counts wrap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct InputEvent {
    /// Presses: in an input component those of this step, in a command buffer those since its beginning, modulo 2³².
    pub count: u32,
}

impl InputEvent {
    /// More presses can't be told from a count that went back, in one step.
    pub const MAX_PRESSES: u32 = u32::MAX / 2;

    /// Adds a press. For an input system, when the key goes down.
    pub fn set(&mut self) {
        self.count = self.count.wrapping_add(1);
    }

    /// Whether there was at least one press in this step.
    pub fn is_set(&self) -> bool {
        self.count > 0
    }

    /// How many presses there were in this step.
    pub fn count(&self) -> u32 {
        self.count
    }
}

impl GhostField for InputEvent {
    const KIND: FieldKind = FieldKind::U32;

    #[inline]
    fn write_lanes(&self, quantization: u32, lanes: &mut [u32], stats: &mut QuantiseStats) {
        self.count.write_lanes(quantization, lanes, stats);
    }

    #[inline]
    fn read_lanes(lanes: &[u32], quantization: u32) -> Self {
        Self { count: u32::read_lanes(lanes, quantization) }
    }

    fn distance(from: &[u32], to: &[u32], quantization: u32) -> f32 {
        u32::distance(from, to, quantization)
    }
}

impl InputField for InputEvent {
    fn add_event(&mut self, before: &Self) {
        self.count = self.count.wrapping_add(before.count);
    }

    fn subtract_event(&mut self, before: &Self) {
        let presses = self.count.wrapping_sub(before.count);
        // Counts only grow. One that went back began anew, or is a lie: nobody pressed two billion times.
        self.count = if presses > Self::MAX_PRESSES { 0 } else { presses };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn presses_of_one_step_are_one_event_with_a_count() {
        let mut jump = InputEvent::default();
        assert!(!jump.is_set());
        jump.set();
        jump.set();
        assert!(jump.is_set());
        assert_eq!(jump.count(), 2);
    }

    #[test]
    fn a_count_that_went_back_is_no_press() {
        let seen = |element: u32, before: u32| {
            let mut step = InputEvent { count: element };
            step.subtract_event(&InputEvent { count: before });
            step.count()
        };
        assert_eq!((seen(5, 7), seen(u32::MAX, 0), seen(7, 5), seen(1, u32::MAX)), (0, 0, 2, 2));
    }

    /// The worked example B6 of the reference's event counting: presses in ticks 20 (two) and 22 (one).
    #[test]
    fn a_press_is_seen_once_even_if_its_tick_was_lost() {
        let grow = |before: InputEvent, presses: u32| {
            let mut element = InputEvent { count: presses };
            element.add_event(&before);
            element
        };
        let seen = |element: InputEvent, before: InputEvent| {
            let mut step = element;
            step.subtract_event(&before);
            step.count()
        };
        // The count of tick 19 is about to wrap.
        let tick_19 = InputEvent { count: u32::MAX };
        let tick_20 = grow(tick_19, 2);
        let tick_21 = grow(tick_20, 0);
        let tick_22 = grow(tick_21, 1);
        assert_eq!((seen(tick_20, tick_19), seen(tick_21, tick_20), seen(tick_22, tick_21)), (2, 0, 1));
        // Tick 20 never arrived: its presses show in 21.
        assert_eq!(seen(tick_21, tick_19), 2);
        // The last input is repeated for a tick that is missing: no press is seen twice.
        assert_eq!(seen(tick_22, tick_22), 0);
        // An older input turns up behind a newer one: nothing was pressed, and surely not four thousand million times.
        assert_eq!(seen(tick_20, tick_22), 0);
    }
}
