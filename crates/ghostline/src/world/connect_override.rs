//! Where a client-only program connects, told from outside the game's code: by the command line, else by the environment.
//! Read by the runner; used by the bootstrap where auto-connect is on.

use ghostline_transport::ServerAddress;

use super::program_options;

/// The option of the command line: `--connect ADDRESS` or `--connect=ADDRESS`, with a [`ServerAddress`] as its value.
pub const CONNECT_ARGUMENT: &str = "--connect";

/// The variable of the environment, with a [`ServerAddress`] as its value.
pub const CONNECT_VARIABLE: &str = "GHOSTLINE_CONNECT";

/// What the command line says, else the environment; `None` if neither does, or not in words that can be understood. That is logged.
pub(super) fn read(arguments: impl IntoIterator<Item = String>, variable: Option<String>) -> Option<ServerAddress> {
    program_options::read(arguments, CONNECT_ARGUMENT, variable, CONNECT_VARIABLE, "where to connect")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments<const N: usize>(arguments: [&str; N]) -> Vec<String> {
        arguments.map(str::to_owned).to_vec()
    }

    #[test]
    fn the_command_line_goes_before_the_environment() {
        let [one, two] = ["10.0.0.1:1", "10.0.0.2:2"].map(|text| text.parse::<ServerAddress>().unwrap());
        assert_eq!(read(arguments(["game", "--connect", "10.0.0.1:1"]), Some("10.0.0.2:2".into())), Some(one.clone()));
        assert_eq!(read(arguments(["game", "--connect=10.0.0.1:1", "x"]), None), Some(one));
        assert_eq!(read(arguments(["game", "--connection=10.0.0.1:1"]), Some("10.0.0.2:2".into())), Some(two));
        assert_eq!(read(arguments(["game"]), None), None);
    }

    #[test]
    fn names_and_join_strings_are_addresses_too() {
        for text in ["localhost:7979", "10.0.0.1:1#BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc"] {
            let read = read(arguments(["game", "--connect", text]), None);
            assert_eq!(read.map(|server| server.to_string()).as_deref(), Some(text));
        }
    }

    #[test]
    fn what_is_no_address_is_ignored() {
        for text in ["", "here", "10.0.0.1", "10.0.0.1:99999"] {
            assert_eq!(read(arguments(["game", "--connect", text]), None), None, "{text}");
        }
        assert_eq!(read(arguments(["game", "--connect"]), None), None);
    }
}
