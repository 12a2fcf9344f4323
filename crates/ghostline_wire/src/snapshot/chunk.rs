//! The chunk section of a snapshot packet, `docs/wire-format.md` section 5.4: which chunks it speaks of, and how a body begins.
//! Chunks without news take no bits, or few; a chunk in which the same ghosts move as before takes two.

use core::ops::Range;

use super::mask::{MOST_MASK_BITS, mask_bits, read_mask, write_mask};
use crate::bits::{BitReader, BitWriter};
use crate::error::DecodeError;
use crate::limits::MAX_CHUNKS;
use crate::packed::{MOST_PACKED_BITS, packed_bits};

/// What comes next in the chunk section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChunkStep {
    /// The body of the chunk at the position.
    Body,
    /// Chunks without bits.
    Gap(ChunkGap),
    /// Nothing more. `quiet`: all chunks from the position on are covered, and nothing changed in them.
    End {
        /// Whether the rest is covered.
        quiet: bool,
    },
}

impl ChunkStep {
    /// Bits that say that a body follows.
    pub const BODY_BITS: usize = 1;
    /// Bits of the end.
    pub const END_BITS: usize = 3;

    /// Writes it.
    pub fn write(self, out: &mut BitWriter) {
        match self {
            Self::Body => out.write_bits(1, 1),
            Self::Gap(gap) => {
                out.write_bits(0b10, 2);
                out.write_packed(gap.skipped);
                out.write_packed(gap.quiet);
            }
            Self::End { quiet } => out.write_bits(u32::from(quiet) << 2, 3),
        }
    }

    /// Reads it.
    ///
    /// # Errors
    /// [`DecodeError::LimitExceeded`] for a gap of more chunks than a world can have, and what reading bits can end in.
    pub fn read(input: &mut BitReader<'_>) -> Result<Self, DecodeError> {
        if input.read_bool()? {
            return Ok(Self::Body);
        }
        if !input.read_bool()? {
            return Ok(Self::End { quiet: input.read_bool()? });
        }
        let chunks = "chunks";
        Ok(Self::Gap(ChunkGap {
            skipped: DecodeError::check_limit(chunks, MAX_CHUNKS, input.read_packed()?)?,
            quiet: DecodeError::check_limit(chunks, MAX_CHUNKS, input.read_packed()?)?,
        }))
    }
}

/// Chunks that nothing is said of, then chunks without news.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChunkGap {
    /// Chunks that are not covered.
    pub skipped: u32,
    /// Then chunks that are covered and in which nothing changed.
    pub quiet: u32,
}

impl ChunkGap {
    /// The quiet chunks, if this gap begins with chunk `from`. The position behind the gap is where they end.
    ///
    /// # Errors
    /// [`DecodeError::LimitExceeded`] if they end beyond the last chunk that a world can have.
    pub fn quiet_chunks(self, from: u32) -> Result<Range<u32>, DecodeError> {
        let begin = from.saturating_add(self.skipped);
        let end = begin.saturating_add(self.quiet);
        DecodeError::check_limit("chunks", MAX_CHUNKS, end)?;
        Ok(begin..end)
    }
}

/// How a body begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyForm {
    /// The base named last, all covered, changed as in the reference.
    Repeated,
    /// The same but for the slots of a mask that follows.
    Same,
    /// The base named last; cover and mask follow.
    Partial,
    /// Everything is said.
    Full,
}

impl BodyForm {
    /// Bits of the longest form's code.
    pub const MOST_BITS: usize = 3;

    /// Writes the form's code.
    pub fn write(self, out: &mut BitWriter) {
        match self {
            Self::Repeated => out.write_bits(1, 1),
            Self::Same => out.write_bits(0b10, 2),
            Self::Partial => out.write_bits(0b100, 3),
            Self::Full => out.write_bits(0, 3),
        }
    }

    /// Reads a form's code.
    ///
    /// # Errors
    /// What reading bits can end in.
    pub fn read(input: &mut BitReader<'_>) -> Result<Self, DecodeError> {
        if input.read_bool()? {
            return Ok(Self::Repeated);
        }
        if input.read_bool()? {
            return Ok(Self::Same);
        }
        Ok(if input.read_bool()? { Self::Partial } else { Self::Full })
    }
}

