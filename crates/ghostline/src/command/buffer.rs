//! The ring of commands of one entity: filled by sampling on a client and by received packets on the server, read tick by tick by
//! the simulation.

use bevy_ecs::prelude::Component;
use ghostline_wire::NetworkTick;

use super::data::{CommandData, InputComponentData};

/// A command buffer holds so many commands.
pub const COMMAND_BUFFER_CAPACITY: usize = 64;

/// One command of a tick.
#[derive(Clone, Copy, PartialEq, Debug)]
struct Entry<T> {
    tick: NetworkTick,
    /// The tick that the client meant. Older than `tick` if the command came late and was moved to the next tick simulated.
    meant_for: NetworkTick,
    data: T,
}

/// The newest [`COMMAND_BUFFER_CAPACITY`] commands of an entity, at most one per tick. Needed on both sides.
///
/// On the server its contents are the client's: read, never write.
#[derive(Component, Clone, PartialEq, Debug)]
pub struct CommandBuffer<T: CommandData> {
    entries: Vec<Entry<T>>,
    /// Server, inputs: the counts of all events that the simulation has seen.
    seen: Option<T>,
}

impl<T: CommandData> Default for CommandBuffer<T> {
    fn default() -> Self {
        Self { entries: Vec::new(), seen: None }
    }
}

impl<T: CommandData> CommandBuffer<T> {
    /// Puts a command for `tick` into the buffer; true if it replaced the one that was there for that tick. When the buffer is full
    /// the oldest goes.
    pub fn add(&mut self, tick: NetworkTick, data: T) -> bool {
        self.put(Entry { tick, meant_for: tick, data })
    }

    fn put(&mut self, entry: Entry<T>) -> bool {
        if let Some(same) = self.entries.iter_mut().find(|known| known.tick == entry.tick) {
            *same = entry;
            return true;
        }
        if self.entries.len() < COMMAND_BUFFER_CAPACITY {
            self.entries.push(entry);
        } else if let Some(oldest) = self
            .entries
            .iter_mut()
            .reduce(|oldest, known| if oldest.tick.is_newer_than(known.tick) { known } else { oldest })
            && entry.tick.is_newer_than(oldest.tick)
        {
            *oldest = entry;
        }
        false
    }

    fn entry_at(&self, tick: NetworkTick) -> Option<&Entry<T>> {
        self.entries
            .iter()
            .filter(|entry| !entry.tick.is_newer_than(tick))
            .reduce(|newest, entry| if entry.tick.is_newer_than(newest.tick) { entry } else { newest })
    }

    /// The newest command for `tick` or before, with its tick: what counts for that tick, since a missing command repeats the last.
    pub fn get_at_tick(&self, tick: NetworkTick) -> Option<(NetworkTick, &T)> {
        self.entry_at(tick).map(|entry| (entry.tick, &entry.data))
    }

    /// All commands with their ticks, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = (NetworkTick, &T)> {
        self.entries.iter().map(|entry| (entry.tick, &entry.data))
    }

    /// How many commands the buffer holds.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether the buffer holds none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Client: a command for `tick` is about to be added. If the clock was put back since the last one, what was sampled for later ticks will be
    /// sampled again, and goes. Returns the newest command of all: events go on being counted from there, whatever tick they were for.
    pub(crate) fn put_back_to(&mut self, tick: NetworkTick) -> Option<T> {
        let newest = self.newest().cloned();
        self.entries.retain(|entry| !entry.tick.is_newer_than(tick));
        newest
    }

    /// The command for the newest tick.
    pub(crate) fn newest(&self) -> Option<&T> {
        let newer = |newest, entry: &Entry<T>| -> bool { entry.tick.is_newer_than(newest) };
        let newest = self.entries.iter().reduce(|newest, entry| if newer(newest.tick, entry) { entry } else { newest });
        newest.map(|entry| &entry.data)
    }

    /// Server: stores a command that arrived. One for a tick that is past already is moved to `server_tick`, the next simulated, but only if nothing
    /// newer is known, so that a packet that was overtaken can't displace a genuine input.
    pub(crate) fn store_received(&mut self, tick: NetworkTick, data: T, server_tick: NetworkTick) -> Stored {
        if !tick.is_older_than(server_tick) {
            if tick.ticks_since(server_tick) > COMMAND_BUFFER_CAPACITY as i32 {
                return Stored::TooFarAhead;
            }
            let entry = Entry { tick, meant_for: tick, data };
            return if self.put(entry) { Stored::Repeated } else { Stored::InTime };
        }
        let newest_known = self
            .entries
            .iter()
            .map(|entry| entry.meant_for)
            .reduce(|newest, meant_for| if meant_for.is_newer_than(newest) { meant_for } else { newest });
        if newest_known.is_some_and(|newest| !tick.is_newer_than(newest)) {
            return Stored::Repeated;
        }
        self.put(Entry { tick: server_tick, meant_for: tick, data });
        Stored::Late
    }
}

