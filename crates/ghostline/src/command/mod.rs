//! Commands: what players ask for, tick by tick. On a client sampled (`input`) into buffers and sent (`send`); on the server received
//! (`receive`) into buffers; on both sides applied for every simulated tick (`input`).

mod buffer;
mod data;
mod input;
mod input_event;
mod receive;
mod registry;
mod send;

pub use buffer::{COMMAND_BUFFER_CAPACITY, CommandBuffer};
pub use data::{CommandData, InputComponentData, InputField};
pub(crate) use input::{apply, carry_over, forget_carried, input_changes_after};
pub use input::{gather, restore_for_gathering};
pub use input_event::InputEvent;
#[cfg(test)]
pub(crate) use receive::shown_age;
pub use receive::{MAX_COMMAND_PACKETS_PER_TICK, receive};
pub use registry::CommandAppExt;
pub(crate) use registry::{CommandRegistry, forget_server_types, learn_server_types, register_input, type_hashes};
pub(crate) use send::CommandSender;
pub use send::send;
