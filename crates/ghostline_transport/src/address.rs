//! Where a server is and how to recognise it, in one value and one text: `HOST:PORT` or `HOST:PORT#HASH`.
//! The text with a hash is the join string: printed by a server, copied by a person, read by a client.

use core::fmt;
use core::str::FromStr;
use std::net::SocketAddr;

use thiserror::Error;

use crate::certificate_hash::{CertificateHash, InvalidCertificateHash};
use crate::limits::MAX_HOST_NAME_BYTES;

/// A machine and a port on it.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum ServerHost {
    /// By its IP address.
    Address(SocketAddr),
    /// By a name, which is looked up when it is connected to.
    Name {
        /// The name, like `localhost` or `play.example.org`.
        name: String,
        /// The port.
        port: u16,
    },
}

/// A server's address, and the hash of its certificate if that is known. With a hash it prints as the join string that
/// servers hand out.
///
/// ```
/// use ghostline_transport::ServerAddress;
///
/// let text = "192.168.0.7:7979#BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc";
/// let server: ServerAddress = text.parse()?;
/// assert_eq!(server.port(), 7979);
/// assert_eq!(server.to_string(), text);
/// assert_eq!("localhost:7979".parse::<ServerAddress>()?.socket_address(), None, "a name is looked up later");
/// # Ok::<(), ghostline_transport::ServerAddressError>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct ServerAddress {
    /// Where the server listens.
    pub host: ServerHost,
    /// How to recognise it. Without it, only servers on loopback or with a certificate that the client trusts anyway
    /// can be connected to.
    pub hash: Option<CertificateHash>,
}

impl ServerAddress {
    /// The port.
    pub fn port(&self) -> u16 {
        match &self.host {
            ServerHost::Address(address) => address.port(),
            ServerHost::Name { port, .. } => *port,
        }
    }

    /// The address, if it is not a name.
    pub fn socket_address(&self) -> Option<SocketAddr> {
        match &self.host {
            ServerHost::Address(address) => Some(*address),
            ServerHost::Name { .. } => None,
        }
    }
}

impl From<SocketAddr> for ServerAddress {
    fn from(address: SocketAddr) -> Self {
        Self { host: ServerHost::Address(address), hash: None }
    }
}

impl fmt::Display for ServerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            ServerHost::Address(address) => address.fmt(f)?,
            ServerHost::Name { name, port } => write!(f, "{name}:{port}")?,
        }
        match self.hash {
            Some(hash) => write!(f, "#{hash}"),
            None => Ok(()),
        }
    }
}

/// Why a text is no [`ServerAddress`].
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[non_exhaustive]
pub enum ServerAddressError {
    /// The part before `#` is neither an address nor a name with a port.
    #[error("{text:?} is no address with a port, like 192.168.0.7:7979, [fe80::1]:7979 or play.example.org:7979")]
    Host {
        /// That part.
        text: String,
    },
    /// The part after `#` is no certificate hash.
    #[error("the part after # is cut off or mistyped: {0}")]
    Hash(#[from] InvalidCertificateHash),
}

impl FromStr for ServerAddress {
    type Err = ServerAddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        let (host, hash) = match text.split_once('#') {
            Some((host, hash)) => (host, Some(hash)),
            None => (text, None),
        };
        let hash = hash.map(str::parse).transpose()?;
        let host = read_host(host).ok_or_else(|| ServerAddressError::Host { text: host.into() })?;
        Ok(Self { host, hash })
    }
}

fn read_host(text: &str) -> Option<ServerHost> {
    if let Ok(address) = text.parse() {
        return Some(ServerHost::Address(address));
    }
    let (name, port) = text.rsplit_once(':')?;
    let port = port.bytes().all(|byte| byte.is_ascii_digit()).then(|| port.parse().ok())??;
    is_name(name).then(|| ServerHost::Name { name: name.to_owned(), port })
}

/// Labels of letters, digits, `-` and `_` between dots; the last is no number, or it would be a mistyped address.
fn is_name(text: &str) -> bool {
    let is_label = |label: &str| {
        !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    };
    let text = text.strip_suffix('.').unwrap_or(text);
    let last = text.rsplit('.').next().unwrap_or("");
    text.len() <= MAX_HOST_NAME_BYTES && text.split('.').all(is_label) && !last.bytes().all(|b| b.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn addresses_and_names_read_as_they_print() {
        let hash = Some(CertificateHash::from_bytes([0xA5; 32]));
        for host in ["127.0.0.1:7979", "[::1]:1", "[fe80::2]:65535", "localhost:7979", "a-b.example.org:1", "host.:5"] {
            for hash in [None, hash] {
                let server = ServerAddress { hash, ..host.parse().unwrap() };
                assert_eq!(server.to_string().parse().as_ref(), Ok(&server));
                assert_eq!(format!("  {server}\n").parse(), Ok(server), "copied with white space");
            }
        }
        let named: ServerAddress = "localhost:7979".parse().unwrap();
        assert_eq!((named.port(), named.socket_address()), (7979, None));
        let address: ServerAddress = "[::1]:1".parse().unwrap();
        assert_eq!((address.port(), address.socket_address()), (1, "[::1]:1".parse().ok()));
    }

    #[test]
    fn each_mistake_is_told_apart() {
        let long = format!("{}:1", "a.".repeat(130));
        for text in [
            "",
            "example",
            "1.2.3.4",
            "1.2.3.4:99999",
            "256.1.1.1:80",
            ":80",
            "a b:80",
            "a..b:80",
            "a:",
            "a:+1",
            "::1:5",
            &long,
        ] {
            let error = ServerAddressError::Host { text: text.into() };
            assert_eq!(text.parse::<ServerAddress>(), Err(error));
        }
        for text in ["1.2.3.4:5#", "1.2.3.4:5#abc", "a:5#a#b"] {
            let error = ServerAddressError::Hash(InvalidCertificateHash);
            assert_eq!(text.parse::<ServerAddress>(), Err(error), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,40}") {
            if let Ok(server) = text.parse::<ServerAddress>() {
                prop_assert_eq!(server.to_string().parse(), Ok(server));
            }
        }
    }
}
