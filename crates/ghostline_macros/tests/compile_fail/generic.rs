use ghostline::{CommandData, GhostComponent, RpcCommand};

#[derive(GhostComponent)]
struct Pair<T> {
    #[ghost]
    left: T,
    #[ghost]
    right: T,
}

#[derive(CommandData)]
struct Presses<const N: usize> {
    first: u32,
}

#[derive(RpcCommand)]
struct Text<'a> {
    text: &'a str,
}

fn main() {}
