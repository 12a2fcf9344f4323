//! Hiding corrections from the eye: what a game says about it, and what it draws. The work is in `smoother`. Known in every build, so that a game's
//! plugin compiles for each side; a build without clients does nothing with it.

use bevy_app::App;
use bevy_ecs::prelude::Component;
use bevy_ecs::world::EntityRef;
use std::ops::Deref;
use std::time::Duration;

#[cfg(feature = "client")]
use super::smoother::register;
use crate::ghost::GhostComponent;

/// What to draw of a ghost's `C`: what is simulated (or interpolated), plus a visual error that decays. On every ghost with a `C` in client and local
/// worlds, if [`smooth_errors`](SmoothingAppExt::smooth_errors) or [`register_smoothing_action`](SmoothingAppExt::register_smoothing_action) was
/// called for `C`; brought up to date right before `Presentation`. It reads as a `C`:
///
/// ```
/// # use ghostline::prelude::*;
/// # use bevy_ecs::prelude::*;
/// # use bevy_math::Vec3;
/// # #[derive(Component, GhostComponent, Clone, Copy, Default, PartialEq)]
/// # struct Position { #[ghost(quantization = 1000, smoothing = interpolate)] value: Vec3 }
/// # #[derive(Component)]
/// # struct Mesh { at: Vec3 }
/// fn draw(mut meshes: Query<(&mut Mesh, &Smoothed<Position>)>) {
///     for (mut mesh, position) in &mut meshes {
///         mesh.at = position.value;
///     }
/// }
/// ```
#[derive(Component, Clone, Debug)]
pub struct Smoothed<C: GhostComponent> {
    pub(super) shown: C,
    pub(super) error: C,
    #[cfg(feature = "client")]
    pub(super) was_predicted: bool,
}

impl<C: GhostComponent> Smoothed<C> {
    /// The visual error: what leads from what is simulated to what is shown, in the smoothed fields of `C`; the other fields mean nothing.
    pub fn error(&self) -> &C {
        &self.error
    }
}

impl<C: GhostComponent> Deref for Smoothed<C> {
    type Target = C;

    fn deref(&self) -> &C {
        &self.shown
    }
}

/// How a visual error goes away: it halves again and again. Small ones may be left alone, large ones are jumps that nobody should see as motion.
///
/// Lengths are in units of the field, for rotations the sine of half the angle; of a component with several smoothed fields the longest counts.
/// `max_smoothing_distance` of a field holds for its errors too.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct ErrorSmoothing {
    /// The time in which an error shrinks to half of its length. Zero: at once. Default 50 ms.
    pub half_life: Duration,
    /// A correction by at most this much is shown at once. Default 0.
    pub min_distance: f32,
    /// An error longer than this is not shown: the ghost jumps. Default 10.
    pub max_distance: f32,
}

impl Default for ErrorSmoothing {
    fn default() -> Self {
        Self { half_life: Duration::from_millis(50), min_distance: 0.0, max_distance: 10.0 }
    }
}

/// What a [smoothing action](SmoothingAppExt::register_smoothing_action) knows beside the error.
pub struct SmoothingContext<'w, C> {
    /// What is simulated now.
    pub now: &'w C,
    /// Real time since the frame before.
    pub dt: Duration,
    /// The ghost, with whatever the game has put on it.
    pub ghost: EntityRef<'w>,
}

/// Changes the visual error of a ghost for this frame: `error` is the offset from what is simulated to what was shown last, with the correction of this
/// frame in it. [`GhostComponent::scale_offset`] and its like work on it.
pub type SmoothingAction<C> = fn(error: &mut C, context: SmoothingContext<'_, C>);

/// Registering what hides the corrections of a component.
pub trait SmoothingAppExt {
    /// Makes every ghost with a `C` carry a [`Smoothed<C>`], whose error goes away as `smoothing` says. Call it while plugins are built, once per
    /// component; worlds that present nothing ignore it.
    ///
    /// A second call for the same component, and one for a component without a smoothed field, are logged as errors and change nothing.
    fn smooth_errors<C: GhostComponent + PartialEq>(&mut self, smoothing: ErrorSmoothing) -> &mut Self;

    /// Like [`smooth_errors`](Self::smooth_errors), with a rule of the game's own, called once per frame for every predicted ghost whose error is not nothing.
    fn register_smoothing_action<C: GhostComponent + PartialEq>(&mut self, action: SmoothingAction<C>) -> &mut Self;
}

impl SmoothingAppExt for App {
    fn smooth_errors<C: GhostComponent + PartialEq>(&mut self, smoothing: ErrorSmoothing) -> &mut Self {
        register::<C>(self.world_mut(), smoothing, None);
        self
    }

    fn register_smoothing_action<C: GhostComponent + PartialEq>(&mut self, action: SmoothingAction<C>) -> &mut Self {
        // The action alone decides what is small or large.
        let all = ErrorSmoothing { max_distance: f32::INFINITY, ..ErrorSmoothing::default() };
        register::<C>(self.world_mut(), all, Some(action));
        self
    }
}

#[cfg(not(feature = "client"))]
fn register<C>(_world: &mut bevy_ecs::prelude::World, _smoothing: ErrorSmoothing, _action: Option<SmoothingAction<C>>) {
}
