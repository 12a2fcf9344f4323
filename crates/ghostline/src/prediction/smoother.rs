//! The work of hiding corrections: what is shown of a ghost is what is simulated, plus an offset that decays in every frame. A correction by the
//! server puts its jump into the offset; the simulation never sees it. Values come from the prediction loop (`run_loop`), and go to whatever
//! the game does in [`Presentation`](crate::schedule::Presentation).

use bevy_ecs::change_detection::DetectChangesMut;
use bevy_ecs::prelude::{Entity, Has, QueryState, Resource, With, Without, World};
use std::any::TypeId;
use std::time::Duration;

use super::components::{Frozen, PredictedGhost};
use super::history::PredictionSlot;
use super::smoothing::{ErrorSmoothing, Smoothed, SmoothingAction, SmoothingContext};
use super::tracks::Tracks;
use crate::ghost::{GhostComponent, GhostInstance};
use crate::world::{FrameClock, WorldKind};

pub(super) fn register<C: GhostComponent + PartialEq>(
    world: &mut World,
    smoothing: ErrorSmoothing,
    action: Option<SmoothingAction<C>>,
) {
    if !matches!(crate::world::kind_of(world), WorldKind::Client | WorldKind::Local) {
        return;
    }
    let (id, name) = (TypeId::of::<C>(), std::any::type_name::<C>());
    let is_smoothed = C::schema().fields.iter().any(|field| field.smoothing != ghostline_wire::Smoothing::Clamp);
    if !is_smoothed {
        tracing::error!(
            "no field of `{name}` is smoothed, so its errors can't be; mark one with `smoothing = interpolate`"
        );
        return;
    }
    if world.get_resource_or_init::<Smoothers>().all.iter().any(|(known, _)| *known == id) {
        tracing::error!("the smoothing of `{name}` was registered already; register it once");
        return;
    }
    let smoother = ErrorSmoother::<C>::new(world, smoothing, action);
    world.resource_mut::<Smoothers>().all.push((id, Box::new(smoother)));
}

impl<C: GhostComponent> Smoothed<C> {
    fn new(now: &C, is_predicted: bool) -> Self {
        let mut error = now.clone();
        error.set_offset(now, now);
        Self { shown: now.clone(), error, was_predicted: is_predicted }
    }
}

impl ErrorSmoothing {
    /// What is left of an error after `dt`, as a factor.
    fn left_after(&self, dt: Duration) -> f32 {
        if self.half_life.is_zero() { 0.0 } else { (-(dt.as_secs_f32() / self.half_life.as_secs_f32())).exp2() }
    }
}

/// The smoothing of a world's components, in the order in which they were registered.
#[derive(Resource, Default)]
pub(super) struct Smoothers {
    all: Vec<(TypeId, Box<dyn Smoother>)>,
}

/// The loop is at the last full tick of the frame before: who has come here again is compared with what was shown.
pub(super) fn take_up_corrections(world: &mut World, tracks: &Tracks) {
    with_each(world, |smoother, world| smoother.take_up(world, tracks));
}

/// The loop is at the last full tick of the frame.
pub(super) fn remember_predictions(world: &mut World) {
    with_each(world, |smoother, world| smoother.remember(world));
}

/// Before presentation: brings every [`Smoothed`] up to date.
pub fn show_smoothed(world: &mut World) {
    let dt = world.resource::<FrameClock>().dt;
    with_each(world, |smoother, world| smoother.show(world, dt));
}

fn with_each(world: &mut World, mut work: impl FnMut(&mut dyn Smoother, &mut World)) {
    let Some(mut smoothers) = world.get_resource_mut::<Smoothers>() else { return };
    let mut all = std::mem::take(&mut smoothers.all);
    for (_, smoother) in &mut all {
        work(&mut **smoother, world);
    }
    world.resource_mut::<Smoothers>().all = all;
}

/// The smoothing of one component type, whatever it is.
trait Smoother: Send + Sync {
    fn remember(&mut self, world: &mut World);
    fn take_up(&mut self, world: &mut World, tracks: &Tracks);
    fn show(&mut self, world: &mut World, dt: Duration);
}

