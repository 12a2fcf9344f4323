//! Payloads of the internal RPCs around the handshake, `docs/wire-format.md` section 3.1: what differs between two
//! protocols, how long an approval may take, and who a client was before.
//! Sent and read by the connection systems; what a value means is theirs to judge.

use crate::bits::{BitReader, BitWriter};
use crate::error::DecodeError;
use crate::limits::{MAX_COMMAND_TYPES, MAX_PROTOCOL_LINE_BYTES, MAX_PROTOCOL_LINES_PER_RPC};

/// What one side registered, one line per member: sent by both sides when their versions differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProtocolDetails {
    /// No further lines follow in another RPC.
    pub last: bool,
    /// The lines; each at most [`MAX_PROTOCOL_LINE_BYTES`] bytes of UTF-8.
    pub lines: Vec<String>,
}

impl ProtocolDetails {
    /// Writes the payload. Lines beyond [`MAX_PROTOCOL_LINES_PER_RPC`] are left out, long ones cut at a character.
    pub fn encode(&self, out: &mut BitWriter) {
        out.write_bool(self.last);
        let lines = self.lines.get(..MAX_PROTOCOL_LINES_PER_RPC as usize).unwrap_or(&self.lines);
        out.write_packed(lines.len() as u32);
        for line in lines {
            let line = Self::cut(line);
            out.write_u8(line.len() as u8);
            out.write_bytes(line.as_bytes());
        }
    }

    /// A line as it travels.
    pub fn cut(line: &str) -> &str {
        line.get(..line.floor_char_boundary(MAX_PROTOCOL_LINE_BYTES)).unwrap_or_default()
    }

    /// Reads the payload. Whether anything follows is the caller's to check.
    ///
    /// # Errors
    /// [`DecodeError::LimitExceeded`] for too many lines, [`DecodeError::BadValue`] for a line that is no UTF-8,
    /// [`DecodeError::UnexpectedEnd`] if it is cut off.
    pub fn decode(input: &mut BitReader<'_>) -> Result<Self, DecodeError> {
        let last = input.read_bool()?;
        let count = input.read_packed()?;
        DecodeError::check_limit("lines of protocol details", MAX_PROTOCOL_LINES_PER_RPC, count)?;
        let mut lines = Vec::new();
        for _ in 0..count {
            let mut bytes = [0; MAX_PROTOCOL_LINE_BYTES];
            let length = usize::from(input.read_u8()?);
            let bytes = bytes.get_mut(..length).ok_or(DecodeError::UnexpectedEnd)?;
            input.read_bytes_into(bytes)?;
            let line = core::str::from_utf8(bytes).map_err(|_| DecodeError::BadValue { what: "protocol line" })?;
            lines.push(line.to_owned());
        }
        Ok(Self { last, lines })
    }
}

/// The server asks for the game's approval RPCs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ApprovalRequest {
    /// How long handshake and approval may take together, in ms.
    pub timeout_ms: u32,
}

impl ApprovalRequest {
    /// Writes the payload.
    pub fn encode(&self, out: &mut BitWriter) {
        out.write_packed(self.timeout_ms);
    }

    /// Reads the payload. Whether anything follows is the caller's to check.
    ///
    /// # Errors
    /// What reading a packed integer can end in.
    pub fn decode(input: &mut BitReader<'_>) -> Result<Self, DecodeError> {
        Ok(Self { timeout_ms: input.read_packed()? })
    }
}

/// What a client shows to be known again.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ResumeClaim {
    /// The public number that the server gave it.
    pub unique_id: u32,
    /// The secret that proves it.
    pub secret: [u64; 2],
}

/// Without the secret: it must not reach a log.
impl core::fmt::Debug for ResumeClaim {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("ResumeClaim").field("unique_id", &self.unique_id).finish_non_exhaustive()
    }
}

impl ResumeClaim {
    /// Writes the payload, 20 bytes.
    pub fn encode(&self, out: &mut BitWriter) {
        out.write_u32(self.unique_id);
        for half in self.secret {
            out.write_u64(half);
        }
    }

    /// Reads the payload. Whether anything follows is the caller's to check.
    ///
    /// # Errors
    /// [`DecodeError::UnexpectedEnd`] if it is cut off.
    pub fn decode(input: &mut BitReader<'_>) -> Result<Self, DecodeError> {
        Ok(Self { unique_id: input.read_u32()?, secret: [input.read_u64()?, input.read_u64()?] })
    }
}

/// Who a client is on this server, told just before it is let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionIdentity {
    /// What the client shows when it comes back.
    pub claim: ResumeClaim,
    /// The server knew it again.
    pub reconnected: bool,
}

impl SessionIdentity {
    /// Writes the payload.
    pub fn encode(&self, out: &mut BitWriter) {
        self.claim.encode(out);
        out.write_bool(self.reconnected);
    }

    /// Reads the payload. Whether anything follows is the caller's to check.
    ///
    /// # Errors
    /// [`DecodeError::UnexpectedEnd`] if it is cut off.
    pub fn decode(input: &mut BitReader<'_>) -> Result<Self, DecodeError> {
        Ok(Self { claim: ResumeClaim::decode(input)?, reconnected: input.read_bool()? })
    }
}

/// Which command types the server knows, told to a client whose types may be others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CommandTypes {
    /// Their hashes, in the order of their numbers.
    pub hashes: Vec<u64>,
}

