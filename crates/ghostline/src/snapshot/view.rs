//! What one client knows of one chunk: which ghosts it was sent, of which it lacks the present row, and which of its rows arrived.
//! Masks of slots, so that a chunk is looked at as a whole; changed by `encode` (what is sent) and by `connection` (what arrived).

use ghostline_wire::{NetworkTick, limits};

use super::bits::bits;
use super::store::Chunk;
use crate::ghost::Slot;

const SLOTS: usize = limits::CHUNK_SLOTS as usize;
const NAMED_TICKS: u16 = limits::MAX_NAMED_TICKS as u16;

/// So many acknowledged ticks of a chunk are kept with whose rows arrived: as far back as a slope or a curve reaches.
const ACKED_TICKS: usize = 16;

/// The rows of one tick that arrived.
#[derive(Clone, Copy, Default)]
struct Acked {
    tick: Option<NetworkTick>,
    /// Ticks at which the chunk had been sent by then, wrapping.
    sends: u16,
    /// The only body of the chunk at that tick: masks can be told as differences from it.
    is_reference: bool,
    slots: u64,
}

/// The newest acknowledged ticks, in order.
#[derive(Clone, Copy, Default)]
struct AckedTicks {
    entries: [Acked; ACKED_TICKS],
    /// Where the oldest is.
    first: u8,
    len: u8,
}

impl AckedTicks {
    /// The entries, newest first.
    fn iter(&self) -> impl Iterator<Item = &Acked> {
        let (first, len) = (usize::from(self.first), usize::from(self.len));
        (0..len).rev().map(move |index| &self.entries[(first + index) % ACKED_TICKS])
    }

    fn at(&mut self, index: usize) -> &mut Acked {
        &mut self.entries[(usize::from(self.first) + index) % ACKED_TICKS]
    }

    fn newest(&self) -> Option<&Acked> {
        self.iter().next()
    }

    /// Takes slots out. What is told as a difference from a body is told from all of it.
    fn forget(&mut self, slots: u64) {
        for acked in &mut self.entries {
            acked.is_reference &= acked.slots & slots == 0;
            acked.slots &= !slots;
        }
    }

    /// Puts it where it belongs. Returns what is forgotten for it.
    fn insert(&mut self, acked: Acked) -> Option<Acked> {
        let is_newer =
            |a: Option<NetworkTick>, b: Option<NetworkTick>| a.zip(b).is_some_and(|(a, b)| a.is_newer_than(b));
        let mut place = usize::from(self.len);
        while place > 0 && !is_newer(acked.tick, self.at(place - 1).tick) {
            place -= 1;
            if self.at(place).tick == acked.tick {
                let same = self.at(place);
                same.slots |= acked.slots;
                same.is_reference = false;
                return None;
            }
        }
        let mut forgotten = None;
        if usize::from(self.len) == ACKED_TICKS {
            if place == 0 {
                return Some(acked);
            }
            forgotten = Some(*self.at(0));
            self.first = (self.first + 1) % ACKED_TICKS as u8;
            place -= 1;
        } else {
            self.len += 1;
        }
        for index in (place + 1..usize::from(self.len)).rev() {
            *self.at(index) = *self.at(index - 1);
        }
        *self.at(place) = acked;
        forgotten
    }
}

/// What a client knows of one chunk.
#[derive(Clone)]
pub(crate) struct ChunkView {
    /// Ghosts that were sent at least once: the client may hold them.
    pub known: u64,
    /// Ghosts whose present row the client is not known to have.
    pub stale: u64,
    /// Of them, those whose present row is under way.
    pub pending: u64,
    /// Ghosts whose row is sent at two ticks before it counts as under way: after a loss, so that what loses packets at regular intervals doesn't
    /// lose it again and again, and wherever a loss would be felt.
    twice: u64,
    /// Ghosts with an acknowledged row.
    acked: u64,
    /// Of them, those that were sent again after it.
    resent: u64,
    /// Of them, those whose newest acknowledged row was older than the packet that brought it.
    older: u64,
    /// How much older, in ticks; the most that can be said is [`FAR_OLDER`].
    older_by: [u8; SLOTS],
    recent: AckedTicks,
    /// The newest acknowledged tick of each slot that is no longer among the recent ones.
    before: Option<Box<[Option<NetworkTick>; SLOTS]>>,
    /// The tick at which each was last sent.
    last_sent: [Option<NetworkTick>; SLOTS],
    /// Changes up to here are in `stale`.
    looked_at: Option<NetworkTick>,
    /// The tick of the newest body, and how many ticks had one, wrapping.
    last_body: Option<NetworkTick>,
    sends: u16,
}

