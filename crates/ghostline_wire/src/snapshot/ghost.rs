//! What stands before the row of a ghost that is not predicted, `docs/wire-format.md` section 5.4: whether it stands for itself, or against
//! which baseline.

use crate::bits::{BitReader, BitWriter};
use crate::error::DecodeError;
use crate::tick::NetworkTick;

/// What the row of a changed slot is coded against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GhostBody {
    /// Zeros: the row stands for itself.
    Absolute {
        /// Ticks from the ghost's spawn to the packet's tick.
        spawn_age: u32,
    },
    /// A row that the client holds.
    Delta {
        /// Ticks from the baseline to the packet's tick, 1 or more.
        baseline_age: u32,
    },
}

/// Writes what stands before a row. `previous_age` is the baseline age of the last delta of this chunk;
/// begin every chunk with `None`.
pub fn write_ghost_body(out: &mut BitWriter, body: GhostBody, previous_age: &mut Option<u32>) {
    match body {
        GhostBody::Absolute { spawn_age } => {
            out.write_bool(false);
            out.write_packed(spawn_age);
        }
        GhostBody::Delta { baseline_age } => {
            let same = *previous_age == Some(baseline_age);
            out.write_bool(true);
            out.write_bool(same);
            if !same {
                out.write_packed(baseline_age);
                *previous_age = Some(baseline_age);
            }
        }
    }
}

/// Reads what stands before a row. `previous_age` as for [`write_ghost_body`].
///
/// # Errors
/// [`DecodeError::BadValue`] for an age that no tick can have, a baseline age of 0, and a reference to a previous delta
/// where there is none, and what reading bits can end in.
pub fn read_ghost_body(input: &mut BitReader<'_>, previous_age: &mut Option<u32>) -> Result<GhostBody, DecodeError> {
    if !input.read_bool()? {
        let spawn_age = check_age(input.read_packed()?, "spawn age")?;
        return Ok(GhostBody::Absolute { spawn_age });
    }
    let what = "baseline age";
    let baseline_age = if input.read_bool()? {
        previous_age.ok_or(DecodeError::BadValue { what })?
    } else {
        check_age(input.read_packed()?, what)?
    };
    if baseline_age == 0 {
        return Err(DecodeError::BadValue { what });
    }
    *previous_age = Some(baseline_age);
    Ok(GhostBody::Delta { baseline_age })
}

/// The age if two ticks can be that far apart.
fn check_age(age: u32, what: &'static str) -> Result<u32, DecodeError> {
    if age <= NetworkTick::MAX_INDEX { Ok(age) } else { Err(DecodeError::BadValue { what }) }
}

#[cfg(test)]
mod tests {
    use super::super::read_back;
    use super::*;

    #[test]
    fn a_baseline_is_named_once_while_it_stays_the_same() {
        let bodies = [
            GhostBody::Delta { baseline_age: 6 },
            GhostBody::Delta { baseline_age: 6 },
            GhostBody::Absolute { spawn_age: 0 },
            GhostBody::Delta { baseline_age: 6 },
            GhostBody::Delta { baseline_age: 7 },
        ];
        let mut out = BitWriter::new();
        let mut previous = None;
        let sizes: Vec<usize> = bodies
            .iter()
            .map(|body| {
                let before = out.bit_len();
                write_ghost_body(&mut out, *body, &mut previous);
                out.bit_len() - before
            })
            .collect();
        assert_eq!(sizes, [7, 2, 3, 2, 7]);
        let mut input = BitReader::with_bits(out.as_bytes(), out.bit_len());
        let mut previous = None;
        for body in bodies {
            assert_eq!(read_ghost_body(&mut input, &mut previous), Ok(body));
        }
        assert!(input.is_empty());
    }

    #[test]
    fn an_age_that_no_tick_can_have_is_malformed() {
        let decode = |bits: u32, age: Option<u32>| {
            read_back(
                |out| {
                    out.write_bits(bits, if bits == 0 { 1 } else { 2 });
                    if let Some(age) = age {
                        out.write_packed(age);
                    }
                },
                |input| read_ghost_body(input, &mut None),
            )
        };
        let bad_baseline = Err(DecodeError::BadValue { what: "baseline age" });
        assert_eq!(decode(0b11, None), bad_baseline, "the same as none");
        assert_eq!(decode(0b01, Some(0)), bad_baseline);
        assert_eq!(decode(0b01, Some(1 << 31)), bad_baseline);
        assert_eq!(decode(0b01, Some((1 << 31) - 1)), Ok(GhostBody::Delta { baseline_age: (1 << 31) - 1 }));
        assert_eq!(decode(0, Some(1 << 31)), Err(DecodeError::BadValue { what: "spawn age" }));
    }
}
