//! What the command line can say. Parsed once in `main`; everything else takes these values as they are.

use clap::{Parser, Subcommand};
use ghostline::transport::ServerAddress;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// A small arena on ghostline: players move, jump and fire, bots keep them company, and a report at the end tells how the network fared.
///
/// Without a command one process plays it all: a server, a client and thin clients, over UDP on this machine and a simulated bad link.
///
/// Exit status: 0 if all went well, 1 if something did not (one line says what), 2 for a mistake in the arguments.
#[derive(Parser, Clone, Debug, PartialEq)]
#[command(version, about, max_term_width = 100)]
pub struct Args {
    #[command(subcommand)]
    pub role: Option<Role>,

    /// Plays without drawing: progress lines, then the report.
    #[arg(long, global = true)]
    pub headless: bool,

    /// How long to play, in seconds [default: 10 without drawing, else until q; a server: until Ctrl-C].
    #[arg(long, global = true, value_parser = seconds, value_name = "SECONDS")]
    pub seconds: Option<f64>,

    /// Seed of the bots, of the wandering ghosts and of the links' chance.
    #[arg(long, global = true, default_value_t = 1)]
    pub seed: u64,

    /// How many thin clients play [default: 8 beside a server in this process, else none].
    #[arg(long, global = true, value_parser = clap::value_parser!(u32).range(..=1000), value_name = "N")]
    thin_clients: Option<u32>,

    /// How many thin clients join per second.
    #[arg(long, global = true, default_value_t = 60.0, value_parser = join_rate, value_name = "HZ")]
    pub join_rate: f32,

    /// How many ghosts wander about.
    #[arg(long, global = true, default_value_t = 40, value_parser = clap::value_parser!(u32).range(..=100_000), value_name = "N")]
    pub wanderers: u32,

    /// Ticks per second.
    #[arg(long, global = true, default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=1000), value_name = "HZ")]
    pub tick_rate: u32,

    /// Also writes the report to this file.
    #[arg(long, global = true, value_name = "FILE")]
    pub report: Option<PathBuf>,

    /// Reports what the server's snapshots are made of, by ghost type and component.
    #[arg(long, global = true)]
    pub bits: bool,

    #[command(flatten)]
    pub link: LinkArgs,

    /// Virtual time, links within the process: no sleeping, no sockets, one tick per frame. Equal seeds play equal games.
    #[arg(long = "virtual")]
    pub virtual_time: bool,

    /// Pretends to be another version of the game, to see what happens then.
    #[arg(long, global = true, default_value_t = 0, hide = true)]
    pub game_version: u32,
}

/// What this process is, if not everything.
#[derive(Subcommand, Clone, Debug, PartialEq)]
pub enum Role {
    /// Only a server. It prints the join string with which clients find and recognise it.
    Server {
        /// Where to listen; port 0 takes any that is free.
        #[arg(long, default_value_t = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 7979)), value_name = "ADDRESS")]
        listen: SocketAddr,

        /// Keeps the server's certificate in this file, so that its join string stays the same.
        #[arg(long, value_name = "FILE")]
        identity: Option<PathBuf>,
    },
    /// Only a client.
    Client {
        /// The server: ADDRESS:PORT or NAME:PORT, or the join string ADDRESS:PORT#HASH that it prints.
        server: ServerAddress,
    },
}

/// The simulated link below the sockets.
#[derive(clap::Args, Clone, Debug, PartialEq)]
pub struct LinkArgs {
    /// Round trip of every link, in milliseconds [default: 80 beside a server in this process, else 0].
    #[arg(long, global = true, value_parser = clap::value_parser!(u32).range(..=2000), value_name = "MS")]
    pub rtt: Option<u32>,

    /// Jitter in each direction of every link, in milliseconds [default: 10 beside a server in this process, else 0].
    #[arg(long, global = true, value_parser = clap::value_parser!(u32).range(..=1000), value_name = "MS")]
    pub jitter: Option<u32>,

    /// How many packets are lost in each direction of every link, in percent [default: 2 beside a server in this process, else 0].
    #[arg(long, global = true, value_parser = percent, value_name = "PERCENT")]
    pub loss: Option<f32>,

    /// A link with a name, such as "4G, regional, 50th percentile"; --list-links shows them all.
    #[arg(long, global = true, value_name = "NAME", conflicts_with_all = ["rtt", "jitter", "loss"])]
    pub link: Option<String>,

    /// Shows the links that have names, and ends.
    #[arg(long, global = true)]
    pub list_links: bool,

    /// Takes the link from a JSON file [default file: NetworkSimulatorProfile.json].
    #[arg(long, global = true, value_name = "FILE", num_args = 0..=1, default_missing_value = PROFILE_FILE)]
    pub load_network_simulator_json_file: Option<PathBuf>,

