use ghostline::{CommandData, GhostComponent, RpcCommand};

#[derive(GhostComponent)]
struct Ghost {
    #[ghost(quantization = 0)]
    zero: f32,
    #[ghost(quantization = -1)]
    negative: f32,
    #[ghost(quantization = 4294967296)]
    too_large: f32,
    #[ghost(quantization = 0.5)]
    fraction: f32,
    #[ghost(smoothing = linear)]
    unknown_smoothing: f32,
    #[ghost(smoothing = "interpolate")]
    quoted_smoothing: f32,
    #[ghost(smoothing = interpolate, max_smoothing_distance = -1.0)]
    negative_distance: f32,
    #[ghost(smoothing = interpolate, max_smoothing_distance = 0)]
    no_distance: f32,
    #[ghost(smoothing = interpolate, max_smoothing_distance = 1e99)]
    infinite_distance: f32,
    #[ghost(max_smoothing_distance = 2.0)]
    distance_of_nothing: f32,
}

#[derive(CommandData)]
struct Command {
    #[input(quantization = 0)]
    zero: f32,
}

#[derive(RpcCommand)]
#[rpc(name = "")]
struct Nameless;

#[derive(RpcCommand)]
#[rpc(name = "two words")]
struct TwoWords;

fn main() {}