impl CommandTypes {
    /// Writes the payload. What exceeds [`MAX_COMMAND_TYPES`] is left out.
    pub fn encode(&self, out: &mut BitWriter) {
        let hashes = self.hashes.get(..MAX_COMMAND_TYPES as usize).unwrap_or(&self.hashes);
        out.write_packed(hashes.len() as u32);
        for hash in hashes {
            out.write_u64(*hash);
        }
    }

    /// Reads the payload. Whether anything follows is the caller's to check.
    ///
    /// # Errors
    /// [`DecodeError::LimitExceeded`] for too many, [`DecodeError::UnexpectedEnd`] if it is cut off.
    pub fn decode(input: &mut BitReader<'_>) -> Result<Self, DecodeError> {
        let count = DecodeError::check_limit("command types", MAX_COMMAND_TYPES, input.read_packed()?)?;
        let hashes = (0..count).map(|_| input.read_u64()).collect::<Result<_, _>>()?;
        Ok(Self { hashes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(encode: impl FnOnce(&mut BitWriter)) -> (Vec<u8>, usize) {
        let mut out = BitWriter::new();
        encode(&mut out);
        let bits = out.bit_len();
        (out.finish(), bits)
    }

    #[test]
    fn an_identity_takes_20_bytes_and_a_bit_and_comes_back() {
        let claim = ResumeClaim { unique_id: 0xDEAD_BEEF, secret: [u64::MAX - 1, 7] };
        let identity = SessionIdentity { claim, reconnected: true };
        let (bytes, bits) = encoded(|out| identity.encode(out));
        assert_eq!(bits, 20 * 8 + 1);
        assert_eq!(SessionIdentity::decode(&mut BitReader::with_bits(&bytes, bits)), Ok(identity));
        assert_eq!(
            SessionIdentity::decode(&mut BitReader::with_bits(&bytes, bits - 1)),
            Err(DecodeError::UnexpectedEnd)
        );
        assert_eq!(bytes.get(..4), Some(&[0xEF, 0xBE, 0xAD, 0xDE][..]));
    }

    #[test]
    fn a_secret_is_not_printed() {
        let claim = ResumeClaim { unique_id: 5, secret: [123_456_789, 987_654_321] };
        let text = format!("{:?}", SessionIdentity { claim, reconnected: false });
        assert!(text.contains('5') && !text.contains("123456789") && !text.contains("987654321"), "{text}");
    }

    #[test]
    fn details_come_back_and_long_lines_are_cut_at_a_character() {
        let details =
            ProtocolDetails { last: true, lines: vec!["rpc 1 A()".into(), String::new(), "\u{20AC}".repeat(100)] };
        let (bytes, bits) = encoded(|out| details.encode(out));
        let back = ProtocolDetails::decode(&mut BitReader::with_bits(&bytes, bits)).unwrap();
        assert_eq!((back.last, &back.lines[..2]), (true, &details.lines[..2]));
        assert_eq!(back.lines[2], "\u{20AC}".repeat(85));
    }

    #[test]
    fn too_many_lines_and_text_that_is_none_are_refused() {
        let (bytes, bits) = encoded(|out| {
            out.write_bool(true);
            out.write_packed(MAX_PROTOCOL_LINES_PER_RPC + 1);
        });
        let many = ProtocolDetails::decode(&mut BitReader::with_bits(&bytes, bits));
        assert!(matches!(many, Err(DecodeError::LimitExceeded { .. })));
        let (bytes, bits) = encoded(|out| {
            out.write_bool(true);
            out.write_packed(1);
            out.write_u8(1);
            out.write_u8(0xFF);
        });
        let text = ProtocolDetails::decode(&mut BitReader::with_bits(&bytes, bits));
        assert_eq!(text, Err(DecodeError::BadValue { what: "protocol line" }));
    }

    #[test]
    fn a_request_for_approval_names_its_time() {
        let (bytes, bits) = encoded(|out| ApprovalRequest { timeout_ms: 5_000 }.encode(out));
        let back = ApprovalRequest::decode(&mut BitReader::with_bits(&bytes, bits));
        assert_eq!(back, Ok(ApprovalRequest { timeout_ms: 5_000 }));
    }

    #[test]
    fn command_types_come_back_and_their_number_is_bounded() {
        let types = CommandTypes { hashes: (0..1_001).map(|number| number * 0x1_0001_0001).collect() };
        let (bytes, bits) = encoded(|out| types.encode(out));
        assert!(bytes.len() <= crate::limits::MAX_RPC_PAYLOAD_BYTES);
        let back = CommandTypes::decode(&mut BitReader::with_bits(&bytes, bits)).unwrap();
        assert_eq!(back.hashes, types.hashes[..1_000]);
        let (bytes, bits) = encoded(|out| out.write_packed(MAX_COMMAND_TYPES + 1));
        let many = CommandTypes::decode(&mut BitReader::with_bits(&bytes, bits));
        assert!(matches!(many, Err(DecodeError::LimitExceeded { .. })));
        let (bytes, bits) = encoded(|out| out.write_packed(1));
        let cut = CommandTypes::decode(&mut BitReader::with_bits(&bytes, bits));
        assert_eq!(cut, Err(DecodeError::UnexpectedEnd));
    }
}
