//! The ring of commands of one entity: filled by sampling on a client and by received packets on the server, read tick by tick by
//! the simulation.

use bevy_ecs::lifecycle::HookContext;
use bevy_ecs::prelude::Component;
#[cfg(feature = "server")]
use bevy_ecs::prelude::Entity;
use bevy_ecs::world::DeferredWorld;
use ghostline_wire::NetworkTick;

use super::data::{CommandValue, InputComponentData};
#[cfg(feature = "server")]
use crate::connection::NetworkId;
use crate::world::WorldKind;

/// A command buffer holds so many commands.
pub const COMMAND_BUFFER_CAPACITY: usize = 64;

/// A buffer remembers so many players who commanded its entity before, so that presses of those who come back are counted on from where they were.
pub const MAX_EARLIER_COMMANDERS: usize = 8;

/// One command of a tick.
#[derive(Clone, Copy, PartialEq, Debug)]
struct Entry<T> {
    tick: NetworkTick,
    /// The tick that the client meant. Older than `tick` if the command came late and was moved to the next tick simulated.
    meant_for: NetworkTick,
    /// How far behind its prediction the client showed interpolated ghosts when it made the command, in ticks.
    interpolation_delay: u16,
    data: T,
}

/// Where a buffer's commands come from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Commander {
    /// Client: the local player.
    Player,
    /// Server: the client behind this connection.
    #[cfg(feature = "server")]
    Connection(Entity),
}

/// The newest [`COMMAND_BUFFER_CAPACITY`] commands of an entity, at most one per tick. Needed on both sides.
///
/// On the server its contents are the client's and can only be read.
#[derive(Component, Clone, PartialEq, Debug)]
#[component(on_insert = note_side::<T>)]
pub struct CommandBuffer<T: CommandValue> {
    entries: Vec<Entry<T>>,
    is_servers: bool,
    reported_misuse: bool,
    commander: Option<Commander>,
    /// Server: the owner that the entity had when it was looked at last.
    #[cfg(feature = "server")]
    seen_owner: Option<NetworkId>,
    /// The last command of those who commanded it before.
    earlier: Vec<(Commander, T)>,
    /// Server, inputs: the command that was simulated last, from which events are counted on.
    simulated: Option<T>,
}

impl<T: CommandValue> Default for CommandBuffer<T> {
    fn default() -> Self {
        let (entries, earlier) = (Vec::new(), Vec::new());
        Self {
            entries,
            is_servers: false,
            reported_misuse: false,
            commander: None,
            #[cfg(feature = "server")]
            seen_owner: None,
            earlier,
            simulated: None,
        }
    }
}

/// The buffers of a server are not the game's to fill.
fn note_side<T: CommandValue>(mut world: DeferredWorld<'_>, context: HookContext) {
    let is_servers = world.get_resource::<WorldKind>().is_some_and(|kind| kind.is_server());
    if let Some(mut buffer) = world.get_mut::<CommandBuffer<T>>(context.entity) {
        buffer.is_servers = is_servers;
    }
}

