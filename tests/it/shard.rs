//! A shard as its worker sees it: merging inputs, transactions that end well or badly, going on after a restart.

use std::sync::Arc;

use sillage::journey::What;
use sillage::model::Model;
use sillage::shard::{Action, Body, Buffered, Customers, Input, Position, Progress, Settings, Unusable};
use sillage::time::{Span, Timestamp};
use sillage::touchpoint::Identity;

use crate::world::{NOWHERE, World, after, good_model, sentences, touchpoint, with_id};

fn baskets(abandoned_after: &str) -> Arc<Model> {
    let text = format!(
        "sillage: 1\nmodel: baskets\nstages:\n  look: {{ enter: page.viewed, quiet: 1d }}\n  decide: {{ enter: cart.added }}\n\
         episodes:\n  basket: {{ known by: [cart_id, customer], opens: cart.added, completes: order.completed, \
         abandoned after: {abandoned_after} }}\n"
    );
    good_model("baskets", &text)
}

fn world(inputs: usize) -> World {
    World::new(&[baskets("30m")], Settings { settle: Span::ZERO, ..Settings::default() }, inputs)
}

fn causes(world: &mut World) -> Vec<String> {
    let outcomes = world.take_outcomes();
    outcomes.iter().map(|outcome| outcome.cause.as_ref().map_or("absence".to_owned(), ToString::to_string)).collect()
}

#[test]
fn inputs_are_merged_by_log_time_then_topic_then_offset() {
    let mut world = world(2);
    world.give(1, touchpoint("a", "cart.added", after("2m"), "1:2m"), after("2m"));
    world.give(1, touchpoint("b", "cart.added", after("2m"), "1:2m again"), after("2m"));
    assert_eq!(causes(&mut world), [""; 0], "the first input has said nothing yet");
    world.give(0, touchpoint("c", "cart.added", after("1m"), "0:1m"), after("1m"));
    assert_eq!(causes(&mut world), ["0:1m"], "input 0 stands at 1m and may yet bring something before 2m");
    world.quiet_until(0, after("1m 59s"));
    assert_eq!(causes(&mut world), [""; 0]);
    world.give(0, touchpoint("d", "cart.added", after("2m"), "0:2m"), after("2m"));
    assert_eq!(causes(&mut world), ["0:2m"], "at one instant the first topic goes first, and more may come at 2m");
    world.quiet_until(0, after("2m 1ms"));
    assert_eq!(causes(&mut world), ["1:2m", "1:2m again"]);
}

#[test]
fn silence_is_noticed_only_where_every_input_has_proved_it() {
    let mut world = world(2);
    world.give(0, touchpoint("a", "cart.added", after("0m"), "x"), after("0m"));
    world.quiet_until(0, after("2h"));
    assert_eq!((causes(&mut world), world.shard.stream_time()), (vec![], None), "input 1 is silent about itself");
    world.quiet_until(1, after("30m") - Span::from_millis(1));
    assert_eq!(causes(&mut world), ["x"]);
    world.quiet_until(0, after("2h"));
    assert_eq!(causes(&mut world), [""; 0], "input 1 may yet bring something before 30m");
    world.quiet_until(1, after("30m"));
    assert_eq!(causes(&mut world), ["absence"]);
    assert_eq!(world.shard.stream_time(), Some(after("30m")));
}

#[test]
fn an_answer_proves_nothing_while_records_wait() {
    let mut world = world(2);
    world.quiet_until(0, after("1m"));
    world.give(1, touchpoint("a", "cart.added", after("5m"), "x"), after("5m"));
    world.quiet_until(1, after("9h"));
    world.quiet_until(0, after("10h"));
    assert_eq!(causes(&mut world), ["x"]);
    assert_eq!(world.shard.stream_time(), Some(after("5m")), "the answer of 9h came before the record was applied");
}

#[test]
fn settle_is_waited_for_after_the_end() {
    let mut world = World::new(&[baskets("30m")], Settings::default(), 1);
    world.give(0, touchpoint("a", "cart.added", after("0m"), "x"), after("0m"));
    world.quiet_until(0, after("30m") + Span::from_millis(49));
    assert_eq!(causes(&mut world), ["x"]);
    world.quiet_until(0, after("30m") + Span::from_millis(50));
    assert_eq!(causes(&mut world), ["absence"]);
}

