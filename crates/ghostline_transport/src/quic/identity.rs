//! Who a server is: a certificate and its key, made fresh or kept by the game in a file.
//! Made before a driver; used in its handshakes, and hashed for its join string.

use core::fmt;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, PKCS_ED25519, SerialNumber};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use thiserror::Error;

use super::config;
use crate::base64;
use crate::certificate_hash::CertificateHash;
use crate::limits::MAX_IDENTITY_BYTES;

/// A server's certificate and private key. Keep it, and clients that pinned its hash recognise the server after a
/// restart.
pub struct Identity {
    /// The server's own, then those that vouch for it, if any.
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

impl Clone for Identity {
    fn clone(&self) -> Self {
        Self { chain: self.chain.clone(), key: self.key.clone_key() }
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Never the key.
        f.debug_tuple("Identity").field(&self.hash()).finish()
    }
}

/// Why there is no [`Identity`].
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// A fresh one could not be made.
    #[error("no certificate can be made: {text}")]
    Generate {
        /// What the library said.
        text: String,
    },
    /// The text holds no certificate in PEM.
    #[error("no CERTIFICATE block in the identity")]
    NoCertificate,
    /// The text holds no private key in PEM.
    #[error("no PRIVATE KEY block in the identity")]
    NoKey,
    /// Certificate or key is not readable, or they don't belong together.
    #[error("certificate and key can't be used: {text}")]
    Unusable {
        /// What the library said.
        text: String,
    },
    /// The file can't be read or written.
    #[error("the identity file {path:?}: {kind}")]
    File {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        kind: io::ErrorKind,
    },
    /// More than [`MAX_IDENTITY_BYTES`] bytes.
    #[error("an identity has at most {limit} bytes")]
    TooLarge {
        /// [`MAX_IDENTITY_BYTES`].
        limit: usize,
    },
}

impl Identity {
    /// A fresh certificate that signs itself. With Ed25519, so that all of them have one size: with ECDSA the packets
    /// of equal runs would differ.
    ///
    /// # Errors
    /// [`IdentityError::Generate`] if the system gives no random numbers.
    pub fn self_signed() -> Result<Self, IdentityError> {
        let failed = |error: rcgen::Error| IdentityError::Generate { text: error.to_string() };
        let key = KeyPair::generate_for(&PKCS_ED25519).map_err(failed)?;
        let mut parameters = CertificateParams::new([config::SERVER_NAME.to_owned()]).map_err(failed)?;
        // Serial numbers of equal size, too; nobody looks at them.
        parameters.serial_number = Some(SerialNumber::from_slice(&[1]));
        parameters.distinguished_name = DistinguishedName::new();
        parameters.distinguished_name.push(DnType::CommonName, config::SERVER_NAME);
        let certificate = parameters.self_signed(&key).map_err(failed)?;
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        Self::checked(vec![certificate.der().clone()], key)
    }

    /// A certificate in DER, and its private key in PKCS #8, SEC 1 or PKCS #1, in DER too.
    ///
    /// # Errors
    /// [`IdentityError::TooLarge`], [`IdentityError::NoKey`] or [`IdentityError::Unusable`].
    pub fn from_der(certificate: &[u8], key: &[u8]) -> Result<Self, IdentityError> {
        if certificate.len().max(key.len()) > MAX_IDENTITY_BYTES {
            return Err(IdentityError::TooLarge { limit: MAX_IDENTITY_BYTES });
        }
        let key = PrivateKeyDer::try_from(key.to_vec()).map_err(|_unknown| IdentityError::NoKey)?;
        Self::checked(vec![CertificateDer::from(certificate.to_vec())], key)
    }

    /// A text with a `CERTIFICATE` and a `PRIVATE KEY` block, in any order. Certificates behind the first vouch for it, for
    /// clients that believe an [authority](super::Authorities).
    ///
    /// # Errors
    /// [`IdentityError`].
    pub fn from_pem(text: &str) -> Result<Self, IdentityError> {
        if text.len() > MAX_IDENTITY_BYTES {
            return Err(IdentityError::TooLarge { limit: MAX_IDENTITY_BYTES });
        }
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
        let chain = chain.ok().filter(|chain| !chain.is_empty()).ok_or(IdentityError::NoCertificate)?;
        let key = PrivateKeyDer::from_pem_slice(text.as_bytes()).map_err(|_error| IdentityError::NoKey)?;
        Self::checked(chain, key)
    }

