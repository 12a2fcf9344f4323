use bevy_ecs::component::Component;
use ghostline::RpcCommand;

#[derive(Component, RpcCommand)]
struct Heights {
    heights: [u8; 1025],
}

fn main() {
    Heights::canonical_text();
}
