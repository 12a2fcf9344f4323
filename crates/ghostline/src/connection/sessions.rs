//! Server: who was here before. Unique ids and secrets are given out when a client is let in, and looked up when one says that it comes back.

use bevy_ecs::entity::EntityHashMap;
use bevy_ecs::prelude::{Component, Entity, Resource, World};
use ghostline_wire::{BitWriter, DecodeError, ResumeClaim, SessionIdentity, internal_rpc};
use std::collections::{BTreeMap, VecDeque};
use std::hash::{BuildHasher, RandomState};

use super::components::{ConnectionStatus, NetworkStreamConnection};
use super::identity::{ConnectionUniqueId, NetworkStreamIsReconnected};
use super::lifecycle::close_now;
use super::reason::DisconnectReason;
use crate::rpc;

/// Of a server world: where unique ids and secrets come from. Random by default; a fixed seed makes runs repeat, and secrets guessable.
#[derive(Resource)]
pub struct ConnectionSecrets {
    source: Source,
    taken: u64,
}

enum Source {
    Random(RandomState),
    Seeded(u64),
}

impl Default for ConnectionSecrets {
    /// Keyed by the operating system.
    fn default() -> Self {
        Self { source: Source::Random(RandomState::new()), taken: 0 }
    }
}

impl ConnectionSecrets {
    /// The same numbers in every run. For tests only.
    pub fn seeded(seed: u64) -> Self {
        Self { source: Source::Seeded(seed), taken: 0 }
    }

    fn next(&mut self) -> u64 {
        self.taken = self.taken.wrapping_add(1);
        match &self.source {
            // A keyed hash of a counter: without the key the next value can't be told from the ones before.
            Source::Random(state) => state.hash_one(self.taken),
            Source::Seeded(seed) => ghostline_wire::fnv1a64(&[seed.to_le_bytes(), self.taken.to_le_bytes()].concat()),
        }
    }
}

/// So many clients that left are remembered, the latest; older ones come back as strangers.
pub const MAX_KNOWN_SESSIONS: usize = 4096;

/// Of a server world: the secrets that were given out.
#[derive(Resource, Default)]
pub(crate) struct KnownSessions {
    by_id: BTreeMap<u32, Session>,
    left: VecDeque<u32>,
}

struct Session {
    secret: [u64; 2],
    live: Option<Entity>,
}

impl KnownSessions {
    fn proves(&self, claim: &ResumeClaim) -> bool {
        self.by_id.get(&claim.unique_id).is_some_and(|session| {
            // Without an early end, so that the time taken tells nothing of the secret.
            (session.secret[0] ^ claim.secret[0]) | (session.secret[1] ^ claim.secret[1]) == 0
        })
    }

    /// The connection entities have become others, in a world migration.
    pub(super) fn follow(&mut self, moved: &EntityHashMap<Entity>) {
        for session in self.by_id.values_mut() {
            session.live = session.live.and_then(|entity| moved.get(&entity).copied());
        }
    }

    fn leave(&mut self, unique_id: u32) {
        let Some(session) = self.by_id.get_mut(&unique_id) else { return };
        session.live = None;
        self.left.push_back(unique_id);
        while self.left.len() > MAX_KNOWN_SESSIONS {
            if let Some(oldest) = self.left.pop_front() {
                self.by_id.remove(&oldest);
            }
        }
    }
}

/// Server: what a client has shown in its handshake.
#[derive(Component)]
pub(super) struct PendingResume(ResumeClaim);

/// Server: a client says that it was here before. Believed, or not, when it is let in.
pub(super) fn receive_claim(world: &mut World, entity: Entity, claim: ResumeClaim) -> Result<(), DecodeError> {
    let in_handshake = world
        .get::<NetworkStreamConnection>(entity)
        .is_some_and(|connection| matches!(connection.state, ConnectionStatus::Handshake | ConnectionStatus::Approval));
    if !in_handshake || world.get::<PendingResume>(entity).is_some() {
        return Err(DecodeError::BadValue { what: "a second or late claim to be known" });
    }
    world.entity_mut(entity).insert(PendingResume(claim));
    Ok(())
}