    /// The identity in a file; if there is no such file, a fresh one, which is written there for the next time. Where
    /// the system knows owners, only the owner may read the file.
    ///
    /// # Errors
    /// [`IdentityError`]. A file that is there and can't be read as an identity is left alone.
    pub fn load_or_create(path: &Path) -> Result<Self, IdentityError> {
        let failed = |error: io::Error| IdentityError::File { path: path.to_owned(), kind: error.kind() };
        match File::open(path) {
            Ok(file) => {
                let mut text = String::new();
                file.take((MAX_IDENTITY_BYTES as u64).saturating_add(1)).read_to_string(&mut text).map_err(failed)?;
                Self::from_pem(&text)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let identity = Self::self_signed()?;
                let mut options = File::options();
                options.write(true).create_new(true);
                #[cfg(unix)]
                std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
                let mut file = options.open(path).map_err(failed)?;
                file.write_all(identity.to_pem().as_bytes()).map_err(failed)?;
                Ok(identity)
            }
            Err(error) => Err(failed(error)),
        }
    }

    /// All blocks in PEM, the key in the clear: for a file that only the server may read.
    pub fn to_pem(&self) -> String {
        let key_label = match &self.key {
            PrivateKeyDer::Pkcs1(_) => "RSA PRIVATE KEY",
            PrivateKeyDer::Sec1(_) => "EC PRIVATE KEY",
            _ => "PRIVATE KEY",
        };
        let mut text: String = self.chain.iter().map(|certificate| pem("CERTIFICATE", certificate)).collect();
        text.push_str(&pem(key_label, self.key.secret_der()));
        text
    }

    /// What a client recognises this server by.
    pub fn hash(&self) -> CertificateHash {
        CertificateHash::of_certificate(self.chain.first().map_or(&[], |certificate| certificate))
    }

    fn checked(chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static>) -> Result<Self, IdentityError> {
        let identity = Self { chain, key };
        config::server_tls(&identity).map_err(|error| IdentityError::Unusable { text: error.to_string() })?;
        Ok(identity)
    }

    pub(super) fn parts(&self) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        (self.chain.clone(), self.key.clone_key())
    }
}

fn pem(label: &str, der: &[u8]) -> String {
    let mut text = format!("-----BEGIN {label}-----\n");
    // 48 bytes are the 64 letters that a line of PEM holds.
    for line in der.chunks(48) {
        text.push_str(&base64::encode_standard(line));
        text.push('\n');
    }
    text.push_str("-----END ");
    text.push_str(label);
    text.push_str("-----\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fresh_identities_differ_and_have_one_size() {
        let all: Vec<Identity> = (0..20).map(|_| Identity::self_signed().unwrap()).collect();
        assert_ne!(all[0].hash(), all[1].hash());
        for identity in &all {
            assert_eq!(identity.chain[0].len(), all[0].chain[0].len());
        }
    }

    #[test]
    fn an_identity_comes_back_from_pem_and_from_der() {
        let identity = Identity::self_signed().unwrap();
        let text = identity.to_pem();
        assert_eq!(Identity::from_pem(&text).unwrap().hash(), identity.hash());
        assert_eq!(Identity::from_pem(&text).unwrap().to_pem(), text);
        let (chain, key) = identity.parts();
        assert_eq!(Identity::from_der(&chain[0], key.secret_der()).unwrap().hash(), identity.hash());
        assert!(!format!("{identity:?}").contains(&text[100..120]), "the key is not printed");
    }

    #[test]
    fn a_file_keeps_an_identity_and_a_broken_one_is_left_alone() {
        let folder = std::env::temp_dir().join(format!("ghostline-identity-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("server.pem");
        let made = Identity::load_or_create(&path).unwrap();
        assert_eq!(Identity::load_or_create(&path).unwrap().hash(), made.hash());
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        }
        std::fs::write(&path, "no identity").unwrap();
        assert_eq!(Identity::load_or_create(&path).unwrap_err(), IdentityError::NoCertificate);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "no identity");
        let nowhere = folder.join("no folder").join("server.pem");
        let missing = IdentityError::File { path: nowhere.clone(), kind: io::ErrorKind::NotFound };
        assert_eq!(Identity::load_or_create(&nowhere).unwrap_err(), missing);
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn each_mistake_is_told_apart() {
        let (first, second) = (Identity::self_signed().unwrap(), Identity::self_signed().unwrap());
        let (certificate, key) = (pem("CERTIFICATE", &first.chain[0]), pem("PRIVATE KEY", first.key.secret_der()));
        let other = pem("PRIVATE KEY", second.key.secret_der());
        let error = |text: &str| Identity::from_pem(text).unwrap_err();
        assert_eq!(error(""), IdentityError::NoCertificate);
        assert_eq!(error(&key), IdentityError::NoCertificate);
        assert_eq!(error(&certificate), IdentityError::NoKey);
        assert!(matches!(error(&(certificate.clone() + &other)), IdentityError::Unusable { .. }));
        let garbage = pem("CERTIFICATE", b"garbage") + &key;
        assert!(matches!(error(&garbage), IdentityError::Unusable { .. }));
        let large = IdentityError::TooLarge { limit: MAX_IDENTITY_BYTES };
        assert_eq!(error(&" ".repeat(MAX_IDENTITY_BYTES + 1)), large);
        assert_eq!(Identity::from_der(&[0], &[0]).unwrap_err(), IdentityError::NoKey);
    }
}
