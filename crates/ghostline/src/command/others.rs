//! Client: what others press, as the server says, for whoever predicts their ghosts.

use bevy_ecs::world::EntityWorldMut;
use ghostline_wire::NetworkTick;

use super::buffer::CommandBuffer;
use super::data::InputComponentData;
use crate::ghost::GhostOwnerIsLocal;

/// What the server says that a ghost was simulated with in `tick` goes into its command buffer, unless the player commands it himself. True if
/// prediction did not expect it.
pub(crate) fn receive_replicated<I: InputComponentData>(
    ghost: &mut EntityWorldMut<'_>,
    tick: NetworkTick,
    lanes: &[u32],
) -> bool {
    if ghost.contains::<GhostOwnerIsLocal>() {
        return false;
    }
    let Some(mut buffer) = ghost.get_mut::<CommandBuffer<I>>() else { return false };
    let mut input = I::default();
    input.read_ghost_lanes(lanes);
    let is_news = buffer.get_at_tick(tick).is_none_or(|(_, expected)| *expected != input);
    buffer.store_replicated(tick, input);
    is_news
}
