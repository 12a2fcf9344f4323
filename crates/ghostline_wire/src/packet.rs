//! The first byte of every message: its kind.
//! Written by the encoders of each message, read by the receive systems to choose a decoder.
//! An unknown kind is no error here; the receiver drops and counts it.

/// What a message is, by its first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
#[non_exhaustive]
pub enum MessageKind {
    /// Client to server, unreliable: acks and commands of one tick.
    Command = 0,
    /// Server to client, unreliable: ghosts.
    Snapshot = 1,
    /// Both ways, reliable and ordered: remote procedure calls.
    Rpc = 2,
    /// Both ways, unreliable: remote procedure calls that may be lost.
    UnreliableRpc = 3,
}

impl MessageKind {
    /// The kind of this byte, `None` if nothing has it.
    #[must_use]
    #[inline]
    pub const fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            0 => Some(Self::Command),
            1 => Some(Self::Snapshot),
            2 => Some(Self::Rpc),
            3 => Some(Self::UnreliableRpc),
            _ => None,
        }
    }

    /// The byte of this kind.
    #[must_use]
    #[inline]
    pub const fn byte(self) -> u8 {
        self as u8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_found_by_its_byte() {
        for kind in [MessageKind::Command, MessageKind::Snapshot, MessageKind::Rpc, MessageKind::UnreliableRpc] {
            assert_eq!(MessageKind::from_byte(kind.byte()), Some(kind));
        }
        assert!((4..=255).all(|byte| MessageKind::from_byte(byte).is_none()));
    }
}