/// The slots of a chunk that a body says nothing of, or only that they have not changed lately.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChunkCover {
    /// Bit i: slot i is not covered.
    pub uncovered: u64,
    /// The ghosts of all these have not changed for so many ticks; 0: nothing is said of them.
    pub settled_ticks: u32,
}

impl ChunkCover {
    /// Bits of any.
    pub const MOST_BITS: usize = 1 + MOST_MASK_BITS as usize + MOST_PACKED_BITS as usize;

    /// Bits of [`write`](Self::write).
    #[must_use]
    pub fn bit_len(self) -> usize {
        if self.uncovered == 0 {
            return 1;
        }
        (mask_bits(self.uncovered) as usize).saturating_add(packed_bits(self.settled_ticks) as usize).saturating_add(1)
    }

    /// Writes it: one bit if everything is covered.
    pub fn write(self, out: &mut BitWriter) {
        out.write_bool(self.uncovered == 0);
        if self.uncovered != 0 {
            write_mask(self.uncovered, out);
            out.write_packed(self.settled_ticks);
        }
    }

    /// Reads what [`write`](Self::write) wrote.
    ///
    /// # Errors
    /// What reading a mask can end in.
    pub fn read(input: &mut BitReader<'_>) -> Result<Self, DecodeError> {
        if input.read_bool()? {
            return Ok(Self::default());
        }
        Ok(Self { uncovered: read_mask(input)?, settled_ticks: input.read_packed()? })
    }
}

#[cfg(test)]
mod tests {
    use super::super::read_back;
    use super::*;

    #[test]
    fn steps_come_back_and_the_usual_ones_are_short() {
        let gap = ChunkStep::Gap(ChunkGap { skipped: 3, quiet: 157 });
        for step in [ChunkStep::Body, gap, ChunkStep::End { quiet: true }, ChunkStep::End { quiet: false }] {
            assert_eq!(read_back(|out| step.write(out), ChunkStep::read), Ok(step));
        }
        for form in [BodyForm::Repeated, BodyForm::Same, BodyForm::Partial, BodyForm::Full] {
            assert_eq!(read_back(|out| form.write(out), BodyForm::read), Ok(form));
        }
        let mut out = BitWriter::new();
        ChunkStep::Body.write(&mut out);
        BodyForm::Repeated.write(&mut out);
        assert_eq!(out.bit_len(), 2);
        ChunkStep::End { quiet: true }.write(&mut out);
        assert_eq!(out.bit_len(), 2 + ChunkStep::END_BITS);
    }

    #[test]
    fn a_gap_tells_which_chunks_are_quiet() {
        let gap = ChunkGap { skipped: 3, quiet: 10 };
        assert_eq!(gap.quiet_chunks(5), Ok(8..18));
        assert_eq!(gap.quiet_chunks(65_523), Ok(65_526..65_536));
        for from in [65_524, u32::MAX] {
            assert!(matches!(gap.quiet_chunks(from), Err(DecodeError::LimitExceeded { limit: 65_536, .. })));
        }
        let far = ChunkStep::Gap(ChunkGap { skipped: 0, quiet: 65_537 });
        assert!(matches!(read_back(|out| far.write(out), ChunkStep::read), Err(DecodeError::LimitExceeded { .. })));
    }

    #[test]
    fn a_cover_comes_back_and_costs_a_bit_if_it_is_whole() {
        for uncovered in [0, 1, 1 << 63, u64::MAX, 0x8421] {
            for settled_ticks in [0, 1, 400] {
                let settled_ticks = if uncovered == 0 { 0 } else { settled_ticks };
                let cover = ChunkCover { uncovered, settled_ticks };
                assert_eq!(read_back(|out| cover.write(out), ChunkCover::read), Ok(cover));
                let mut out = BitWriter::new();
                cover.write(&mut out);
                assert_eq!(out.bit_len(), cover.bit_len());
            }
        }
        let mut out = BitWriter::new();
        ChunkCover::default().write(&mut out);
        assert_eq!(out.bit_len(), 1);
    }
}
