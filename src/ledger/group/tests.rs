//! What a member asks, event by event.

use super::*;
use crate::ledger::OffsetMetadata;
use crate::shard::Position;

/// Two inputs, and the control topic after them.
const CONTROL: usize = 2;
const NOON: Duration = Duration::from_secs(43_200);

fn member(protocol: Protocol, start: Start) -> Member {
    let inputs = vec!["app".to_owned(), "web".to_owned()];
    let unproven_silence = Span::from_millis(400);
    let terms = Terms { protocol, start, buffered_records: 10, waiting_bytes: 1_000, unproven_silence };
    Member::new(Arc::new(Ledger { inputs, ..Ledger::sample(4) }), terms)
}

fn inputs(shards: &[ShardId]) -> Vec<Partition> {
    shards.iter().flat_map(|shard| [(0, *shard), (1, *shard)]).collect()
}

fn assigned(shards: &[ShardId]) -> Event {
    Event::Assigned { partitions: inputs(shards), at: NOON }
}

fn progress(sequence: u64, offset: i64) -> Progress {
    let positions = vec![Position { offset, log_time: Timestamp::from_millis(offset) }; 4];
    Progress { positions, stream_time: Some(Timestamp::from_millis(9)), sequence }
}

/// Committed by us.
fn ours(progress: &Progress) -> Found {
    let of = |position: &Position| (Some(position.offset), Some(OffsetMetadata::of(progress, position, "a-1")));
    Found { offsets: progress.positions.iter().map(of).collect() }
}

/// Nothing is committed, or somebody has set the inputs' offsets.
fn foreign(offset: Option<i64>) -> Found {
    Found { offsets: vec![(offset, None); 2] }.with_beside(None, None).with_beside(None, None)
}

fn committed(found: impl IntoIterator<Item = (ShardId, Found)>) -> Event {
    Event::Answer(Answer::Committed { found: found.into_iter().collect(), kept: BTreeMap::new() })
}

fn state_log_ends<const N: usize>(ends: [(ShardId, i64); N]) -> Event {
    Event::Answer(Answer::StateLogEnds(ends.into()))
}

/// What all partitions of these shards hold.
fn extents(shards: &[ShardId], first: i64, end: i64) -> Event {
    let all = shards.iter().flat_map(|shard| (0..=CONTROL + 1).map(move |input| (input, *shard)));
    Event::Answer(Answer::Extents(all.map(|partition| (partition, Extent { first, end: Some(end) })).collect()))
}

fn read(sequence: u64, offset: i64) -> Result<Restored, String> {
    Ok(Restored { progress: Some(progress(sequence, offset)), ..Restored::default() })
}

/// One line for each thing that is asked.
fn told(member: &mut Member, event: Event) -> Vec<String> {
    let mut asks = Vec::new();
    member.handle(event, &mut asks);
    let line = |ask: &Ask| match ask {
        Ask::Question(question) => format!("{question:?}"),
        Ask::Assign(assignments) => {
            let one = |assignment: &Assignment| {
                let kept = match assignment.customers {
                    Known::Restored(_) => "",
                    Known::Kept => " as kept",
                };
                format!(" {}@{}{kept}", assignment.shard, assignment.progress.sequence)
            };
            format!("Assign{}", assignments.iter().map(one).collect::<String>())
        }
        Ask::Take(_) | Ask::GiveBack(_) | Ask::Pause(_) | Ask::Resume(_) | Ask::Seek(..) => format!("{ask:?}"),
        Ask::Restore(_) | Ask::StopRestoring | Ask::WatchEnds(_) | Ask::Await(_) | Ask::Park(..) => format!("{ask:?}"),
        Ask::Revoke(_) | Ask::Lose(_) | Ask::Say(_) => format!("{ask:?}"),
        Ask::HasRead(shard, _) => format!("HasRead({shard})"),
        Ask::CaughtUp { partition, position, .. } => format!("CaughtUp {partition:?} {position}"),
    };
    asks.iter().map(line).collect()
}

