//! What a client is to be sent, and in which order: every chunk with news, and if not everything fits the most urgent ghosts of each.
//! Read by `encode`, tick for tick; plain arrays.

use ghostline_wire::NetworkTick;

use super::bits::bits;
use super::connection::SnapshotSendState;
use super::encode::{EncodeRequest, EncodeType};
use super::store::{Chunk, RowStore};
use super::view::ChunkView;

/// Ghosts of a chunk that are nearly as urgent as its most urgent one are sent with it: in parts of chunks much is said for few rows.
const ALIKE: (u64, u64) = (3, 4);
/// A chunk is taken apart into so many parts, at most.
const MOST_PARTS: usize = 3;

/// Ghosts of one chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Candidate {
    pub chunk: u32,
    /// Importance × ticks since it was last sent, of the most urgent; 0 if the order doesn't matter.
    pub priority: u64,
    /// Those ticks.
    pub age_ticks: u32,
    /// Ghosts that need bits and that no packet of this tick holds yet.
    pub left: u64,
    /// Nothing changed in it but what is under way: it is told so.
    pub is_settling: bool,
    /// More urgent ghosts of the same chunk are a candidate of their own.
    pub is_rest: bool,
}

/// How urgent the ghosts of a chunk are.
#[derive(Clone, Copy)]
struct Urgency<'a> {
    chunk: &'a Chunk,
    view: &'a ChunkView,
    importance: u64,
    now: NetworkTick,
    /// What a ghost is ahead that was never sent.
    first: u64,
}

impl Urgency<'_> {
    /// Ticks since a ghost was sent, or has been there without being sent.
    fn age_ticks(&self, place: usize) -> u32 {
        let since = self.view.last_sent(place).or(self.chunk.spawn_ticks[place]);
        since.map_or(1, |since| self.now.ticks_since(since).max(1).unsigned_abs())
    }

    fn of(&self, place: usize) -> u64 {
        let ahead = if self.view.last_sent(place).is_none() { self.first } else { 0 };
        self.importance * u64::from(self.age_ticks(place)) + ahead
    }

    /// Those that are as urgent as this.
    fn at_least(&self, slots: u64, priority: u64) -> u64 {
        bits(slots).filter(|place| self.of(*place) >= priority).fold(0, |mask, place| mask | 1 << place)
    }

    /// The priority and the age of the most urgent.
    fn most(&self, slots: u64) -> (u64, u32) {
        bits(slots).map(|place| (self.of(place), self.age_ticks(place))).max().unwrap_or_default()
    }
}

/// The candidates of one client and tick, used again for the next.
#[derive(Default)]
pub(super) struct Candidates {
    pub list: Vec<Candidate>,
    whole: Vec<Candidate>,
    /// Ghosts that need bits.
    pub wanted: u64,
    /// Bits that they are expected to take, and the sum of importance × bits: what the staleness of each follows from.
    pub expected_bits: u64,
    pub pressure: u64,
}

/// Bits that a body takes beside its rows, about.
const BODY_BITS: u64 = 48;

impl Candidates {
    /// Every chunk that holds something new for this client, in the order of numbers.
    pub(super) fn gather(
        &mut self,
        request: &EncodeRequest<'_>,
        store: &RowStore,
        state: &mut SnapshotSendState,
        sizes: &RowSizes,
    ) {
        self.list.clear();
        (self.wanted, self.expected_bits, self.pressure) = (0, 0, 0);
        if state.settled_revision == Some(store.revision) {
            return;
        }
        state.hold_views(store.chunks.len());
        let mut all_settled = true;
        for (index, chunk) in store.chunks.iter().enumerate() {
            let revision = store.revisions[index];
            if state.settled[index] == revision {
                continue;
            }
            let known_type = u32::from(chunk.ghost_type) < request.prefabs_known;
            let Some(ty) = request.types.get(usize::from(chunk.ghost_type)).filter(|_| known_type) else {
                all_settled = false;
                continue;
            };
            let view = &mut state.views[index];
            view.look_at(chunk, request.tick, ty.tells_rest);
            if view.stale == 0 {
                state.settled[index] = revision;
                continue;
            }
            all_settled = false;
            let wanted = wanted(request, ty, chunk, view);
            let is_settling = wanted == 0 && ty.tells_rest && view.pending != 0;
            if wanted != 0 || is_settling {
                self.list.push(Candidate {
                    chunk: index as u32,
                    priority: 0,
                    age_ticks: 0,
                    left: wanted,
                    is_settling,
                    is_rest: false,
                });
            }
            let count = u64::from(wanted.count_ones());
            let row_bits = count * sizes.mean_bits(chunk.ghost_type);
            self.wanted += count;
            self.expected_bits += row_bits + BODY_BITS;
            self.pressure += (row_bits + BODY_BITS) * u64::from(ty.importance);
        }
        if all_settled {
            state.settled_revision = Some(store.revision);
        }
    }

