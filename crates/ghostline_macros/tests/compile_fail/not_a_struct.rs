use ghostline::{CommandData, GhostComponent, InputComponentData, RpcCommand};

#[derive(GhostComponent)]
enum Door {
    Open,
    Closed,
}

#[derive(CommandData)]
union Bits {
    integer: u32,
    float: f32,
}

#[derive(InputComponentData)]
enum Stick {
    Left,
    Right,
}

#[derive(RpcCommand)]
enum Message {
    Text,
    Picture,
}

fn main() {}