/// A row that was older than its packet by more than this many ticks is looked for by the packet's tick.
const FAR_OLDER: u8 = u8::MAX;

impl Default for ChunkView {
    fn default() -> Self {
        Self {
            known: 0,
            stale: 0,
            pending: 0,
            twice: 0,
            acked: 0,
            resent: 0,
            older: 0,
            older_by: [0; SLOTS],
            recent: AckedTicks::default(),
            before: None,
            last_sent: [None; SLOTS],
            looked_at: None,
            last_body: None,
            sends: 0,
        }
    }
}

/// The slots whose tick is this one.
fn slots_at(ticks: &[Option<NetworkTick>; SLOTS], tick: NetworkTick) -> u64 {
    let wanted = Some(tick);
    ticks.iter().enumerate().fold(0, |mask, (place, at)| mask | u64::from(*at == wanted) << place)
}

/// What a packet told of a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SentBody {
    pub chunk: u32,
    /// Ticks at which the chunk had been sent, this one included; wrapping.
    pub sends: u16,
    /// The chunk was in more than one packet of its tick.
    pub is_split: bool,
    /// Slots with rows.
    pub slots: u64,
}

impl ChunkView {
    /// Takes in what changed in the chunk, up to `now`. What remains to be sent is [`stale`](Self::stale). If a loss of the last change would be
    /// felt, it is sent at two ticks.
    pub(crate) fn look_at(&mut self, chunk: &Chunk, now: NetworkTick, is_loss_felt: bool) {
        let changed = match self.looked_at.replace(now) {
            Some(before) => chunk.slabs.changed_since(before),
            None => u64::MAX,
        };
        let sendable = chunk.sendable();
        self.stale = (self.stale | changed) & sendable;
        self.pending &= !changed & sendable;
        if is_loss_felt {
            self.twice |= changed & self.known & sendable;
        }
    }

    /// The ghosts of which the client may hold an old row.
    pub(crate) fn uncertain(&self) -> u64 {
        self.stale & self.known
    }

    /// Rows of these ghosts went out; returns what to remember of it.
    pub(crate) fn note_sent(&mut self, chunk: u32, slots: u64, tick: NetworkTick) -> SentBody {
        let is_split = self.last_body.replace(tick) == Some(tick);
        self.sends = self.sends.wrapping_add(u16::from(!is_split));
        self.known |= slots;
        self.pending |= slots & !self.twice;
        self.twice &= !slots;
        self.resent |= slots;
        if slots == u64::MAX {
            self.last_sent = [Some(tick); SLOTS];
        } else {
            bits(slots).for_each(|place| self.last_sent[place] = Some(tick));
        }
        SentBody { chunk, sends: self.sends, is_split, slots }
    }

    /// A packet of this tick is taken as lost: rows that were not sent again since are not under way any more.
    pub(crate) fn note_lost(&mut self, slots: u64, tick: NetworkTick) {
        if slots & self.pending != 0 {
            let lost = slots & self.pending & slots_at(&self.last_sent, tick);
            self.pending &= !lost;
            self.twice |= lost;
        }
    }

    /// The rows of a body have arrived.
    pub(crate) fn note_arrived(&mut self, chunk: &Chunk, body: SentBody, tick: NetworkTick) {
        // Of ghosts that are gone since, or whose slot has a new ghost, the acknowledgement says nothing.
        let arrived = body.slots & self.known & !chunk.spawned_after(tick);
        if arrived == 0 {
            return;
        }
        let newer = self.recent.iter().take_while(|acked| acked.tick.is_some_and(|at| at.is_newer_than(tick)));
        let newest = arrived & !newer.fold(0, |slots, acked| slots | acked.slots);
        let is_reference = !body.is_split && arrived == body.slots;
        let acked = Acked { tick: Some(tick), sends: body.sends, is_reference, slots: arrived };
        if let Some(forgotten) = self.recent.insert(acked) {
            self.keep(forgotten);
        }
        self.acked |= arrived;
        self.resent &= !(newest & slots_at(&self.last_sent, tick));
        let unchanged = arrived & !chunk.slabs.changed_since(tick);
        self.stale &= !unchanged;
        self.pending &= !unchanged;
        self.twice &= !unchanged;
        self.note_ages(chunk, newest, tick);
    }

