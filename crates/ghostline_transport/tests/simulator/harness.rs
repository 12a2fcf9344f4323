//! A link that is fed a packet per step and emptied as time goes by.
//! Tests give conditions and a seed; they get every delivery with its time.

use std::time::Duration;

use ghostline_transport::{Corruption, LinkConditions, SimulatedLink};

pub(crate) const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// One packet's way: its number, when it was sent and when it arrived.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Crossing {
    pub(crate) number: usize,
    pub(crate) sent: Duration,
    pub(crate) at: Duration,
    pub(crate) corruption: Option<Corruption>,
}

/// Sends packets of these sizes, one every `step`, takes out what is due at each step and the rest at the end.
pub(crate) fn run(
    conditions: LinkConditions,
    seed: u64,
    step: Duration,
    sizes: impl IntoIterator<Item = usize>,
) -> (Vec<Crossing>, SimulatedLink<(usize, Duration)>) {
    let mut link = SimulatedLink::new(conditions, seed).unwrap();
    let mut crossings = Vec::new();
    let mut collect = |link: &mut SimulatedLink<(usize, Duration)>, now: Duration| {
        while let Some(delivery) = link.pop_due(now) {
            let (number, sent) = delivery.item;
            assert!(delivery.at <= now, "nothing arrives early");
            crossings.push(Crossing { number, sent, at: delivery.at, corruption: delivery.corruption });
        }
        assert!(link.next_due().is_none_or(|due| due > now), "nothing that is due stays");
    };
    let mut now = Duration::from_secs(3);
    for (number, bytes) in sizes.into_iter().enumerate() {
        collect(&mut link, now);
        // What is lost is in the statistics; here it only has to come back.
        if let Err(dropped) = link.push(now, (number, now), bytes) {
            assert_eq!(dropped.item, (number, now));
        }
        now += step;
    }
    collect(&mut link, Duration::MAX);
    assert!(link.is_empty());
    (crossings, link)
}

/// The numbers of the packets that did not arrive, of the first `sent`.
pub(crate) fn missing(crossings: &[Crossing], sent: usize) -> Vec<usize> {
    let mut arrived = vec![false; sent];
    for crossing in crossings {
        arrived[crossing.number] = true;
    }
    (0..sent).filter(|number| !arrived[*number]).collect()
}
