//! That faults come as often as they should: fixed seeds, many packets, and bounds of five standard deviations or more,
//! so that a right simulator passes for nearly every seed, and this one always.

use ghostline_transport::{LinkConditions, Loss};

use crate::harness::{missing, ms, run};

const SEEDS: [u64; 4] = [0, 1, 42, u64::MAX];
const PACKETS: usize = 40_000;

fn lossy(loss: Loss) -> LinkConditions {
    LinkConditions { loss, ..LinkConditions::delayed(10) }
}

/// Whether `count` of [`PACKETS`] is `percent`, give or take five standard deviations.
fn is_share(count: usize, percent: f64) -> bool {
    let share = percent / 100.0;
    let expected = PACKETS as f64 * share;
    let deviation = (expected * (1.0 - share)).sqrt();
    (count as f64 - expected).abs() <= 5.0 * deviation
}

#[test]
fn random_loss_loses_as_many_as_it_says_and_leaves_no_pattern() {
    for seed in SEEDS {
        for percent in [0.0, 0.5, 5.0, 33.0, 90.0, 100.0] {
            let (crossings, link) = run(lossy(Loss::Random { percent }), seed, ms(1), vec![1; PACKETS]);
            let missing = missing(&crossings, PACKETS);
            assert!(is_share(missing.len(), percent.into()), "{percent} % at seed {seed}: {}", missing.len());
            assert_eq!(link.stats().lost as usize, missing.len());
            // The loss of one packet says nothing about the next one.
            let pairs = missing.windows(2).filter(|pair| pair[0] + 1 == pair[1]).count();
            let share = f64::from(percent) * f64::from(percent) / 100.0;
            assert!(is_share(pairs, share) || pairs + 1 == PACKETS, "{percent} % at seed {seed}: {pairs} pairs");
        }
    }
}

#[test]
fn periodic_loss_loses_exactly_every_nth() {
    for every in [1, 2, 3, 20] {
        let (crossings, link) = run(lossy(Loss::Periodic { every }), 1, ms(1), vec![1; 600]);
        let expected: Vec<usize> = (0..600).filter(|number| (number + 1) % every as usize == 0).collect();
        assert_eq!(missing(&crossings, 600), expected);
        assert_eq!(link.stats().lost as usize, expected.len());
    }
}

#[test]
fn bursts_have_the_mean_length_and_the_loss_that_they_should() {
    for seed in SEEDS {
        for (percent, mean_length) in [(5.0, 3.0), (10.0, 8.0), (2.0, 1.0), (50.0, 5.0)] {
            let loss = Loss::Bursts { percent, mean_length };
            let (crossings, _) = run(lossy(loss), seed, ms(1), vec![1; PACKETS]);
            let missing = missing(&crossings, PACKETS);
            let starts = missing.windows(2).filter(|pair| pair[0] + 1 != pair[1]).count() + 1;
            let mean = missing.len() as f32 / starts as f32;
            assert!((mean / mean_length - 1.0).abs() < 0.15, "{loss:?} at seed {seed}: {mean}");
            let lost = missing.len() as f32 / PACKETS as f32 * 100.0;
            // Bursts are few, so their number varies more than that of single losses.
            assert!((lost / percent - 1.0).abs() < 0.2, "{loss:?} at seed {seed}: {lost} %");
        }
    }
}

#[test]
fn copies_corruption_and_reordering_come_as_often_as_they_should() {
    for seed in SEEDS {
        let conditions = LinkConditions {
            duplicate_percent: 3.0,
            corrupt_percent: 7.0,
            reorder_percent: 4.0,
            ..LinkConditions::delayed(10)
        };
        let (crossings, link) = run(conditions, seed, ms(1), vec![100; PACKETS]);
        let stats = link.stats();
        assert!(is_share(stats.duplicated as usize, 3.0), "{stats:?}");
        assert_eq!(crossings.len(), PACKETS + stats.duplicated as usize);
        let corrupted = crossings.iter().filter(|crossing| crossing.corruption.is_some()).count();
        assert_eq!(corrupted as u64, stats.corrupted);
        assert!(is_share(corrupted * PACKETS / crossings.len(), 7.0), "{stats:?}");
        let late = crossings.iter().filter(|crossing| crossing.at - crossing.sent > ms(10)).count();
        assert!(is_share(late * PACKETS / crossings.len(), 4.0), "{late}");
    }
}

#[test]
fn losses_of_different_seeds_have_nothing_to_do_with_each_other() {
    let loss = lossy(Loss::Random { percent: 50.0 });
    let lost = |seed| missing(&run(loss, seed, ms(1), vec![1; PACKETS]).0, PACKETS);
    let (first, second) = (lost(1), lost(2));
    let both = first.iter().filter(|number| second.binary_search(number).is_ok()).count();
    assert!(is_share(both, 25.0), "{both}");
}