    /// Remembers how much older than its packet each row was.
    fn note_ages(&mut self, chunk: &Chunk, newest: u64, tick: NetworkTick) {
        let older = newest & !chunk.slabs.changed_at(tick);
        self.older = self.older & !newest | older;
        for place in bits(older) {
            let version = chunk.slabs.version_until(place, tick);
            let age = version.and_then(|version| u8::try_from(tick.ticks_since(version)).ok());
            self.older_by[place] = age.unwrap_or(FAR_OLDER);
        }
    }

    /// Keeps what is forgotten of the recent ticks, for slots of which nothing comes as early.
    fn keep(&mut self, forgotten: Acked) {
        let next = *self.recent.at(0);
        let only = forgotten.slots & self.known & if next.tick == forgotten.tick { u64::MAX } else { !next.slots };
        if only == 0 {
            return;
        }
        let before = self.before.get_or_insert_with(|| Box::new([None; SLOTS]));
        for place in bits(only) {
            if before[place].is_none_or(|at| forgotten.tick.is_some_and(|tick| tick.is_newer_than(at))) {
                before[place] = forgotten.tick;
            }
        }
    }

    /// The ghost of a slot is gone: what arrived of it says nothing of the next one. True: the client may hold it.
    pub(crate) fn forget(&mut self, slot: Slot) -> bool {
        let was_known = self.known & slot.bit() != 0;
        let Self { known, stale, pending, twice, acked, resent, older, .. } = self;
        for mask in [known, stale, pending, twice, acked, resent, older] {
            *mask &= !slot.bit();
        }
        self.recent.forget(slot.bit());
        self.last_sent[slot.place()] = None;
        if let Some(before) = &mut self.before {
            before[slot.place()] = None;
        }
        was_known
    }

    /// The server no longer has the rows behind these slots' acknowledgements: they have no baseline.
    pub(crate) fn forget_baselines(&mut self, slots: u64) {
        self.acked &= !slots;
        self.older &= !slots;
        self.recent.forget(slots);
        if let Some(before) = &mut self.before {
            bits(slots).for_each(|place| before[place] = None);
        }
    }

    /// Ghosts with an acknowledged row.
    pub(crate) fn acked(&self) -> u64 {
        self.acked
    }

    /// The tick at which a ghost was last sent.
    pub(crate) fn last_sent(&self, place: usize) -> Option<NetworkTick> {
        self.last_sent[place]
    }

    /// The ghosts that were sent less than so many ticks ago.
    pub(crate) fn sent_within(&self, ticks: u32, now: NetworkTick) -> u64 {
        let is_recent =
            |sent: Option<NetworkTick>| sent.is_some_and(|sent| now.ticks_since(sent).unsigned_abs() < ticks);
        self.last_sent.iter().enumerate().fold(0, |slots, (place, sent)| slots | u64::from(is_recent(*sent)) << place)
    }

    /// The newest tick of which a row of any ghost arrived.
    pub(crate) fn newest_acked(&self) -> Option<NetworkTick> {
        self.recent.newest()?.tick
    }

    /// The slots of the only body of this tick, if it arrived and the client surely remembers it.
    pub(crate) fn reference(&self, tick: NetworkTick) -> Option<u64> {
        let acked = self.recent.iter().find(|acked| acked.tick == Some(tick))?;
        (acked.is_reference && self.is_kept(acked)).then_some(acked.slots)
    }

    /// Whether a client surely holds all rows since that tick.
    fn is_kept(&self, acked: &Acked) -> bool {
        self.sends.wrapping_sub(acked.sends) < NAMED_TICKS
    }

    /// The newest acknowledged tick of a ghost, and the ghosts that have the same one, if a baseline of it may be named now.
    pub(crate) fn baseline(&self, place: usize) -> Option<(NetworkTick, u64)> {
        let bit = 1u64 << place;
        if self.acked & bit == 0 {
            return None;
        }
        let mut newer = 0;
        for acked in self.recent.iter() {
            if acked.slots & bit != 0 {
                let alike = acked.slots & !newer;
                let usable = if self.is_kept(acked) { alike } else { alike & !self.resent };
                return acked.tick.filter(|_| usable & bit != 0).map(|tick| (tick, usable));
            }
            newer |= acked.slots;
        }
        let before = self.before.as_ref()?;
        let tick = before[place].filter(|_| self.resent & bit == 0)?;
        Some((tick, slots_at(before, tick) & self.acked & !newer & !self.resent))
    }

