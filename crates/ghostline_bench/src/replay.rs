//! Replays recorded or generated motion through the codec: rows of every frame in, figures out.
//! `cubes` and `asteroids` bring the rows; `codec` is what they go through.

use ghostline::snapshot::plain::SendLimits;
use ghostline::stats::SnapshotBits;
use ghostline::wire::GhostSchema;

use crate::codec::Session;
use crate::measure::{Stretch, median};
use crate::report::Report;

/// What to replay.
pub struct Replay<'a> {
    /// The ghosts' one type.
    pub schema: &'a GhostSchema,
    /// How many there are.
    pub ghosts: usize,
    /// Frames, the first of which is held until the client has it.
    pub frames: usize,
    /// Frames before this one are sent and not counted.
    pub first_counted: usize,
    /// Frames per second.
    pub rate: f64,
    /// Age of the newest acknowledged baseline, in frames.
    pub lag: u32,
    /// Share of packets lost, each way.
    pub loss: f32,
    /// Of the losses.
    pub seed: u64,
    /// Count what the bits are spent on. It takes time, which is measured with the encoding.
    pub bits: bool,
}

/// What a replay gave.
pub struct Figures {
    /// Bytes of all counted frames' packets.
    pub bytes: u64,
    /// Counted frames.
    pub frames: u64,
    /// Rows that changed from the frame before, over all counted frames.
    pub moved: u64,
    /// Median CPU time per frame, in µs.
    pub encode_us: f64,
    /// Median CPU time per frame, in µs.
    pub decode_us: f64,
    /// Allocations of encoding and decoding, per frame.
    pub allocations: f64,
    /// Rows that are not the server's, and packets that could not be read.
    pub mismatches: u64,
    /// What the bits of the counted frames were spent on, if it was asked for.
    pub bits: Option<SnapshotBits>,
    rate: f64,
}

impl Figures {
    /// The payload in kbit/s.
    pub fn kbit_s(&self) -> f64 {
        self.bytes as f64 / self.frames.max(1) as f64 * 8.0 * self.rate / 1e3
    }

    /// Adds what every command reports.
    pub fn report(&self, report: Report) -> Report {
        report
            .number("kbit_s", self.kbit_s())
            .number("bytes_per_moved", self.bytes as f64 / self.moved.max(1) as f64)
            .number("encode_us", self.encode_us)
            .number("decode_us", self.decode_us)
            .number("allocations", self.allocations)
            .count("mismatches", self.mismatches)
            .count("frames", self.frames)
            .number("bytes_per_frame", self.bytes as f64 / self.frames.max(1) as f64)
    }
}

impl Replay<'_> {
    /// Runs it; `row` gives the row of a ghost in a frame.
    pub fn run(&self, row: impl Fn(usize, usize, &mut [u32])) -> Figures {
        let mut session = Session::new(self.schema, self.ghosts, 1, self.lag);
        for _ in 0..4 * self.lag + 16 {
            session.set_rows(|ghost, lanes| row(0, ghost, lanes));
            session.exchange();
        }
        session.lose(self.loss, self.seed);
        let counted = self.frames.saturating_sub(self.first_counted);
        let mut encode = Vec::with_capacity(counted);
        let mut decode = Vec::with_capacity(counted);
        let (mut bytes, mut moved, mut allocations, mut mismatches) = (0, 0, 0, 0);
        for frame in 0..self.frames {
            if self.bits && frame == self.first_counted {
                session.count_bits();
            }
            let mut changed = 0;
            session.set_rows(|ghost, lanes| {
                let mut new = [0; 16];
                let new = &mut new[..lanes.len()];
                row(frame, ghost, new);
                changed += u64::from(new != lanes);
                lanes.copy_from_slice(new);
            });
            session.seal();
            let stretch = Stretch::begin();
            let sent = session.encode(SendLimits::default());
            let encoding = stretch.end();
            let stretch = Stretch::begin();
            mismatches += session.deliver();
            let decoding = stretch.end();
            mismatches += if self.loss > 0.0 { session.wrong_rows() } else { session.mismatches() };
            if frame >= self.first_counted {
                bytes += sent;
                moved += changed;
                allocations += encoding.allocations + decoding.allocations;
                encode.push(encoding.cpu_ns as f64 / 1e3);
                decode.push(decoding.cpu_ns as f64 / 1e3);
            }
        }
        Figures {
            bytes,
            frames: counted as u64,
            moved,
            encode_us: median(&mut encode),
            decode_us: median(&mut decode),
            allocations: allocations as f64 / counted.max(1) as f64,
            mismatches,
            bits: session.bits().cloned(),
            rate: self.rate,
        }
    }
}