impl<T: InputComponentData> CommandBuffer<T> {
    /// Server: leaves the events in `input` that the simulation has not seen yet, and takes them for seen. A client whose clock was put back
    /// sends some ticks twice, with other counts; counted from what was seen, every press is in one step.
    pub(crate) fn take_unseen_events(&mut self, input: &mut T) {
        match &mut self.seen {
            Some(seen) => {
                input.subtract_events(seen);
                seen.add_events(input);
            }
            None => self.seen = Some(input.clone()),
        }
    }
}

/// What became of a command that arrived.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Stored {
    /// New, and before its tick.
    InTime,
    /// Known already, or overtaken.
    Repeated,
    /// New, after its tick: it drives the next tick.
    Late,
    /// For a tick so far ahead that it is not taken.
    TooFarAhead,
}

#[cfg(test)]
mod tests {
    use super::*;
    use ghostline_wire::{ComponentSchema, FieldKind, FieldSchema, Smoothing};

    #[derive(Clone, Default, PartialEq, Debug)]
    struct Number(u32);

    impl CommandData for Number {
        const LANES: usize = 1;
        fn schema() -> ComponentSchema {
            let field = FieldSchema {
                name: "0".into(),
                kind: FieldKind::U32,
                quantization: 0,
                smoothing: Smoothing::Clamp,
                max_smoothing_distance: None,
            };
            ComponentSchema { name: "Number".into(), fields: vec![field] }
        }
        fn write_lanes(&self, lanes: &mut [u32]) {
            lanes[0] = self.0;
        }
        fn read_lanes(lanes: &[u32]) -> Self {
            Self(lanes[0])
        }
    }

    fn tick(index: u32) -> NetworkTick {
        NetworkTick::new(index)
    }

    #[test]
    fn a_command_for_a_known_tick_replaces_the_one_there() {
        let mut buffer = CommandBuffer::default();
        assert!(!buffer.add(tick(5), Number(1)));
        assert!(buffer.add(tick(5), Number(2)));
        assert_eq!((buffer.len(), buffer.get_at_tick(tick(5))), (1, Some((tick(5), &Number(2)))));
    }

    #[test]
    fn a_missing_command_repeats_the_last_one() {
        let mut buffer = CommandBuffer::default();
        buffer.add(tick(5), Number(5));
        buffer.add(tick(9), Number(9));
        assert_eq!(buffer.get_at_tick(tick(4)), None);
        assert_eq!(buffer.get_at_tick(tick(8)), Some((tick(5), &Number(5))));
        assert_eq!(buffer.get_at_tick(tick(50)), Some((tick(9), &Number(9))));
    }

    #[test]
    fn the_newest_64_commands_are_kept_also_across_the_wrap() {
        let mut buffer = CommandBuffer::default();
        let start = tick(NetworkTick::MAX_INDEX - 50);
        for offset in 0..200 {
            buffer.add(start.add(offset), Number(offset));
        }
        assert_eq!(buffer.len(), COMMAND_BUFFER_CAPACITY);
        assert_eq!(buffer.get_at_tick(start.add(135)), None);
        assert_eq!(buffer.get_at_tick(start.add(136)), Some((start.add(136), &Number(136))));
        assert_eq!(buffer.get_at_tick(start.add(500)), Some((start.add(199), &Number(199))));
    }

    #[test]
    fn a_late_command_drives_the_next_tick_until_a_genuine_one_comes() {
        let mut buffer = CommandBuffer::default();
        buffer.store_received(tick(10), Number(10), tick(10));
        assert_eq!(buffer.store_received(tick(11), Number(11), tick(13)), Stored::Late);
        assert_eq!(buffer.get_at_tick(tick(13)), Some((tick(13), &Number(11))));
        assert_eq!(buffer.store_received(tick(12), Number(12), tick(13)), Stored::Late);
        assert_eq!(buffer.get_at_tick(tick(13)), Some((tick(13), &Number(12))));
        assert_eq!(buffer.store_received(tick(13), Number(13), tick(13)), Stored::Repeated);
        assert_eq!(buffer.get_at_tick(tick(13)), Some((tick(13), &Number(13))));
    }

    #[test]
    fn an_overtaken_command_never_displaces_a_genuine_one() {
        let mut buffer = CommandBuffer::default();
        buffer.store_received(tick(20), Number(20), tick(15));
        assert_eq!(buffer.store_received(tick(14), Number(14), tick(15)), Stored::Repeated);
        assert_eq!(buffer.get_at_tick(tick(15)), None);
    }

    #[test]
    fn a_command_for_the_far_future_is_not_taken() {
        let mut buffer = CommandBuffer::default();
        assert_eq!(buffer.store_received(tick(80), Number(0), tick(15)), Stored::TooFarAhead);
        assert!(buffer.is_empty());
    }
}
