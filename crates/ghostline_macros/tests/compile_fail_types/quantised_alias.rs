use bevy_ecs::component::Component;
use ghostline::GhostComponent;

type Health = u16;

#[derive(Component, GhostComponent, Clone, Default)]
struct Ghost {
    #[ghost(quantization = 10)]
    health: Health,
}

fn main() {}
