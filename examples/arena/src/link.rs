//! The simulated link below the sockets: what the command line asks for, and the presets that a player can switch to while playing.

use ghostline::transport::presets::{self, Presets};
use ghostline::transport::{LinkConditions, LinkProfile, Loss};
use std::fmt;
use std::fs;
use std::path::Path;

use crate::args::{Args, LinkArgs};
use crate::trouble::Trouble;

/// A link that can be chosen.
#[derive(Clone, Debug, PartialEq)]
struct Choice {
    name: String,
    profile: LinkProfile,
}

/// The links that can be chosen, and the one that is.
#[derive(Clone, Debug, PartialEq)]
pub struct Links {
    choices: Vec<Choice>,
    chosen: usize,
}

impl Links {
    /// What the command line asks for, then a perfect link, then every preset.
    ///
    /// # Errors
    /// A name that no preset has, or a file that can't be written. One that can't be read costs a warning.
    pub fn new(args: &Args) -> Result<Self, Trouble> {
        let mut choices = vec![
            Choice { name: "as started".to_owned(), profile: wanted(args)? },
            Choice { name: "no faults".to_owned(), profile: LinkProfile::perfect() },
        ];
        choices.extend(
            known().iter().map(|(name, conditions)| Choice {
                name: name.to_owned(),
                profile: LinkProfile::symmetric(conditions),
            }),
        );
        Ok(Self { choices, chosen: 0 })
    }

    /// The present one.
    pub fn profile(&self) -> LinkProfile {
        self.choices.get(self.chosen).map(|choice| choice.profile).unwrap_or_default()
    }

    /// Goes so many places on in the list, around its ends.
    pub fn step(&mut self, places: isize) {
        let count = self.choices.len() as isize;
        self.chosen = (self.chosen as isize + places).rem_euclid(count.max(1)) as usize;
    }
}

impl fmt::Display for Links {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.choices.get(self.chosen).map_or("", |choice| choice.name.as_str());
        write!(f, "{}/{} {name}: {}", self.chosen + 1, self.choices.len(), Described(&self.profile()))
    }
}

/// A profile in words.
pub struct Described<'a>(pub &'a LinkProfile);

impl fmt::Display for Described<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let LinkProfile { up, down, .. } = self.0;
        if up.is_perfect() && down.is_perfect() {
            return f.write_str("nothing is simulated");
        }
        write!(f, "{} ms round trip", up.delay_ms + down.delay_ms)?;
        if up == down {
            write!(f, ", each way {}", each_way(up))
        } else {
            write!(f, ", up {}, down {}", each_way(up), each_way(down))
        }
    }
}

fn each_way(conditions: &LinkConditions) -> String {
    let mut words = vec![format!("{} ms jitter", conditions.jitter_ms)];
    words.push(match conditions.loss {
        Loss::None => "no loss".to_owned(),
        Loss::Random { percent } => format!("{percent} % loss"),
        Loss::Periodic { every } => format!("every {every}th lost"),
        Loss::Bursts { percent, mean_length } => format!("{percent} % loss in bursts of {mean_length}"),
    });
    for (percent, what) in [
        (conditions.duplicate_percent, "twice"),
        (conditions.reorder_percent, "overtaken"),
        (conditions.corrupt_percent, "corrupted"),
    ] {
        if percent > 0.0 {
            words.push(format!("{percent} % {what}"));
        }
    }
    if let Some(bandwidth) = conditions.bandwidth_bytes_per_second {
        words.push(format!("{} kB/s", bandwidth / 1_000));
    }
    words.join(", ")
}

/// The library's presets, and the arena's own.
fn known() -> Presets {
    let mut presets = Presets::default();
    let bursts = Loss::Bursts { percent: 5.0, mean_length: 6.0 };
    let cafe = LinkConditions { jitter_ms: 40, loss: bursts, ..LinkConditions::delayed(35) };
    if let Err(error) = presets.register("Crowded cafe", cafe) {
        tracing::warn!("{error}");
    }
    presets
}

/// What the command line asks for.
fn wanted(args: &Args) -> Result<LinkProfile, Trouble> {
    let link = &args.link;
    let mut profile = match &link.link {
        Some(name) => {
            let conditions = known().find(name).ok_or_else(|| Trouble::NoSuchLink { name: name.clone() })?;
            LinkProfile::symmetric(conditions)
        }
        None => from_numbers(link, args.is_whole()),
    };
    if let Some(path) = &link.load_network_simulator_json_file {
        profile = load(path).unwrap_or_else(|reason| {
            tracing::warn!("{}: {reason}; the simulator goes by its defaults", path.display());
            LinkProfile::symmetric(presets::DEFAULT)
        });
    }
    if let Some(path) = &link.create_network_simulator_json_file {
        create(path, &profile)?;
    }
    Ok(profile)
}

