//! Section 4.1: acknowledgements.

use ghostline_wire::*;
use proptest::collection::vec;
use proptest::prelude::*;

use crate::strategies::acks;
use crate::{config, round_trip};

/// What the document says of section 4.1, packet by packet.
#[derive(Default)]
struct NaiveWindow {
    /// Full numbers, not wrapped, of what was received.
    received: Vec<i64>,
}

impl NaiveWindow {
    fn newest(&self) -> Option<i64> {
        self.received.iter().copied().max()
    }

    fn receive(&mut self, sequence: i64) -> Reception {
        let newest = self.newest();
        let seen = self.received.contains(&sequence);
        let reception = match newest {
            None => Reception::New,
            Some(newest) if sequence > newest => Reception::New,
            Some(newest) if sequence <= newest - i64::from(ACK_WINDOW) || sequence < 0 => Reception::TooOld,
            Some(_) if seen => Reception::Duplicate,
            Some(_) => Reception::Late,
        };
        if reception != Reception::TooOld {
            self.received.push(sequence);
        }
        reception
    }

    fn told(&self) -> Vec<(PacketSequence, bool)> {
        let Some(newest) = self.newest() else {
            return Vec::new();
        };
        (0..i64::from(ACK_WINDOW))
            .map(|age| newest - age)
            .filter(|sequence| *sequence >= 0)
            .map(|sequence| (PacketSequence(sequence as u16), self.received.contains(&sequence)))
            .collect()
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn the_window_is_that_of_the_naive_model(steps in vec((-300..300i64, any::<bool>()), 1..400)) {
        let (mut window, mut naive) = (ReceivedPackets::new(), NaiveWindow::default());
        for (step, near) in steps {
            let step = if near { step % 8 } else { step };
            let sequence = (naive.newest().unwrap_or(0) + step).max(0);
            prop_assert_eq!(window.receive(PacketSequence(sequence as u16)), naive.receive(sequence));
        }
        let acks = window.acks().expect("at least one packet");
        prop_assert_eq!(acks.iter().collect::<Vec<_>>(), naive.told());
        prop_assert_eq!(acks.count() as usize, naive.told().len());
        let decoded = round_trip(|out| acks.encode(out), SnapshotAcks::decode)?;
        prop_assert_eq!(decoded, acks);
        for (sequence, received) in naive.told() {
            prop_assert_eq!(decoded.received(sequence), Some(received));
        }
    }

    #[test]
    fn the_window_wraps_like_the_naive_model(begin in 60_000..140_000i64, steps in vec(-40..60i64, 1..200)) {
        // A window that has run for a while: every packet up to the begin arrived.
        let (mut window, mut naive) = (ReceivedPackets::new(), NaiveWindow::default());
        for sequence in 0..=begin {
            window.receive(PacketSequence(sequence as u16));
        }
        naive.received = (begin - 300..=begin).collect();
        for step in steps {
            let sequence = naive.newest().unwrap_or(0) + step;
            prop_assert_eq!(window.receive(PacketSequence(sequence as u16)), naive.receive(sequence));
        }
        let told: Vec<_> = window.acks().expect("at least one packet").iter().collect();
        prop_assert_eq!(told, naive.told());
    }

    #[test]
    fn an_ack_block_is_never_larger_than_its_mask(acks in acks()) {
        let mut out = BitWriter::new();
        acks.encode(&mut out);
        let mask = 16 + 1 + packed_bits(acks.count() - 1) + acks.count();
        prop_assert!(out.bit_len() <= mask as usize);
    }
}
