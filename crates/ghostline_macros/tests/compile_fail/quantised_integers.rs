use ghostline::{CommandData, GhostComponent};

#[derive(GhostComponent)]
struct Ghost {
    #[ghost(quantization = 10)]
    health: u16,
    #[ghost(quantization = 10, smoothing = interpolate)]
    alive: bool,
}

#[derive(CommandData)]
struct Command {
    #[input(quantization = 10)]
    horizontal: i8,
}

fn main() {}