#[test]
fn an_aborted_transaction_leaves_exactly_the_committed_state_and_is_decided_again_alike() {
    let mut world = world(1);
    world.give(0, touchpoint("old", "cart.added", after("0m"), "1"), after("0m"));
    world.give(0, touchpoint("kept", "page.viewed", after("1m"), "2"), after("1m"));
    world.commit();
    let (committed, population) = (world.state(), world.shard.population().to_vec());
    world.take_outcomes();

    world.give(0, touchpoint("new", "cart.added", after("10m"), "3"), after("10m"));
    world.give(0, touchpoint("kept", "cart.added", after("20m"), "4"), after("20m"));
    world.give(0, touchpoint("old", "order.completed", after("29m"), "5"), after("29m"));
    world.quiet_until(0, after("45m"));
    let said = world.take_outcomes();
    assert_eq!(
        sentences(&said),
        "enters decide; look → decide; completes basket #1; abandons basket #1 after 30m",
        "what the open transaction decided"
    );
    let decided = world.state();
    assert_ne!(decided, committed);

    for prepared in [false, true, true] {
        // Hold the decisions back, so that the undone state can be looked at.
        if prepared {
            world.tell(Input::Prepare);
            world.take_outcomes();
        }
        world.tell(Input::Aborted);
        assert_eq!(world.take_outcomes(), said, "applied again in the same order, with the same bytes");
        assert_eq!(world.state(), decided);
    }
    assert_eq!(world.shard.population(), population, "nothing was committed meanwhile");
    world.commit();
    assert_eq!(world.shard.population(), [vec![0, 3]]);
    world.quiet_until(0, after("50m"));
    assert_eq!(sentences(&world.take_outcomes()), "abandons basket #1 after 30m");
}

#[test]
fn undoing_puts_back_the_bytes_and_the_deadlines() {
    // A shard that may decide one thing per transaction stops where the records put back would be applied.
    let settings = Settings { settle: Span::ZERO, decisions_per_transaction: 1, ..Settings::default() };
    let mut world = World::new(&[baskets("30m")], settings, 1);
    world.give(0, touchpoint("a", "cart.added", after("0m"), "1"), after("0m"));
    world.commit();
    let committed = world.state();
    world.give(0, touchpoint("a", "page.viewed", after("29m"), "2"), after("29m"));
    assert_ne!(world.state(), committed);
    world.tell(Input::Prepare);
    world.tell(Input::Aborted);
    world.commit();
    world.take_outcomes();
    // The deadline that the page view put off, twice, fires once and where it must.
    world.quiet_until(0, after("58m 59s"));
    assert_eq!(sentences(&world.take_outcomes()), "quiet");
    world.quiet_until(0, after("59m"));
    assert_eq!(sentences(&world.take_outcomes()), "abandons basket #1 after 30m");
    let before = world.shard.committed().clone();
    world.tell(Input::Aborted);
    assert_eq!(sentences(&world.take_outcomes()), "abandons basket #1 after 30m", "what proved the silence still holds");
    assert_eq!(*world.shard.committed(), before);
    assert_eq!(world.shard.armed(), 0, "aborts leave no entries behind in the wheel");
}

#[test]
fn nothing_is_decided_between_prepare_and_its_end() {
    let mut world = world(1);
    world.give(0, touchpoint("a", "cart.added", after("0m"), "1"), after("0m"));
    world.actions.clear();
    world.tell(Input::Prepare);
    let progress = Progress {
        positions: vec![Position { offset: 1, log_time: after("0m") }],
        stream_time: Some(after("0m")),
        sequence: 1,
    };
    let [Action::Remember(slot), Action::Commit(told)] = &world.actions[..] else { panic!("{:?}", world.actions) };
    assert_eq!((world.shard.identity(*slot), told), (Some(Identity::customer("a")), &progress));
    world.actions.clear();
    world.give(0, touchpoint("a", "order.completed", after("1h"), "2"), after("1h"));
    assert!(world.actions.is_empty(), "{:?}", world.actions);
    world.tell(Input::Committed);
    assert_eq!(*world.shard.committed(), progress);
    assert_eq!(causes(&mut world), ["absence", "2", "2"]);
}

