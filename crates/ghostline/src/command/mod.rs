//! Commands: what players ask for, tick by tick.

mod data;
mod input_event;

pub use data::{CommandData, InputComponentData, InputField};
pub use input_event::InputEvent;
