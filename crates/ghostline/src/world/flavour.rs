//! What a build was made for: the cargo features `client` and `server`, as values and macros for a game's own code. A library that lacks a side has none of
//! its code, and makes no world of that side.

use super::kind::WorldKind;
use super::play_type::PlayType;
use super::world_error::WorldError;

/// Which sides a build has.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum BuildFlavour {
    /// Both: any world can be made, and a process can host.
    ClientAndServer,
    /// The cargo feature `server` is off: no server worlds.
    ClientOnly,
    /// The cargo feature `client` is off: no client and no thin client worlds, and nothing is presented.
    ServerOnly,
}

/// What this build has.
///
/// ```
/// # use ghostline::world::BUILD_FLAVOUR;
/// // Known when the program is compiled: what it rules out is not in the program.
/// if BUILD_FLAVOUR.has_client() {
///     println!("loading textures");
/// }
/// ```
pub const BUILD_FLAVOUR: BuildFlavour = match (cfg!(feature = "client"), cfg!(feature = "server")) {
    (true, false) => BuildFlavour::ClientOnly,
    (false, true) => BuildFlavour::ServerOnly,
    _ => BuildFlavour::ClientAndServer,
};

#[cfg(not(any(feature = "client", feature = "server")))]
compile_error!(
    "a game has a client or a server: enable the cargo feature `client` or `server` of `ghostline`, or both"
);

impl BuildFlavour {
    /// Whether client and thin client worlds can be made.
    pub const fn has_client(self) -> bool {
        !matches!(self, Self::ServerOnly)
    }

    /// Whether server worlds can be made.
    pub const fn has_server(self) -> bool {
        !matches!(self, Self::ClientOnly)
    }

    /// The cargo feature that is missing for worlds of this kind.
    pub const fn missing_for(self, kind: WorldKind) -> Option<&'static str> {
        match kind {
            WorldKind::Server if !self.has_server() => Some("server"),
            WorldKind::Client | WorldKind::ThinClient if !self.has_client() => Some("client"),
            _ => None,
        }
    }

    /// The play type of a program that doesn't choose.
    pub const fn default_play_type(self) -> PlayType {
        match self {
            Self::ClientAndServer => PlayType::ClientAndServer,
            Self::ClientOnly => PlayType::Client,
            Self::ServerOnly => PlayType::Server,
        }
    }

    /// An error if this build can't make worlds of this kind.
    pub(super) fn check(self, kind: WorldKind) -> Result<(), WorldError> {
        match self.missing_for(kind) {
            Some(feature) => Err(WorldError::NotInThisBuild { kind, feature }),
            None => Ok(()),
        }
    }
}

// Checked for each flavour when it is compiled.
#[cfg(not(feature = "client"))]
const _: () = assert!(
    BUILD_FLAVOUR.missing_for(WorldKind::Client).is_some()
        && BUILD_FLAVOUR.missing_for(WorldKind::ThinClient).is_some()
);
#[cfg(not(feature = "server"))]
const _: () = assert!(BUILD_FLAVOUR.missing_for(WorldKind::Server).is_some());

/// Items that only a build with clients has: drawing, sound, reading of devices.
///
/// ```
/// ghostline::with_client! {
///     fn draw() {}
/// }
/// ghostline::with_server! {
///     fn save_the_game() {}
/// }
/// # draw();
/// # save_the_game();
/// ```
#[cfg(feature = "client")]
#[macro_export]
macro_rules! with_client {
    ($($item:item)*) => { $($item)* };
}

/// Items that only a build with clients has: this one has none.
#[cfg(not(feature = "client"))]
#[macro_export]
macro_rules! with_client {
    ($($item:item)*) => {};
}

/// Items that only a build with servers has. See [`with_client`](crate::with_client).
#[cfg(feature = "server")]
#[macro_export]
macro_rules! with_server {
    ($($item:item)*) => { $($item)* };
}

/// Items that only a build with servers has: this one has none.
#[cfg(not(feature = "server"))]
#[macro_export]
macro_rules! with_server {
    ($($item:item)*) => {};
}

#[cfg(test)]
mod tests {
    use super::*;

    const KINDS: [WorldKind; 4] = [WorldKind::Local, WorldKind::Server, WorldKind::Client, WorldKind::ThinClient];

    #[test]
    fn a_build_without_a_side_makes_none_of_its_worlds() {
        let refused = |flavour: BuildFlavour| KINDS.map(|kind| flavour.check(kind).is_err());
        assert_eq!(refused(BuildFlavour::ClientAndServer), [false; 4]);
        assert_eq!(refused(BuildFlavour::ClientOnly), [false, true, false, false]);
        assert_eq!(refused(BuildFlavour::ServerOnly), [false, false, true, true]);
        let error = BuildFlavour::ServerOnly.check(WorldKind::ThinClient).unwrap_err();
        assert_eq!(error, WorldError::NotInThisBuild { kind: WorldKind::ThinClient, feature: "client" });
        assert!(error.to_string().contains("cargo feature `client`"), "{error}");
    }

    #[test]
    fn the_flavour_is_the_cargo_features() {
        assert_eq!(BUILD_FLAVOUR.has_client(), cfg!(feature = "client"));
        assert_eq!(BUILD_FLAVOUR.has_server(), cfg!(feature = "server"));
        assert_eq!(BUILD_FLAVOUR.default_play_type(), PlayType::ClientAndServer, "this one has both");
        assert_eq!(BuildFlavour::ServerOnly.default_play_type(), PlayType::Server);
        assert_eq!(BuildFlavour::ClientOnly.default_play_type(), PlayType::Client);
    }
}
