//! A table of connections with handles that go stale: slots are reused, each time in a new generation.
//! Drivers keep their connections in it; order of iteration is the order of slots.

use crate::driver::DriverConnection;

struct Slot<T> {
    generation: u32,
    value: Option<T>,
}

/// Values under [`DriverConnection`] handles, at most a fixed number at a time.
pub(crate) struct Slots<T> {
    slots: Vec<Slot<T>>,
    /// Slots without a value whose next generation is set. The last one freed is the first one reused.
    free: Vec<u32>,
    limit: usize,
}

impl<T> Slots<T> {
    pub(crate) const fn new(limit: usize) -> Self {
        Self { slots: Vec::new(), free: Vec::new(), limit }
    }

    /// Most values at a time.
    #[cfg(feature = "quic")]
    pub(crate) const fn limit(&self) -> usize {
        self.limit
    }

    /// Values in the table.
    pub(crate) fn len(&self) -> usize {
        self.slots.len().saturating_sub(self.free.len())
    }

    /// Stores a value; gives it back if the table is full.
    pub(crate) fn insert(&mut self, value: T) -> Result<DriverConnection, T> {
        if let Some(index) = self.free.pop() {
            let Some(slot) = self.slots.get_mut(index as usize) else {
                return Err(value);
            };
            slot.value = Some(value);
            return Ok(DriverConnection::new(index, slot.generation));
        }
        let Ok(index) = u32::try_from(self.slots.len()) else {
            return Err(value);
        };
        if self.slots.len() >= self.limit {
            return Err(value);
        }
        let generation = 1;
        self.slots.push(Slot { generation, value: Some(value) });
        Ok(DriverConnection::new(index, generation))
    }

    pub(crate) fn get(&self, handle: DriverConnection) -> Option<&T> {
        let slot = self.slots.get(handle.index() as usize)?;
        (slot.generation == handle.generation()).then_some(slot.value.as_ref()).flatten()
    }

    pub(crate) fn get_mut(&mut self, handle: DriverConnection) -> Option<&mut T> {
        let slot = self.slots.get_mut(handle.index() as usize)?;
        (slot.generation == handle.generation()).then_some(slot.value.as_mut()).flatten()
    }

    /// Takes a value out and makes its handle stale.
    pub(crate) fn remove(&mut self, handle: DriverConnection) -> Option<T> {
        let slot = self.slots.get_mut(handle.index() as usize)?;
        if slot.generation != handle.generation() {
            return None;
        }
        let value = slot.value.take()?;
        // A slot at its last generation is never reused: its next handle would equal an old one.
        if let Some(generation) = slot.generation.checked_add(1) {
            slot.generation = generation;
            self.free.push(handle.index());
        }
        Some(value)
    }

    /// Values with their handles, in the order of slots.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (DriverConnection, &T)> {
        (0..).zip(&self.slots).filter_map(|(index, slot)| {
            let value = slot.value.as_ref()?;
            Some((DriverConnection::new(index, slot.generation), value))
        })
    }

    /// The same, to be changed.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (DriverConnection, &mut T)> {
        (0..).zip(&mut self.slots).filter_map(|(index, slot)| {
            let value = slot.value.as_mut()?;
            Some((DriverConnection::new(index, slot.generation), value))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reused_slot_gets_a_new_generation_and_the_old_handle_is_stale() {
        let mut slots = Slots::new(4);
        let first = slots.insert("first").unwrap();
        assert_eq!(slots.remove(first), Some("first"));
        let second = slots.insert("second").unwrap();
        assert_eq!(second.index(), first.index());
        assert_ne!(second, first);
        assert_eq!(slots.get(first), None);
        assert_eq!(slots.get_mut(first), None);
        assert_eq!(slots.remove(first), None);
        assert_eq!(slots.get(second), Some(&"second"));
    }

    #[test]
    fn a_full_table_gives_the_value_back_until_one_is_removed() {
        let mut slots = Slots::new(2);
        let first = slots.insert(1).unwrap();
        let second = slots.insert(2).unwrap();
        assert_eq!(slots.insert(3), Err(3));
        assert_eq!(slots.len(), 2);
        slots.remove(first);
        let third = slots.insert(3).unwrap();
        assert_eq!(slots.iter().collect::<Vec<_>>(), [(third, &3), (second, &2)], "in the order of slots");
    }

    #[test]
    fn a_slot_at_its_last_generation_is_never_reused() {
        let mut slots = Slots::new(4);
        slots.insert(1).unwrap();
        slots.slots[0].generation = u32::MAX;
        let last = DriverConnection::new(0, u32::MAX);
        assert_eq!(slots.remove(last), Some(1));
        let next = slots.insert(2).unwrap();
        assert_eq!(next.index(), 1);
        assert_eq!(slots.get(last), None);
    }
}