#[test]
fn a_full_transaction_waits_for_its_commit() {
    let settings = Settings { settle: Span::ZERO, decisions_per_transaction: 2, ..Settings::default() };
    let mut world = World::new(&[baskets("30m")], settings, 1);
    for (at, id) in [("0m", "1"), ("1m", "2"), ("2m", "3"), ("3m", "4"), ("4m", "5")] {
        world.give(0, touchpoint(id, "cart.added", after(at), id), after(at));
    }
    let mut rounds = Vec::new();
    world.quiet_until(0, after("9h"));
    loop {
        rounds.push(causes(&mut world).len());
        if !world.shard.is_dirty() {
            break;
        }
        world.commit();
        world.quiet_until(0, after("9h"));
    }
    assert_eq!(rounds, [2, 2, 2, 2, 2, 0]);
    assert_eq!(world.shard.committed().sequence, 5);
}

#[test]
fn a_transaction_is_full_as_well_by_what_it_holds_in_memory() {
    let settings = Settings { settle: Span::ZERO, transaction_bytes: 4_000, ..Settings::default() };
    let mut world = World::new(&[baskets("30m")], settings, 2);
    for (number, at) in (0..).zip(["0m", "1m", "2m", "3m"]) {
        let who = "x".repeat(3_000) + &number.to_string();
        world.give(1, touchpoint(&who, "cart.added", after(at), "1"), after(at));
    }
    let waiting = world.shard.buffered(1);
    assert!(waiting.records == 4 && (12_000..16_000).contains(&waiting.bytes), "{waiting:?}");
    assert_eq!(world.shard.waiting_bytes(), waiting.bytes);
    // The records wait for the other input. Each is applied with a state as large, and that is enough for a transaction.
    let mut left = Vec::new();
    world.quiet_until(0, after("4m"));
    while world.shard.is_dirty() {
        assert!(world.shard.is_full() && world.shard.open_bytes() >= 4_000);
        left.push(world.shard.buffered(1).records);
        if left.len() == 2 {
            world.tell(Input::Aborted);
            assert_eq!(world.shard.buffered(1).records, 2, "put back, and applied again");
        }
        world.commit();
    }
    assert_eq!(left, [3, 2, 1, 0]);
    assert_eq!((world.shard.waiting_bytes(), world.shard.open_bytes()), (0, 0));
}

#[test]
fn what_cannot_be_used_goes_to_the_dead_letters_once_per_attempt_and_counts() {
    let mut world = world(1);
    let unusable = Unusable { reason: "not JSON".to_owned(), key: None, value: Some(vec![1]) };
    let body = Body::Unusable(Box::new(unusable.clone()));
    world.tell(Input::Record { input: 0, record: Buffered { offset: 7, log_time: after("1m"), body } });
    world.tell(Input::Aborted);
    let letters: Vec<_> = world
        .actions
        .iter()
        .map(|action| {
            let Action::DeadLetter { input, offset, record } = action else { panic!("{action:?}") };
            (*input, *offset, record.as_ref().clone())
        })
        .collect();
    assert_eq!(letters, [(0, 7, unusable.clone()), (0, 7, unusable)]);
    assert_eq!((world.shard.take_counts().dead_letters, world.shard.buffered(0).records), (1, 0));
    world.commit();
    assert_eq!(world.shard.committed().positions, [Position { offset: 8, log_time: after("1m") }]);
}

/// Goes on from the committed state of `before`, as a new owner would.
fn restarted(before: &mut World, models: &[Arc<Model>]) -> World {
    restarted_with(before, models, Settings::default().grace)
}

fn restarted_with(before: &mut World, models: &[Arc<Model>], grace: Span) -> World {
    let mut customers = Customers::default();
    for customer in before.customers() {
        let customer = sillage::wire::state::decode(&crate::world::encoded(&customer)).expect("read back");
        customers.restore(&customer);
    }
    let settings = Settings { settle: Span::ZERO, grace, ..Settings::default() };
    World::going_on(models, settings, customers, before.shard.committed().clone())
}

