//! Commands: what players ask for, tick by tick. On a client sampled (`input`) into buffers and sent (`send`); on the server received
//! (`receive`) into buffers; on both sides applied for every simulated tick (`input`).

mod arrival;
mod buffer;
mod buffer_ops;
mod coder;
mod data;
mod input;
mod input_event;
mod input_ops;
mod migration;
mod receive;
mod registry;
mod replicated;
mod send;

pub use arrival::CommandArrivalStatistics;
pub use buffer::{COMMAND_BUFFER_CAPACITY, CommandBuffer, MAX_EARLIER_COMMANDERS};
pub use data::{CommandCodec, CommandData, CommandValue, InputComponentData, InputField};
pub(crate) use input::{apply, carry_over, forget_carried, input_changes_after, lose};
pub use input::{gather, restore_for_gathering};
pub use input_event::InputEvent;
pub(crate) use migration::{CarriedInputs, put_inputs, take_inputs};
#[cfg(test)]
pub(crate) use receive::shown_age;
pub use receive::{MAX_COMMAND_BYTES_PER_TICK, MAX_COMMAND_PACKETS_PER_TICK, receive};
pub use registry::CommandAppExt;
pub(crate) use registry::{CommandRegistry, forget_server_types, learn_server_types, register_input, type_hashes};
pub(crate) use replicated::{ReplicatedInput, receive_replicated};
pub(crate) use send::CommandSender;
pub use send::send;
