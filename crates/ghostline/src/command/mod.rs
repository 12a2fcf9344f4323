//! Commands: what players ask for, tick by tick. On a client sampled (`input`) into buffers and sent (`send`); on the server received
//! (`receive`) into buffers; on both sides applied for every simulated tick (`input`).

#[cfg(feature = "server")]
mod arrival;
mod buffer;
mod buffer_ops;
mod coder;
mod data;
mod input;
mod input_event;
mod input_ops;
#[cfg(feature = "client")]
mod migration;
#[cfg(feature = "client")]
mod others;
#[cfg(feature = "server")]
mod receive;
mod registry;
mod replicated;
#[cfg(feature = "client")]
mod send;
#[cfg(feature = "server")]
mod store;

#[cfg(feature = "server")]
pub use arrival::CommandArrivalStatistics;
pub use buffer::{COMMAND_BUFFER_CAPACITY, CommandBuffer, MAX_EARLIER_COMMANDERS};
pub use data::{CommandCodec, CommandData, CommandValue, InputComponentData, InputField};
pub(crate) use input::apply;
#[cfg(feature = "client")]
pub(crate) use input::{carry_over, forget_carried, input_changes_after, lose};
pub use input::{gather, restore_for_gathering};
pub use input_event::InputEvent;
#[cfg(feature = "client")]
pub(crate) use migration::{CarriedInputs, put_inputs, take_inputs};
#[cfg(feature = "client")]
pub(crate) use others::receive_replicated;
#[cfg(all(test, feature = "server"))]
pub(crate) use receive::shown_age;
#[cfg(feature = "server")]
pub use receive::{MAX_COMMAND_BYTES_PER_TICK, MAX_COMMAND_PACKETS_PER_TICK, receive};
pub use registry::CommandAppExt;
#[cfg(feature = "server")]
pub(crate) use registry::type_hashes;
pub(crate) use registry::{CommandRegistry, register_input};
#[cfg(feature = "client")]
pub(crate) use registry::{forget_server_types, learn_server_types};
pub(crate) use replicated::ReplicatedInput;
#[cfg(feature = "client")]
pub(crate) use send::CommandSender;
#[cfg(feature = "client")]
pub use send::send;
