//! Random speeds, gaps, drains: nothing is lost, nothing comes twice, and the frames are in a legal order.

use proptest::prelude::*;

use super::*;

/// What the world does before the next step.
#[derive(Clone, Copy, Debug)]
enum Move {
    Commit(u64),
    Heartbeat,
    Drain,
    /// The next read yields so many offsets, every n-th of which matches.
    Read {
        offsets: u64,
        match_every: u64,
    },
    /// The next read finds a gap, after so many offsets and of so many.
    Gap {
        after: u64,
        offsets: u64,
    },
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let one = prop_oneof![
        4 => (0_u64..500).prop_map(Move::Commit),
        1 => Just(Move::Heartbeat),
        8 => (1_u64..200, 1_u64..5).prop_map(|(offsets, match_every)| Move::Read { offsets, match_every }),
        1 => (0_u64..20, 1_u64..50).prop_map(|(after, offsets)| Move::Gap { after, offsets }),
    ];
    (proptest::collection::vec(one, 0..200), any::<bool>()).prop_map(|(mut moves, drains)| {
        if drains {
            moves.push(Move::Drain);
        }
        moves
    })
}

/// A reader that writes down what it sees and checks it.
#[derive(Debug, Default)]
struct Reader {
    next: u64,
    head: u64,
    live: bool,
    started: bool,
    begun: bool,
    ended: bool,
    sent: u64,
    suppressed: u64,
    conflated: u64,
    missing: u64,
}

impl Reader {
    fn told(&mut self, notice: Notice, next_offset: Offset, behind_max: u64) -> Result<(), TestCaseError> {
        prop_assert!(!self.ended, "nothing comes after Draining");
        prop_assert_eq!(self.started, notice != Notice::Started, "Started comes first, once");
        match notice {
            Notice::Started => self.started = true,
            Notice::CaughtUp => {
                prop_assert!(!self.live, "caught up twice");
                prop_assert_eq!(self.next, self.head);
                self.live = true;
            }
            Notice::FellBehind { events } => {
                prop_assert!(self.live, "fell behind without having caught up");
                prop_assert!(events > behind_max && events == self.head - self.next);
                self.live = false;
            }
            Notice::Heartbeat { suppressed_events } => prop_assert_eq!(suppressed_events, self.suppressed),
            Notice::Gap { first, end, .. } => {
                prop_assert!(first.get() >= self.next && end > first);
                self.suppressed += first.get() - self.next;
                self.missing += end.since(first);
                self.next = end.get();
            }
            Notice::Draining => self.ended = true,
        }
        prop_assert_eq!(next_offset.get(), self.next, "next_offset is where to resume");
        Ok(())
    }
}

fn offset(number: u64) -> Offset {
    Offset::new(number).unwrap()
}

/// Steps until the machine waits, ends or has read as often as it may.
fn run(
    follow: &mut Follow,
    reader: &mut Reader,
    mut reads: Vec<Move>,
    (behind_max, when_slow): (u64, WhenSlow),
) -> Result<(), TestCaseError> {
    for _ in 0..1_000 {
        let step = follow.step(offset(reader.head));
        let is_far_behind = reader.live && reader.head - reader.next > behind_max;
        prop_assert_eq!(
            follow.is_too_slow(offset(reader.head)),
            is_far_behind && when_slow == WhenSlow::Disconnect
        );
        match step {
            Step::Tell(notice) => {
                let is_fall = matches!(notice, Notice::FellBehind { .. });
                prop_assert!(!is_fall || when_slow == WhenSlow::CatchUp);
                reader.told(notice, follow.next_offset(), behind_max)?;
            }
            Step::Begin => {
                prop_assert!(reader.started && !reader.begun && !reader.live, "begins after Started, once");
                reader.begun = true;
                follow.begun();
            }
            Step::Conflate => {
                prop_assert!(is_far_behind && when_slow == WhenSlow::Conflate);
                let passed = reader.head - reader.next;
                let sent = passed / 10;
                reader.sent += sent;
                reader.conflated += passed - sent;
                reader.next = reader.head;
                follow.conflated(reader.sent, passed - sent, offset(reader.head));
            }
            Step::Disconnect => {
                prop_assert!(is_far_behind && when_slow == WhenSlow::Disconnect);
                reader.ended = true;
                return Ok(());
            }
            Step::Wait => {
                prop_assert!(
                    reader.live && reader.next == reader.head,
                    "waits only at the head, after CaughtUp"
                );
                return Ok(());
            }
            Step::End => {
                prop_assert!(reader.ended);
                return Ok(());
            }
            Step::Read => {
                prop_assert!(reader.next < reader.head, "reads only what is there");
                prop_assert!(!is_far_behind, "who is far behind is treated as asked for");
                let Some(read) = reads.pop() else { return Ok(()) };
                apply(follow, reader, read);
            }
        }
    }
    Err(TestCaseError::fail("never waits"))
}

fn apply(follow: &mut Follow, reader: &mut Reader, read: Move) {
    let there = reader.head - reader.next;
    match read {
        Move::Read { offsets, match_every } => {
            let offsets = offsets.min(there);
            reader.sent += offsets / match_every;
            follow.passed(reader.sent, offset(reader.next + offsets));
            reader.suppressed += offsets - offsets / match_every;
            reader.next += offsets;
        }
        Move::Gap { after, offsets } => {
            let after = after.min(there - 1);
            let end = reader.next + after + offsets.min(there - after);
            follow.missing(offset(reader.next + after), offset(end), Missing::Damage);
        }
        Move::Commit(_) | Move::Heartbeat | Move::Drain => unreachable!("only reads are kept"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: if std::env::var_os("SLOW_TESTS").is_some() { 100_000 } else { 1_000 }, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_lost_and_nothing_comes_twice(
        moves in moves(), start in 1_u64..50, behind_max in 1_u64..300,
        when_slow in prop_oneof![Just(WhenSlow::CatchUp), Just(WhenSlow::Conflate), Just(WhenSlow::Disconnect)],
        begins in any::<bool>(),
    ) {
        let mut follow = Follow::new(offset(start), behind_max, when_slow);
        if begins {
            follow = follow.beginning_with_newest();
        }
        let mut reader = Reader { next: start, head: start, ..Reader::default() };
        let mut reads = Vec::new();
        let bound = (behind_max, when_slow);
        for one in moves {
            match one {
                Move::Commit(events) => reader.head += events,
                Move::Heartbeat => follow.heartbeat(),
                Move::Drain => follow.drain(),
                Move::Read { .. } | Move::Gap { .. } => reads.push(one),
            }
            if !matches!(one, Move::Read { .. } | Move::Gap { .. }) && !reader.ended {
                run(&mut follow, &mut reader, std::mem::take(&mut reads), bound)?;
            }
        }
        // In the end everything has been delivered, or the stream has said where to resume.
        if !reader.ended {
            run(&mut follow, &mut reader, vec![Move::Read { offsets: u64::MAX, match_every: 1 }; 4], bound)?;
        }
        prop_assert!(reader.ended || (reader.live && reader.next == reader.head && reader.begun == begins));
        prop_assert_eq!(follow.next_offset().get(), reader.next);
        let accounted = reader.sent + reader.suppressed + reader.conflated + reader.missing;
        prop_assert_eq!(accounted, reader.next - start, "every offset is accounted for once");
    }
}
