//! Which worlds the default bootstrap makes, and how a program is told from outside which part it is to play.

use thiserror::Error;

use super::program_options;

/// Which worlds the default bootstrap makes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum PlayType {
    /// A server and a client in one process.
    #[default]
    ClientAndServer = 0,
    /// A client alone.
    Client = 1,
    /// A server alone.
    Server = 2,
}

/// A word that names no play type.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[error("{0:?} is no play type; it is one of `client-and-server`, `client` and `server`")]
pub struct UnknownPlayType(String);

impl std::str::FromStr for PlayType {
    type Err = UnknownPlayType;

    fn from_str(word: &str) -> Result<Self, UnknownPlayType> {
        match word {
            "client-and-server" => Ok(Self::ClientAndServer),
            "client" => Ok(Self::Client),
            "server" => Ok(Self::Server),
            _ => Err(UnknownPlayType(word.to_owned())),
        }
    }
}

/// The option of the command line: `--play-type client-and-server`, `client` or `server`.
pub const PLAY_TYPE_ARGUMENT: &str = "--play-type";

/// The variable of the environment, with the same words.
pub const PLAY_TYPE_VARIABLE: &str = "GHOSTLINE_PLAY_TYPE";

/// What the command line says, else the environment.
pub(super) fn read(arguments: impl IntoIterator<Item = String>, variable: Option<String>) -> Option<PlayType> {
    program_options::read(arguments, PLAY_TYPE_ARGUMENT, variable, PLAY_TYPE_VARIABLE, "which part to play")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(argument: Option<&str>, variable: Option<&str>) -> Option<PlayType> {
        let arguments = ["game"].into_iter().chain(argument).map(str::to_owned);
        read(arguments, variable.map(str::to_owned))
    }

    #[test]
    fn a_program_is_told_its_part_by_the_command_line_before_the_environment() {
        assert_eq!(told(Some("--play-type=server"), Some("client")), Some(PlayType::Server));
        assert_eq!(told(None, Some("client")), Some(PlayType::Client));
        assert_eq!(told(Some("--play-type=client-and-server"), None), Some(PlayType::ClientAndServer));
        assert_eq!(told(None, None), None);
    }

    #[test]
    fn a_word_that_is_no_play_type_is_ignored_and_named() {
        assert_eq!(told(Some("--play-type=sever"), Some("client")), None);
        let error = "sever".parse::<PlayType>().unwrap_err();
        assert!(error.to_string().contains("\"sever\" is no play type"));
    }
}