/// Takes a shard that runs.
fn running(member: &mut Member, shard: ShardId) {
    told(member, assigned(&[shard]));
    told(member, committed([(shard, ours(&progress(7, 5)))]));
    told(member, extents(&[shard], 0, 9));
    told(member, Event::Restored(shard, read(7, 5)));
    assert!(member.takes(shard));
}

#[test]
fn a_shard_that_comes_is_taken_aside_until_its_state_has_been_read() {
    let mut member = member(Protocol::Classic, Start::Latest);
    assert_eq!(told(&mut member, assigned(&[3])), ["Committed([3])"]);
    assert_eq!(told(&mut member, committed([(3, ours(&progress(7, 5)))])), ["Extents([3])"]);
    assert_eq!(
        told(&mut member, extents(&[3], 0, 9)),
        [
            "Take({(0, 3): 5, (1, 3): 5, (2, 3): 5, (3, 3): 5})",
            "Resume([(0, 3), (1, 3), (2, 3), (3, 3)])",
            "Pause([(0, 3), (1, 3), (2, 3), (3, 3)])",
            "Say(Assigned { shards: 1, ready: 0 })",
            "Assign",
            "Await([3])",
            "Restore([3])",
        ]
    );
    assert_eq!(
        told(&mut member, Event::Restored(3, read(7, 5))),
        ["Assign 3@7", "Resume([(0, 3), (1, 3), (2, 3), (3, 3)])"]
    );
    assert!(member.takes(3));
    // Nobody waits for it any more.
    assert!(told(&mut member, Event::Restored(3, read(7, 5))).is_empty());
}

#[test]
fn what_the_worker_kept_runs_at_once_if_nobody_has_committed_since() {
    for (kept, asked) in [(progress(7, 5), "Assign 0@7 as kept"), (progress(6, 4), "Assign")] {
        let mut member = member(Protocol::Consumer, Start::Latest);
        told(&mut member, assigned(&[0]));
        let found = [(0, ours(&progress(7, 5)))].into();
        told(&mut member, Event::Answer(Answer::Committed { found, kept: [(0, kept)].into() }));
        let asks = told(&mut member, extents(&[0], 0, 9));
        assert!(asks.iter().any(|ask| ask == asked), "{asks:?}");
    }
}

/// Rule 24: what is asked before a shard runs that nothing was ever committed of.
#[test]
fn a_fresh_shard_begins_where_somebody_set_it_or_where_start_says() {
    let at = Timestamp::from_millis(77);
    for (start, set, questions, begins) in [
        (Start::Earliest, None, vec!["Offsets { partitions: [(0, 1), (1, 1)], at: Beginning }"], 3),
        (
            Start::Latest,
            None,
            vec!["Offsets { partitions: [(0, 1), (1, 1)], at: End }", "CommitStart({(0, 1): 3, (1, 1): 3})"],
            3,
        ),
        (
            Start::At(at),
            None,
            vec![
                "Offsets { partitions: [(0, 1), (1, 1)], at: End }",
                "Offsets { partitions: [(0, 1), (1, 1)], at: At(1970-01-01T00:00:00.077Z) }",
                "CommitStart({(0, 1): 3, (1, 1): 3})",
            ],
            3,
        ),
        (Start::Latest, Some(4), vec![], 4),
    ] {
        let mut member = member(Protocol::Classic, start);
        told(&mut member, assigned(&[1]));
        assert_eq!(told(&mut member, committed([(1, foreign(set))])), ["StateLogEnds([1])"]);
        let mut asks = told(&mut member, state_log_ends([(1, 0)]));
        for question in questions {
            assert_eq!(asks.len(), 1, "{asks:?}");
            assert_eq!(asks[0], question);
            let offsets = Answer::Offsets([((0, 1), 3), ((1, 1), 3)].into());
            let answer = if question.starts_with("CommitStart") { Answer::StartCommitted } else { offsets };
            asks = told(&mut member, Event::Answer(answer));
        }
        assert_eq!(asks, ["Extents([1])"]);
        let asks = told(&mut member, extents(&[1], 0, 9));
        assert_eq!(asks[0], format!("Take({{(0, 1): {begins}, (1, 1): {begins}, (2, 1): 0, (3, 1): 0}})"));
        assert!(asks.contains(&"Assign 1@0".to_owned()), "{asks:?}");
    }
}

