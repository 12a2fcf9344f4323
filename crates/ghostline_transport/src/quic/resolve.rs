//! Names to addresses, without making anybody wait: the driver asks, goes on, and looks for the answer at each poll.
//! The system's own resolver blocks, so it is asked on a thread; tests bring a resolver of their own.

use core::fmt;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::limits::{MAX_LOOKUPS, MAX_RESOLVED_ADDRESSES};

/// Finds the addresses of names.
pub trait Resolver: fmt::Debug + Send + Sync + 'static {
    /// Begins to look up `name`, without waiting, and gives what it finds to `answer`, now or later, from any thread. An
    /// answer that is dropped counts as a failure.
    fn resolve(&self, name: &str, port: u16, answer: Answer);
}

/// What a look-up came to: addresses in the order in which they are to be tried, or why there are none.
type Outcome = Result<Vec<SocketAddr>, String>;

/// Where a [`Resolver`] puts what it found.
#[derive(Debug)]
pub struct Answer(Arc<Mutex<Option<Outcome>>>);

impl Answer {
    /// Gives the addresses, or a few words on why there are none. At most
    /// [`MAX_RESOLVED_ADDRESSES`](crate::limits::MAX_RESOLVED_ADDRESSES) are used.
    pub fn give(self, outcome: Result<Vec<SocketAddr>, String>) {
        self.put(outcome);
    }

    fn put(&self, outcome: Outcome) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(outcome);
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.put(Err("the resolver gave no answer".to_owned()));
    }
}

/// The driver's end of a look-up.
#[derive(Debug)]
pub(super) struct Lookup(Arc<Mutex<Option<Outcome>>>);

impl Lookup {
    pub(super) fn begin(resolver: &dyn Resolver, name: &str, port: u16) -> Self {
        let outcome = Arc::default();
        resolver.resolve(name, port, Answer(Arc::clone(&outcome)));
        Self(outcome)
    }

    /// The outcome, once it is there: at least one address, or why there is none.
    pub(super) fn take(&mut self) -> Option<Outcome> {
        let outcome = self.0.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        Some(outcome.and_then(|mut addresses| {
            addresses.truncate(MAX_RESOLVED_ADDRESSES);
            if addresses.is_empty() { Err("the name has no address".to_owned()) } else { Ok(addresses) }
        }))
    }
}

/// Asks the operating system, each time on a thread of its own, and no more than
/// [`MAX_LOOKUPS`](crate::limits::MAX_LOOKUPS) at once: a name server that is down may hold a thread for half a minute.
/// Clones count together.
#[derive(Clone, Default, Debug)]
pub struct SystemResolver {
    running: Arc<AtomicUsize>,
}

impl Resolver for SystemResolver {
    #[expect(clippy::disallowed_methods, reason = "the system's resolver blocks, and drivers must not")]
    fn resolve(&self, name: &str, port: u16, answer: Answer) {
        if self.running.fetch_add(1, Ordering::AcqRel) >= MAX_LOOKUPS {
            self.running.fetch_sub(1, Ordering::AcqRel);
            answer.give(Err(format!("{MAX_LOOKUPS} names are being looked up already")));
            return;
        }
        let running = Arc::clone(&self.running);
        let name = name.to_owned();
        let begun = std::thread::Builder::new().name("ghostline resolver".to_owned()).spawn(move || {
            answer.give(ask_the_system(&name, port));
            running.fetch_sub(1, Ordering::AcqRel);
        });
        // The answer went with the closure, and says that there is none.
        if begun.is_err() {
            self.running.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

fn ask_the_system(name: &str, port: u16) -> Outcome {
    let mut addresses: Vec<SocketAddr> = (name, port).to_socket_addrs().map_err(|error| error.to_string())?.collect();
    // Servers listen on every address of IPv4 unless told otherwise.
    addresses.sort_by_key(|address| !address.is_ipv4());
    addresses.dedup();
    Ok(addresses)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Keeps the answers it owes.
    #[derive(Default, Debug)]
    struct Slow(Mutex<Vec<Answer>>);

    impl Resolver for Slow {
        fn resolve(&self, _name: &str, _port: u16, answer: Answer) {
            self.0.lock().unwrap().push(answer);
        }
    }

    #[test]
    fn an_answer_comes_when_it_is_given_and_once() {
        let resolver = Slow::default();
        let mut lookup = Lookup::begin(&resolver, "here", 1);
        assert_eq!(lookup.take(), None);
        let addresses = vec![([10, 0, 0, 1], 1).into()];
        resolver.0.lock().unwrap().pop().unwrap().give(Ok(addresses.clone()));
        assert_eq!(lookup.take(), Some(Ok(addresses)));
        assert_eq!(lookup.take(), None);
    }

    #[test]
    fn an_answer_that_is_dropped_or_empty_is_a_failure_and_a_flood_is_cut_off() {
        let resolver = Slow::default();
        let mut lookups = [(); 3].map(|()| Lookup::begin(&resolver, "here", 1));
        let [dropped, empty, flood]: [Answer; 3] = std::mem::take(&mut *resolver.0.lock().unwrap()).try_into().unwrap();
        drop(dropped);
        empty.give(Ok(Vec::new()));
        flood.give(Ok(vec![([10, 0, 0, 1], 1).into(); 10_000]));
        assert!(lookups[0].take().unwrap().unwrap_err().contains("no answer"));
        assert!(lookups[1].take().unwrap().unwrap_err().contains("no address"));
        assert_eq!(lookups[2].take().unwrap().unwrap().len(), MAX_RESOLVED_ADDRESSES);
    }

    #[test]
    fn the_system_knows_this_machine_and_is_not_asked_without_bound() {
        let addresses = ask_the_system("localhost", 7979).unwrap();
        assert!(addresses.iter().all(|address| address.ip().is_loopback() && address.port() == 7979), "{addresses:?}");
        let resolver = SystemResolver::default();
        resolver.running.store(MAX_LOOKUPS, Ordering::Release);
        let mut lookup = Lookup::begin(&resolver, "localhost", 1);
        assert!(lookup.take().unwrap().unwrap_err().contains("already"));
        assert_eq!(resolver.running.load(Ordering::Acquire), MAX_LOOKUPS);
    }
}