    /// Puts the most urgent first; for when not everything fits.
    pub(super) fn prioritise(&mut self, request: &EncodeRequest<'_>, store: &RowStore, state: &SnapshotSendState) {
        std::mem::swap(&mut self.list, &mut self.whole);
        self.list.clear();
        for candidate in self.whole.iter().filter(|candidate| !candidate.is_settling) {
            let index = candidate.chunk as usize;
            let (Some(chunk), Some(view)) = (store.chunks.get(index), state.views.get(index)) else { continue };
            let Some(ty) = request.types.get(usize::from(chunk.ghost_type)) else { continue };
            let urgency = urgency(request, ty, chunk, view, state.needed_priority);
            let mut rest = candidate.left;
            for part in 1..=MOST_PARTS {
                let (priority, age_ticks) = urgency.most(rest);
                let left = if part < MOST_PARTS {
                    urgency.at_least(rest, (priority * ALIKE.0).div_ceil(ALIKE.1))
                } else {
                    rest
                };
                self.list.push(Candidate { priority, age_ticks, left, is_rest: part > 1, ..*candidate });
                rest &= !left;
                if rest == 0 {
                    break;
                }
            }
        }
        self.list.sort_unstable_by(|a, b| b.priority.cmp(&a.priority).then(a.chunk.cmp(&b.chunk)));
    }

    /// Of those that got no place: how many ghosts, and the ticks since the most neglected of them was sent.
    pub(super) fn left_over(&self) -> (u32, u32) {
        let left = self.list.iter().filter(|candidate| candidate.left != 0);
        left.fold((0, 0), |(count, oldest), candidate| {
            (count + candidate.left.count_ones(), oldest.max(candidate.age_ticks))
        })
    }
}

/// How many bits rows of each type take, as far as that was seen.
#[derive(Default)]
pub(super) struct RowSizes {
    /// In sixteenths.
    of_type: Vec<u64>,
}

impl RowSizes {
    /// Before the first row of a type this is assumed.
    const FIRST_GUESS_BITS: u64 = 64;

    fn mean_bits(&self, ghost_type: u16) -> u64 {
        self.of_type.get(usize::from(ghost_type)).map_or(Self::FIRST_GUESS_BITS, |mean| mean.div_ceil(16))
    }

    /// Rows of a type took so many bits.
    pub(super) fn note(&mut self, ghost_type: u16, rows: u32, bits: usize) {
        let index = usize::from(ghost_type);
        if self.of_type.len() <= index {
            self.of_type.resize(index + 1, Self::FIRST_GUESS_BITS * 16);
        }
        if let Some(seen) = (bits as u64 * 16).checked_div(u64::from(rows)) {
            let mean = &mut self.of_type[index];
            *mean = (*mean * 15 + seen) / 16;
        }
    }
}

fn urgency<'a>(
    request: &EncodeRequest<'_>,
    ty: &EncodeType,
    chunk: &'a Chunk,
    view: &'a ChunkView,
    needed_priority: u64,
) -> Urgency<'a> {
    let first = needed_priority.max(1) * u64::from(request.first_send_importance_multiplier);
    Urgency { chunk, view, importance: u64::from(ty.importance), now: request.tick, first }
}

/// The ghosts of a chunk that this client lacks and may be sent now.
fn wanted(request: &EncodeRequest<'_>, ty: &EncodeType, chunk: &Chunk, view: &ChunkView) -> u64 {
    let mut wanted = view.stale & !view.pending;
    if ty.send_interval_ticks > 1 {
        wanted &= !view.sent_within(ty.send_interval_ticks, request.tick);
    }
    if request.min_send_importance > 1 {
        let urgency = urgency(request, ty, chunk, view, 0);
        let sent_before = wanted & view.known;
        wanted = wanted & !sent_before | urgency.at_least(sent_before, u64::from(request.min_send_importance));
    }
    wanted
}