/// Found by simulation: the end was asked for last, so that a record that came between the two answers was left out.
#[test]
fn of_what_is_stamped_nowhere_so_late_everything_that_comes_is_new() {
    let mut member = member(Protocol::Classic, Start::At(Timestamp::from_millis(77)));
    told(&mut member, assigned(&[1]));
    told(&mut member, committed([(1, foreign(None))]));
    let asks = told(&mut member, state_log_ends([(1, 0)]));
    assert_eq!(asks, ["Offsets { partitions: [(0, 1), (1, 1)], at: End }"]);
    told(&mut member, Event::Answer(Answer::Offsets([((0, 1), 8), ((1, 1), 9)].into())));
    let asks = told(&mut member, Event::Answer(Answer::Offsets([((0, 1), 3)].into())));
    assert_eq!(asks, ["CommitStart({(0, 1): 3, (1, 1): 9})"]);
}

#[test]
fn without_offsets_a_shard_is_brought_to_where_its_state_stands() {
    let mut member = member(Protocol::Classic, Start::Latest);
    told(&mut member, assigned(&[2]));
    told(&mut member, committed([(2, foreign(None))]));
    // Nobody can say whether its log holds anything: it is read beside the others.
    assert_eq!(told(&mut member, state_log_ends([])), ["Extents([2])"]);
    let asks = told(&mut member, extents(&[2], 0, 9));
    assert!(asks.contains(&"Take({(0, 2): 0, (1, 2): 0, (2, 2): 0, (3, 2): 0})".to_owned()), "{asks:?}");
    assert!(asks.contains(&"Restore([2])".to_owned()), "{asks:?}");
    let asks = told(&mut member, Event::Restored(2, read(7, 5)));
    assert_eq!(asks, ["Say(OffsetsRecovered(2))", "Extents([2])"]);
    let asks = told(&mut member, extents(&[2], 0, 9));
    let sought: Vec<String> = (0..4).map(|input| format!("Seek(({input}, 2), 5)")).collect();
    assert_eq!(asks[..5], [vec!["Say(ReadOn(2))".to_owned()], sought].concat());
    assert_eq!(asks[5..], ["Assign 2@7", "Resume([(0, 2), (1, 2), (2, 2), (3, 2)])"]);
}

/// The drift that the second writing of this had: there such a shard was parked.
#[test]
fn a_shard_whose_log_holds_only_what_was_undone_begins_afresh() {
    let mut member = member(Protocol::Classic, Start::Earliest);
    told(&mut member, assigned(&[2]));
    told(&mut member, committed([(2, foreign(None))]));
    told(&mut member, state_log_ends([(2, 6)]));
    told(&mut member, extents(&[2], 0, 9));
    let asks = told(&mut member, Event::Restored(2, Ok(Restored::default())));
    assert_eq!(asks, ["Offsets { partitions: [(0, 2), (1, 2)], at: Beginning }"]);
    let asks = told(&mut member, Event::Answer(Answer::Offsets([((0, 2), 1), ((1, 2), 2)].into())));
    assert_eq!(asks, ["Extents([2])"]);
    let asks = told(&mut member, extents(&[2], 0, 9));
    let sought = ["Seek((0, 2), 1)", "Seek((1, 2), 2)", "Seek((2, 2), 0)", "Seek((3, 2), 0)"];
    assert_eq!(asks[..5], [&["Say(ReadOn(2))"][..], &sought].concat());
    assert_eq!(asks[5], "Assign 2@0");
}

