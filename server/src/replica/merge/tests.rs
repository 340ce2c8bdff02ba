//! Whatever the order in the partitions and the pace at which they arrive, the row is the log; what is not there is named.

use proptest::prelude::*;

use super::*;

const PLENTY: Bounds = Bounds { events: 10_000, bytes: 1 << 20 };

fn offset(number: u64) -> Offset {
    Offset::new(number).unwrap()
}

fn message(partition: usize, position: usize, number: u64) -> Message {
    let value = number.to_le_bytes().into();
    Message { place: Place { partition, position: position as i64 }, value }
}

/// What reading partitions comes to.
#[derive(Debug, Default, PartialEq)]
struct Outcome {
    taken: Vec<u64>,
    past: Vec<u64>,
    twice: Vec<u64>,
    waited_most: usize,
}

/// Reads partitions to their ends, or until nothing may be read. `arrivals` says which have something at each try.
fn read(merge: &mut Merge, topic: &[Vec<u64>], arrivals: &[Vec<bool>], from: &[usize]) -> Outcome {
    let mut outcome = Outcome::default();
    let mut places = from.to_vec();
    for round in 0.. {
        let has_arrived = |partition: usize| {
            let arrived = &arrivals[round % arrivals.len()];
            // Every so often all have, so that it ends.
            round % 4 == 3 || arrived[partition % arrived.len()]
        };
        let Some(partition) = merge.to_read().find(|&partition| has_arrived(partition)) else {
            if merge.to_read().next().is_none() {
                break;
            }
            continue;
        };
        let place = places[partition];
        let Some(&number) = topic[partition].get(place) else {
            merge.close(partition);
            continue;
        };
        places[partition] += 1;
        match merge.offer(offset(number), message(partition, place, number)) {
            Offered::Kept => {}
            Offered::Past(_) => outcome.past.push(number),
            Offered::Twice(_) => outcome.twice.push(number),
        }
        outcome.waited_most = outcome.waited_most.max(merge.len());
        while let Some((taken, message)) = merge.take() {
            assert_eq!(*message.value, taken.get().to_le_bytes());
            outcome.taken.push(taken.get());
        }
    }
    outcome
}

/// Spreads the offsets over partitions; each is put so many places later than its turn, as after a retry.
fn spread(end: u64, partitions: usize, choices: &[(usize, usize)]) -> Vec<Vec<u64>> {
    let mut topic = vec![Vec::new(); partitions];
    for number in 1..end {
        let (partition, late) = choices[number as usize % choices.len()];
        let row: &mut Vec<(u64, u64)> = &mut topic[partition % partitions];
        row.push((number + late as u64, number));
    }
    let in_order = |mut row: Vec<(u64, u64)>| {
        row.sort_unstable();
        row.into_iter().map(|(_, number)| number).collect()
    };
    topic.into_iter().map(in_order).collect()
}

