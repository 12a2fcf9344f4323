//! Whom a client believes: the rule which certificates an address needs, and the check in the handshake.
//! Hashes come from addresses and settings; the verdict goes to rustls, and its reason to the connection.

use core::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use thiserror::Error as ThisError;

use super::config::SERVER_NAME;
use crate::certificate_hash::CertificateHash;
use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, Error, SignatureScheme};

/// Which servers a client believes.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Trust {
    /// On a loopback address any server, elsewhere those with one of these certificates. The default, with none.
    LoopbackOrPinned(Vec<CertificateHash>),
    /// On any address only servers with one of these certificates.
    Pinned(Vec<CertificateHash>),
    /// On a loopback address any server, elsewhere those that one of these authorities vouches for, under the name or
    /// address that they were called by.
    Authorities(Authorities),
}

impl Default for Trust {
    fn default() -> Self {
        Self::LoopbackOrPinned(Vec::new())
    }
}

impl Trust {
    /// Only the server with this certificate, and any on loopback.
    pub fn pinned(hash: CertificateHash) -> Self {
        Self::LoopbackOrPinned(vec![hash])
    }

    /// What the server at `address` must show, which was called by `name`; `None` if nothing that it could show would do.
    /// `named` is the hash that was given with the address: it alone counts then.
    pub(super) fn expectation(
        &self,
        address: SocketAddr,
        name: Option<&str>,
        named: Option<CertificateHash>,
    ) -> Option<Expectation> {
        if let Some(hash) = named {
            return Some(Expectation::OneOf(vec![hash]));
        }
        let is_loopback = address.ip().to_canonical().is_loopback();
        match self {
            Self::LoopbackOrPinned(_) | Self::Authorities(_) if is_loopback => Some(Expectation::Any),
            Self::LoopbackOrPinned(hashes) | Self::Pinned(hashes) => {
                (!hashes.is_empty()).then(|| Expectation::OneOf(hashes.clone()))
            }
            Self::Authorities(authorities) => {
                let name = name.map_or_else(|| address.ip().to_string(), str::to_owned);
                Some(Expectation::VouchedFor { authorities: authorities.clone(), name })
            }
        }
    }
}

/// Certificate authorities that a client believes. Clones share them.
#[derive(Clone)]
pub struct Authorities(Arc<RootCertStore>);

impl PartialEq for Authorities {
    fn eq(&self, other: &Self) -> bool {
        self.0.roots == other.0.roots
    }
}

impl Eq for Authorities {}

impl fmt::Debug for Authorities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Authorities({})", self.0.len())
    }
}

/// There are no authorities to believe.
#[derive(Clone, PartialEq, Eq, Debug, ThisError)]
#[non_exhaustive]
pub enum AuthoritiesError {
    /// A certificate can't be read.
    #[error("the certificate of an authority can't be used: {text}")]
    Unusable {
        /// What the library said.
        text: String,
    },
    /// Not a single one was found.
    #[error("no certificate authority was found{}", if text.is_empty() { String::new() } else { format!(": {text}") })]
    None {
        /// What went wrong on the way, if anything.
        text: String,
    },
}

impl Authorities {
    /// The authorities with these certificates in DER, for a game that has one of its own.
    ///
    /// # Errors
    /// [`AuthoritiesError`] if one of them can't be read, or there is none.
    pub fn from_der<'a>(certificates: impl IntoIterator<Item = &'a [u8]>) -> Result<Self, AuthoritiesError> {
        let mut store = RootCertStore::empty();
        for certificate in certificates {
            let added = store.add(CertificateDer::from(certificate.to_vec()));
            added.map_err(|error| AuthoritiesError::Unusable { text: error.to_string() })?;
        }
        Self::of(store, String::new())
    }

    /// The authorities that the operating system believes, as browsers do.
    ///
    /// # Errors
    /// [`AuthoritiesError::None`] if it names none.
    #[cfg(feature = "system-roots")]
    pub fn of_the_system() -> Result<Self, AuthoritiesError> {
        let found = rustls_native_certs::load_native_certs();
        let mut store = RootCertStore::empty();
        // Stores of systems hold oddities that no library reads.
        store.add_parsable_certificates(found.certs);
        Self::of(store, found.errors.first().map(ToString::to_string).unwrap_or_default())
    }

    fn of(store: RootCertStore, text: String) -> Result<Self, AuthoritiesError> {
        if store.is_empty() { Err(AuthoritiesError::None { text }) } else { Ok(Self(Arc::new(store))) }
    }
}