#[test]
fn a_record_that_nobody_could_take_is_asked_for_again() {
    let mut member = member(Protocol::Classic, Start::Latest);
    told(&mut member, assigned(&[3]));
    told(&mut member, committed([(3, ours(&progress(7, 5)))]));
    told(&mut member, extents(&[3], 0, 9));
    assert!(!member.takes(3));
    assert_eq!(told(&mut member, Event::Restored(3, read(7, 5))), ["Extents([3])"]);
    let asks = told(&mut member, extents(&[3], 0, 9));
    assert!(asks.contains(&"Seek((1, 3), 5)".to_owned()), "{asks:?}");
    // Until something comes, the client has no position of its own: it stands where it was sought to.
    let at = Timestamp::from_millis(1);
    let end = |offset| End { partition: (1, 3), stable: offset, high: offset, log: LogEnd::OneReplica, at };
    let ends = |offset| Event::Ends { ends: vec![end(offset)], positions: BTreeMap::new() };
    assert_eq!(told(&mut member, ends(5)), ["CaughtUp (1, 3) 5"]);
    assert!(told(&mut member, ends(6)).is_empty());
}

#[test]
fn what_is_gone_of_an_input_parks_its_shard_and_of_the_control_topic_is_said() {
    for (control, input, words) in [
        (0, Extent { first: 6, end: Some(9) }, "Park(0, \"partition 0 of web goes on at offset 5, but begins at offset 6"),
        (0, Extent { first: 0, end: Some(4) }, "Park(0, \"partition 0 of web goes on at offset 5, but ends at offset 4"),
        (6, Extent { first: 5, end: None }, "Say(ErasuresGone(0))"),
        (6, Extent { first: 5, end: None }, "Say(HandedGone(0))"),
    ] {
        let mut member = member(Protocol::Classic, Start::Latest);
        told(&mut member, assigned(&[0, 1]));
        let found = ours(&progress(7, 5));
        told(&mut member, committed([(0, found.clone()), (1, found)]));
        let known = [
            ((0, 0), Extent { first: 0, end: Some(9) }),
            ((1, 0), input),
            ((CONTROL, 0), Extent { first: control, end: None }),
            ((CONTROL + 1, 0), Extent { first: control, end: None }),
        ];
        let asks = told(&mut member, Event::Answer(Answer::Extents(known.into())));
        assert!(asks.iter().any(|ask| ask.starts_with(words)), "{words}: {asks:?}");
        let parked = words.starts_with("Park");
        assert_eq!(asks.iter().any(|ask| ask.contains("When the state log does not fit")), parked, "{asks:?}");
        // Of the other nobody leads a partition now; it is read when somebody does.
        assert_eq!(asks.last().map(String::as_str), Some(if parked { "Restore([1])" } else { "Restore([0, 1])" }));
    }
}

#[test]
fn a_state_that_does_not_fit_parks_its_shard() {
    let mut member = member(Protocol::Classic, Start::Latest);
    told(&mut member, assigned(&[3]));
    told(&mut member, committed([(3, ours(&progress(7, 5)))]));
    told(&mut member, extents(&[3], 0, 9));
    let asks = told(&mut member, Event::Restored(3, read(6, 4)));
    assert!(asks.len() == 1 && asks[0].starts_with("Park(3, ") && asks[0].contains("of commit 7"), "{asks:?}");
    assert!(!member.takes(3));
}

#[test]
fn what_goes_is_committed_for_and_given_back_with_its_control_topic_and_what_stays_is_read_anew() {
    for (event, word) in [(Event::Revoked(inputs(&[0])), "Revoke([0])"), (Event::Lost(inputs(&[0])), "Lose([0])")] {
        let mut member = member(Protocol::Consumer, Start::Latest);
        running(&mut member, 0);
        told(&mut member, assigned(&[1]));
        told(&mut member, committed([(1, ours(&progress(7, 5)))]));
        told(&mut member, extents(&[1], 0, 9));
        assert_eq!(
            told(&mut member, event),
            ["StopRestoring", "Restore([1])", "Say(Revoked([0]))", word, "GiveBack([(0, 0), (1, 0), (2, 0), (3, 0)])"]
        );
        assert!(!member.takes(0));
    }
}

/// Rule 4.
#[test]
fn an_input_is_at_its_end_when_all_before_it_was_handed_over_and_no_transaction_stands_open() {
    let at = Timestamp::from_millis(1);
    for (stable, high, position, caught_up) in
        [(8, 8, Some(8), true), (8, 8, Some(7), false), (7, 8, Some(7), false), (5, 5, None, true), (6, 6, None, false)]
    {
        let mut member = member(Protocol::Classic, Start::Latest);
        running(&mut member, 0);
        let positions = position.map(|position| ((0, 0), position)).into_iter().collect();
        let ends = vec![End { partition: (0, 0), stable, high, log: LogEnd::OneReplica, at }];
        let asks = told(&mut member, Event::Ends { ends, positions });
        assert_eq!(!asks.is_empty(), caught_up, "{stable} {high} {position:?}: {asks:?}");
    }
}

