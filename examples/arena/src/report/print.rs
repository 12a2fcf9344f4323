//! The report as text: one line per figure, a table of players, and the invariants.

use std::fmt::{self, Formatter, Result};

use ghostline::transport::UnreliableDrops;

use super::traffic::Counters;
use super::{Report, ServerFigures};

/// So many players are told one by one.
const PLAYERS: usize = 20;

fn kilo(bytes: u64, seconds: f64) -> f64 {
    bytes as f64 / 1e3 / seconds
}

/// Of the time on the clock on the wall a game may lose so much before it is worth a line, and this much in any case: a machine has other things to do, too.
const LOST_SHARE: f64 = 0.02;
const LOST_SECONDS: f64 = 0.5;

/// What there is to say of a game of `played` seconds that fell so many seconds behind the clock. No promise is broken by it: how fast a machine is, is
/// no property of the game.
fn lag(behind: f64, played: f64) -> Option<String> {
    let is_too_slow = behind > LOST_SECONDS.max(LOST_SHARE * (played + behind));
    is_too_slow.then(|| format!("this machine is too slow for it: the game fell {behind:.1} s behind the clock"))
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let seconds = self.simulated.as_secs_f64().max(1e-9);
        writeln!(f, "\nreport")?;
        writeln!(f, "  time              {seconds:.1} s of the game in {:.1} s", self.took.as_secs_f64())?;
        if let Some(lag) = lag(self.behind.as_secs_f64(), seconds) {
            writeln!(f, "                    {lag}")?;
        }
        if self.clients > 0 {
            writeln!(f, "  clients           {} of {} in the game", self.connected, self.clients)?;
        }
        if let Some(server) = &self.server {
            self.fmt_server(f, server, seconds)?;
        }
        if self.client.is_some() {
            self.fmt_client(f)?;
        }
        self.fmt_commands(f)?;
        self.fmt_cpu(f)?;
        self.fmt_sockets(f, seconds)?;
        self.fmt_players(f)?;
        if let Some(bits) = self.server.as_ref().and_then(|server| server.bits.as_ref()) {
            writeln!(f, "\n{bits}")?;
        }
        writeln!(f, "\ninvariants")?;
        for invariant in &self.invariants {
            let verdict = if invariant.complaints.is_empty() { "ok    " } else { "FAILED" };
            writeln!(f, "  {verdict}  {}", invariant.promise)?;
            for complaint in &invariant.complaints {
                writeln!(f, "          {complaint}")?;
            }
        }
        Ok(())
    }
}

impl Report {
    fn fmt_server(&self, f: &mut Formatter<'_>, server: &ServerFigures, seconds: f64) -> Result {
        let (players, wanderers, bolts) = server.ghosts;
        let stats = &server.stats;
        writeln!(
            f,
            "  ticks             {}, {:.1} per second; {} frames ran several",
            server.ticks,
            f64::from(server.ticks) / seconds,
            self.samples.frames_with_several_ticks
        )?;
        writeln!(f, "  ghosts            {players} players, {wanderers} wanderers, {bolts} bolts at the end")?;
        let snapshots = kilo(stats.sent_snapshot_bytes, seconds);
        writeln!(
            f,
            "  snapshots         {snapshots:.1} kB/s, {:.2} kB/s per client; {} packets sent",
            snapshots / self.samples.served(),
            stats.sent_snapshot_packets
        )?;
        writeln!(
            f,
            "  rows              {} delta, {} absolute; {:.1} bits per row",
            stats.sent_rows - stats.absolute_rows,
            stats.absolute_rows,
            stats.row_bits as f64 / stats.sent_rows.max(1) as f64
        )
    }

    fn fmt_client(&self, f: &mut Formatter<'_>) -> Result {
        let samples = &self.samples;
        writeln!(
            f,
            "  round trip        {:.1} ms median, {:.1} ms p99 (client)",
            samples.rtt_ms.quantile(0.5),
            samples.rtt_ms.quantile(0.99)
        )?;
        let delay = samples.interpolation_delay_ticks.quantile(0.5);
        writeln!(
            f,
            "  interpolation     {delay:.1} ticks, {:.1} ms behind prediction (client, median)",
            delay * self.tick_ms
        )?;
        let Some(client) = &self.client else { return Ok(()) };
        let stats = &client.prediction;
        writeln!(
            f,
            "  prediction        {} states compared, {} mispredicted; {} rollbacks, {} ticks simulated again (client)",
            stats.comparisons, stats.mispredictions, stats.rollbacks, stats.resimulated_ticks
        )?;
        let causes = stats.causes.iter().filter(|cause| cause.count > 0);
        let causes: Vec<String> =
            causes.map(|cause| format!("{} of a {}'s {}", cause.count, cause.ghost_type, cause.component)).collect();
        if !causes.is_empty() {
            writeln!(f, "  mispredicted      {}", causes.join(", "))?;
        }
        let error = &samples.prediction_error_m;
        writeln!(
            f,
            "  prediction error  {:.3} m median, {:.3} m p99, {:.3} m at most, where it was corrected",
            error.quantile(0.5),
            error.quantile(0.99),
            error.quantile(1.0)
        )
    }

