use bevy_ecs::component::Component;
use ghostline::{GhostComponent, InputComponentData, RpcCommand};

#[derive(Component, GhostComponent, Clone, Default)]
struct Ghost {
    #[ghost]
    name: String,
}

#[derive(Component, InputComponentData, Clone, Default, PartialEq)]
struct Input {
    text: String,
}

#[derive(Component, RpcCommand)]
struct Message {
    text: String,
}

fn main() {}
