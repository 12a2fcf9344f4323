//! Connection ids: unguessable from outside, repeatable from a seed.
//! A counter under a secret key, hashed; the ids go to quinn-proto, which routes packets by them.

use core::time::Duration;
use std::sync::Mutex;

use quinn_proto::{ConnectionId, ConnectionIdGenerator};

use super::crypto::sha256;
use crate::limits::{CONNECTION_ID_BYTES, INITIAL_CONNECTION_ID_BYTES};

/// Gives out ids of one length.
#[derive(Clone)]
pub(super) struct SecretIds {
    secret: [u8; 32],
    label: &'static [u8],
    issued: u64,
}

impl SecretIds {
    pub(super) const fn new(secret: [u8; 32], label: &'static [u8]) -> Self {
        Self { secret, label, issued: 0 }
    }

    fn next(&mut self, length: usize) -> ConnectionId {
        self.issued = self.issued.wrapping_add(1);
        let digest = sha256(&[&self.secret, self.label, &self.issued.to_le_bytes()]);
        ConnectionId::new(digest.get(..length).unwrap_or(&[]))
    }
}

impl ConnectionIdGenerator for SecretIds {
    fn generate_cid(&mut self) -> ConnectionId {
        self.next(CONNECTION_ID_BYTES)
    }

    fn cid_len(&self) -> usize {
        CONNECTION_ID_BYTES
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}

/// The random id with which a client begins.
pub(super) fn initial_ids(secret: [u8; 32]) -> impl Fn() -> ConnectionId + Send + Sync {
    let ids = Mutex::new(SecretIds::new(secret, b"initial"));
    move || match ids.lock() {
        Ok(mut ids) => ids.next(INITIAL_CONNECTION_ID_BYTES),
        Err(poisoned) => poisoned.into_inner().next(INITIAL_CONNECTION_ID_BYTES),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn ids_repeat_with_the_secret_and_never_within_it() {
        let draw = |secret, label| {
            let mut ids = SecretIds::new(secret, label);
            (0..1_000).map(|_| ids.generate_cid()).collect::<Vec<_>>()
        };
        let ids = draw([1; 32], b"a");
        assert_eq!(ids, draw([1; 32], b"a"));
        assert_ne!(ids, draw([2; 32], b"a"));
        assert_ne!(ids, draw([1; 32], b"b"));
        assert_eq!(ids.iter().map(|id| id.to_vec()).collect::<BTreeSet<_>>().len(), 1_000);
        assert!(ids.iter().all(|id| id.len() == CONNECTION_ID_BYTES));
        assert_eq!(initial_ids([1; 32])().len(), INITIAL_CONNECTION_ID_BYTES);
    }
}
