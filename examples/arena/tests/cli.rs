//! The arena as its users start it: roles in processes of their own, and every way to fail ends in one clear line, in time.

use std::io::{BufRead, BufReader, Read};
use std::net::UdpSocket;
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::time::{Duration, Instant};

fn arena(line: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_arena"));
    command.args(line.split_whitespace()).arg("--headless").stdout(Stdio::piped()).stderr(Stdio::piped());
    command.env_remove("RUST_LOG");
    command
}

fn run(line: &str) -> (Output, Duration) {
    let began = Instant::now();
    let output = arena(line).output().expect("the arena can be started");
    (output, began.elapsed())
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// It ends with this status, and says one thing.
fn expect_one_line(output: &Output, status: i32, words: &str) {
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(status), "{stderr}\n{}", text(&output.stdout));
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    assert!(stderr.contains(words), "{words:?} is not in: {stderr}");
}

/// A server of its own, ended when the test is over.
struct Server {
    process: Child,
    output: BufReader<ChildStdout>,
    /// On this machine, without its hash.
    address: String,
    join: String,
}

impl Server {
    fn start() -> Self {
        Self::start_on("127.0.0.1:0")
    }

    fn start_on(address: &str) -> Self {
        let line = format!("server --listen {address} --wanderers 5");
        let mut process = arena(&line).spawn().expect("the arena can be started");
        let mut output = BufReader::new(process.stdout.take().expect("it is piped"));
        let mut said = |prefix: &str| loop {
            let mut line = String::new();
            assert_ne!(output.read_line(&mut line).expect("it writes text"), 0, "it says {prefix:?}");
            if let Some(rest) = line.strip_prefix(prefix) {
                break rest.trim().trim_start_matches("arena client ").to_owned();
            }
        };
        let address = said("join it from this machine:");
        let join = said("join it from elsewhere:");
        Self { process, output, address, join }
    }

    fn signal(&self, name: &str) {
        let sent =
            Command::new("kill").args([name, &self.process.id().to_string()]).status().expect("there is a `kill`");
        assert!(sent.success());
    }

    /// What it said until it ended, and its status.
    fn end(mut self) -> (String, Option<i32>) {
        let status = self.process.wait().expect("it ends").code();
        let mut rest = String::new();
        self.output.read_to_string(&mut rest).expect("it writes text");
        (rest, status)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _gone_already = self.process.kill();
        let _gone_already = self.process.wait();
    }
}

/// Takes in what a client says until it plays.
fn wait_until_it_plays(client: &mut Child) -> BufReader<ChildStdout> {
    let mut output = BufReader::new(client.stdout.take().expect("it is piped"));
    loop {
        let mut line = String::new();
        assert_ne!(output.read_line(&mut line).expect("it writes text"), 0, "it plays");
        if line.contains("in game 1 of 1") {
            return output;
        }
    }
}

#[test]
fn a_client_joins_by_address_and_by_join_string_and_reports() {
    let server = Server::start();
    assert!(server.join.starts_with(&format!("{}#", server.address)), "{} {}", server.address, server.join);
    for place in [&server.address, &server.join] {
        let (output, _) = run(&format!("client {place} --seconds 2 --rtt 30"));
        let report = text(&output.stdout);
        assert!(output.status.success(), "{report}{}", text(&output.stderr));
        for words in
            ["1 of 1 in the game", "round trip", "prediction error", "UDP up", "ok      every client is connected"]
        {
            assert!(report.contains(words), "{words:?} is not in:\n{report}");
        }
    }
    server.signal("-INT");
    let (said, status) = server.end();
    assert_eq!(status, Some(0), "Ctrl-C is no failure");
    assert!(said.contains("report") && said.contains("ok      the server kept its tick rate"), "{said}");
}

#[test]
fn a_client_brings_thin_clients_along_over_a_link_as_bad_as_it_is_told() {
    let server = Server::start();
    let (output, _) = run(&format!("client {} --thin-clients 3 --seconds 3 --rtt 150 --jitter 5", server.join));
    let report = text(&output.stdout);
    assert!(output.status.success(), "{report}{}", text(&output.stderr));
    assert!(report.contains("4 of 4 in the game"), "{report}");
    let (_, rest) = report.split_once("  round trip ").expect("it is reported");
    let median: f32 = rest.split_whitespace().next().and_then(|word| word.parse().ok()).expect("a number");
    assert!((150.0..300.0).contains(&median), "{median} ms:\n{report}");
}

#[test]
fn a_client_that_is_asked_to_end_says_goodbye_and_reports() {
    let server = Server::start();
    let mut client = arena(&format!("client {} --seconds 60", server.join)).spawn().expect("it can be started");
    let mut output = wait_until_it_plays(&mut client);
    let sent = Command::new("kill").args(["-INT", &client.id().to_string()]).status().expect("there is a `kill`");
    assert!(sent.success());
    assert!(client.wait().expect("it ends").success(), "Ctrl-C is no failure");
    let mut rest = String::new();
    output.read_to_string(&mut rest).expect("it writes text");
    assert!(rest.contains("report"), "{rest}");
    server.signal("-TERM");
    assert_eq!(server.end().1, Some(0));
}

#[test]
fn a_server_and_a_client_meet_over_ipv6_where_the_machine_has_it() {
    if UdpSocket::bind("[::1]:0").is_err() {
        eprintln!("skipped: this machine has no IPv6");
        return;
    }
    let server = Server::start_on("[::1]:0");
    assert!(server.join.starts_with("[::1]:"), "{}", server.join);
    let (output, _) = run(&format!("client {} --seconds 1", server.join));
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
}

