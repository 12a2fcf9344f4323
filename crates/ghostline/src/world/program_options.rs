//! What a program is told from outside its code: options of the command line, and the environment where they are silent.

use std::fmt::Display;
use std::str::FromStr;

/// The value of an option, `--name VALUE` or `--name=VALUE`; the last one counts. `None` if it isn't there or has no value.
pub(super) fn option(arguments: impl IntoIterator<Item = String>, name: &str) -> Option<String> {
    let mut arguments = arguments.into_iter();
    let mut value = None;
    while let Some(argument) = arguments.next() {
        let Some(rest) = argument.strip_prefix(name) else { continue };
        match rest.strip_prefix('=') {
            Some(inline) => value = Some(inline.to_owned()),
            None if rest.is_empty() => value = arguments.next(),
            None => {}
        }
    }
    value
}

/// What the command line says, else the environment. What can't be understood is ignored, and logged with `what` it was to say.
pub(super) fn read<T: FromStr<Err: Display>>(
    arguments: impl IntoIterator<Item = String>,
    argument: &str,
    variable: Option<String>,
    variable_name: &str,
    what: &str,
) -> Option<T> {
    let (source, text) = match (option(arguments, argument), variable) {
        (Some(text), _) => (argument, text),
        (None, Some(text)) => (variable_name, text),
        (None, None) => return None,
    };
    match text.trim().parse() {
        Ok(value) => Some(value),
        Err(error) => {
            tracing::error!("`{source}` says {what}, but {error}; it is ignored");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments<const N: usize>(arguments: [&str; N]) -> Vec<String> {
        arguments.map(str::to_owned).to_vec()
    }

    #[test]
    fn an_option_is_found_in_either_form_and_the_last_one_counts() {
        let found = |words: Vec<String>| option(words, "--name");
        assert_eq!(found(arguments(["game", "--name", "a"])), Some("a".into()));
        assert_eq!(found(arguments(["game", "--name=a", "--name", "b", "--names=c"])), Some("b".into()));
        assert_eq!(found(arguments(["game", "--name"])), None);
        assert_eq!(found(arguments(["game", "--name="])), Some(String::new()));
    }
}
