//! Whose a ghost is, and whether it takes its owner's commands by itself.

use bevy_ecs::prelude::Component;
use ghostline_wire::{ComponentSchema, FieldKind, FieldSchema, QuantiseStats, Smoothing};

use super::component::GhostComponent;
use crate::connection::NetworkId;

/// The client that owns this ghost. Set by the server, replicated to everybody; [`NetworkId::NOBODY`] is nobody, on purpose.
#[derive(Component, Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct GhostOwner(pub NetworkId);

/// On a client: this ghost is the local player's. The way to find one's own ghosts, and to leave others' inputs alone.
#[derive(Component, Clone, Copy, PartialEq, Eq, Debug, Default)]
#[component(storage = "SparseSet")]
pub struct GhostOwnerIsLocal;

/// This ghost takes its owner's commands without a [`CommandTarget`](crate::connection::CommandTarget).
#[derive(Component, Clone, Copy, PartialEq, Eq, Debug)]
pub struct AutoCommandTarget {
    /// Off: commands for this ghost are neither sent nor accepted. Default: on.
    pub enabled: bool,
}

impl Default for AutoCommandTarget {
    fn default() -> Self {
        Self { enabled: true }
    }
}

impl GhostComponent for GhostOwner {
    const LANES: usize = 1;

    fn schema() -> ComponentSchema {
        ComponentSchema {
            name: "GhostOwner".into(),
            fields: vec![FieldSchema {
                name: "network_id".into(),
                kind: FieldKind::U32,
                quantization: 0,
                smoothing: Smoothing::Clamp,
                max_smoothing_distance: None,
            }],
        }
    }

    fn write_lanes(&self, lanes: &mut [u32], _stats: &mut QuantiseStats) {
        if let Some(lane) = lanes.first_mut() {
            *lane = self.0.0;
        }
    }

    fn read_lanes(&mut self, lanes: &[u32]) {
        if let Some(&lane) = lanes.first() {
            self.0 = NetworkId(lane);
        }
    }

    fn blend(&mut self, from: &[u32], to: &[u32], factor: f32) {
        self.read_lanes(if factor < 1.0 { from } else { to });
    }
}
