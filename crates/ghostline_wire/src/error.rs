//! Why bytes could not be decoded.
//! Made by every decoder of this crate; the receiving systems count it and drop the packet or the connection.
//! Small and `Copy`, so that a flood of bad packets costs no allocation.

use core::error::Error;
use core::fmt;

/// Why a decoder gave up. Where it stands in the stream after an error says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DecodeError {
    /// The message ends inside a field.
    UnexpectedEnd,
    /// A packed integer beyond 2³²−1.
    BadPackedInteger,
    /// Bits that only fill up a byte are not zero.
    BadPadding,
    /// Bits are left over where the message should have ended.
    TrailingBits,
    /// A number is above a bound of [`limits`](crate::limits).
    LimitExceeded {
        /// What was counted.
        what: &'static str,
        /// The largest allowed value.
        limit: u32,
        /// The received value.
        got: u32,
    },
    /// A value that nothing valid has.
    BadValue {
        /// What has that value.
        what: &'static str,
    },
    /// A row names a baseline that the receiver does not hold.
    MissingBaseline,
    /// A type number that the receiver does not know.
    UnknownType,
}

impl DecodeError {
    /// `Ok(got)` if it is at most `limit`.
    #[inline]
    pub(crate) fn check_limit(what: &'static str, limit: u32, got: u32) -> Result<u32, Self> {
        if got <= limit { Ok(got) } else { Err(Self::LimitExceeded { what, limit, got }) }
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnexpectedEnd => f.write_str("the message ends inside a field"),
            Self::BadPackedInteger => f.write_str("a packed integer is beyond 32 bits"),
            Self::BadPadding => f.write_str("padding bits are not zero"),
            Self::TrailingBits => f.write_str("bits are left over after the message"),
            Self::LimitExceeded { what, limit, got } => {
                write!(f, "{what}: {got} is above the limit of {limit}")
            }
            Self::BadValue { what } => write!(f, "{what}: not a valid value"),
            Self::MissingBaseline => f.write_str("a row refers to a baseline that is not held here"),
            Self::UnknownType => f.write_str("a type number is unknown here"),
        }
    }
}

impl Error for DecodeError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_error_names_what_was_exceeded() {
        let error = DecodeError::check_limit("despawns", 256, 300).unwrap_err();
        assert_eq!(error.to_string(), "despawns: 300 is above the limit of 256");
        assert_eq!(DecodeError::check_limit("despawns", 256, 256), Ok(256));
    }
}