struct ErrorSmoother<C: GhostComponent> {
    smoothing: ErrorSmoothing,
    action: Option<SmoothingAction<C>>,
    /// By slot of the histories: what was predicted for the last full tick.
    predicted: Vec<Option<C>>,
    in_loop: QueryState<(&'static PredictionSlot, &'static C, &'static mut Smoothed<C>), Without<Frozen>>,
    all: QueryState<(Entity, &'static C, &'static mut Smoothed<C>, Has<PredictedGhost>)>,
    bare: QueryState<(Entity, &'static C, Has<PredictedGhost>), (With<GhostInstance>, Without<Smoothed<C>>)>,
    new: Vec<(Entity, Smoothed<C>)>,
    erring: Vec<Entity>,
}

impl<C: GhostComponent + PartialEq> ErrorSmoother<C> {
    fn new(world: &mut World, smoothing: ErrorSmoothing, action: Option<SmoothingAction<C>>) -> Self {
        let (in_loop, all, bare) = (world.query_filtered(), world.query(), world.query_filtered());
        Self { smoothing, action, predicted: Vec::new(), in_loop, all, bare, new: Vec::new(), erring: Vec::new() }
    }

    /// Lets the game's action work on the errors that there are.
    fn act(&mut self, world: &mut World, dt: Duration, action: SmoothingAction<C>) {
        for entity in self.erring.drain(..) {
            let Ok(ghost) = world.get_entity(entity) else { continue };
            let (Some(now), Some(smoothed)) = (ghost.get::<C>(), ghost.get::<Smoothed<C>>()) else { continue };
            let mut error = smoothed.error.clone();
            action(&mut error, SmoothingContext { now, dt, ghost });
            let mut shown = now.clone();
            shown.add_offset(&error);
            if let Some(mut smoothed) = world.get_mut::<Smoothed<C>>(entity) {
                smoothed.error = error;
                smoothed.shown = shown;
            }
        }
    }
}

impl<C: GhostComponent + PartialEq> Smoother for ErrorSmoother<C> {
    fn remember(&mut self, world: &mut World) {
        for (slot, now, _) in self.in_loop.iter(world) {
            let slot = slot.0 as usize;
            if self.predicted.len() <= slot {
                self.predicted.resize_with(slot + 1, || None);
            }
            if let Some(place) = self.predicted.get_mut(slot) {
                match place {
                    Some(value) => value.clone_from(now),
                    None => *place = Some(now.clone()),
                }
            }
        }
    }

    fn take_up(&mut self, world: &mut World, tracks: &Tracks) {
        for (slot, now, mut smoothed) in self.in_loop.iter_mut(world) {
            let slot = slot.0 as usize;
            let Some(Some(before)) = self.predicted.get(slot) else { continue };
            if !tracks.get(slot).is_some_and(|track| track.goes_back) {
                continue;
            }
            let smoothed = smoothed.bypass_change_detection();
            let mut jump = now.clone();
            jump.set_offset(before, now);
            if jump.offset_length() > self.smoothing.min_distance {
                let mut shown = before.clone();
                shown.add_offset(&smoothed.error);
                smoothed.error.set_offset(&shown, now);
            }
        }
    }

    fn show(&mut self, world: &mut World, dt: Duration) {
        for (entity, now, is_predicted) in self.bare.iter(world) {
            self.new.push((entity, Smoothed::new(now, is_predicted)));
        }
        for (entity, smoothed) in self.new.drain(..) {
            world.entity_mut(entity).insert(smoothed);
        }
        let left = if self.action.is_some() { 1.0 } else { self.smoothing.left_after(dt) };
        for (entity, now, mut smoothed, is_predicted) in self.all.iter_mut(world) {
            let unseen = smoothed.bypass_change_detection();
            if std::mem::replace(&mut unseen.was_predicted, is_predicted) != is_predicted {
                // It has changed its timeline: it is shown where it was, and goes from there.
                let Smoothed { shown, error, .. } = unseen;
                error.set_offset(shown, now);
            }
            let length = unseen.error.offset_length();
            if length > self.smoothing.max_distance || length * left < SHORTEST_ERROR {
                unseen.error.set_offset(now, now);
            } else {
                unseen.error.scale_offset(left);
                self.erring.push(entity);
            }
            let mut shown = now.clone();
            shown.add_offset(&unseen.error);
            if shown != unseen.shown {
                smoothed.shown = shown;
            }
        }
        match self.action {
            Some(action) => self.act(world, dt, action),
            None => self.erring.clear(),
        }
    }
}

/// An error shorter than this, in units of the field, is none.
const SHORTEST_ERROR: f32 = 1e-5;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::GhostComponent;
    use bevy_ecs::change_detection::DetectChanges;
    use bevy_ecs::prelude::Component;
    use bevy_math::Vec3;

    #[derive(Component, GhostComponent, Clone, Default, PartialEq, Debug)]
    struct Place {
        #[ghost(smoothing = interpolate)]
        at: Vec3,
        #[ghost]
        room: u8,
    }

    fn place(x: f32) -> Place {
        Place { at: Vec3::new(x, 0.0, 0.0), room: 3 }
    }

    const FRAME: Duration = Duration::from_millis(10);

    /// A smoother with a ghost that is shown `by` beyond where it is.
    fn off_by(
        by: f32,
        smoothing: ErrorSmoothing,
        action: Option<SmoothingAction<Place>>,
    ) -> (World, ErrorSmoother<Place>, Entity) {
        let mut world = World::new();
        let mut smoothed = Smoothed::new(&place(1.0), true);
        smoothed.error.at.x = by;
        let ghost = world.spawn((place(1.0), GhostInstance::unassigned(0), PredictedGhost::default(), smoothed)).id();
        let smoother = ErrorSmoother::new(&mut world, smoothing, action);
        (world, smoother, ghost)
    }

    fn shown(world: &World, ghost: Entity) -> &Smoothed<Place> {
        world.get(ghost).unwrap()
    }

    #[test]
    fn an_error_halves_in_its_half_life_whatever_the_frame_rate() {
        let smoothing = ErrorSmoothing { half_life: Duration::from_millis(40), ..ErrorSmoothing::default() };
        for frames in [1, 2, 8] {
            let (mut world, mut smoother, ghost) = off_by(2.0, smoothing, None);
            for _ in 0..frames {
                smoother.show(&mut world, Duration::from_millis(40) / frames);
            }
            let smoothed = shown(&world, ghost);
            assert!((smoothed.at.x - 2.0).abs() < 1e-5 && (smoothed.error().at.x - 1.0).abs() < 1e-5, "{smoothed:?}");
            assert_eq!(smoothed.room, 3);
            assert_eq!(world.get::<Place>(ghost), Some(&place(1.0)), "the simulation does not see it");
        }
    }

    #[test]
    fn an_error_ends_and_a_large_one_is_not_shown_at_all() {
        let (mut world, mut smoother, ghost) = off_by(0.1, ErrorSmoothing::default(), None);
        for _ in 0..100 {
            smoother.show(&mut world, FRAME);
        }
        assert_eq!(shown(&world, ghost).shown, place(1.0));
        let (mut world, mut smoother, ghost) = off_by(10.1, ErrorSmoothing::default(), None);
        smoother.show(&mut world, FRAME);
        assert_eq!(shown(&world, ghost).shown, place(1.0));
    }

    #[test]
    fn a_game_may_shorten_errors_by_a_rule_of_its_own() {
        // At most a tenth per frame, in a straight line.
        let action: SmoothingAction<Place> = |error, context| {
            assert!(context.ghost.contains::<PredictedGhost>() && context.dt == FRAME && context.now.at.x == 1.0);
            error.at = error.at.clamp_length_max((error.at.length() - 0.1).max(0.0));
        };
        let (mut world, mut smoother, ghost) = off_by(0.25, ErrorSmoothing::default(), Some(action));
        for expected in [1.15, 1.05, 1.0, 1.0] {
            smoother.show(&mut world, FRAME);
            assert!((shown(&world, ghost).at.x - expected).abs() < 1e-6, "{expected}");
        }
    }

    #[test]
    fn a_ghost_that_changes_its_timeline_goes_from_where_it_was_shown() {
        let (mut world, mut smoother, ghost) = off_by(0.0, ErrorSmoothing::default(), None);
        smoother.show(&mut world, FRAME);
        world.entity_mut(ghost).remove::<PredictedGhost>().insert(place(0.0));
        smoother.show(&mut world, Duration::from_millis(50));
        assert!((shown(&world, ghost).at.x - 0.5).abs() < 1e-5, "half of the way");
    }

    #[test]
    fn what_stands_still_is_not_changed() {
        let (mut world, mut smoother, ghost) = off_by(0.0, ErrorSmoothing::default(), None);
        smoother.show(&mut world, FRAME);
        world.clear_trackers();
        smoother.show(&mut world, FRAME);
        assert!(!world.entity(ghost).get_ref::<Smoothed<Place>>().unwrap().is_changed());
    }
}