    /// Writes the link to a JSON file, to be changed and loaded [default file: NetworkSimulatorProfile.json].
    #[arg(long, global = true, value_name = "FILE", num_args = 0..=1, default_missing_value = PROFILE_FILE)]
    pub create_network_simulator_json_file: Option<PathBuf>,
}

/// Where a link's profile lies, unless said otherwise.
const PROFILE_FILE: &str = "NetworkSimulatorProfile.json";

impl Args {
    const DEFAULT_DURATION: Duration = Duration::from_secs(10);
    const DEFAULT_THIN_CLIENTS: u32 = 8;

    /// Whether there is a server and a client in this process.
    pub fn is_whole(&self) -> bool {
        self.role.is_none()
    }

    /// Whether this process is a server alone.
    pub fn is_server(&self) -> bool {
        matches!(self.role, Some(Role::Server { .. }))
    }

    /// How many thin clients play.
    pub fn thin_clients(&self) -> u32 {
        self.thin_clients.unwrap_or(if self.is_whole() { Self::DEFAULT_THIN_CLIENTS } else { 0 })
    }

    /// How long to play without drawing; `None`: until somebody ends it.
    pub fn duration(&self) -> Option<Duration> {
        self.wanted_duration().or((!self.is_server()).then_some(Self::DEFAULT_DURATION))
    }

    /// How long to play, if that was said.
    pub fn wanted_duration(&self) -> Option<Duration> {
        self.seconds.map(Duration::from_secs_f64)
    }

    /// The length of one tick.
    pub fn tick_length(&self) -> Duration {
        Duration::from_secs(1) / self.tick_rate
    }
}

/// Up to a day, so that every sum of durations fits.
fn seconds(text: &str) -> Result<f64, String> {
    const LONGEST: f64 = 86_400.0;
    let value: f64 = text.parse().map_err(|_| format!("`{text}` is no number"))?;
    if value > 0.0 && value <= LONGEST {
        Ok(value)
    } else {
        Err(format!("{value} is not above 0 and at most {LONGEST}"))
    }
}

/// Not all packets can be lost, or nobody ever connects.
fn percent(text: &str) -> Result<f32, String> {
    const MOST: f32 = 50.0;
    let value: f32 = text.parse().map_err(|_| format!("`{text}` is no number"))?;
    if (0.0..=MOST).contains(&value) { Ok(value) } else { Err(format!("{value} is not from 0 to {MOST}")) }
}

fn join_rate(text: &str) -> Result<f32, String> {
    let value: f32 = text.parse().map_err(|_| format!("`{text}` is no number"))?;
    if (0.1..=1e4).contains(&value) { Ok(value) } else { Err(format!("{value} is not from 0.1 to 10000")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Args, clap::Error> {
        Args::try_parse_from(std::iter::once("arena").chain(line.split_whitespace()))
    }

    #[test]
    fn the_defaults_are_those_that_the_readme_promises() {
        let args = parse("").unwrap();
        assert!(args.is_whole() && !args.headless && !args.virtual_time);
        assert_eq!((args.duration(), args.seed), (Some(Duration::from_secs(10)), 1));
        assert_eq!((args.thin_clients(), args.tick_rate), (8, 60));
    }

    #[test]
    fn roles_have_their_own_arguments_and_share_the_others_on_either_side() {
        let server = parse("server --headless --tick-rate 30").unwrap();
        let everywhere = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 7979));
        assert_eq!(server.role, Some(Role::Server { listen: everywhere, identity: None }));
        assert_eq!((server.headless, server.tick_rate, server.thin_clients(), server.duration()), (true, 30, 0, None));
        let server = parse("--headless server --listen [::]:0 --identity me.pem --thin-clients 3").unwrap();
        let listen = "[::]:0".parse().unwrap();
        assert_eq!(server.role, Some(Role::Server { listen, identity: Some("me.pem".into()) }));
        assert_eq!(server.thin_clients(), 3);
        let client = parse("client localhost:7979 --loss 5").unwrap();
        assert_eq!(client.role, Some(Role::Client { server: "localhost:7979".parse().unwrap() }));
        assert_eq!(client.link.loss, Some(5.0));
        for mistake in
            ["client", "client nowhere", "client 1.2.3.4:5#short", "server --listen here", "--link LAN --rtt 3"]
        {
            assert!(parse(mistake).is_err(), "{mistake}");
        }
    }

    #[test]
    fn a_file_for_the_link_need_not_be_named() {
        let args = parse("--create-network-simulator-json-file --headless").unwrap();
        assert_eq!(args.link.create_network_simulator_json_file, Some(PROFILE_FILE.into()));
        let args = parse("--load-network-simulator-json-file bad.json").unwrap();
        assert_eq!(args.link.load_network_simulator_json_file, Some("bad.json".into()));
    }

    #[test]
    fn durations_that_make_no_sense_are_refused() {
        for text in ["0", "-1", "NaN", "inf", "1e9", "soon"] {
            assert!(parse(&format!("--seconds={text}")).is_err(), "{text}");
        }
    }
}
