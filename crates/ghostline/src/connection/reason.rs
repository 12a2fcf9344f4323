//! Why a connection ended: the full enumeration, its numbers, and how it crosses the link.

use ghostline_transport::{CloseReason, DisconnectCause};
use std::fmt;

/// Why a connection ended. The numbers are part of the wire format: the reason byte of a close.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
#[non_exhaustive]
#[repr(u8)]
pub enum DisconnectReason {
    /// Closed by a request of this side. The default of a request without a reason.
    #[default]
    ConnectionClose = 0,
    /// Nothing was heard from the other side for the disconnect time-out.
    Timeout = 1,
    /// Every attempt to connect went unanswered.
    MaxConnectionAttempts = 2,
    /// The other side closed without a more specific reason.
    ClosedByRemote = 3,
    /// The two sides were not built from the same protocol.
    BadProtocolVersion = 4,
    /// An RPC that is unknown, malformed, or forbidden in that state.
    InvalidRpc = 5,
    /// The server's certificate is not one that this client believes.
    AuthenticationFailure = 6,
    /// Too many messages that could not be read, or the transport's protocol was violated.
    ProtocolError = 7,
    /// The handshake was not finished in time.
    HandshakeTimeout = 100,
    /// The game refused the credentials.
    ApprovalFailure = 101,
    /// The approval was not finished in time.
    ApprovalTimeout = 102,
    /// The server has as many clients as it may.
    ServerFull = 103,
    /// The server's name leads nowhere. Told on this side only; nobody else has heard of the attempt.
    NameNotResolved = 104,
}

impl DisconnectReason {
    /// The reason byte of a close.
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// The reason for a reason byte; `None` for a number that no reason has.
    pub const fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            0 => Self::ConnectionClose,
            1 => Self::Timeout,
            2 => Self::MaxConnectionAttempts,
            3 => Self::ClosedByRemote,
            4 => Self::BadProtocolVersion,
            5 => Self::InvalidRpc,
            6 => Self::AuthenticationFailure,
            7 => Self::ProtocolError,
            100 => Self::HandshakeTimeout,
            101 => Self::ApprovalFailure,
            102 => Self::ApprovalTimeout,
            103 => Self::ServerFull,
            104 => Self::NameNotResolved,
            _ => return None,
        })
    }

    /// This reason as the transport carries it to the other side, with a text for people to read.
    pub fn to_close(self, text: &str) -> CloseReason {
        CloseReason::new(self.code(), text)
    }

    /// The reason of an end that the transport reports. A plain close by the other side is
    /// [`ClosedByRemote`](Self::ClosedByRemote); a specific reason that it gave is kept.
    pub fn from_cause(cause: &DisconnectCause) -> Self {
        match cause {
            DisconnectCause::ClosedByRemote(close) => match Self::from_code(close.code) {
                Some(Self::ConnectionClose) | None => Self::ClosedByRemote,
                Some(reason) => reason,
            },
            DisconnectCause::ClosedLocally => Self::ConnectionClose,
            DisconnectCause::Timeout => Self::Timeout,
            DisconnectCause::MaxConnectionAttempts => Self::MaxConnectionAttempts,
            DisconnectCause::Refused => Self::ServerFull,
            DisconnectCause::Untrusted | DisconnectCause::NotTrusted { .. } => Self::AuthenticationFailure,
            DisconnectCause::NameNotResolved { .. } => Self::NameNotResolved,
            _ => Self::ProtocolError,
        }
    }
}

impl fmt::Display for DisconnectReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_that_has_a_reason_comes_back_as_itself() {
        let known: Vec<u8> = (0..=u8::MAX).filter(|&code| DisconnectReason::from_code(code).is_some()).collect();
        assert_eq!(known, [0, 1, 2, 3, 4, 5, 6, 7, 100, 101, 102, 103, 104]);
        for code in known {
            assert_eq!(DisconnectReason::from_code(code).map(DisconnectReason::code), Some(code));
        }
    }

    #[test]
    fn a_plain_close_reads_as_closed_by_remote_and_a_specific_one_is_kept() {
        let remote = |code| {
            DisconnectReason::from_cause(&DisconnectCause::ClosedByRemote(CloseReason { code, text: String::new() }))
        };
        assert_eq!(remote(0), DisconnectReason::ClosedByRemote);
        assert_eq!(remote(99), DisconnectReason::ClosedByRemote);
        assert_eq!(remote(4), DisconnectReason::BadProtocolVersion);
        assert_eq!(remote(101), DisconnectReason::ApprovalFailure);
        let untrusted = DisconnectReason::from_cause(&DisconnectCause::Untrusted);
        assert_eq!(untrusted, DisconnectReason::AuthenticationFailure);
    }
}