proptest! {
    #[test]
    fn the_row_is_the_log_whatever_the_order_and_the_pace(
        end in 1..400_u64,
        partitions in 1..6_usize,
        choices in prop::collection::vec((0..6_usize, prop_oneof![4 => Just(0_usize), 1 => 0..30_usize]), 1..50),
        arrivals in prop::collection::vec(prop::collection::vec(any::<bool>(), 1..6), 1..10),
        twice in prop::collection::vec((0..6_usize, 0..400_usize, 0..400_u64), 0..5),
        kill_at in 0..400_usize,
    ) {
        let mut topic = spread(end, partitions, &choices);
        let mut doubled = 0;
        for (partition, place, number) in twice {
            if end > 1 {
                let row = &mut topic[partition % partitions];
                row.insert(place.min(row.len()), 1 + number % (end - 1));
                doubled += 1;
            }
        }
        let mut merge = Merge::new(Offset::FIRST, &vec![0; partitions], PLENTY);
        let outcome = read(&mut merge, &topic, &arrivals, &vec![0; partitions]);
        prop_assert_eq!(&outcome.taken, &(1..end).collect::<Vec<_>>());
        prop_assert_eq!(outcome.past.len() + outcome.twice.len(), doubled);
        prop_assert_eq!((merge.missing(), merge.len()), (None, 0));

        // Ended anywhere: the positions of that moment lead to everything that is still to come.
        let mut merge = Merge::new(Offset::FIRST, &vec![0; partitions], PLENTY);
        let cut: Vec<_> = topic.iter().map(|row| row[..row.len().min(kill_at / partitions)].to_vec()).collect();
        let before = read(&mut merge, &cut, &arrivals, &vec![0; partitions]);
        let positions = merge.positions();
        let from: Vec<_> = positions.iter().map(|position| *position as usize).collect();
        let mut later = Merge::new(merge.next(), &positions, PLENTY);
        let after = read(&mut later, &topic, &arrivals, &from);
        prop_assert_eq!([before.taken, after.taken].concat(), (1..end).collect::<Vec<_>>());
    }

    /// Partitions in order are merged with next to nothing waiting, and any bound is enough.
    #[test]
    fn what_is_in_order_hardly_waits(
        end in 1..400_u64,
        partitions in 1..6_usize,
        choices in prop::collection::vec((0..6_usize, Just(0)), 1..50),
        arrivals in prop::collection::vec(prop::collection::vec(any::<bool>(), 1..6), 1..10),
        events in 1..20_usize,
    ) {
        let topic = spread(end, partitions, &choices);
        let bounds = Bounds { events, bytes: 1 << 20 };
        let mut merge = Merge::new(Offset::FIRST, &vec![0; partitions], bounds);
        let outcome = read(&mut merge, &topic, &arrivals, &vec![0; partitions]);
        prop_assert_eq!(outcome.taken, (1..end).collect::<Vec<_>>());
        prop_assert!(outcome.waited_most <= events + partitions, "{} wait", outcome.waited_most);
    }

    /// What is lacking is named, nothing behind it is taken, and no more waits than may.
    #[test]
    fn a_gap_is_named(
        end in 2..400_u64,
        partitions in 1..6_usize,
        choices in prop::collection::vec((0..6_usize, Just(0)), 1..50),
        arrivals in prop::collection::vec(prop::collection::vec(any::<bool>(), 1..6), 1..10),
        gap in (0..400_u64, 1..50_u64),
        events in 1..500_usize,
    ) {
        let first = 1 + gap.0 % (end - 1);
        let after = (first + gap.1).min(end);
        let mut topic = spread(end, partitions, &choices);
        topic.iter_mut().for_each(|row| row.retain(|number| !(first..after).contains(number)));
        let mut merge = Merge::new(Offset::FIRST, &vec![0; partitions], Bounds { events, bytes: 1 << 20 });
        let outcome = read(&mut merge, &topic, &arrivals, &vec![0; partitions]);
        prop_assert_eq!(outcome.taken, (1..first).collect::<Vec<_>>());
        let named = (after < end).then(|| Missing { first: offset(first), end: offset(after) });
        prop_assert_eq!(merge.missing(), named);
        prop_assert!(outcome.waited_most <= events + partitions, "{} wait", outcome.waited_most);
        if merge.len() < events {
            prop_assert_eq!(merge.end(), offset(if after < end { end } else { first }));
        }
    }
}

#[test]
fn bytes_are_bounded_too_and_a_late_partition_is_still_read() {
    let mut merge =
        Merge::new(Offset::FIRST, &[0, 0], Bounds { events: 100, bytes: 3 * (8 + WAITING_BYTES) });
    for number in 2..5 {
        assert_eq!(merge.offer(offset(number), message(0, number as usize, number)), Offered::Kept);
    }
    assert!(merge.is_full());
    assert_eq!(merge.to_read().collect::<Vec<_>>(), [1], "only there can be what comes next");
    assert_eq!(merge.offer(Offset::FIRST, message(1, 0, 1)), Offered::Kept);
    while merge.take().is_some() {}
    assert_eq!((merge.next(), merge.is_full()), (offset(5), false));
}