    fn fmt_commands(&self, f: &mut Formatter<'_>) -> Result {
        if self.clients > 0 {
            writeln!(
                f,
                "  packets           {} with commands sent, {} with snapshots received (clients, joining included)",
                self.sent_command_packets, self.received_snapshot_packets
            )?;
        }
        let Some(server) = &self.server else { return Ok(()) };
        let ticks: u64 = self.players.iter().map(|player| player.seen.ticks).sum();
        let without: u64 = self.players.iter().map(|player| player.seen.without_command).sum();
        writeln!(
            f,
            "  commands          {} packets received; {} commands late; {without} of {ticks} ticks without",
            server.stats.received_command_packets, server.stats.late_commands
        )?;
        let [jumps, shots] = [0, 1].map(|which| {
            let of = |presses: crate::bots::Presses| [presses.jumps, presses.shots][which];
            let (raised, seen): (u64, u64) = self
                .players
                .iter()
                .map(|player| (of(player.raised), of(player.seen.presses)))
                .fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
            format!("{raised}/{seen}")
        });
        if self.players.is_empty() {
            return Ok(());
        }
        writeln!(f, "  events            {jumps} jumps and {shots} shots raised/seen, by clients of this process")
    }

    fn fmt_cpu(&self, f: &mut Formatter<'_>) -> Result {
        let samples = &self.samples;
        if self.server.is_some() {
            let per_connection =
                samples.server_cpu.as_secs_f64() * 1e6 / samples.ticks.max(1) as f64 / samples.served();
            writeln!(
                f,
                "  server CPU        {:.3} ms per tick median, {:.3} ms p99, of {:.1} ms; {per_connection:.1} µs per connection and tick",
                samples.server_tick_ms.quantile(0.5),
                samples.server_tick_ms.quantile(0.99),
                self.tick_ms
            )?;
        }
        if self.clients > 0 {
            let per_client =
                samples.clients_cpu.as_secs_f64() * 1e6 / samples.frames.max(1) as f64 / self.clients as f64;
            writeln!(
                f,
                "  clients CPU       {:.3} ms per frame median, {:.3} ms p99, all {} together; {per_client:.1} µs per client and frame",
                samples.clients_frame_ms.quantile(0.5),
                samples.clients_frame_ms.quantile(0.99),
                self.clients
            )?;
        }
        Ok(())
    }

    fn fmt_sockets(&self, f: &mut Formatter<'_>, seconds: f64) -> Result {
        for (name, counters, peers) in [
            ("down", &self.traffic.server, self.samples.served()),
            ("up", &self.traffic.clients, self.clients.max(1) as f64),
        ] {
            if counters.packets > 0 {
                fmt_counters(f, name, counters, peers, seconds)?;
            }
        }
        if let Some(connection) = &self.traffic.connection {
            writeln!(
                f,
                "  connection        {} of {} packets lost; {} kB/s allowed, {} brakes for loss, {} for delay (client, up)",
                connection.packets_lost,
                connection.packets_sent,
                connection.budget_bytes_per_second / 1_000,
                connection.brakes_for_loss,
                connection.brakes_for_delay
            )?;
        }
        Ok(())
    }

    fn fmt_players(&self, f: &mut Formatter<'_>) -> Result {
        if self.players.is_empty() || self.server.is_none() {
            return Ok(());
        }
        writeln!(f, "\n  player             id   jumps raised/seen   shots raised/seen   hits")?;
        for player in self.players.iter().take(PLAYERS) {
            writeln!(
                f,
                "  {:<16} {:>4}   {:>8}/{:<8}   {:>8}/{:<8}   {:>4}",
                player.name,
                player.id,
                player.raised.jumps,
                player.seen.presses.jumps,
                player.raised.shots,
                player.seen.presses.shots,
                player.hits
            )?;
        }
        match self.players.len().saturating_sub(PLAYERS) {
            0 => Ok(()),
            more => writeln!(f, "  and {more} more"),
        }
    }
}

fn fmt_counters(f: &mut Formatter<'_>, name: &str, counters: &Counters, peers: f64, seconds: f64) -> Result {
    writeln!(
        f,
        "  UDP {name:<14}{:.2} kB/s and {:.1} packets/s per client; {:.1} bytes around the messages of a packet; {} packets of acks alone; {} messages dropped{}",
        kilo(counters.bytes, seconds) / peers,
        counters.packets as f64 / seconds / peers,
        counters.overhead_per_packet(),
        counters.acks_alone,
        counters.dropped.total(),
        causes(&counters.dropped)
    )
}

/// Why messages were dropped, if any were.
fn causes(dropped: &UnreliableDrops) -> String {
    let causes = [
        (dropped.by_queue, "for a full queue"),
        (dropped.by_budget, "over the budget"),
        (dropped.by_silence, "for peers that acknowledge nothing"),
        (dropped.by_size, "too large for the path"),
    ];
    let causes: Vec<String> =
        causes.into_iter().filter(|&(count, _)| count > 0).map(|(count, why)| format!("{count} {why}")).collect();
    if causes.is_empty() { String::new() } else { format!(" ({})", causes.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::lag;

    #[test]
    fn a_game_that_falls_behind_the_clock_says_so() {
        assert_eq!(lag(0.0, 10.0), None);
        assert_eq!(lag(0.4, 10.0), None, "a hiccup");
        assert_eq!(lag(1.0, 59.0), None, "two in a hundred");
        assert!(lag(3.0, 7.0).unwrap().contains("3.0 s behind the clock"));
    }
}