#[test]
fn a_new_owner_goes_on_with_the_same_deadlines() {
    let mut before = world(1);
    before.give(0, touchpoint("a", "cart.added", after("0m"), "1"), after("0m"));
    before.give(0, touchpoint("b", "page.viewed", after("10m"), "2"), after("10m"));
    before.commit();
    let mut next = restarted(&mut before, &[baskets("30m")]);
    assert_eq!((next.state(), next.shard.stream_time()), (before.state(), Some(after("10m"))));
    assert_eq!((next.shard.population(), next.shard.armed()), (before.shard.population(), 2));
    before.take_outcomes();
    before.quiet_until(0, after("2d"));
    next.quiet_until(0, after("2d"));
    let outcomes = next.take_outcomes();
    assert_eq!(sentences(&outcomes), "abandons basket #1 after 30m; abandons look after 1d");
    assert_eq!(outcomes, before.take_outcomes());
}

#[test]
fn a_span_that_became_shorter_moves_the_deadline_from_the_next_progress_but_not_before_stream_time() {
    for (progress_at, happened, fires) in [("20m", "20m", "25m"), ("20m", "19m 50s", "24m 50s"), ("20m", "9m", "25m")] {
        let mut before =
            World::new(&[baskets("30m")], Settings { settle: Span::ZERO, grace: Span::ZERO, ..Settings::default() }, 1);
        before.give(0, touchpoint("a", "cart.added", after("10m"), "1"), after("10m"));
        before.commit();
        let mut next = restarted_with(&mut before, &[baskets("5m")], Span::ZERO);
        next.quiet_until(0, after("20m"));
        assert_eq!(sentences(&next.take_outcomes()), "quiet", "an armed deadline keeps its instant");
        next.give(0, touchpoint("a", "page.viewed", after(happened), "2"), after(progress_at));
        next.quiet_until(0, after("3h"));
        let abandoned: Vec<Timestamp> = next
            .take_outcomes()
            .iter()
            .filter(|outcome| matches!(outcome.what, What::Abandonment { .. }))
            .map(|outcome| outcome.at)
            .collect();
        assert_eq!(abandoned, [after(fires)], "progress of {happened} at {progress_at}");
    }
    // Out of order, or with a span that would have ended already: not before stream time.
    let mut before =
        World::new(&[baskets("30m")], Settings { settle: Span::ZERO, grace: Span::ZERO, ..Settings::default() }, 1);
    before.give(0, touchpoint("a", "cart.added", after("10m"), "1"), after("10m"));
    before.commit();
    let mut next = restarted_with(&mut before, &[baskets("10s")], Span::ZERO);
    next.give(0, touchpoint("a", "page.viewed", after("19m 30s"), "2"), after("20m"));
    next.quiet_until(0, after("3h"));
    let at: Vec<Timestamp> = next.take_outcomes().iter().filter(|o| o.cause.is_none()).map(|outcome| outcome.at).collect();
    assert_eq!(at, [after("20m")]);
}

#[test]
fn a_stage_is_reached_when_something_first_belongs_to_it_or_a_way_back_leads_there() {
    let text = "sillage: 1\nmodel: ways\nstages:\n  see: { enter: ad.seen }\n  look: { enter: page.viewed }\n  \
                decide: { enter: cart.added, back: { look: cart.emptied }, again: ad.seen }\n";
    let mut world = World::new(&[good_model("ways", text)], Settings { settle: Span::ZERO, ..Settings::default() }, 1);
    let reached = |world: &mut World| world.customers()[0].journeys[0].reached.clone();
    for (at, kind, expected) in [
        ("0m", "weather.changed", [None, None, None]),
        ("1m", "cart.added", [None, None, Some("1m")]),
        ("2m", "cart.emptied", [None, Some("2m"), Some("1m")]),
        ("3m", "page.viewed", [None, Some("2m"), Some("1m")]),
        ("4m", "ad.seen", [Some("4m"), Some("2m"), Some("1m")]),
        ("5m", "cart.added", [Some("4m"), Some("2m"), Some("1m")]),
        ("6m", "ad.seen", [Some("4m"), Some("2m"), Some("1m")]),
    ] {
        world.give(0, touchpoint("a", kind, after(at), at), after(at));
        assert_eq!(reached(&mut world), expected.map(|at| at.map(after)), "{kind} at {at}");
    }
    assert_eq!(world.customers()[0].journeys[0].number, 2);
}

