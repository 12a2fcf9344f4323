//! Whom a client believes: the rule which certificates an address needs, and the check in the handshake.
//! Hashes come from addresses and settings; the verdict goes to rustls, and its reason to the connection.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::certificate_hash::CertificateHash;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, Error, SignatureScheme};

/// Which servers a client believes. Nobody is believed because of a name.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Trust {
    /// On a loopback address any server, elsewhere those with one of these certificates. The default, with none.
    LoopbackOrPinned(Vec<CertificateHash>),
    /// On any address only servers with one of these certificates.
    Pinned(Vec<CertificateHash>),
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

    /// What the server at `address` must show; `None` if nothing that it could show would do. `named` is the hash that
    /// was given with the address: it alone counts then.
    pub(super) fn expectation(&self, address: SocketAddr, named: Option<CertificateHash>) -> Option<Expectation> {
        if let Some(hash) = named {
            return Some(Expectation::OneOf(vec![hash]));
        }
        match self {
            Self::LoopbackOrPinned(_) if address.ip().to_canonical().is_loopback() => Some(Expectation::Any),
            Self::LoopbackOrPinned(hashes) | Self::Pinned(hashes) => {
                (!hashes.is_empty()).then(|| Expectation::OneOf(hashes.clone()))
            }
        }
    }
}

/// What a server must show.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Expectation {
    Any,
    OneOf(Vec<CertificateHash>),
}

/// Whether a server was turned down for its certificate. The handshake itself only says that it failed.
#[derive(Clone, Default, Debug)]
pub(super) struct Verdict(Arc<AtomicBool>);

impl Verdict {
    pub(super) fn is_untrusted(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Compares the certificate's hash; the signature of the handshake, which proves that the server owns the
/// certificate's key, is checked as ever.
#[derive(Debug)]
pub(super) struct PinVerifier {
    expectation: Expectation,
    verdict: Verdict,
    algorithms: WebPkiSupportedAlgorithms,
}

impl PinVerifier {
    pub(super) fn new(expectation: Expectation, provider: &CryptoProvider) -> (Self, Verdict) {
        let verdict = Verdict::default();
        let algorithms = provider.signature_verification_algorithms;
        (Self { expectation, verdict: verdict.clone(), algorithms }, verdict)
    }
}

impl ServerCertVerifier for PinVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let is_expected = match &self.expectation {
            Expectation::Any => true,
            Expectation::OneOf(hashes) => hashes.contains(&CertificateHash::of_certificate(end_entity)),
        };
        if is_expected {
            return Ok(ServerCertVerified::assertion());
        }
        self.verdict.0.store(true, Ordering::Relaxed);
        Err(Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure))
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
        trust.expectation(address.parse().unwrap(), named)
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
