//! Why a connection ends: the reason that one side gives, and the cause that the other side is told.
//! Reasons come from the layer above, travel with the closing message, and arrive in `DriverEvent::Disconnected`.

use core::fmt;
use std::net::SocketAddr;

use crate::limits::MAX_CLOSE_TEXT_BYTES;

/// The reason that a side gives when it closes a connection. It always travels to the other side.
///
/// The meaning of `code` belongs to the layer above; 0 is "closed by own request".
#[derive(Clone, Default, PartialEq, Eq, Hash, Debug)]
pub struct CloseReason {
    /// What happened, in one byte. Default 0.
    pub code: u8,
    /// One line for a person to read, at most [`MAX_CLOSE_TEXT_BYTES`] bytes when it travels. Default empty.
    pub text: String,
}

impl CloseReason {
    /// A reason with a text, which is cut to [`MAX_CLOSE_TEXT_BYTES`] at a character boundary.
    pub fn new(code: u8, text: impl Into<String>) -> Self {
        let text = text.into();
        Self { code, text }.bounded()
    }

    /// A reason without a text.
    pub const fn from_code(code: u8) -> Self {
        Self { code, text: String::new() }
    }

    /// This reason with its text cut to the bound. Drivers apply it to what they are given, because the fields are
    /// public.
    #[must_use]
    pub fn bounded(mut self) -> Self {
        let end = self.text.floor_char_boundary(MAX_CLOSE_TEXT_BYTES);
        self.text.truncate(end);
        self
    }
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.text.is_empty() {
            write!(f, "code {}", self.code)
        } else {
            write!(f, "code {}: {}", self.code, self.text)
        }
    }
}

/// Why a driver reports a connection as gone.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum DisconnectCause {
    /// The other side closed the connection and said why.
    ClosedByRemote(CloseReason),
    /// The connection was closed on this side by something other than
    /// [`Driver::disconnect`](crate::Driver::disconnect), which raises no event.
    ClosedLocally,
    /// Nothing was heard for `disconnect_timeout_ms`.
    Timeout,
    /// Nobody answered within `connect_timeout_ms` × `max_connect_attempts`.
    MaxConnectionAttempts,
    /// The server takes no further connections.
    Refused,
    /// The other side broke the rules of the transport.
    ProtocolError,
    /// The server showed another certificate than the one that was pinned, or one that nobody vouches for.
    Untrusted,
    /// The server's name leads to another machine, and nobody said how to recognise it.
    NotTrusted {
        /// Where the name leads.
        address: SocketAddr,
    },
    /// The server's name leads nowhere.
    NameNotResolved {
        /// What the resolver said.
        text: String,
    },
}

impl fmt::Display for DisconnectCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ClosedByRemote(reason) => write!(f, "closed by the remote side ({reason})"),
            Self::ClosedLocally => f.write_str("closed on this side"),
            Self::Timeout => f.write_str("timed out"),
            Self::MaxConnectionAttempts => f.write_str("all attempts to connect went unanswered"),
            Self::Refused => f.write_str("refused by the server"),
            Self::ProtocolError => f.write_str("transport protocol violated"),
            Self::Untrusted => f.write_str(
                "the server's certificate is not one that is believed: ask the server for its present join string",
            ),
            Self::NotTrusted { address } => write!(
                f,
                "the name leads to {address} on another machine, whose certificate is not known: \
                 connect with the join string that the server prints (ADDRESS#HASH)"
            ),
            Self::NameNotResolved { text } => write!(f, "the server's name can't be looked up: {text}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_is_cut_at_a_character_boundary() {
        // Three bytes per character: 256 is no multiple of 3, so the cut falls inside a character.
        let reason = CloseReason::new(7, "\u{20AC}".repeat(100));
        assert_eq!(reason.text.len(), 255);
        assert_eq!(reason.text, "\u{20AC}".repeat(85));
        assert_eq!(reason.code, 7);
    }

    #[test]
    fn a_text_of_exactly_the_bound_stays_whole() {
        let text = "x".repeat(MAX_CLOSE_TEXT_BYTES);
        assert_eq!(CloseReason::new(0, text.clone()).text, text);
    }

    #[test]
    fn a_reason_prints_its_text_only_if_it_has_one() {
        assert_eq!(CloseReason::from_code(3).to_string(), "code 3");
        assert_eq!(CloseReason::new(3, "bye").to_string(), "code 3: bye");
    }
}
