//! Baseline keys: what rows may be told against decides how many clients can share their bits, and how many bits they take. Plays the common
//! workload's agents to many clients with each kind of key, all kinds in step over the same links (`crowd`), and sets the figures side by side.

use ghostline::snapshot::plain::{BaselineKeys, EncodeTotals, TypeSettings};

use crate::codec::agents;
use crate::crowd::{Crowd, Path, Truths};
use crate::measure::median;
use crate::motion::{Motion, Rng};
use crate::report::Report;

/// Every so many clients one reads what it gets; the others only acknowledge.
const READS_EVERY: usize = 8;
/// What clients hold is compared at every so many ticks.
const COMPARED_EVERY: usize = 8;
/// Clients' frames come up to so much later than the server's.
const MOST_PHASE_MS: f32 = 16.0;

/// What to run.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    /// Agents.
    pub agents: usize,
    /// Clients.
    pub clients: usize,
    /// Share of agents that moves.
    pub moving: f64,
    /// Ticks that are measured.
    pub ticks: usize,
    /// Ticks of motion before: everybody joins, and models are learned.
    pub warm: usize,
    /// Any packet takes up to so much longer, in ms.
    pub jitter_ms: f32,
    /// Of everything that the links do.
    pub seed: u64,
}

/// A kind of key.
struct Kind {
    name: &'static str,
    keys: BaselineKeys,
    single_baseline: bool,
}

static KINDS: [Kind; 4] = [
    Kind { name: "shared", keys: BaselineKeys::Shared, single_baseline: false },
    Kind { name: "newest", keys: BaselineKeys::Newest, single_baseline: false },
    Kind { name: "single", keys: BaselineKeys::Shared, single_baseline: true },
    Kind { name: "plain", keys: BaselineKeys::Plain, single_baseline: false },
];

/// The links of all clients: from, to.
struct Links {
    name: &'static str,
    round_trip_ms: (f32, f32),
    loss: (f32, f32),
}

const LINKS: [Links; 5] = [
    Links { name: "40-300 ms, 0-10 % loss", round_trip_ms: (40.0, 300.0), loss: (0.0, 0.1) },
    Links { name: "20-60 ms, 0-2 % loss", round_trip_ms: (20.0, 60.0), loss: (0.0, 0.02) },
    Links { name: "200-300 ms, 5-10 % loss", round_trip_ms: (200.0, 300.0), loss: (0.05, 0.1) },
    Links { name: "100 ms", round_trip_ms: (100.0, 100.0), loss: (0.0, 0.0) },
    Links { name: "100 ms, 5 % loss", round_trip_ms: (100.0, 100.0), loss: (0.05, 0.05) },
];

impl Links {
    /// A path for each client: round trips, losses and phases spread evenly, and dealt out independently of each other.
    fn paths(&self, setup: &Setup) -> Vec<Path> {
        let mut rng = Rng(setup.seed);
        let mut deal = |(low, high): (f32, f32)| {
            let last = setup.clients.saturating_sub(1).max(1) as f32;
            let spread = |client: usize| low + (high - low) * client as f32 / last;
            let mut values: Vec<f32> = (0..setup.clients).map(spread).collect();
            (1..values.len()).for_each(|client| values.swap(client, rng.below(client + 1)));
            values.into_iter()
        };
        let (round_trips, losses, phases) = (deal(self.round_trip_ms), deal(self.loss), deal((0.0, MOST_PHASE_MS)));
        let path =
            |((round_trip_ms, loss), phase_ms)| Path { round_trip_ms, jitter_ms: setup.jitter_ms, loss, phase_ms };
        round_trips.zip(losses).zip(phases).map(path).collect()
    }
}

/// A crowd with one kind of key, and what it came to.
struct Run {
    kind: &'static Kind,
    crowd: Crowd,
    /// The server's counts when the measured ticks began.
    before: EncodeTotals,
    cpu_ns: Vec<f64>,
    differing: u64,
    compared: u64,
}

impl Run {
    fn new(setup: &Setup, kind: &'static Kind, paths: &[Path]) -> Self {
        let mut crowd = Crowd::new(&agents::schema(), setup.agents, paths, READS_EVERY, setup.seed);
        crowd.server.set_baseline_keys(kind.keys);
        crowd.server.set_type(0, TypeSettings { single_baseline: kind.single_baseline, ..TypeSettings::default() });
        let before = EncodeTotals::default();
        Self { kind, crowd, before, cpu_ns: Vec::with_capacity(setup.ticks), differing: 0, compared: 0 }
    }

    fn figures(&mut self, setup: &Setup, links: &'static str, moved: u64) -> Figures {
        let (now, before) = (self.crowd.server.totals(), self.before);
        let (ticks, moved) = (self.cpu_ns.len().max(1) as f64, moved.max(1) as f64 * setup.clients.max(1) as f64);
        let rows = (now.rows - before.rows).max(1) as f64;
        let encoded = (now.encoded_rows - before.encoded_rows) as f64;
        Figures {
            links,
            key: self.kind.name,
            encodes_per_tick: encoded / ticks,
            copies_per_tick: (rows - encoded) / ticks,
            ns_per_moved_client: median(&mut self.cpu_ns) * ticks / moved,
            bits_per_row: (now.row_bits - before.row_bits) as f64 / rows,
            bytes_per_moved: (now.bytes - before.bytes) as f64 / moved,
            mismatches: self.differing + self.crowd.unreadable,
            compared: self.compared,
        }
    }
}

