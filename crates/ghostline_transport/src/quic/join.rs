//! The join string `ADDRESS#HASH`: all that a client needs to reach a server and to recognise it.
//! Printed by a server, copied by a person, parsed by a client.

use core::fmt;
use core::str::FromStr;
use std::net::SocketAddr;

use thiserror::Error;

use super::trust::{CertificateHash, InvalidCertificateHash};

/// A server's address, and the hash of its certificate if that is known.
///
/// ```
/// use ghostline_transport::JoinString;
///
/// let text = "192.168.0.7:7979#BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc";
/// let join: JoinString = text.parse()?;
/// assert_eq!(join.address.port(), 7979);
/// assert_eq!(join.to_string(), text);
/// # Ok::<(), ghostline_transport::JoinStringError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct JoinString {
    /// Where the server listens.
    pub address: SocketAddr,
    /// How to recognise it. Without it, only servers on loopback or with a certificate that the client trusts anyway
    /// can be joined.
    pub hash: Option<CertificateHash>,
}

impl fmt::Display for JoinString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address.fmt(f)?;
        match self.hash {
            Some(hash) => write!(f, "#{hash}"),
            None => Ok(()),
        }
    }
}

/// Why a text is no [`JoinString`].
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[non_exhaustive]
pub enum JoinStringError {
    /// The part before `#` is no address with a port.
    #[error("{text:?} is no address and port, like 192.168.0.7:7979 or [fe80::1]:7979")]
    Address {
        /// That part.
        text: String,
    },
    /// The part after `#` is no certificate hash.
    #[error("the part after # is cut off or mistyped: {0}")]
    Hash(#[from] InvalidCertificateHash),
}

impl FromStr for JoinString {
    type Err = JoinStringError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        let (address, hash) = match text.split_once('#') {
            Some((address, hash)) => (address, Some(hash)),
            None => (text, None),
        };
        let hash = hash.map(str::parse).transpose()?;
        let address = address.parse().map_err(|_invalid| JoinStringError::Address { text: address.into() })?;
        Ok(Self { address, hash })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn join_strings_read_as_they_print() {
        let hash = Some(CertificateHash::from_bytes([0xA5; 32]));
        for address in ["127.0.0.1:7979", "[::1]:1", "[fe80::2]:65535"] {
            for hash in [None, hash] {
                let join = JoinString { address: address.parse().unwrap(), hash };
                assert_eq!(join.to_string().parse(), Ok(join));
                assert_eq!(format!("  {join}\n").parse(), Ok(join), "copied with white space");
            }
        }
    }

    #[test]
    fn each_mistake_is_told_apart() {
        for text in ["", "example", "1.2.3.4", "1.2.3.4:99999"] {
            let error = JoinStringError::Address { text: text.into() };
            assert_eq!(text.parse::<JoinString>(), Err(error));
        }
        for text in ["1.2.3.4:5#", "1.2.3.4:5#abc", "1.2.3.4:5#a#b"] {
            assert_eq!(text.parse::<JoinString>(), Err(JoinStringError::Hash(InvalidCertificateHash)), "{text}");
        }
    }
}