impl<T: CommandValue> CommandBuffer<T> {
    /// Puts a command for `tick` into the buffer; true if it replaced the one that was there for that tick. When the buffer is full
    /// the oldest goes.
    ///
    /// On a server this does nothing, and is reported once: what is in the buffer there was sent by the client. An entity that the server itself
    /// steers needs no commands; write its components.
    pub fn add(&mut self, tick: NetworkTick, data: T) -> bool {
        if self.is_servers {
            if !std::mem::replace(&mut self.reported_misuse, true) {
                tracing::error!(
                    "a command of type `{}` was put into a buffer of the server and ignored: commands there are what clients sent. Write the \
                     components that the command would change",
                    std::any::type_name::<T>()
                );
            }
            return false;
        }
        self.put(Entry { tick, meant_for: tick, interpolation_delay: 0, data })
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

    /// Server: how far behind the tick of the command that counts for `tick` its player saw interpolated ghosts, in ticks: what he aimed at is what was
    /// there so many ticks before. As the client said, but never more than its round trip and the largest buffers explain. 0 on clients, which
    /// see what they simulate with, so that the same rules run on both sides.
    pub fn interpolation_delay_at(&self, tick: NetworkTick) -> u32 {
        self.entry_at(tick).map_or(0, |entry| entry.interpolation_delay.into())
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

    /// Client: a command for `tick` is about to be added. If all that there is was made for later ticks, the clock was put back far, and they will be
    /// lived through again: they go, and the newest of them is returned, from where events go on being counted.
    pub(crate) fn begin_anew_before(&mut self, tick: NetworkTick) -> Option<T> {
        if self.entry_at(tick).is_some() {
            return None;
        }
        let newest = self.newest().cloned();
        self.entries.clear();
        newest
    }

    /// The command for the newest tick.
    pub(crate) fn newest(&self) -> Option<&T> {
        let newer = |newest, entry| if is_newer(newest, entry) { entry } else { newest };
        self.entries.iter().reduce(newer).map(|entry| &entry.data)
    }

    /// Client: changes the commands for ticks after `tick`.
    pub(crate) fn change_after(&mut self, tick: NetworkTick, mut change: impl FnMut(&mut T)) {
        for entry in self.entries.iter_mut().filter(|entry| entry.tick.is_newer_than(tick)) {
            change(&mut entry.data);
        }
    }

    /// Whose commands these are.
    pub(crate) fn commander(&self) -> Option<Commander> {
        self.commander
    }

    /// From `tick` on the commands are those of another, or nobody's. What was sent for later ticks does not count. Who commanded the entity
    /// before goes on from `baseline`, which is made of the last command of his that counted: his presses are counted on, everything else begins anew.
    pub(crate) fn hand_over(&mut self, to: Option<Commander>, tick: NetworkTick, baseline: Option<fn(&T) -> T>) {
        if self.commander == to {
            return;
        }
        if let (Some(before), Some(last)) = (self.commander, self.entry_at(tick.prev()).map(|entry| entry.data.clone()))
        {
            self.earlier.retain(|(known, _)| *known != before);
            if self.earlier.len() >= MAX_EARLIER_COMMANDERS {
                self.earlier.remove(0);
            }
            self.earlier.push((before, last));
        }
        self.entries.clear();
        self.commander = to;
        self.simulated = None;
        let last = to.and_then(|to| self.earlier.iter().find(|(known, _)| *known == to));
        if let (Some((_, last)), Some(baseline)) = (last, baseline) {
            let data = baseline(last);
            self.simulated = Some(data.clone());
            self.put(Entry { tick: tick.prev(), meant_for: tick.prev(), interpolation_delay: 0, data });
        }
    }

    /// Client: the local player commanded an entity before that is the same one, with these last commands.
    pub(crate) fn remember_player(&mut self, last: T) {
        self.earlier.push((Commander::Player, last));
    }
}

/// What only a server does.
#[cfg(feature = "server")]
impl<T: CommandValue> CommandBuffer<T> {
    /// Stores a command that arrived. One for a tick that is past already is moved to `server_tick`, the next simulated, but only if nothing
    /// newer is known, so that a packet that was overtaken can't displace a genuine input.
    pub(crate) fn store_received(
        &mut self,
        tick: NetworkTick,
        data: T,
        interpolation_delay: u16,
        server_tick: NetworkTick,
    ) -> Stored {
        if !tick.is_older_than(server_tick) {
            if tick.ticks_since(server_tick) > COMMAND_BUFFER_CAPACITY as i32 {
                return Stored::TooFarAhead;
            }
            let entry = Entry { tick, meant_for: tick, interpolation_delay, data };
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
        self.put(Entry { tick: server_tick, meant_for: tick, interpolation_delay, data });
        Stored::Late
    }

    /// What the client has sent for ticks after `tick` was given up by it, because its clock was put back.
    pub(crate) fn give_up_after(&mut self, tick: NetworkTick) {
        self.entries.retain(|entry| !entry.meant_for.is_newer_than(tick));
    }

    /// The owner of the entity is `owner` now. True if it was another before.
    pub(crate) fn note_owner(&mut self, owner: NetworkId) -> bool {
        self.seen_owner.replace(owner).is_some_and(|before| before != owner)
    }
}

/// What only a client does.
#[cfg(feature = "client")]
impl<T: CommandValue> CommandBuffer<T> {
    /// What another player did in `tick`, as the server says.
    pub(crate) fn store_replicated(&mut self, tick: NetworkTick, data: T) {
        self.put(Entry { tick, meant_for: tick, interpolation_delay: 0, data });
    }

    /// The local player's last command, in force or from before.
    pub(crate) fn last_of_player(&self) -> Option<&T> {
        if self.commander == Some(Commander::Player) {
            return self.newest();
        }
        self.earlier.iter().find(|(known, _)| *known == Commander::Player).map(|(_, last)| last)
    }
}

fn is_newer<T>(than: &Entry<T>, entry: &Entry<T>) -> bool {
    entry.tick.is_newer_than(than.tick)
}

impl<T: InputComponentData> CommandBuffer<T> {
    /// Server: `input` is simulated now; leaves those events in it that came since the one before.
    pub(crate) fn take_new_events(&mut self, input: &mut T) {
        let before = self.simulated.replace(input.clone());
        if let Some(before) = before {
            input.subtract_events(&before);
        }
    }
}

/// What became of a command that arrived.
#[cfg(feature = "server")]
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

    #[derive(Clone, Default, PartialEq, Debug)]
    struct Number(u32);

    fn tick(index: u32) -> NetworkTick {
        NetworkTick::new(index)
    }

    fn store(buffer: &mut CommandBuffer<Number>, index: u32, server: u32) -> Stored {
        buffer.store_received(tick(index), Number(index), 0, tick(server))
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
        store(&mut buffer, 10, 10);
        assert_eq!(store(&mut buffer, 11, 13), Stored::Late);
        assert_eq!(buffer.get_at_tick(tick(13)), Some((tick(13), &Number(11))));
        assert_eq!(store(&mut buffer, 12, 13), Stored::Late);
        assert_eq!(buffer.get_at_tick(tick(13)), Some((tick(13), &Number(12))));
        assert_eq!(store(&mut buffer, 13, 13), Stored::Repeated);
        assert_eq!(buffer.get_at_tick(tick(13)), Some((tick(13), &Number(13))));
    }

    #[test]
    fn an_overtaken_command_never_displaces_a_genuine_one() {
        let mut buffer = CommandBuffer::default();
        store(&mut buffer, 20, 15);
        assert_eq!(store(&mut buffer, 14, 15), Stored::Repeated);
        assert_eq!(buffer.get_at_tick(tick(15)), None);
    }

    #[test]
    fn a_command_for_the_far_future_is_not_taken() {
        let mut buffer = CommandBuffer::default();
        assert_eq!(store(&mut buffer, 80, 15), Stored::TooFarAhead);
        assert!(buffer.is_empty());
    }

    #[test]
    fn each_command_knows_how_far_in_the_past_its_player_saw_the_others() {
        let mut buffer = CommandBuffer::default();
        buffer.store_received(tick(10), Number(10), 7, tick(9));
        buffer.store_received(tick(12), Number(12), 9, tick(9));
        let delays = [9, 10, 11, 12, 20].map(|index| buffer.interpolation_delay_at(tick(index)));
        assert_eq!(delays, [0, 7, 7, 9, 9]);
        buffer.add(tick(30), Number(30));
        assert_eq!(buffer.interpolation_delay_at(tick(30)), 0, "a client's own");
    }

    /// What is left of a command for the next tenure: as if the number were a count of presses.
    fn presses(last: &Number) -> Number {
        last.clone()
    }

    #[test]
    fn commands_of_the_owner_before_count_up_to_the_change_and_are_counted_on_when_he_comes_back() {
        let [one, two] = [1, 2].map(|index| Some(Commander::Connection(Entity::from_raw_u32(index).unwrap())));
        let mut buffer = CommandBuffer::default();
        buffer.hand_over(one, tick(5), Some(presses));
        for index in 5..15 {
            store(&mut buffer, index, 5);
        }
        buffer.hand_over(two, tick(10), Some(presses));
        assert_eq!(buffer.get_at_tick(tick(20)), None, "nothing of the first player's counts any more");
        store(&mut buffer, 12, 10);
        buffer.hand_over(one, tick(13), Some(presses));
        assert_eq!(buffer.get_at_tick(tick(20)), Some((tick(12), &Number(9))), "from where he was before the change");
        buffer.hand_over(None, tick(14), Some(presses));
        assert!(buffer.is_empty());
    }

    #[test]
    fn a_server_remembers_a_few_earlier_commanders_only() {
        let mut buffer = CommandBuffer::default();
        for index in 1..100 {
            let connection = Commander::Connection(Entity::from_raw_u32(index).unwrap());
            buffer.hand_over(Some(connection), tick(index), Some(presses));
            store(&mut buffer, index, index);
        }
        assert_eq!(buffer.earlier.len(), MAX_EARLIER_COMMANDERS);
    }
}
