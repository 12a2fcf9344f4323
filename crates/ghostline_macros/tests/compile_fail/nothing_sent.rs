use ghostline::{CommandData, GhostComponent, InputComponentData};

#[derive(GhostComponent)]
struct Local {
    timer: f32,
}

#[derive(GhostComponent)]
struct Marker;

#[derive(CommandData)]
struct Nothing {}

#[derive(InputComponentData)]
struct Idle;

fn main() {}