/// What a server must show.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Expectation {
    Any,
    OneOf(Vec<CertificateHash>),
    VouchedFor { authorities: Authorities, name: String },
}

impl Expectation {
    /// The name under which the server is asked for its certificate.
    pub(super) fn server_name(&self) -> &str {
        match self {
            Self::Any | Self::OneOf(_) => SERVER_NAME,
            Self::VouchedFor { name, .. } => name,
        }
    }
}

/// Whether a server was turned down for its certificate. The handshake itself only says that it failed.
#[derive(Clone, Default, Debug)]
pub(super) struct Verdict(Arc<AtomicBool>);

impl Verdict {
    pub(super) fn is_untrusted(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Looks at the server's certificate: whose it is, or who vouches for it. The signature of the handshake, which proves
/// that the server owns the certificate's key, is checked as ever.
#[derive(Debug)]
pub(super) struct Verifier {
    check: Check,
    verdict: Verdict,
    algorithms: WebPkiSupportedAlgorithms,
}

#[derive(Debug)]
enum Check {
    Nothing,
    Hash(Vec<CertificateHash>),
    Authorities(Arc<WebPkiServerVerifier>),
}

impl Verifier {
    pub(super) fn new(expectation: &Expectation, provider: &Arc<CryptoProvider>) -> Result<(Self, Verdict), Error> {
        let check = match expectation {
            Expectation::Any => Check::Nothing,
            Expectation::OneOf(hashes) => Check::Hash(hashes.clone()),
            Expectation::VouchedFor { authorities, .. } => {
                let roots = Arc::clone(&authorities.0);
                let verifier = WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(provider)).build();
                Check::Authorities(verifier.map_err(|error| Error::General(error.to_string()))?)
            }
        };
        let verdict = Verdict::default();
        let algorithms = provider.signature_verification_algorithms;
        Ok((Self { check, verdict: verdict.clone(), algorithms }, verdict))
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let mismatch = || Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure);
        let outcome = match &self.check {
            Check::Nothing => Ok(ServerCertVerified::assertion()),
            Check::Hash(hashes) if hashes.contains(&CertificateHash::of_certificate(end_entity)) => {
                Ok(ServerCertVerified::assertion())
            }
            Check::Hash(_) => Err(mismatch()),
            Check::Authorities(verifier) => {
                verifier.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
            }
        };
        if outcome.is_err() {
            self.verdict.0.store(true, Ordering::Relaxed);
        }
        outcome
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        // QUIC has TLS 1.3 and nothing else.
        Err(Error::General("TLS 1.2 is not spoken".into()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: CertificateHash = CertificateHash::from_bytes([7; 32]);

    fn expectation(trust: &Trust, address: &str, named: Option<CertificateHash>) -> Option<Expectation> {
        trust.expectation(address.parse().unwrap(), None, named)
    }

    #[test]
    fn by_default_loopback_is_believed_and_nobody_else() {
        let trust = Trust::default();
        for loopback in ["127.0.0.1:1", "127.3.2.1:1", "[::1]:1", "[::ffff:127.0.0.1]:1"] {
            assert_eq!(expectation(&trust, loopback, None), Some(Expectation::Any), "{loopback}");
        }
        for other in ["192.168.0.1:1", "[fe80::1]:1", "[::ffff:10.0.0.1]:1", "0.0.0.0:1"] {
            assert_eq!(expectation(&trust, other, None), None, "{other}");
        }
    }

    #[test]
    fn a_pinned_hash_counts_on_every_address_that_needs_one() {
        let pinned = Some(Expectation::OneOf(vec![HASH]));
        assert_eq!(expectation(&Trust::pinned(HASH), "10.0.0.1:1", None), pinned);
        assert_eq!(expectation(&Trust::pinned(HASH), "127.0.0.1:1", None), Some(Expectation::Any));
        assert_eq!(expectation(&Trust::Pinned(vec![HASH]), "127.0.0.1:1", None), pinned);
        assert_eq!(expectation(&Trust::Pinned(Vec::new()), "127.0.0.1:1", None), None);
        assert_eq!(expectation(&Trust::default(), "127.0.0.1:1", Some(HASH)), pinned, "a named hash is never ignored");
    }
}
