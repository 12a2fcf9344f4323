//! The cube traces: frames of 901 rigid cubes at 60 Hz, in the format of the compression challenge of 2015.
//! A file of unpacked frames in, one line of figures out; no code here or below knows that these are cubes.

use ghostline::wire::{FieldKind, GhostSchema};
use std::path::Path;

use crate::codec::component;
use crate::replay::Replay;
use crate::report::Report;

/// Cubes of a frame.
const CUBES: usize = 901;
/// Integers of a cube: largest component of the orientation, the three others, position, whether it interacts.
const VALUES: usize = 8;
const FRAME_BYTES: usize = CUBES * VALUES * 4;
/// The challenge begins to score when a baseline of 100 ms exists.
const FIRST_SCORED: usize = 6;

/// Which of the codec's tiers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Tier {
    /// Prefix codes, shared between clients.
    Fast,
    /// One arithmetic stream per packet.
    Dense,
}

/// Options of the command.
#[derive(Clone, Copy, Debug)]
pub struct Options<'a> {
    /// The unpacked frames.
    pub file: &'a Path,
    /// Age of the baseline, in frames.
    pub lag: u32,
    /// Which tier.
    pub tier: Tier,
    /// Share of packets lost, each way.
    pub loss: f32,
    /// Of the losses.
    pub seed: u64,
    /// Trained tables, if any.
    pub tables: Option<&'a Path>,
    /// Count what the bits are spent on.
    pub bits: bool,
}

fn schema() -> GhostSchema {
    GhostSchema {
        name: "cube".to_owned(),
        options: String::new(),
        components: vec![
            component(
                "Orientation",
                &[
                    ("largest", FieldKind::U8, 0),
                    ("a", FieldKind::U16, 0),
                    ("b", FieldKind::U16, 0),
                    ("c", FieldKind::U16, 0),
                ],
            ),
            component("Position", &[("value", FieldKind::Vec3, 512)]),
            component("Interacting", &[("value", FieldKind::Bool, 0)]),
        ],
    }
}

/// Runs the command.
///
/// # Errors
/// What can't be done, in words: a file that isn't there or holds no whole frames, a tier that doesn't exist.
pub fn run(options: &Options<'_>) -> Result<Report, String> {
    if options.tier == Tier::Dense {
        return Err("there is no dense tier; run with `--tier fast`".to_owned());
    }
    if let Some(tables) = options.tables {
        return Err(format!(
            "trained tables are not supported, so `{}` is not used; run without `--tables`",
            tables.display()
        ));
    }
    let bytes = std::fs::read(options.file).map_err(|error| {
        format!(
            "the cube frames are not there: looked for `{}` ({error}). It holds unpacked frames of {CUBES} × {VALUES} little-endian i32; \
             unpack a trace with `xz -dk cubes_A.bin.xz` and name the result",
            options.file.display()
        )
    })?;
    if bytes.is_empty() || bytes.len() % FRAME_BYTES != 0 {
        return Err(format!(
            "`{}` holds {} bytes, which is no number of whole frames of {FRAME_BYTES} bytes; is it still packed?",
            options.file.display(),
            bytes.len()
        ));
    }
    let (values, _) = bytes.as_chunks::<4>();
    let frames = bytes.len() / FRAME_BYTES;
    let schema = schema();
    let replay = Replay {
        schema: &schema,
        ghosts: CUBES,
        frames,
        first_counted: FIRST_SCORED.min(frames - 1),
        rate: 60.0,
        lag: options.lag,
        loss: options.loss,
        seed: options.seed,
        bits: options.bits,
    };
    let figures = replay.run(|frame, cube, row| {
        let start = (frame * CUBES + cube) * VALUES;
        for (lane, value) in row.iter_mut().zip(&values[start..start + VALUES]) {
            *lane = u32::from_le_bytes(*value);
        }
    });
    let report = Report::new("cubes")
        .count("lag", u64::from(options.lag))
        .text("tier", "fast")
        .number("loss", f64::from(options.loss));
    Ok(figures.report(report).bits(figures.bits))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(file: &Path) -> Options<'_> {
        Options { file, lag: 6, tier: Tier::Fast, loss: 0.0, seed: 1, tables: None, bits: false }
    }

    #[test]
    fn a_missing_file_is_said_where_it_was_looked_for() {
        let Err(error) = run(&options(Path::new("no/such/file.bin"))) else { panic!("there is no such file") };
        assert!(error.contains("no/such/file.bin"), "{error}");
    }

    #[test]
    fn what_does_not_exist_is_refused() {
        let file = Path::new("no/such/file.bin");
        assert!(run(&Options { tier: Tier::Dense, ..options(file) }).is_err_and(|error| error.contains("dense")));
        assert!(run(&Options { tables: Some(file), ..options(file) }).is_err_and(|error| error.contains("tables")));
    }

    #[test]
    fn frames_come_out_as_they_went_in_over_a_lossy_link_too() {
        let mut bytes = Vec::new();
        for frame in 0..40i32 {
            for cube in 0..CUBES as i32 {
                let moving = if cube % 7 == 0 { frame } else { 0 };
                let row =
                    [cube % 4, 100 + moving, 511 - moving, 3, cube * 10 + moving * moving, -cube, moving, moving & 1];
                bytes.extend(row.iter().flat_map(|value| value.to_le_bytes()));
            }
        }
        let file = std::env::temp_dir().join(format!("ghostline_bench_cubes_{}.bin", std::process::id()));
        std::fs::write(&file, bytes).unwrap();
        for loss in [0.0, 0.2] {
            let report = run(&Options { loss, ..options(&file) }).unwrap().line();
            assert!(report.contains("\"mismatches\":0,"), "{report}");
        }
        std::fs::remove_file(&file).unwrap();
    }
}