#[test]
fn the_number_of_episodes_is_bounded_and_whatever_gives_way_is_told() {
    let mut world = world(1);
    for number in 0..70 {
        let added = touchpoint("a", "cart.added", after("0m"), &format!("t{number}"));
        world.give(0, with_id(added, "cart_id", &format!("c{number}")), after("0m"));
    }
    assert_eq!(world.shard.take_counts().steps.noticed.episodes, 6);
    let mut told = world.take_outcomes();
    told.retain(|outcome| matches!(outcome.what, What::Abandonment { .. }));
    let displaced = |number: usize| format!("abandons basket c{number}, as too many were open");
    assert_eq!(told.iter().map(ToString::to_string).collect::<Vec<_>>(), (0..6).map(displaced).collect::<Vec<_>>());
    assert!(told.iter().zip(64..).all(|(one, number)| one.cause.as_ref().is_some_and(|id| id.is(&format!("t{number}")))));
    // What has given way is over: a purchase of it is not taken for one of the others.
    world.give(0, with_id(touchpoint("a", "order.completed", after("1m"), "o"), "cart_id", "c3"), after("1m"));
    assert!(!world.take_outcomes().iter().any(|outcome| matches!(outcome.what, What::Completion { .. })));
    world.quiet_until(0, after("1h"));
    assert_eq!(world.take_outcomes().len(), 64);
    world.give(0, with_id(touchpoint("a", "cart.added", after("1h"), "x"), "cart_id", "new"), after("1h"));
    // The abandoned one that has given way is forgotten: its time was not up.
    assert_eq!((world.shard.take_counts().steps.noticed.episodes, world.customers()[0].journeys[0].episodes.len()), (1, 64));
}

#[test]
fn before_its_first_record_an_input_stands_nowhere() {
    let mut world = World::new(&[baskets("30m")], Settings::default(), 2);
    assert_eq!(world.shard.committed().positions, [NOWHERE, NOWHERE]);
    assert_eq!((world.shard.stream_time(), world.shard.is_dirty(), world.customers().len()), (None, false, 0));
}

/// Another owner's clock was two hours ahead. If the shard decided now, a span of half an hour would be over at once.
#[test]
fn a_shard_whose_stream_time_is_ahead_of_the_clock_waits_for_the_clock() {
    let progress = Progress { positions: vec![NOWHERE], stream_time: Some(after("2h")), sequence: 7 };
    let settings = Settings { settle: Span::ZERO, ..Settings::default() };
    let mut world = World::going_on(&[baskets("30m")], settings, Customers::default(), progress);
    world.tell(Input::Clock(after("1m")));
    world.give(0, touchpoint("a", "cart.added", after("1m"), "x"), after("1m"));
    world.quiet_until(0, after("1h"));
    assert_eq!((causes(&mut world), world.shard.is_held()), (vec![], true));
    world.tell(Input::Clock(after("2h") - Span::from_millis(1)));
    assert_eq!(causes(&mut world), [""; 0]);
    world.give(0, touchpoint("a", "order.completed", after("2h"), "bought"), after("2h"));
    world.tell(Input::Clock(after("2h")));
    assert!(!world.shard.is_held());
    let causes = causes(&mut world);
    assert!(causes.contains(&"bought".to_owned()), "the shard goes on: {causes:?}");
}

