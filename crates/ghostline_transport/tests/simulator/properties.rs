//! What holds for any conditions, any seed and any traffic: nothing is invented, runs repeat, and no bound is exceeded.

use std::time::Duration;

use ghostline_transport::{LinkConditions, LinkStats, Loss, SimulatedLink, limits};
use proptest::prelude::*;

use crate::harness::{missing, ms, run};

fn any_loss() -> impl Strategy<Value = Loss> {
    prop_oneof![
        Just(Loss::None),
        (0.0_f32..=100.0).prop_map(|percent| Loss::Random { percent }),
        (1_u32..10).prop_map(|every| Loss::Periodic { every }),
        (0.0_f32..=50.0, 1.0_f32..10.0).prop_map(|(percent, mean_length)| Loss::Bursts { percent, mean_length }),
    ]
}

fn any_conditions() -> impl Strategy<Value = LinkConditions> {
    let times = (0_u32..200, 0_u32..100);
    let percents = (0.0_f32..=100.0, 0.0_f32..=100.0, 0.0_f32..=100.0);
    let bounds = (prop::option::of(1_000_u32..200_000), 1_u32..300);
    (times, any_loss(), percents, bounds).prop_map(|(times, loss, percents, bounds)| LinkConditions {
        delay_ms: times.0,
        jitter_ms: times.1,
        loss,
        duplicate_percent: percents.0,
        reorder_percent: percents.1,
        corrupt_percent: percents.2,
        bandwidth_bytes_per_second: bounds.0,
        max_packets: bounds.1,
    })
}

fn any_sizes() -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(0_usize..1_500, 0..200)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_packet_is_delivered_lost_or_dropped_and_none_is_invented(
        conditions in any_conditions(), seed in any::<u64>(), step in 0_u64..40, sizes in any_sizes()
    ) {
        let sent = sizes.len();
        let (crossings, link) = run(conditions, seed, ms(step), sizes);
        let stats = link.stats();
        prop_assert_eq!(stats.sent, sent as u64);
        prop_assert_eq!(stats.delivered, crossings.len() as u64);
        prop_assert_eq!(stats.sent + stats.duplicated, stats.delivered + stats.lost + stats.dropped_by_queue);
        let mut copies = vec![0; sent];
        for crossing in &crossings {
            prop_assert!(crossing.at >= crossing.sent);
            copies[crossing.number] += 1;
        }
        prop_assert!(copies.iter().all(|count| *count <= 2));
        let twice = copies.iter().filter(|count| **count == 2).count() as u64;
        prop_assert!(twice <= stats.duplicated);
        prop_assert_eq!(missing(&crossings, sent).len() as u64, sent as u64 - (stats.delivered - twice));
    }

    #[test]
    fn the_same_seed_gives_the_same_run(
        conditions in any_conditions(), seed in any::<u64>(), step in 0_u64..40, sizes in any_sizes()
    ) {
        let (first, first_link) = run(conditions, seed, ms(step), sizes.clone());
        let (second, second_link) = run(conditions, seed, ms(step), sizes);
        prop_assert_eq!(first, second);
        prop_assert_eq!(first_link.stats(), second_link.stats());
    }

    #[test]
    fn it_does_not_matter_how_often_the_link_is_emptied(
        conditions in any_conditions(), seed in any::<u64>(), step in 0_u64..40, sizes in any_sizes()
    ) {
        let conditions = LinkConditions { max_packets: 10_000, ..conditions };
        let (often, _) = run(conditions, seed, ms(step), sizes.clone());
        let mut link = SimulatedLink::new(conditions, seed).unwrap();
        let mut now = Duration::from_secs(3);
        for (number, bytes) in sizes.into_iter().enumerate() {
            let _lost = link.push(now, number, bytes);
            now += ms(step);
        }
        let once: Vec<_> = core::iter::from_fn(|| link.pop_due(Duration::MAX)).collect();
        prop_assert_eq!(once.len(), often.len());
        for (delivery, crossing) in once.iter().zip(&often) {
            prop_assert_eq!((delivery.item, delivery.at), (crossing.number, crossing.at));
        }
    }

    #[test]
    fn without_jitter_and_reordering_the_order_is_kept(
        conditions in any_conditions(), seed in any::<u64>(), step in 0_u64..40, sizes in any_sizes()
    ) {
        let conditions = LinkConditions { jitter_ms: 0, reorder_percent: 0.0, ..conditions };
        let (crossings, link) = run(conditions, seed, ms(step), sizes);
        prop_assert!(crossings.is_sorted_by_key(|crossing| crossing.number));
        prop_assert_eq!(link.stats().reordered, 0);
    }

    #[test]
    fn the_bandwidth_is_never_exceeded_over_any_window(
        conditions in any_conditions(),
        seed in any::<u64>(),
        bandwidth in 1_000_u32..500_000,
        step in 0_u64..40,
        sizes in any_sizes()
    ) {
        let conditions = LinkConditions {
            jitter_ms: 0,
            reorder_percent: 0.0,
            bandwidth_bytes_per_second: Some(bandwidth),
            max_packets: 10_000,
            ..conditions
        };
        let (crossings, _) = run(conditions, seed, ms(step), sizes.clone());
        for (index, first) in crossings.iter().enumerate() {
            // What arrives after the first one and up to the last one of a window took that long to pass.
            let mut bytes = 0;
            for last in &crossings[index + 1..] {
                bytes += sizes[last.number] as u128;
                let window = (last.at - first.at).as_nanos();
                prop_assert!(bytes * 1_000_000_000 <= window * u128::from(bandwidth));
            }
        }
        let longest = u128::from(limits::SIMULATED_QUEUE_BYTES) * 1_000_000_000 / u128::from(bandwidth);
        for crossing in &crossings {
            let waited = (crossing.at - crossing.sent - ms(conditions.delay_ms.into())).as_nanos();
            prop_assert!(waited <= longest + 1_000, "no longer than the whole queue takes");
        }
    }

    #[test]
    fn never_more_packets_are_on_their_way_than_may_be(
        conditions in any_conditions(), seed in any::<u64>(), sizes in any_sizes()
    ) {
        let mut link = SimulatedLink::new(conditions, seed).unwrap();
        for bytes in sizes {
            let _lost = link.push(Duration::ZERO, (), bytes);
            prop_assert!(link.len() <= conditions.max_packets as usize);
        }
    }

    #[test]
    fn on_a_perfect_link_nothing_ever_happens(seed in any::<u64>(), sizes in any_sizes()) {
        let sent = sizes.len() as u64;
        let (crossings, link) = run(LinkConditions::PERFECT, seed, ms(1), sizes);
        prop_assert!(crossings.iter().all(|crossing| crossing.at == crossing.sent && crossing.corruption.is_none()));
        prop_assert_eq!(link.stats(), LinkStats { sent, delivered: sent, ..LinkStats::default() });
    }
}
