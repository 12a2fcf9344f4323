//! Who goes back together with the ghosts that were wrong: nobody, their rollback group, or every predicted ghost.

use bevy_ecs::prelude::World;
use ghostline_wire::NetworkTick;

use super::Prediction;
use super::settings::{RollbackGroup, RollbackScope};

/// From which tick on the ghosts of a group are simulated again; all of them are of the group `None` if everything goes back.
pub(super) type GroupStart = (Option<RollbackGroup>, NetworkTick);

/// Takes every ghost of the scope back to the oldest tick that one of it was put back to, if its state of that tick is known. Who is to be
/// corrected at a later tick is corrected there, on the way. Returns how many went along that were right themselves.
pub(super) fn draw_along(prediction: &mut Prediction, world: &World, scope: RollbackScope) -> u64 {
    if scope == RollbackScope::Ghost {
        return 0;
    }
    let Prediction { tracks, starts, wanted, .. } = prediction;
    let group_of = |entity| match scope {
        RollbackScope::Group => world.get::<RollbackGroup>(entity).copied(),
        RollbackScope::Ghost | RollbackScope::AllPredicted => None,
    };
    let is_of_scope = |group: Option<RollbackGroup>| scope == RollbackScope::AllPredicted || group.is_some();
    starts.clear();
    for (_, track) in tracks.iter().filter(|(_, track)| track.goes_back) {
        let group = group_of(track.entity);
        match starts.iter_mut().find(|(known, _)| *known == group) {
            Some((_, oldest)) => *oldest = (*oldest).min(track.start),
            None if is_of_scope(group) => starts.push((group, track.start)),
            None => {}
        }
    }
    let mut went_along = 0;
    for (slot, track) in tracks.iter_mut() {
        let group = group_of(track.entity);
        let Some(&(_, oldest)) = starts.iter().find(|(known, _)| *known == group) else { continue };
        if track.start.is_newer_than(oldest) && track.knows(oldest) {
            track.start = oldest;
            track.forget_after(oldest);
            if let Some(wanted) = wanted.get_mut(slot) {
                *wanted = Some(oldest);
            }
            went_along += u64::from(!std::mem::replace(&mut track.goes_back, true));
        }
    }
    went_along
}
