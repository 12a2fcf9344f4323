//! When packets arrive, and in which order: delay, jitter, reordering, copies and changes while packets are on their
//! way.

use std::time::Duration;

use ghostline_transport::{DropCause, Dropped, LinkConditions, Loss, SimulatedLink, limits};

use crate::harness::{ms, run};

#[test]
fn without_jitter_every_packet_takes_exactly_the_delay_and_keeps_its_place() {
    let (crossings, link) = run(LinkConditions::delayed(30), 1, ms(3), vec![100; 500]);
    for (crossing, number) in crossings.iter().zip(0..) {
        assert_eq!(crossing.number, number);
        assert_eq!(crossing.at - crossing.sent, ms(30));
        assert_eq!(crossing.corruption, None);
    }
    let stats = link.stats();
    assert_eq!((stats.sent, stats.delivered, stats.reordered), (500, 500, 0));
}

#[test]
fn packets_sent_at_the_same_time_arrive_in_the_order_of_sending() {
    let (crossings, _) = run(LinkConditions::delayed(10), 1, Duration::ZERO, vec![1; 200]);
    assert!(crossings.iter().map(|crossing| crossing.number).eq(0..200));
}

#[test]
fn a_perfect_link_delivers_at_once() {
    let mut link = SimulatedLink::new(LinkConditions::PERFECT, 1).unwrap();
    link.push(ms(5), 'x', 1).unwrap();
    assert_eq!(link.next_due(), Some(ms(5)));
    assert_eq!(link.pop_due(ms(5)).map(|delivery| delivery.item), Some('x'));
}

#[test]
fn jitter_above_the_distance_between_packets_reorders_them_and_below_it_doesn_t() {
    let jittery = |jitter_ms| LinkConditions { jitter_ms, ..LinkConditions::delayed(50) };
    let (crossings, link) = run(jittery(30), 5, ms(16), vec![100; 2_000]);
    let swapped = crossings.windows(2).filter(|pair| pair[0].number > pair[1].number).count();
    assert!(swapped > 100, "{swapped}");
    assert!(link.stats().reordered > 100, "{:?}", link.stats());
    let (crossings, link) = run(jittery(7), 5, ms(16), vec![100; 2_000]);
    assert!(crossings.iter().map(|crossing| crossing.number).eq(0..2_000));
    assert_eq!(link.stats().reordered, 0);
}

#[test]
fn a_held_back_packet_is_overtaken_by_those_sent_within_its_extra_delay() {
    let conditions = LinkConditions { reorder_percent: 10.0, ..LinkConditions::delayed(20) };
    let (crossings, link) = run(conditions, 9, ms(20), vec![100; 1_000]);
    let extra = Duration::from_millis(limits::REORDER_DELAY_MS.into());
    let held_back = crossings.iter().filter(|crossing| crossing.at - crossing.sent == ms(20) + extra).count();
    assert!((70..130).contains(&held_back), "{held_back}");
    assert!(crossings.iter().all(|crossing| [ms(20), ms(20) + extra].contains(&(crossing.at - crossing.sent))));
    assert!(link.stats().reordered > 100, "two pass for nearly every one held back: {:?}", link.stats());
}

#[test]
fn a_copy_arrives_besides_its_original_and_counts() {
    let conditions = LinkConditions { duplicate_percent: 100.0, jitter_ms: 5, ..LinkConditions::delayed(20) };
    let (crossings, link) = run(conditions, 2, ms(50), vec![100; 300]);
    assert_eq!(crossings.len(), 600);
    assert!(crossings.chunks(2).zip(0..).all(|(pair, number)| pair.iter().all(|copy| copy.number == number)));
    let apart = crossings.chunks(2).filter(|pair| pair[0].at != pair[1].at).count();
    assert!(apart > 290, "a copy has a jitter of its own");
    assert_eq!(link.stats().duplicated, 300);
    assert_eq!(link.stats().delivered, 600);
}

#[test]
fn new_conditions_hold_for_new_packets_and_old_ones_arrive_as_decided() {
    let mut link = SimulatedLink::new(LinkConditions::delayed(100), 1).unwrap();
    link.push(ms(0), "slow", 1).unwrap();
    link.set_conditions(LinkConditions::delayed(10)).unwrap();
    assert_eq!(link.conditions().delay_ms, 10);
    link.push(ms(1), "fast", 1).unwrap();
    assert_eq!(link.pop_due(ms(99)).map(|delivery| delivery.item), Some("fast"));
    assert_eq!(link.pop_due(ms(99)), None);
    assert_eq!(link.pop_due(ms(100)).map(|delivery| delivery.item), Some("slow"));
    assert_eq!(link.stats().reordered, 1);
}

#[test]
fn invalid_conditions_are_refused_and_change_nothing() {
    let invalid = LinkConditions { corrupt_percent: 200.0, ..LinkConditions::PERFECT };
    assert!(SimulatedLink::<u8>::new(invalid, 1).is_err());
    let mut link = SimulatedLink::<u8>::new(LinkConditions::delayed(7), 1).unwrap();
    assert!(link.set_conditions(invalid).is_err());
    assert_eq!(link.conditions(), &LinkConditions::delayed(7));
}

#[test]
fn a_packet_that_does_not_arrive_is_given_back_with_the_cause() {
    let conditions = LinkConditions {
        loss: Loss::Periodic { every: 2 },
        max_packets: 2,
        bandwidth_bytes_per_second: Some(1_000_000),
        ..LinkConditions::delayed(10)
    };
    let mut link = SimulatedLink::new(conditions, 1).unwrap();
    assert_eq!(link.push(ms(0), 1, 1), Ok(()));
    assert_eq!(link.push(ms(0), 2, 1), Err(Dropped { item: 2, cause: DropCause::Lost }));
    let too_large = limits::SIMULATED_QUEUE_BYTES as usize + 1;
    assert_eq!(link.push(ms(0), 3, too_large), Err(Dropped { item: 3, cause: DropCause::QueueFull }));
    link.set_conditions(LinkConditions { loss: Loss::None, ..conditions }).unwrap();
    assert_eq!(link.push(ms(0), 4, 1), Ok(()));
    assert_eq!(link.push(ms(0), 5, 1), Err(Dropped { item: 5, cause: DropCause::TooManyPackets }));
    assert_eq!(link.len(), 2);
}

#[test]
fn copies_can_come_from_a_pool() {
    let conditions = LinkConditions { duplicate_percent: 100.0, ..LinkConditions::PERFECT };
    let mut link = SimulatedLink::new(conditions, 1).unwrap();
    link.push_with(ms(0), "original", 1, |original| if *original == "original" { "copy" } else { "?" }).unwrap();
    let items = [link.pop_due(ms(0)), link.pop_due(ms(0))].map(|delivery| delivery.unwrap().item);
    assert_eq!(items, ["original", "copy"]);
}