/// Rule 4: the high watermark may stand still while the leader appends.
#[test]
fn a_replicated_input_is_at_its_end_when_its_leader_says_so_and_another_broker_knows_it_as_the_leader() {
    let led = |broker, epoch| Leadership { broker, epoch };
    let said = |offset, afterwards: &[(BrokerId, Leadership)]| LogEnd::Said {
        by: led(1, 7),
        offset,
        afterwards: afterwards.to_vec(),
    };
    for (log, until) in [
        (said(8, &[(2, led(1, 7))]), Some(1_000)),
        (said(8, &[(1, led(1, 7)), (3, led(1, 7))]), Some(1_000)),
        // The leader holds what nobody may read yet.
        (said(9, &[(2, led(1, 7))]), None),
        // Nobody else was heard, or only itself.
        (said(8, &[]), None),
        (said(8, &[(1, led(1, 7))]), None),
        // It has been deposed, or has only come back by a later election; a third broker has not heard of that yet.
        (said(8, &[(2, led(3, 8))]), None),
        (said(8, &[(2, led(1, 8))]), None),
        (said(8, &[(2, led(1, 7)), (3, led(3, 8))]), None),
        (LogEnd::OneReplica, Some(1_000)),
        (LogEnd::Unknown, None),
        (LogEnd::Refused, Some(600)),
    ] {
        let mut member = member(Protocol::Classic, Start::Latest);
        running(&mut member, 0);
        let end = End { partition: (0, 0), stable: 8, high: 8, log: log.clone(), at: Timestamp::from_millis(1_000) };
        let mut asks = Vec::new();
        member.handle(Event::Ends { ends: vec![end], positions: [((0, 0), 8)].into() }, &mut asks);
        let told = asks.iter().map(|ask| match ask {
            Ask::CaughtUp { partition: (0, 0), position: 8, at } => at.as_millis(),
            other => panic!("{log:?}: {other:?}"),
        });
        assert_eq!(told.collect::<Vec<_>>(), until.into_iter().collect::<Vec<_>>(), "{log:?}");
    }
}

#[test]
fn what_has_too_much_is_paused_until_most_of_it_is_gone_and_what_is_dry_is_watched() {
    let mut member = member(Protocol::Classic, Start::Latest);
    running(&mut member, 0);
    for (counts, asks) in [
        ([0, 11, 0], ["WatchEnds([(0, 0)])", "Pause([(1, 0)])"].as_slice()),
        ([1, 12, 0], &["WatchEnds([])"]),
        ([1, 3, 0], &["WatchEnds([])"]),
        ([1, 2, 11], &["WatchEnds([])", "Pause([(2, 0)])", "Resume([(1, 0)])"]),
    ] {
        let waiting = |records| Waiting { records, bytes: 0 };
        assert_eq!(told(&mut member, buffered(counts.map(waiting))), *asks);
    }
    assert_eq!(told(&mut member, Event::Parked(vec![0])), ["Pause([(0, 0), (1, 0), (2, 0), (3, 0)])"]);
    assert!(!member.takes(0));
}

/// What waits of each topic of shard 0.
fn buffered(waiting: [Waiting; 3]) -> Event {
    let waiting = waiting.into_iter().enumerate().map(|(input, waiting)| ((input, 0), waiting)).collect();
    Event::Buffered { waiting, asking: Vec::new() }
}

