//! What the rows of a chunk are predicted from, for one client: rows that it surely holds, and if possible the same as for others, so that their
//! bits can be copied. Asked by `encode` before it takes rows from the `cache`.

use ghostline_wire::{NetworkTick, PredictionBase, limits};

use super::cache::RowCache;
use super::connection::SnapshotSendState;
use super::encode::{EncodeRequest, EncodeType};
use super::models::ModelId;
use super::store::Chunk;
use super::view::ChunkView;

/// Spans that are tried in turn if a client lacks the rows of the best one.
const OTHER_SPANS: [u32; 6] = [2, 1, 4, 3, 8, 6];

/// A client joins others in a base that is older than its own by at most this share of its age: that costs few bits, and its rows are there already.
const OLDER_SHARE: u32 = 4;
/// What so many clients have as their newest tick is worth being encoded: they share it among themselves, and pay no bits for joining others.
const ENOUGH_CLIENTS: u16 = 8;

/// Which baselines rows are told against; whichever it is, the client surely holds them. Connections have the default; the others are for comparison.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[cfg_attr(
    not(feature = "client"),
    expect(dead_code, unreachable_pub, reason = "only measurements without worlds ask for the others")
)]
pub enum BaselineKeys {
    /// Predicted from the newest tick that arrived; where few clients have the same, from what rows of this tick were predicted from for others, if
    /// that is little older.
    #[default]
    Shared,
    /// Predicted from the newest tick that arrived, whatever others have.
    Newest,
    /// Each ghost against its newest acknowledged row, without prediction.
    Plain,
}

/// What a chunk's predicted rows start from, for one client.
#[derive(Clone, Copy)]
pub(super) struct ChosenBase {
    pub base: PredictionBase,
    pub model: ModelId,
    /// The cache's entry with them.
    pub entry: usize,
    /// The ghosts whose rows this client surely has.
    pub usable: u64,
}

/// How many clients have a newest tick of each age: counted in one tick, looked at in the next.
pub(super) struct AgeCounts {
    counting: [u16; AGES],
    counted: [u16; AGES],
}

const AGES: usize = limits::MAX_SLOPE_TICKS as usize + 1;

impl Default for AgeCounts {
    fn default() -> Self {
        Self { counting: [0; AGES], counted: [0; AGES] }
    }
}

impl AgeCounts {
    /// Begins another tick.
    pub(super) fn begin(&mut self) {
        self.counted = std::mem::replace(&mut self.counting, [0; AGES]);
    }

    /// Counts a client.
    pub(super) fn note(&mut self, newest: Option<NetworkTick>, now: NetworkTick) {
        let age = newest.and_then(|newest| usize::try_from(now.ticks_since(newest)).ok());
        if let Some(count) = age.and_then(|age| self.counting.get_mut(age)) {
            *count = count.saturating_add(1);
        }
    }

    /// Whether clients of this age share enough among themselves.
    fn is_common(&self, age: u32) -> bool {
        self.counted.get(age as usize).is_some_and(|clients| *clients >= ENOUGH_CLIENTS)
    }
}

impl RowCache {
    /// What a client's rows of a chunk can be predicted from: the newest tick that arrived, if most of the ghosts have a row of it, or something a
    /// little older that others use.
    pub(super) fn choose_base(
        &mut self,
        request: &EncodeRequest<'_>,
        ty: &EncodeType,
        chunk: &Chunk,
        index: usize,
        state: &SnapshotSendState,
        view: &ChunkView,
        wanted: u64,
    ) -> Option<ChosenBase> {
        let among = wanted & view.acked();
        if among == 0 || request.keys == BaselineKeys::Plain {
            return None;
        }
        let now = request.tick;
        let mut tick = state.newest_acked_tick?;
        let mut usable = view.holds_at(chunk, tick, among, now);
        if usable.count_ones() * 2 < among.count_ones() {
            tick = view.newest_acked()?;
            usable = view.holds_at(chunk, tick, among, now);
        }
        let age =
            u32::try_from(now.ticks_since(tick)).ok().filter(|age| (1..=limits::MAX_SLOPE_TICKS).contains(age))?;
        let mut preferred = self.models.preferred(chunk.ghost_type, age)?;
        if ty.single_baseline || request.single_baseline {
            preferred = PredictionBase { age, span: 0, curved: false };
        }
        let (own, usable) = self.with_earlier(chunk, view, preferred, tick, usable, now);
        if usable == 0 {
            return None;
        }
        // Who lacks the usual earlier row has nobody to share with but by joining.
        let is_usual = own == preferred && self.ages.is_common(age);
        let joins = request.keys == BaselineKeys::Shared && !is_usual;
        let shared = if joins { self.shared_base(chunk, index, state, view, own, usable, now) } else { None };
        let base = shared.unwrap_or(own);
        let model = self.nameable_model(chunk, state, base)?;
        let entry = self.predicted_entry(index, base);
        Some(ChosenBase { base, model, entry, usable })
    }

