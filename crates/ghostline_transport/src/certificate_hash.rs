//! The hash of a server's certificate: by it a client recognises the server, wherever it is.
//! Printed by servers behind their address, copied by people, compared in the handshake.

use core::fmt;
use core::str::FromStr;

use thiserror::Error;

use crate::base64;

/// The SHA-256 of a server's certificate: by it a client recognises the server. Written as 43 letters of base64 with
/// `-` and `_`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CertificateHash([u8; 32]);

impl CertificateHash {
    /// The hash with these bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The hash of a certificate in DER.
    #[cfg(feature = "quic")]
    pub fn of_certificate(der: &[u8]) -> Self {
        Self(crate::quic::sha256(&[der]))
    }
}

impl fmt::Display for CertificateHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&base64::encode_url(&self.0))
    }
}

impl fmt::Debug for CertificateHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CertificateHash({self})")
    }
}

/// A text that is no [`CertificateHash`].
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[error("a certificate hash is 43 letters, digits, - and _")]
pub struct InvalidCertificateHash;

impl FromStr for CertificateHash {
    type Err = InvalidCertificateHash;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        base64::decode_url(text).map(Self).ok_or(InvalidCertificateHash)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_reads_as_it_prints() {
        let hash = CertificateHash::from_bytes([7; 32]);
        let text = hash.to_string();
        assert_eq!(text.len(), 43);
        assert_eq!(text.parse(), Ok(hash));
        assert_eq!("short".parse::<CertificateHash>(), Err(InvalidCertificateHash));
    }
}