#[test]
fn one_process_plays_it_all_and_ctrl_c_ends_it_with_a_report() {
    let mut process = arena("--seconds 60 --thin-clients 2").spawn().expect("the arena can be started");
    let mut output = BufReader::new(process.stdout.take().expect("it is piped"));
    let mut line = String::new();
    while !line.contains("in game    3") {
        line.clear();
        assert_ne!(output.read_line(&mut line).expect("it writes text"), 0, "three play");
    }
    let sent = Command::new("kill").args(["-INT", &process.id().to_string()]).status().expect("there is a `kill`");
    assert!(sent.success());
    let mut rest = String::new();
    output.read_to_string(&mut rest).expect("it writes text");
    assert!(rest.contains("report") && rest.contains("UDP down"), "{rest}");
    assert!(process.wait().expect("it ends").success(), "Ctrl-C is no failure");
}

#[test]
fn nobody_at_the_port_is_said_within_ten_seconds() {
    let nobody = UdpSocket::bind("127.0.0.1:0").expect("the system has ports").local_addr().expect("it is bound");
    let (output, took) = run(&format!("client {nobody}"));
    expect_one_line(&output, 1, &format!("nobody answers at {nobody}"));
    assert!(took < Duration::from_secs(10), "{took:?}");
}

#[test]
fn a_machine_that_can_t_be_reached_is_said_within_ten_seconds() {
    // An address kept for documentation: nobody has it.
    let (output, took) = run("client 192.0.2.1:7979#BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc");
    expect_one_line(&output, 1, "192.0.2.1:7979");
    assert!(took < Duration::from_secs(10), "{took:?}");
}

#[test]
fn a_machine_that_nobody_vouches_for_is_not_connected_to() {
    let (output, _) = run("client 192.0.2.1:7979");
    expect_one_line(&output, 1, "ADDRESS#HASH");
}

#[test]
fn a_name_that_leads_nowhere_is_said() {
    let (output, took) = run("client nobody.invalid:7979");
    expect_one_line(&output, 1, "nobody.invalid");
    assert!(took < Duration::from_secs(10), "{took:?}");
}

#[test]
fn a_port_that_is_taken_is_said() {
    let taken = UdpSocket::bind("127.0.0.1:0").expect("the system has ports");
    let (output, took) = run(&format!("server --listen {}", taken.local_addr().expect("it is bound")));
    expect_one_line(&output, 1, "the port is in use");
    assert!(took < Duration::from_secs(5), "{took:?}");
}

#[test]
fn another_version_of_the_game_is_said() {
    let server = Server::start();
    let (output, took) = run(&format!("client {} --game-version 7", server.join));
    expect_one_line(&output, 1, "another version of the game");
    assert!(took < Duration::from_secs(5), "{took:?}");
}

#[test]
fn a_server_with_another_certificate_is_not_believed() {
    let server = Server::start();
    let (output, took) = run(&format!("client {}#BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc", server.address));
    expect_one_line(&output, 1, "join string");
    assert!(took < Duration::from_secs(5), "{took:?}");
}

#[test]
fn a_server_that_ends_and_one_that_is_killed_are_told_apart() {
    for (signal, words, at_most) in [("-INT", "has ended the game", 2), ("-KILL", "went silent", 8)] {
        let server = Server::start();
        let mut client = arena(&format!("client {} --seconds 60", server.join)).spawn().expect("it can be started");
        let _output = wait_until_it_plays(&mut client);
        server.signal(signal);
        let began = Instant::now();
        let output = client.wait_with_output().expect("it ends");
        expect_one_line(&output, 1, words);
        assert!(began.elapsed() < Duration::from_secs(at_most), "{signal}: {:?}", began.elapsed());
    }
}

#[test]
fn a_kept_identity_keeps_the_join_string() {
    let folder = std::env::temp_dir().join(format!("arena-identity-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder can be made");
    let file = folder.join("server.pem");
    let hash = || {
        let line = format!("server --listen 127.0.0.1:0 --seconds 0.1 --identity {}", file.display());
        let (output, _) = run(&line);
        let said = text(&output.stdout);
        said.split_once('#').and_then(|(_, rest)| rest.split_whitespace().next().map(str::to_owned)).expect("a hash")
    };
    assert_eq!(hash(), hash());
    std::fs::write(&file, "no identity").expect("it can be written to");
    let (output, _) = run(&format!("server --listen 127.0.0.1:0 --identity {}", file.display()));
    expect_one_line(&output, 1, "CERTIFICATE");
    std::fs::remove_dir_all(&folder).expect("it can be removed");
}

#[test]
fn mistakes_in_the_arguments_end_with_status_2() {
    for line in ["client", "client nowhere", "server --listen here", "--virtual server", "--link pigeon", "--loss 90"] {
        let (output, _) = run(line);
        assert_eq!(output.status.code(), Some(2), "{line}: {}", text(&output.stderr));
    }
    let (output, _) = run("--list-links");
    assert!(output.status.success() && text(&output.stdout).contains("4G, regional, 50th percentile"));
}

#[test]
fn a_link_is_written_to_a_file_and_read_from_it() {
    let folder = std::env::temp_dir().join(format!("arena-profile-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder can be made");
    let file = folder.join("link.json");
    let short = "--seconds 0.2 --thin-clients 0 --virtual";
    let (output, _) = run(&format!("{short} --rtt 123 --create-network-simulator-json-file {}", file.display()));
    assert!(text(&output.stdout).contains("123 ms round trip"), "{}", text(&output.stderr));
    let (output, _) = run(&format!("{short} --load-network-simulator-json-file {}", file.display()));
    assert!(text(&output.stdout).contains("123 ms round trip"), "{}", text(&output.stderr));
    std::fs::remove_dir_all(&folder).expect("it can be removed");
}
