//! A ghost prefab: what a type of ghost is made of and how it is replicated, the same on every side.

use super::component::GhostComponent;
use super::vtable::{ComponentVtable, InputVtable};
use crate::command::InputComponentData;

/// How clients show a ghost.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum GhostMode {
    /// In the past, blended between two snapshots. The default.
    #[default]
    Interpolated,
    /// Ahead of the server, simulated by every client.
    Predicted,
    /// Predicted by its owner, interpolated by everybody else.
    OwnerPredicted,
}

/// What a ghost type is made fit for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum GhostOptimizationMode {
    /// It changes often: rows are predicted from several that the client has, and clients may show its motion on for a while when nothing
    /// arrives. The default.
    #[default]
    Dynamic,
    /// It rests most of the time: a change is told against the last one alone, and nothing is shown that didn't arrive.
    ///
    /// Ghosts of either mode cost nothing while they rest.
    Static,
}

/// A blueprint of a ghost type, built by calls and handed to [`register_ghost`](super::GhostAppExt::register_ghost).
///
/// ```
/// # use ghostline::prelude::*;
/// # use bevy_ecs::prelude::*;
/// # use bevy_math::Vec3;
/// #[derive(Component, GhostComponent, Clone, Copy, Default, PartialEq)]
/// struct Position { #[ghost(quantization = 1000, smoothing = interpolate)] value: Vec3 }
///
/// let prefab = GhostPrefab::new("crate").component::<Position>().importance(4);
/// ```
#[derive(Clone)]
pub struct GhostPrefab {
    pub(crate) name: String,
    pub(crate) mode: GhostMode,
    pub(crate) has_owner: bool,
    pub(crate) auto_command_target: bool,
    pub(crate) commands_when_interpolated: bool,
    pub(crate) importance: u32,
    pub(crate) max_send_rate_hz: u8,
    pub(crate) optimization_mode: GhostOptimizationMode,
    pub(crate) single_baseline: bool,
    pub(crate) components: Vec<ComponentVtable>,
    pub(crate) inputs: Vec<InputVtable>,
}

impl GhostPrefab {
    /// An interpolated ghost without components; its name is its identity on every side.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            mode: GhostMode::Interpolated,
            has_owner: false,
            auto_command_target: true,
            commands_when_interpolated: false,
            importance: 1,
            max_send_rate_hz: 0,
            optimization_mode: GhostOptimizationMode::Dynamic,
            single_baseline: false,
            components: Vec::new(),
            inputs: Vec::new(),
        }
    }

    /// Replicates the ghost fields of `C`.
    pub fn component<C: GhostComponent + PartialEq>(mut self) -> Self {
        self.components.push(ComponentVtable::of::<C>());
        self
    }

    /// Replicates the ghost fields of `C`, which no client predicts, not even on ghosts that it predicts: a score, a team, whatever only the
    /// server changes. Such a ghost shows what the server said last, is never rolled back for it, and a rollback leaves it alone.
    pub fn unpredicted_component<C: GhostComponent + PartialEq>(mut self) -> Self {
        self.components.push(ComponentVtable::unpredicted::<C>());
        self
    }

    /// Gives the ghost the input component `I`, filled from its owner's commands on every tick. Needs an owner.
    pub fn input<I: InputComponentData>(mut self) -> Self {
        self.inputs.push(InputVtable::of::<I>());
        self
    }

    /// Clients show this ghost between two snapshots. The default.
    pub fn interpolated(mut self) -> Self {
        self.mode = GhostMode::Interpolated;
        self
    }

    /// Every client predicts this ghost.
    pub fn predicted(mut self) -> Self {
        self.mode = GhostMode::Predicted;
        self
    }

    /// Its owner predicts this ghost, the others interpolate it. Gives it a [`GhostOwner`](super::GhostOwner).
    pub fn owner_predicted(mut self) -> Self {
        self.mode = GhostMode::OwnerPredicted;
        self.has_owner = true;
        self
    }

    /// Gives the ghost a [`GhostOwner`](super::GhostOwner), nobody at first.
    pub fn owned(mut self) -> Self {
        self.has_owner = true;
        self
    }

    /// Whether an owned ghost takes its owner's commands by itself. Default: yes.
    pub fn auto_command_target(mut self, enabled: bool) -> Self {
        self.auto_command_target = enabled;
        self
    }

    /// Whether the owner's commands are sent also while it shows the ghost interpolated. Default: no.
    pub fn commands_when_interpolated(mut self, enabled: bool) -> Self {
        self.commands_when_interpolated = enabled;
        self
    }

    /// How urgent this type is, against others when not everything fits: 1 (the default) or more.
    pub fn importance(mut self, importance: u32) -> Self {
        self.importance = importance.max(1);
        self
    }

    /// How many times per second a ghost of this type is sent at most, in Hz. 0, the default: with every snapshot. Of a network rate of 60 Hz
    /// every third snapshot is 20 Hz, every seventh 9 Hz.
    pub fn max_send_rate(mut self, hz: u8) -> Self {
        self.max_send_rate_hz = hz;
        self
    }

    /// What the type is made fit for.
    pub fn optimization_mode(mut self, mode: GhostOptimizationMode) -> Self {
        self.optimization_mode = mode;
        self
    }

    /// Whether rows are told against one earlier row only, never predicted from several. Default: no.
    pub fn single_baseline(mut self, enabled: bool) -> Self {
        self.single_baseline = enabled;
        self
    }

    /// What both sides must agree on besides the components.
    pub(crate) fn options_text(&self) -> String {
        let mode = match self.mode {
            GhostMode::Interpolated => "interpolated",
            GhostMode::Predicted => "predicted",
            GhostMode::OwnerPredicted => "owner_predicted",
        };
        if self.has_owner { format!("{mode} owner") } else { mode.to_owned() }
    }
}
