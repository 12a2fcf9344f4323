//! Why a world could not be made.

use thiserror::Error;

use super::config::ConfigError;
use super::drivers::DriverConstructionError;
use super::kind::WorldKind;
use super::migration::MigrationError;
use crate::connection::ConnectionError;

/// Why a world could not be made.
#[derive(Debug, Error, Clone, PartialEq)]
#[non_exhaustive]
pub enum WorldError {
    /// Settings are wrong; all of them at once.
    #[error("the settings are not valid: {}", list(.0))]
    InvalidConfiguration(Vec<ConfigError>),
    /// The build lacks the side that such a world is of.
    #[error(
        "this build makes no {kind:?} worlds: it was compiled without ghostline's cargo feature `{feature}`. Enable it, or leave this kind of world to \
         another program"
    )]
    NotInThisBuild {
        /// What was to be made.
        kind: WorldKind,
        /// The cargo feature that it takes.
        feature: &'static str,
    },
    /// The drivers of the world can't be made.
    #[error("the world's drivers can't be made: {0}")]
    Drivers(#[from] DriverConstructionError),
    /// A world could not listen or connect: auto-connect was asked for and failed, or a call of the game's own initialisation did.
    #[error(transparent)]
    AutoConnect(#[from] ConnectionError),
    /// A world could not be stored, loaded, or populated after it was loaded.
    #[error(transparent)]
    Migration(#[from] MigrationError),
    /// A world never changes its kind.
    #[error(
        "the world was prepared as a {prepared:?} world and can't become a {wanted:?} world; use the creator of its kind"
    )]
    PreparedForAnotherKind {
        /// What it was prepared as.
        prepared: WorldKind,
        /// What it was to become.
        wanted: WorldKind,
    },
    /// A creator adds the systems, to a world that has none.
    #[error(
        "the world has systems in `{schedule}` already; prepare entities and resources, and leave systems to the game's plugin"
    )]
    HasSystems {
        /// The first of its schedules that has systems.
        schedule: String,
    },
}

fn list(errors: &[ConfigError]) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}
