//! How a row of a chunk with a base is written: its first bits.

use crate::bits::{BitReader, BitWriter};
use crate::error::DecodeError;

/// How a row of a chunk with a base is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowForm {
    /// `1`: the model's usual fields, without flags.
    Usual,
    /// `01`: the usual fields, and others as flagged.
    Mixed,
    /// `001`: against the prediction, with flags as in section 5.5.
    Flagged,
    /// `000`: a ghost body and a row of section 5.5.
    Plain,
}

impl RowForm {
    /// Bits of the plain form.
    pub const PLAIN_BITS: usize = 3;

    /// Writes the form's code.
    #[inline]
    pub fn write(self, out: &mut BitWriter) {
        match self {
            Self::Usual => out.write_bits(1, 1),
            Self::Mixed => out.write_bits(0b10, 2),
            Self::Flagged => out.write_bits(0b100, 3),
            Self::Plain => out.write_bits(0, 3),
        }
    }

    /// Reads a form's code.
    ///
    /// # Errors
    /// What reading bits can end in.
    #[inline]
    pub fn read(input: &mut BitReader<'_>) -> Result<Self, DecodeError> {
        if input.read_bool()? {
            return Ok(Self::Usual);
        }
        if input.read_bool()? {
            return Ok(Self::Mixed);
        }
        Ok(if input.read_bool()? { Self::Flagged } else { Self::Plain })
    }
}
