//! Client: what ghosts show in this frame, as plain rows: between `apply`, which finds it out ghost by ghost, and the writers of `ghost`, which
//! bring it into components column by column.

use ghostline_wire::NetworkTick;

use super::bits::bits;
use crate::ghost::{GhostInstance, Slot};
use crate::interpolation::Sample;

/// One ghost that shows something new.
#[derive(Clone, Copy)]
struct Entry {
    spawn_tick: NetworkTick,
    /// Where its two rows begin.
    from: u32,
    to: u32,
    factor: f32,
}

/// A chunk's ghosts that show something new: which, and where the first of them is.
#[derive(Clone, Copy, Default)]
struct Place {
    slots: u64,
    first: u32,
}

/// Two rows of a component, and how far from the one to the other it is shown.
#[derive(Clone, Copy)]
pub(crate) struct Blend<'a> {
    pub from: &'a [u32],
    pub to: &'a [u32],
    pub factor: f32,
}

/// What is shown in a frame; kept from frame to frame for its memory.
#[derive(Default)]
pub(crate) struct ShownRows {
    chunks: Vec<Place>,
    entries: Vec<Entry>,
    rows: Vec<u32>,
}

impl ShownRows {
    /// Forgets the frame before.
    pub(super) fn clear(&mut self, chunks: usize) {
        self.chunks.clear();
        self.chunks.resize(chunks, Place::default());
        self.entries.clear();
        self.rows.clear();
    }

    /// How many ghosts show something new.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// A ghost shows this. Ghosts come in the order of their slots.
    pub(super) fn push(&mut self, slot: Slot, spawn_tick: NetworkTick, sample: &Sample<'_>) {
        let Some(place) = self.chunks.get_mut(slot.chunk()) else { return };
        if place.slots == 0 {
            place.first = self.entries.len() as u32;
        }
        place.slots |= slot.bit();
        let from = self.rows.len() as u32;
        self.rows.extend_from_slice(sample.from.1);
        let mut to = from;
        if sample.to.0 != sample.from.0 {
            to = self.rows.len() as u32;
            self.rows.extend_from_slice(sample.to.1);
        }
        self.entries.push(Entry { spawn_tick, from, to, factor: sample.factor });
    }

    /// The slots of those ghosts, in order.
    pub(super) fn slots(&self) -> impl Iterator<Item = Slot> + '_ {
        let chunks = self.chunks.iter().enumerate();
        chunks.flat_map(|(index, place)| bits(place.slots).map(move |place| Slot::new(index, place as u32)))
    }

    /// What a ghost's component with these lanes shows; `None`: nothing new.
    #[inline]
    pub(crate) fn get(&self, ghost: &GhostInstance, first_lane: usize, lanes: usize) -> Option<Blend<'_>> {
        self.of(ghost.slot()?, ghost.spawn_tick?, first_lane, lanes)
    }

    /// The same by slot and tick of the spawn.
    #[inline]
    pub(super) fn of(&self, slot: Slot, spawn_tick: NetworkTick, first_lane: usize, lanes: usize) -> Option<Blend<'_>> {
        let place = self.chunks.get(slot.chunk())?;
        if place.slots & slot.bit() == 0 {
            return None;
        }
        let number = place.first as usize + (place.slots & (slot.bit() - 1)).count_ones() as usize;
        // A ghost that is about to vanish may have had the same slot.
        let entry = self.entries.get(number).filter(|entry| entry.spawn_tick == spawn_tick)?;
        let row = |start: u32| self.rows.get(start as usize + first_lane..start as usize + first_lane + lanes);
        Some(Blend { from: row(entry.from)?, to: row(entry.to)?, factor: entry.factor })
    }
}