    /// The tick at which the row that arrived last of a ghost, with a packet of `acked`, had changed. `None`: so long ago that it is looked for by
    /// the packet's tick.
    pub(crate) fn version_of(&self, place: usize, acked: NetworkTick) -> Option<NetworkTick> {
        if self.older & (1 << place) == 0 {
            return Some(acked);
        }
        let age = self.older_by[place];
        (age != FAR_OLDER).then(|| acked.sub(u32::from(age)))
    }

    /// Of these ghosts, those whose newest row in the client's hands at or before `tick` is certainly the server's row of that tick: because a row
    /// arrived, nothing changed from then to that tick, and the client still has it.
    pub(crate) fn holds_at(&self, chunk: &Chunk, tick: NetworkTick, among: u64, now: NetworkTick) -> u64 {
        let is_recent = now.ticks_since(tick) < i32::from(NAMED_TICKS);
        let (mut held, mut rest, mut newer) = (0, among & self.acked, 0);
        for acked in self.recent.iter() {
            let Some(at) = acked.tick else { continue };
            if at.is_newer_than(tick) {
                newer |= acked.slots;
                continue;
            }
            let mut here = rest & acked.slots;
            if here != 0 {
                rest &= !here;
                if !is_recent && !self.is_kept(acked) {
                    here &= !self.resent & !newer;
                }
                held |= if at == tick { here } else { here & !chunk.slabs.changed_between(at, tick) };
            }
            if rest == 0 {
                return held;
            }
        }
        let Some(before) = &self.before else { return held };
        if !is_recent {
            rest &= !self.resent & !newer;
        }
        for place in bits(rest) {
            if let Some(at) = before[place].filter(|at| !at.is_newer_than(tick)) {
                held |= 1 << place & !chunk.slabs.changed_between(at, tick);
            }
        }
        held
    }

    /// Marks the rows that are this client's baselines and older than `since`.
    pub(crate) fn mark(&self, chunk: &mut Chunk, since: NetworkTick) {
        // What a client has the present row of keeps that row anyway: it is the newest up to any time since it came.
        let changed = self.looked_at.map_or(u64::MAX, |looked| chunk.slabs.changed_since(looked));
        let mut rest = self.acked & (self.stale | changed);
        for acked in self.recent.iter() {
            let here = rest & acked.slots;
            rest &= !here;
            if let Some(tick) = acked.tick.filter(|tick| since.is_newer_than(*tick)) {
                self.mark_at(chunk, here, tick);
            }
        }
        let Some(before) = &self.before else { return };
        while rest != 0 {
            let Some(tick) = before[rest.trailing_zeros() as usize] else {
                rest &= rest - 1;
                continue;
            };
            let here = rest & slots_at(before, tick);
            rest &= !here;
            self.mark_at(chunk, here, tick);
        }
    }

    fn mark_at(&self, chunk: &mut Chunk, slots: u64, tick: NetworkTick) {
        chunk.slabs.mark(slots & !self.older, tick);
        for place in bits(slots & self.older) {
            if let Some(version) = self.version_of(place, tick) {
                chunk.slabs.mark(1 << place, version);
            }
        }
    }

    /// Forgets the baselines that are older than `since`; returns how many.
    pub(crate) fn forget_baselines_before(&mut self, since: NetworkTick) -> u32 {
        let newer = self.recent.iter().take_while(|acked| acked.tick.is_some_and(|at| !since.is_newer_than(at)));
        let old = self.acked & !newer.fold(0, |slots, acked| slots | acked.slots);
        self.forget_baselines(old);
        old.count_ones()
    }

    /// How many baselines are older than `since`, and the ticks that they are older, added up.
    pub(crate) fn old_baselines(&self, since: NetworkTick) -> (u32, u64) {
        let (mut rest, mut count, mut ticks) = (self.acked, 0, 0);
        for acked in self.recent.iter() {
            let here = rest & acked.slots;
            rest &= !here;
            if let Some(age) = acked.tick.and_then(|at| u32::try_from(since.ticks_since(at)).ok()) {
                count += here.count_ones();
                ticks += u64::from(here.count_ones()) * u64::from(age);
            }
        }
        if let Some(before) = &self.before {
            for place in bits(rest) {
                if let Some(age) = before[place].and_then(|at| u32::try_from(since.ticks_since(at)).ok()) {
                    count += 1;
                    ticks += u64::from(age);
                }
            }
        }
        (count, ticks)
    }

    /// Bytes besides the view itself.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.before.as_ref().map_or(0, |before| size_of_val(&**before))
    }
}