    /// A base that rows of the chunk were predicted from in this tick, at most a little older than a client's own, from which all usable ghosts
    /// can be predicted just as well: the youngest.
    fn shared_base(
        &self,
        chunk: &Chunk,
        index: usize,
        state: &SnapshotSendState,
        view: &ChunkView,
        own: PredictionBase,
        usable: u64,
        now: NetworkTick,
    ) -> Option<PredictionBase> {
        let is_held = |base: PredictionBase| {
            let earlier = u32::from(base.span != 0) + u32::from(base.curved);
            (0..=earlier).all(|back| {
                let tick = now.sub(base.age + back * base.span);
                view.holds_at(chunk, tick, usable, now) == usable
            })
        };
        let mut youngest = None;
        let mut too_old = own.age + own.age / OLDER_SHARE + 1;
        for base in self.bases_of(index) {
            if base == own {
                return Some(own);
            }
            let is_younger = (own.age..too_old).contains(&base.age);
            let has_slope = (base.span != 0) == (own.span != 0);
            if is_younger && has_slope && is_held(base) && self.nameable_model(chunk, state, base).is_some() {
                youngest = Some(base);
                too_old = base.age;
            }
        }
        youngest
    }

    /// The model for rows from this base, if the client's next packet can name it.
    fn nameable_model(&self, chunk: &Chunk, state: &SnapshotSendState, base: PredictionBase) -> Option<ModelId> {
        let model = self.models.get(chunk.ghost_type, base)?.id;
        state.models.can_name(model, state.packets_sent()).then_some(model)
    }

    /// The base with as many earlier rows as most of the usable ghosts have, and who has them.
    fn with_earlier(
        &self,
        chunk: &Chunk,
        view: &ChunkView,
        preferred: PredictionBase,
        tick: NetworkTick,
        usable: u64,
        now: NetworkTick,
    ) -> (PredictionBase, u64) {
        let enough = |slots: u64| slots.count_ones() * 4 >= usable.count_ones() * 3;
        let hold = PredictionBase { span: 0, curved: false, ..preferred };
        if preferred.span == 0 || usable == 0 {
            return (hold, usable);
        }
        let near = view.holds_at(chunk, tick.sub(preferred.span), usable, now);
        if enough(near) {
            if !preferred.curved {
                return (preferred, near);
            }
            let far = view.holds_at(chunk, tick.sub(2 * preferred.span), near, now);
            if enough(far) {
                return (preferred, far);
            }
        }
        let slope = PredictionBase { curved: false, ..preferred };
        if self.models.get(chunk.ghost_type, slope).is_none() {
            return (hold, usable);
        }
        if enough(near) {
            return (slope, near);
        }
        for span in OTHER_SPANS.into_iter().filter(|span| *span != preferred.span) {
            let near = view.holds_at(chunk, tick.sub(span), usable, now);
            if enough(near) {
                return (PredictionBase { span, ..slope }, near);
            }
        }
        (hold, usable)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_enough_clients_have_is_common_from_the_next_tick_on() {
        let mut ages = AgeCounts::default();
        let now = NetworkTick::new(100);
        for client in 0..ENOUGH_CLIENTS {
            ages.note(Some(now.sub(7)), now);
            ages.note(Some(now.sub(9)).filter(|_| client > 0), now);
            ages.note(Some(now.sub(100)), now.add(1_000_000));
        }
        assert!(!ages.is_common(7), "they are being counted still");
        ages.begin();
        assert_eq!([6, 7, 8, 9].map(|age| ages.is_common(age)), [false, true, false, false]);
        ages.begin();
        assert!(!ages.is_common(7), "in the tick before there were none");
    }
}
