//! The README keeps its word: its program is the example, to the letter, and does what the page says.
//! Its other blocks are compiled as documentation tests of the crate.

use bevy_ecs::prelude::*;
use ghostline::prelude::*;
use ghostline_testkit::Fleet;

#[path = "../../examples/cube.rs"]
#[expect(dead_code, unreachable_pub, reason = "a program of its own, whose plugin is run here")]
mod cube;

const README: &str = include_str!("../../../../README.md");
const EXAMPLE: &str = include_str!("../../examples/cube.rs");
const MANIFEST: &str = include_str!("../../../../Cargo.toml");

/// The contents of the fenced blocks that begin with this line.
fn blocks(fence: &str) -> Vec<&'static str> {
    let begin = format!("\n{fence}\n");
    README
        .split(&begin)
        .skip(1)
        .filter_map(|rest| rest.split_inclusive("```\n").next()?.strip_suffix("```\n"))
        .collect()
}

#[test]
fn the_program_of_the_readme_is_the_example_and_has_at_most_80_lines() {
    let programs = blocks("```rust,no_run");
    assert_eq!(programs, [EXAMPLE]);
    assert!(EXAMPLE.lines().count() <= 80, "{} lines", EXAMPLE.lines().count());
}

#[test]
fn the_dependencies_of_the_readme_are_those_of_the_workspace() {
    let manifests = blocks("```toml");
    let lines: Vec<&str> =
        manifests.iter().flat_map(|block| block.lines()).filter(|line| line.starts_with("bevy_")).collect();
    assert_eq!(lines.len(), 4, "{lines:?}");
    for line in lines {
        assert!(MANIFEST.lines().any(|known| known == line), "{line}");
    }
}

#[test]
fn the_cube_of_the_readme_moves_by_its_own_input_before_the_server_answers() {
    let mut fleet = Fleet::builder().plugin(cube::Game).build();
    fleet.connect_all();
    fleet.ticks(30);
    let x = |world: &mut World| world.query::<&cube::Position>().single(world).expect("one cube").value.x;
    let (before_on_client, before_on_server) = (x(fleet.client(0).world_mut()), x(fleet.server().world_mut()));
    fleet.ticks(60);
    let (on_client, on_server) = (x(fleet.client(0).world_mut()), x(fleet.server().world_mut()));
    assert!((on_server - before_on_server - 1.0).abs() < 0.05, "a metre per second: {before_on_server} to {on_server}");
    assert!(on_client - before_on_client > 0.95, "a metre per second: {before_on_client} to {on_client}");
    assert!(on_client > on_server, "predicted: {on_client} is ahead of {on_server}");
    let world = fleet.client(0).world_mut();
    assert_eq!(world.query_filtered::<(), With<GhostOwnerIsLocal>>().iter(world).count(), 1);
}