/// Server: whether the client that this claim proves has a connection still open, which it would replace.
pub(super) fn holds_a_place(world: &World, claim: &ResumeClaim) -> bool {
    let sessions = world.resource::<KnownSessions>();
    sessions.proves(claim) && sessions.by_id.get(&claim.unique_id).is_some_and(|session| session.live.is_some())
}

/// Server: whether letting this client in closes another connection, its own.
pub(super) fn replaces_a_connection(world: &World, entity: Entity) -> bool {
    world.get::<PendingResume>(entity).is_some_and(|pending| holds_a_place(world, &pending.0))
}

/// Server: settles who the client is, closes the connection that it still had, and tells it.
pub(super) fn settle(world: &mut World, entity: Entity) {
    let claim = world.entity_mut(entity).take::<PendingResume>().map(|pending| pending.0);
    let proven = claim.filter(|claim| world.resource::<KnownSessions>().proves(claim));
    if claim.is_some() && proven.is_none() {
        tracing::debug!("a client that says it was here before is a stranger to this server; it gets a new unique id");
    }
    let open = proven.and_then(|claim| world.resource::<KnownSessions>().by_id.get(&claim.unique_id)?.live);
    if let Some(open) = open {
        close_now(world, open, DisconnectReason::ConnectionClose, "the same client has connected again");
    }
    let reconnected = proven.is_some();
    let claim = proven.unwrap_or_else(|| new_identity(world));
    let mut sessions = world.resource_mut::<KnownSessions>();
    sessions.left.retain(|&left| left != claim.unique_id);
    sessions.by_id.insert(claim.unique_id, Session { secret: claim.secret, live: Some(entity) });
    world.entity_mut(entity).insert(ConnectionUniqueId(claim.unique_id));
    if reconnected {
        world.entity_mut(entity).insert(NetworkStreamIsReconnected);
    }
    let mut payload = BitWriter::new();
    SessionIdentity { claim, reconnected }.encode(&mut payload);
    rpc::push_internal(world, entity, internal_rpc::IDENTITY, &payload);
}

fn new_identity(world: &mut World) -> ResumeClaim {
    world.resource_scope(|world, mut secrets: bevy_ecs::prelude::Mut<ConnectionSecrets>| {
        let sessions = world.resource::<KnownSessions>();
        let mut unique_id = 0;
        // A few thousand of four billion numbers are taken: this ends at once.
        while unique_id == 0 || sessions.by_id.contains_key(&unique_id) {
            unique_id = (secrets.next() >> 32) as u32;
        }
        ResumeClaim { unique_id, secret: [secrets.next(), secrets.next()] }
    })
}

/// Server: a connection ended; its client may come back.
pub(super) fn forget(world: &mut World, entity: Entity) {
    let Some(mut sessions) = world.get_resource_mut::<KnownSessions>() else { return };
    let left = sessions.by_id.iter().find(|(_, session)| session.live == Some(entity)).map(|(&id, _)| id);
    if let Some(unique_id) = left {
        sessions.leave(unique_id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_secret_proves_nothing() {
        let mut sessions = KnownSessions::default();
        sessions.by_id.insert(5, Session { secret: [1, 2], live: None });
        assert!(sessions.proves(&ResumeClaim { unique_id: 5, secret: [1, 2] }));
        for (unique_id, secret) in [(5, [1, 3]), (5, [0, 2]), (6, [1, 2])] {
            assert!(!sessions.proves(&ResumeClaim { unique_id, secret }));
        }
    }

    #[test]
    fn only_the_latest_who_left_are_remembered() {
        let mut sessions = KnownSessions::default();
        for unique_id in 1..=MAX_KNOWN_SESSIONS as u32 + 3 {
            sessions.by_id.insert(unique_id, Session { secret: [0, 0], live: None });
            sessions.leave(unique_id);
        }
        assert_eq!(sessions.by_id.len(), MAX_KNOWN_SESSIONS);
        assert!(!sessions.by_id.contains_key(&3) && sessions.by_id.contains_key(&4));
    }

    #[test]
    fn seeded_secrets_repeat_and_random_ones_do_not() {
        let seeded = |seed| ConnectionSecrets::seeded(seed).next();
        assert_eq!(seeded(1), seeded(1));
        assert_ne!(seeded(1), seeded(2));
        assert_ne!(ConnectionSecrets::default().next(), ConnectionSecrets::default().next());
    }
}
