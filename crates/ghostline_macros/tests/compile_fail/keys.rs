use ghostline::{CommandData, GhostComponent, RpcCommand};

#[derive(GhostComponent)]
struct Ghost {
    #[ghost(quantisation = 1000)]
    spelled: f32,
    #[ghost(quantization = 10, quantization = 100)]
    repeated: f32,
    #[ghost(quantization = 10)]
    #[ghost(smoothing = clamp)]
    split: f32,
    #[ghost = 1000]
    without_parentheses: f32,
    #[ghost(quantization)]
    without_value: f32,
}

#[derive(GhostComponent)]
#[ghost(quantization = 10)]
struct OnTheStruct(#[ghost] f32);

#[derive(CommandData)]
struct Command {
    #[input(smoothing = interpolate)]
    smoothed: f32,
}

#[derive(RpcCommand)]
struct Message {
    #[rpc(quantization = 10)]
    height: f32,
}

fn main() {}