/// What one kind of key came to over some links.
pub struct Figures {
    links: &'static str,
    key: &'static str,
    encodes_per_tick: f64,
    copies_per_tick: f64,
    ns_per_moved_client: f64,
    bits_per_row: f64,
    bytes_per_moved: f64,
    mismatches: u64,
    compared: u64,
}

impl Figures {
    /// What [`table_row`](Self::table_row) gives.
    pub const TABLE_HEAD: &'static str =
        "links                    key     encodes   copies  share  ns/moved  bits/row  B/moved  wrong";

    fn encoded_share(&self) -> f64 {
        self.encodes_per_tick / (self.encodes_per_tick + self.copies_per_tick)
    }

    /// A line for people.
    pub fn table_row(&self) -> String {
        format!(
            "{:<24} {:<7} {:>7.0}  {:>7.0}  {:>5.3}  {:>8.1}  {:>8.2}  {:>7.3}  {:>5}",
            self.links,
            self.key,
            self.encodes_per_tick,
            self.copies_per_tick,
            self.encoded_share(),
            self.ns_per_moved_client,
            self.bits_per_row,
            self.bytes_per_moved,
            self.mismatches
        )
    }

    /// A line for programs.
    pub fn report(&self) -> Report {
        Report::new("keys")
            .text("links", self.links)
            .text("key", self.key)
            .number("encodes_per_tick", self.encodes_per_tick)
            .number("copies_per_tick", self.copies_per_tick)
            .number("encoded_share", self.encoded_share())
            .number("ns_per_moved_client", self.ns_per_moved_client)
            .number("bits_per_row", self.bits_per_row)
            .number("bytes_per_moved", self.bytes_per_moved)
            .count("mismatches", self.mismatches)
            .count("compared", self.compared)
    }
}

/// Runs all kinds over all links; hands out figures as they come.
pub fn run(setup: &Setup, mut done: impl FnMut(&Figures)) {
    for links in &LINKS {
        run_over(setup, links, &KINDS).iter().for_each(&mut done);
    }
}

fn run_over(setup: &Setup, links: &Links, kinds: &'static [Kind]) -> Vec<Figures> {
    let lanes = agents::schema().lanes();
    let paths = links.paths(setup);
    let mut runs: Vec<Run> = kinds.iter().map(|kind| Run::new(setup, kind, &paths)).collect();
    let mut motion = Motion::new(setup.agents, setup.moving);
    let mut truths = Truths::new(lanes);
    let mut rows = vec![0; setup.agents * lanes];
    let mut moved = 0;
    for tick in 0..setup.warm + setup.ticks {
        motion.step();
        for (agent, row) in rows.chunks_exact_mut(lanes).enumerate() {
            agents::row(&motion, agent, row);
        }
        truths.keep(&rows);
        let is_measured = tick >= setup.warm;
        moved += if is_measured { motion.moved.len() as u64 } else { 0 };
        for run in &mut runs {
            if tick == setup.warm {
                run.before = run.crowd.server.totals();
            }
            run.crowd.set_rows(&rows);
            let cost = run.crowd.tick();
            if is_measured {
                run.cpu_ns.push(cost.cpu_ns as f64);
            }
            if tick % COMPARED_EVERY == 0 {
                let (differing, compared) = run.crowd.compare(&truths);
                run.differing += differing;
                run.compared += compared;
            }
        }
    }
    runs.iter_mut().map(|run| run.figures(setup, links.name, moved)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const AGENTS: f64 = 64.0;
    const CLIENTS: f64 = 48.0;

    /// What connections have, and keys that join nobody.
    fn play(links: &Links) -> [Figures; 2] {
        let (agents, clients) = (AGENTS as usize, CLIENTS as usize);
        let setup = Setup { agents, clients, moving: 1.0, ticks: 40, warm: 60, jitter_ms: 8.0, seed: 7 };
        let figures = run_over(&setup, links, &KINDS[..2]);
        for figures in &figures {
            assert_eq!(figures.mismatches, 0, "{}", figures.table_row());
            assert!(figures.compared > 0, "nothing was compared");
        }
        figures.try_into().unwrap_or_else(|_| panic!("as many figures as kinds"))
    }

    #[test]
    fn over_equal_links_a_row_is_encoded_for_all_clients_at_once() {
        // A frame of a client may lie on either side of an arrival: two or three ticks are the newest of somebody.
        for figures in play(&LINKS[3]) {
            assert!(figures.encodes_per_tick < 3.0 * AGENTS, "{}", figures.table_row());
            assert!(figures.copies_per_tick > (CLIENTS - 3.0) * AGENTS, "{}", figures.table_row());
        }
    }

    #[test]
    fn over_links_that_differ_clients_join_each_other_for_few_more_bits() {
        let [shared, newest] = play(&LINKS[0]);
        let figures = format!("{}\n{}", shared.table_row(), newest.table_row());
        assert!(shared.encodes_per_tick < 0.8 * newest.encodes_per_tick, "{figures}");
        assert!(shared.encodes_per_tick < 14.0 * AGENTS, "{figures}");
        assert!(shared.bytes_per_moved < 1.03 * newest.bytes_per_moved, "{figures}");
    }
}
