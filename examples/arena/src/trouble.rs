//! What can go wrong in a run, each in one line that says what to do. Made where it happens; printed by `main`, which then ends.

use ghostline::connection::{ConnectionError, ConnectionState, DisconnectReason};
use ghostline::transport::{ListenError, ServerAddress, StoreError};
use ghostline::world::WorldError;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Why a run could not begin, or ended early.
#[derive(Clone, PartialEq, Debug)]
pub enum Trouble {
    /// The server can't listen.
    Listen { address: SocketAddr, reason: String },
    /// The client could not even begin to connect.
    Connect { server: String, reason: String },
    /// The client's connection ended, or never came to be.
    Lost { server: String, was_connected: bool, reason: DisconnectReason, text: String },
    /// The worlds can't be made.
    Worlds(String),
    /// A preset that there is not.
    NoSuchLink { name: String },
    /// A file can't be read or written.
    File { path: PathBuf, reason: String },
    /// Arguments that don't go together.
    Usage(&'static str),
    /// The terminal can't be read or written.
    Terminal(String),
    /// A report whose promises did not all hold; it has been printed.
    BrokenPromise,
}

impl Trouble {
    /// A connection that ended, by what its component says.
    pub fn lost(server: &ServerAddress, was_connected: bool, state: &ConnectionState) -> Self {
        let reason = state.reason.unwrap_or_default();
        Self::Lost { server: place(server), was_connected, reason, text: state.text.clone() }
    }

    pub fn connect(server: &ServerAddress, error: &ConnectionError) -> Self {
        let reason = match error {
            ConnectionError::Driver { error: StoreError::Connect { source, .. }, .. } => source.to_string(),
            error => error.to_string(),
        };
        Self::Connect { server: place(server), reason }
    }

    pub fn listen(address: SocketAddr, error: &ConnectionError) -> Self {
        let reason = match error {
            ConnectionError::Driver { error: StoreError::Listen { source, .. }, .. } => match source {
                ListenError::AddressInUse { .. } => {
                    "the port is in use; choose another with --listen, or end the program that has it".to_owned()
                }
                source => source.to_string(),
            },
            error => error.to_string(),
        };
        Self::Listen { address, reason }
    }

    /// The status with which the process ends.
    pub fn status(&self) -> u8 {
        if matches!(self, Self::Usage(_) | Self::NoSuchLink { .. }) { 2 } else { 1 }
    }
}

/// A server's address without its hash, which is long and says nothing to a reader.
fn place(server: &ServerAddress) -> String {
    ServerAddress { hash: None, ..server.clone() }.to_string()
}

impl From<WorldError> for Trouble {
    fn from(error: WorldError) -> Self {
        Self::Worlds(error.to_string())
    }
}

impl From<std::io::Error> for Trouble {
    fn from(error: std::io::Error) -> Self {
        Self::Terminal(error.to_string())
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listen { address, reason } => write!(f, "can't listen on {address}: {reason}"),
            Self::Connect { server, reason } => write!(f, "can't connect to {server}: {reason}"),
            Self::Lost { server, was_connected, reason, text } => lost(f, server, *was_connected, *reason, text),
            Self::Worlds(reason) => f.write_str(reason),
            Self::NoSuchLink { name } => write!(f, "no link is called {name:?}; --list-links shows their names"),
            Self::File { path, reason } => write!(f, "{}: {reason}", path.display()),
            Self::Usage(what) => f.write_str(what),
            Self::Terminal(reason) => write!(f, "the terminal can't be used: {reason}"),
            Self::BrokenPromise => f.write_str("not every promise of the report held"),
        }
    }
}

fn lost(
    f: &mut fmt::Formatter<'_>,
    server: &str,
    was_connected: bool,
    reason: DisconnectReason,
    text: &str,
) -> fmt::Result {
    use DisconnectReason as R;
    match reason {
        R::MaxConnectionAttempts => {
            write!(f, "nobody answers at {server}: is the server running, and are address and port right?")
        }
        R::NameNotResolved | R::AuthenticationFailure if !text.is_empty() => {
            write!(f, "can't connect to {server}: {text}")
        }
        R::BadProtocolVersion => {
            write!(f, "the server at {server} is another version of the game; run the same version on both sides")
        }
        R::ServerFull => write!(f, "the server at {server} is full; try again later"),
        R::Timeout if was_connected => {
            write!(f, "the server at {server} went silent; it was killed, or the network is down")
        }
        R::ClosedByRemote if was_connected => write!(f, "the server at {server} has ended the game"),
        reason if text.is_empty() => write!(f, "the connection to {server} ended: {reason}"),
        reason => write!(f, "the connection to {server} ended: {reason} ({text})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_end_of_a_connection_is_one_line_that_names_the_server() {
        let server: ServerAddress = "10.0.0.7:7979#BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc".parse().unwrap();
        for code in 0..=u8::MAX {
            let Some(reason) = DisconnectReason::from_code(code) else { continue };
            for (was_connected, text) in [(false, ""), (true, ""), (false, "because"), (true, "because")] {
                let state =
                    ConnectionState { reason: Some(reason), text: text.to_owned(), ..ConnectionState::default() };
                let line = Trouble::lost(&server, was_connected, &state).to_string();
                assert!(line.contains("10.0.0.7:7979") && !line.contains('#'), "{line}");
                assert!(!line.contains('\n'), "{line}");
            }
        }
    }
}
