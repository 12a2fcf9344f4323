//! Why a connection ended, from QUIC's words to the transport's.
//! Application codes up to 255 are the game's reasons; those above are this driver's own.

use quinn_proto::{ApplicationClose, ConnectionError, TransportErrorCode, VarInt};

use crate::close::{CloseReason, DisconnectCause};

/// The server's table of connections is full.
pub(super) const REFUSED: u32 = 0x100;
/// The other side broke the rules of this driver.
pub(super) const PROTOCOL_ERROR: u32 = 0x101;
/// The other side acknowledged nothing for `disconnect_timeout_ms`.
pub(super) const SILENT: u32 = 0x102;

/// The code under which a reason travels.
pub(super) fn code(reason: &CloseReason) -> VarInt {
    VarInt::from_u32(reason.code.into())
}

/// The cause of an end that QUIC reports.
pub(super) fn of(error: &ConnectionError) -> DisconnectCause {
    match error {
        ConnectionError::ApplicationClosed(close) => of_close(close),
        ConnectionError::ConnectionClosed(close) if close.error_code == TransportErrorCode::CONNECTION_REFUSED => {
            DisconnectCause::Refused
        }
        // A close before the end of the handshake travels without its reason.
        ConnectionError::ConnectionClosed(close)
            if [TransportErrorCode::APPLICATION_ERROR, TransportErrorCode::NO_ERROR].contains(&close.error_code) =>
        {
            DisconnectCause::ClosedByRemote(CloseReason::default())
        }
        ConnectionError::TimedOut => DisconnectCause::Timeout,
        ConnectionError::LocallyClosed => DisconnectCause::ClosedLocally,
        ConnectionError::Reset => {
            DisconnectCause::ClosedByRemote(CloseReason::new(0, "the other side no longer knows this connection"))
        }
        _ => DisconnectCause::ProtocolError,
    }
}

fn of_close(close: &ApplicationClose) -> DisconnectCause {
    match u64::from(close.error_code) {
        code if code == u64::from(REFUSED) => DisconnectCause::Refused,
        code if code == u64::from(SILENT) => DisconnectCause::Timeout,
        code => match u8::try_from(code) {
            Ok(code) => {
                let text = String::from_utf8_lossy(&close.reason);
                DisconnectCause::ClosedByRemote(CloseReason::new(code, text))
            }
            Err(_above) => DisconnectCause::ProtocolError,
        },
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use quinn_proto::ConnectionClose;

    use super::*;

    fn application(code: u32, reason: &'static [u8]) -> DisconnectCause {
        let (error_code, reason) = (VarInt::from_u32(code), Bytes::from_static(reason));
        of(&ConnectionError::ApplicationClosed(ApplicationClose { error_code, reason }))
    }

    fn transport(error_code: TransportErrorCode) -> DisconnectCause {
        of(&ConnectionError::ConnectionClosed(ConnectionClose { error_code, frame_type: None, reason: Bytes::new() }))
    }

    #[test]
    fn codes_of_the_game_and_of_the_driver_are_told_apart() {
        for code in [0, 1, 255] {
            let reason = CloseReason::new(code as u8, "why");
            assert_eq!(application(code, b"why"), DisconnectCause::ClosedByRemote(reason));
        }
        assert_eq!(application(REFUSED, b""), DisconnectCause::Refused);
        assert_eq!(application(SILENT, b""), DisconnectCause::Timeout);
        assert_eq!(application(PROTOCOL_ERROR, b""), DisconnectCause::ProtocolError);
        assert_eq!(application(0x3FFF_FFFF, b""), DisconnectCause::ProtocolError);
        assert_eq!(transport(TransportErrorCode::CONNECTION_REFUSED), DisconnectCause::Refused);
        let plain = DisconnectCause::ClosedByRemote(CloseReason::default());
        assert_eq!(transport(TransportErrorCode::APPLICATION_ERROR), plain);
        assert_eq!(transport(TransportErrorCode::FLOW_CONTROL_ERROR), DisconnectCause::ProtocolError);
        assert_eq!(of(&ConnectionError::TimedOut), DisconnectCause::Timeout);
    }

    #[test]
    fn a_hostile_text_is_bounded_and_readable() {
        let long: &'static [u8] = &[0xFF; 5_000];
        let DisconnectCause::ClosedByRemote(reason) = application(3, long) else { panic!("a reason") };
        assert!(reason.text.len() <= crate::limits::MAX_CLOSE_TEXT_BYTES);
    }
}