/// Something near, again and again, before something farther, before something far: none of them is left behind each time.
#[test]
fn three_deadlines_one_behind_the_other_leave_nothing_behind() {
    let text = "sillage: 1\nmodel: three\nstages:\n  shop: { enter: cart.added, quiet: 90d }\nepisodes:\n  \
                basket: { known by: [customer], opens: cart.added, completes: order.completed, abandoned after: 60h }\n  \
                payment: { known by: [order_id], opens: payment.begun, completes: payment.taken, abandoned after: 1m }\n\
                friction:\n  unanswered: { after: question.asked, missing: question.answered, within: 50m }\n";
    let settings = Settings { settle: Span::ZERO, ..Settings::default() };
    let mut world = World::new(&[good_model("three", text)], settings, 1);
    world.give(0, touchpoint("a", "cart.added", after("0m"), "cart"), after("0m"));
    world.give(0, touchpoint("a", "question.asked", after("1m"), "question"), after("1m"));
    for number in 1..20 {
        let (at, id) = (after(&format!("{}m", number * 2)), format!("order {number}"));
        world.give(0, with_id(touchpoint("a", "payment.begun", at, &id), "order_id", &id), at);
        world.quiet_until(0, at + Span::from_secs(90));
        assert!(world.shard.rings() <= 2, "{} entries in the wheel after payment {number}", world.shard.rings());
    }
    assert_eq!(causes(&mut world).iter().filter(|cause| *cause == "absence").count(), 19, "no payment was taken");
    world.quiet_until(0, after("60h") + Span::from_days(90));
    assert_eq!(causes(&mut world), ["absence"; 3], "question, basket, and stage");
    assert_eq!((world.shard.armed(), world.shard.rings()), (0, 0));
}

/// Every basket in a stage that waits for long has a near deadline, and must not leave one more far one behind each time.
#[test]
fn near_deadlines_leave_no_far_ones_behind() {
    let text = "sillage: 1\nmodel: long\nstages:\n  shop: { enter: [page.viewed, cart.added], quiet: 90d }\nepisodes:\n  \
                basket: { known by: [cart_id], opens: cart.added, completes: order.completed, abandoned after: 30m }\n";
    let settings = Settings { settle: Span::ZERO, ..Settings::default() };
    let mut world = World::new(&[good_model("long", text)], settings, 1);
    for hour in 0..50 {
        let at = after(&format!("{hour}h"));
        let id = format!("cart {hour}");
        world.give(0, with_id(touchpoint("a", "cart.added", at, &id), "cart_id", &id), at);
        world.quiet_until(0, at + Span::from_secs(50 * 60));
        assert_eq!(world.shard.armed(), 1, "the stage waits, after hour {hour}");
    }
    let abandoned = causes(&mut world).iter().filter(|cause| *cause == "absence").count();
    assert_eq!(abandoned, 50);
    assert!(world.shard.rings() <= 2, "{} entries in the wheel for one customer", world.shard.rings());
    world.quiet_until(0, after("49h") + Span::from_days(90));
    assert_eq!(causes(&mut world), ["absence"], "and the stage's own deadline is not forgotten");
    assert_eq!(world.shard.armed(), 0);
}

/// A client that seeks, or resumes after a pause, may hand records over that it had handed over before.
#[test]
fn a_record_that_is_handed_over_twice_is_applied_once_and_a_topic_that_begins_anew_is_read() {
    let settings = Settings { settle: Span::ZERO, ..Settings::default() };
    let progress = Progress {
        positions: vec![Position { offset: 40, log_time: after("0m") }],
        stream_time: Some(after("0m")),
        sequence: 3,
    };
    // The topic was made anew: its first offset lies before what was committed.
    let mut world = World::going_on(&[baskets("30m")], settings, Customers::default(), progress);
    for (offset, id) in [(0, "1"), (1, "2"), (0, "1"), (1, "2"), (2, "3")] {
        let mut again = touchpoint("a", "page.viewed", after("1m"), id);
        again.id_given = false;
        let record = Buffered { offset, log_time: after("1m"), body: Body::Touchpoint(Box::new(again)) };
        world.tell(Input::Record { input: 0, record });
    }
    assert_eq!(world.customers()[0].touchpoints, 3);
    world.tell(Input::Aborted);
    assert_eq!(world.customers()[0].touchpoints, 3, "what is undone is applied again");
}