/// What others hand over stands in a topic of its own, the last that a shard reads.
#[test]
fn whoever_asks_hears_when_all_has_been_read_that_was_handed_over() {
    let mut member = member(Protocol::Classic, Start::Latest);
    running(&mut member, 0);
    let handoff = (member.ledger.handoff_number(), 0);
    let asks = told(&mut member, Event::Buffered { waiting: Vec::new(), asking: vec![0] });
    assert_eq!(asks, [format!("WatchEnds([{handoff:?}])")]);
    // The marker of a transaction is still to come, or a record is: what is committed stands below the high watermark.
    for (position, stable, expected) in
        [(4, 6, [].as_slice()), (5, 5, &[]), (6, 6, &["HasRead(0)"]), (8, 8, &["HasRead(0)"])]
    {
        let at = Timestamp::from_millis(7);
        let ends = vec![End { partition: handoff, stable, high: 6, log: LogEnd::Unknown, at }];
        assert_eq!(
            told(&mut member, Event::Ends { ends, positions: [(handoff, position)].into() }),
            *expected,
            "{position}"
        );
    }
}

#[test]
fn few_records_with_many_bytes_are_paused_and_never_the_input_that_is_waited_for() {
    let mut member = member(Protocol::Classic, Start::Latest);
    running(&mut member, 0);
    for (bytes, asks) in [
        // Of 1,000 bytes, half is for whoever needs it.
        ([0, 500, 0], ["WatchEnds([(0, 0)])"].as_slice()),
        ([0, 501, 0], &["WatchEnds([(0, 0)])", "Pause([(1, 0)])"]),
        ([0, 5_000, 0], &["WatchEnds([(0, 0)])"]),
        ([400, 260, 0], &["WatchEnds([])", "Pause([(0, 0)])"]),
        ([0, 260, 0], &["WatchEnds([(0, 0)])", "Resume([(0, 0)])"]),
        ([0, 83, 0], &["WatchEnds([(0, 0)])", "Resume([(1, 0)])"]),
    ] {
        let waiting = |bytes| Waiting { records: usize::from(bytes > 0), bytes };
        assert_eq!(told(&mut member, buffered(bytes.map(waiting))), *asks, "{bytes:?}");
    }
}

#[test]
fn a_shard_whose_client_refuses_a_batch_is_committed_and_parked() {
    let mut member = member(Protocol::Classic, Start::Latest);
    running(&mut member, 0);
    let asks = told(&mut member, Event::Refused((1, 0), "too large".to_owned()));
    assert_eq!(asks, ["Revoke([0])", "Park(0, \"too large\")", "Pause([(0, 0), (1, 0), (2, 0), (3, 0)])"]);
    assert!(!member.takes(0));
    // Told once: what comes again is of nobody.
    assert_eq!(told(&mut member, Event::Refused((1, 0), "too large".to_owned())), Vec::<String>::new());
}

#[test]
fn a_lopsided_assignment_is_taken_as_nothing_and_may_be_mended_for_a_minute() {
    for (protocol, mended) in [(Protocol::Classic, true), (Protocol::Consumer, false)] {
        let mut member = member(protocol, Start::Latest);
        let asks = told(&mut member, Event::Assigned { partitions: vec![(0, 0), (1, 0), (0, 1)], at: NOON });
        assert!(asks[0].contains("partition 1 of web was not given together"), "{asks:?}");
        assert_eq!(asks[1..], ["Take({})"]);
        assert_eq!(member.failure(NOON + MENDING - Duration::from_millis(1)), None);
        assert!(member.failure(NOON + MENDING).is_some_and(|reason| reason.contains("range assignor")));
        told(&mut member, assigned(&[]));
        assert_eq!(member.failure(NOON + MENDING).is_none(), mended);
    }
}

#[test]
fn a_question_that_nobody_answers_ends_the_worker_and_hope_does_not_hide_it() {
    let mut member = member(Protocol::Consumer, Start::Latest);
    told(&mut member, Event::Assigned { partitions: vec![(0, 0)], at: NOON });
    told(&mut member, assigned(&[1]));
    told(&mut member, Event::Failed("cannot learn the committed offsets: gone".to_owned()));
    assert_eq!(member.failure(NOON), Some("cannot learn the committed offsets: gone"));
    // What was asked is forgotten.
    assert!(told(&mut member, extents(&[1], 0, 9)).is_empty());
    assert_eq!(told(&mut member, Event::Stopping), ["Revoke([])"]);
}
