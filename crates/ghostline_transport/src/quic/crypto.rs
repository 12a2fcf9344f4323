//! The cryptography of the socket driver, all of it from ring: which suites, hashing, and numbers nobody can guess.
//! Asked by the configurations, by trust and by the connection ids.

use std::sync::Arc;

use rustls::CipherSuite;
use rustls::crypto::ring::cipher_suite::{TLS13_AES_128_GCM_SHA256, TLS13_CHACHA20_POLY1305_SHA256};
use rustls::crypto::ring::{default_provider, kx_group};
use rustls::crypto::{CryptoProvider, hash::Hash};

/// The protocol that both sides must name in the handshake.
pub(super) const ALPN: &[u8] = b"ghostline/1";

/// ring, with one group for the exchange of keys: another would change the sizes of the first packets.
pub(super) fn provider() -> Arc<CryptoProvider> {
    Arc::new(CryptoProvider {
        cipher_suites: vec![TLS13_AES_128_GCM_SHA256, TLS13_CHACHA20_POLY1305_SHA256],
        kx_groups: vec![kx_group::X25519],
        ..default_provider()
    })
}

fn hasher() -> Option<&'static dyn Hash> {
    debug_assert_eq!(TLS13_AES_128_GCM_SHA256.suite(), CipherSuite::TLS13_AES_128_GCM_SHA256);
    TLS13_AES_128_GCM_SHA256.tls13().map(|suite| suite.common.hash_provider)
}

/// SHA-256 over all pieces together.
pub(crate) fn sha256(pieces: &[&[u8]]) -> [u8; 32] {
    let mut digest = [0; 32];
    if let Some(hasher) = hasher() {
        let mut context = hasher.start();
        for piece in pieces {
            context.update(piece);
        }
        for (to, from) in digest.iter_mut().zip(context.finish().as_ref()) {
            *to = *from;
        }
    }
    digest
}

/// Bytes that nobody can guess; `None` if the system has none to give.
pub(super) fn secret() -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    default_provider().secure_random.fill(&mut bytes).ok()?;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_digest_comes_out() {
        let hex = |digest: [u8; 32]| digest.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(hex(sha256(&[b"abc"])), expected);
        assert_eq!(hex(sha256(&[b"a", b"", b"bc"])), expected);
    }

    #[test]
    fn secrets_differ() {
        assert_ne!(secret().unwrap(), secret().unwrap());
    }
}