/// Beside a server in the process the link is bad unless told otherwise: that is how a game looks to its players.
fn from_numbers(link: &LinkArgs, is_bad: bool) -> LinkProfile {
    let usual = if is_bad { (80, 10, 2.0) } else { (0, 0, 0.0) };
    let profile = LinkProfile::rtt(link.rtt.unwrap_or(usual.0)).with_jitter_ms(link.jitter.unwrap_or(usual.1));
    match link.loss.unwrap_or(usual.2) {
        0.0 => profile,
        percent => profile.with_loss_percent(percent),
    }
}

fn load(path: &Path) -> Result<LinkProfile, String> {
    let text = fs::read_to_string(path).map_err(|error| error.to_string())?;
    let profile: LinkProfile = serde_json::from_str(&text).map_err(|error| error.to_string())?;
    profile.validate().map_err(|error| error.to_string())?;
    Ok(profile)
}

fn create(path: &Path, profile: &LinkProfile) -> Result<(), Trouble> {
    let text = serde_json::to_string_pretty(profile).unwrap_or_default() + "\n";
    fs::write(path, text).map_err(|error| Trouble::File { path: path.to_owned(), reason: error.to_string() })
}

/// Every preset, a line each.
pub fn list() -> String {
    known()
        .iter()
        .map(|(name, conditions)| format!("{name:<36} {}\n", Described(&LinkProfile::symmetric(conditions))))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    fn links(line: &str) -> Result<Links, Trouble> {
        Links::new(&Args::parse_from(std::iter::once("arena").chain(line.split_whitespace())))
    }

    #[test]
    fn a_process_with_a_server_has_a_bad_link_and_one_without_has_what_it_asks_for() {
        let usual = LinkProfile::rtt(80).with_jitter_ms(10).with_loss_percent(2.0);
        assert_eq!(links("").unwrap().profile(), usual);
        assert_eq!(links("client localhost:1").unwrap().profile(), LinkProfile::perfect());
        assert_eq!(links("client localhost:1 --rtt 50").unwrap().profile(), LinkProfile::rtt(50));
        assert_eq!(links("--rtt 0 --jitter 0 --loss 0").unwrap().profile(), LinkProfile::perfect());
        let lan = Links::new(&Args::parse_from(["arena", "--link", "lan"])).unwrap();
        assert_eq!(lan.profile(), LinkProfile::symmetric(presets::LAN));
        let unknown = Links::new(&Args::parse_from(["arena", "--link", "pigeon"]));
        assert_eq!(unknown, Err(Trouble::NoSuchLink { name: "pigeon".to_owned() }));
    }

    #[test]
    fn every_preset_can_be_reached_in_both_directions() {
        let mut links = links("").unwrap();
        let count = links.choices.len();
        assert!(count > 70);
        let first = links.clone();
        links.step(-1);
        assert!(links.to_string().starts_with(&format!("{count}/{count} Crowded cafe")), "{links}");
        links.step(1);
        assert_eq!(links, first);
        for _ in 0..count {
            links.step(1);
        }
        assert_eq!(links, first);
    }

    #[test]
    fn a_file_brings_back_what_was_written_and_a_bad_one_the_defaults() {
        let folder = std::env::temp_dir().join(format!("arena-link-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join("link.json");
        let path_text = path.to_str().unwrap();
        links(&format!("--rtt 123 --loss 4 --create-network-simulator-json-file {path_text}")).unwrap();
        let load = format!("--load-network-simulator-json-file {path_text}");
        let expected = LinkProfile::rtt(123).with_jitter_ms(10).with_loss_percent(4.0);
        assert_eq!(links(&load).unwrap().profile(), expected);
        for text in ["no profile", r#"{"up": {"max_packets": 0}}"#] {
            fs::write(&path, text).unwrap();
            assert_eq!(links(&load).unwrap().profile(), LinkProfile::symmetric(presets::DEFAULT));
        }
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_link_is_told_in_words() {
        let told = |profile: LinkProfile| Described(&profile).to_string();
        assert_eq!(told(LinkProfile::perfect()), "nothing is simulated");
        let profile = LinkProfile::rtt(80).with_jitter_ms(10).with_loss_percent(2.0);
        assert_eq!(told(profile), "80 ms round trip, each way 10 ms jitter, 2 % loss");
        assert!(list().lines().count() == known().iter().count() && list().contains("Man in the middle"));
        assert!(list().contains("Crowded cafe"), "the arena's own");
    }
}
