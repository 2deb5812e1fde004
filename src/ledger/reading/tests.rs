//! Logs read from wherever they begin.

use std::sync::Arc;

use super::*;
use crate::model::Model;
use crate::shard::Position;
use crate::time::Timestamp;
use crate::wire::pages::Draft;

fn ledger() -> Ledger {
    Ledger::sample(6)
}

/// What stands at the beginning of a page; `sequence` on the last one of a commit, `from` that of which on the log is needed.
fn head(part: u32, sequence: Option<u64>, from: u64) -> Head {
    let position = Position { offset: 0, log_time: Timestamp::MIN };
    Head {
        part,
        partitions: 6,
        inputs: vec!["in".to_owned()],
        models: Vec::new(),
        progress: sequence.map(|sequence| Progress { positions: vec![position], stream_time: None, sequence }),
        attempt: "a".to_owned(),
        retain_from: from,
    }
}

fn saying(part: u32, sequence: Option<u64>, from: u64, add: impl FnOnce(&mut Draft)) -> Vec<u8> {
    let mut draft = Draft::default();
    add(&mut draft);
    draft.finish(&head(part, sequence, from)).expect("a page")
}

fn image(who: &str, touchpoints: u64) -> Customer {
    let mut customer = Customer::new(Identity::customer(who));
    customer.touchpoints = touchpoints;
    customer
}

fn packed(customer: &Customer) -> Vec<u8> {
    let mut packed = Vec::new();
    customer.pack(&mut crate::journey::packed::Words::default(), &mut packed);
    packed
}

fn whole(who: &str, touchpoints: u64) -> impl FnOnce(&mut Draft) {
    let customer = image(who, touchpoints);
    move |draft| {
        draft.add(&packed(&customer)).expect("added");
    }
}

fn changed(who: &str, from: u64, to: u64) -> impl FnOnce(&mut Draft) {
    let (before, now) = (image(who, from), image(who, to));
    move |draft| {
        draft.add_change(&packed(&before), &packed(&now)).expect("added");
    }
}

fn gone(who: &str) -> impl FnOnce(&mut Draft) {
    let who = Identity::customer(who);
    move |draft| {
        draft.add_gone(&who).expect("added");
    }
}

/// A page with one customer.
fn page(customer: &str, part: u32, sequence: Option<u64>) -> Vec<u8> {
    saying(part, sequence, 0, whole(customer, 0))
}

/// Takes pages in order; the place of the first that does not fit, and why.
fn take(reading: &mut Reading, pages: &[Vec<u8>]) -> Result<(), (usize, Unfit)> {
    let ledger = ledger();
    pages.iter().enumerate().try_for_each(|(at, page)| reading.take(&ledger, page).map_err(|unfit| (at, unfit)))
}

#[test]
fn a_log_that_is_cut_within_its_first_commit_is_whole() {
    let mut reading = Reading::of(0);
    let pages = [page("a", 2, None), page("b", 3, Some(7)), page("c", 0, None), page("a", 1, Some(8))];
    take(&mut reading, &pages).expect("whole");
    assert_eq!((reading.latest.len(), reading.progress.map(|progress| progress.sequence)), (3, Some(8)));
}

#[test]
fn a_customer_who_fills_pages_is_put_together_and_one_that_is_cut_is_noticed() {
    let mut draft = Draft::default();
    let name = "x".repeat(2 * pages::FULL);
    draft.add(&packed(&Customer::new(Identity::customer(name.as_str())))).expect("added");
    let part = |draft: &mut Draft, part: u32, sequence: Option<u64>| draft.finish(&head(part, sequence, 0)).expect("a page");
    let pages = [part(&mut draft, 0, None), part(&mut draft, 1, None), part(&mut draft, 2, Some(7))];
    let mut all = Reading::of(0);
    take(&mut all, &pages).expect("whole");
    assert_eq!(all.latest.all().len(), 1);
    assert!(all.latest.image(&Identity::customer(name.as_str())).is_some());
    let mut cut = Reading::of(0);
    take(&mut cut, &pages[1..]).expect("cut");
    assert!(cut.latest.is_empty() && cut.progress.is_some());
    let mut after = Reading::of(0);
    let missing = take(&mut after, &[page("a", 0, Some(6)), pages[0].clone(), pages[2].clone()]);
    assert!(matches!(missing, Err((2, Unfit::Hole(_)))), "{missing:?}");
}

#[test]
fn what_is_missing_is_told_from_what_is_wrong() {
    let hole = |pages: &[Vec<u8>], place: usize| {
        let unfit = take(&mut Reading::of(0), pages);
        assert!(matches!(unfit, Err((at, Unfit::Hole(_))) if at == place), "{unfit:?}");
    };
    // A commit is missing; the end of one; the beginning of one.
    hole(&[page("a", 0, Some(7)), page("b", 0, Some(9))], 1);
    hole(&[page("a", 0, Some(7)), page("b", 0, None), page("c", 0, Some(9))], 2);
    hole(&[page("a", 0, Some(7)), page("b", 1, Some(8))], 1);
    let head = Head { partitions: 5, ..head(0, Some(7), 0) };
    let other = take(&mut Reading::of(0), &[Draft::default().finish(&head).expect("a page")]);
    assert!(matches!(other, Err((0, Unfit::Wrong(_)))), "{other:?}");
    let renamed = check(&ledger(), 6, &["old".to_owned()]);
    assert!(renamed.is_err_and(|reason| reason.contains("the inputs old, and now they are in")));
}

/// Who deletes from the topic beside Sillage takes customers away that nobody would miss.
#[test]
fn a_log_whose_head_somebody_has_deleted_is_no_whole_log() {
    let needing = |customer: &str, sequence: u64, retain_from: u64| {
        saying(0, Some(sequence), retain_from, |draft| {
            whole(customer, 0)(draft);
            gone("gone")(draft);
        })
    };
    let pages = [needing("gone", 4, 0), needing("a", 5, 2), needing("b", 6, 5), needing("c", 7, 5)];
    let finished = |pages: &[Vec<u8>]| {
        let mut reading = Reading::of(0);
        take(&mut reading, pages).expect("in order");
        reading.finish(&ledger())
    };
    let (customers, progress) = finished(&pages[1..]).expect("from commit 5 on all is there");
    assert_eq!((customers.len(), progress.map(|progress| progress.sequence)), (3, Some(7)));
    let short = finished(&pages[2..]);
    assert!(matches!(&short, Err(Unfit::Hole(reason)) if reason.contains("is needed from commit 5")), "{short:?}");
    // Nobody knows yet from where on it is needed.
    assert!(finished(&pages[..1]).is_ok());
}

/// A commit that says how a customer came from so many touchpoints to so many; from none: the whole customer.
fn changing(sequence: u64, who: &str, from: u64, to: u64) -> Vec<u8> {
    saying(0, Some(sequence), 0, |draft| if from == 0 { whole(who, to)(draft) } else { changed(who, from, to)(draft) })
}

#[test]
fn changes_follow_from_what_the_log_holds_and_before_its_cut_beginning_from_nothing() {
    let log = [
        changing(1, "anna", 0, 1),
        changing(2, "anna", 1, 3),
        // The turn says all of her.
        changing(3, "anna", 0, 3),
        changing(4, "anna", 3, 4),
    ];
    let read = |pages: &[Vec<u8>]| {
        let mut reading = Reading::of(0);
        take(&mut reading, pages).expect("in order");
        let (customers, _) = reading.finish(&ledger())?;
        Ok(customers.all().iter().map(|customer| customer.touchpoints).collect::<Vec<_>>())
    };
    let told = |pages: &[Vec<u8>]| read(pages).map_err(|unfit: Unfit| format!("{unfit:?}"));
    assert_eq!(told(&log), Ok(vec![4]));
    assert_eq!(told(&log[1..]), Ok(vec![4]), "cut where it is needed no more");
    let short = read(&log[3..]);
    assert!(matches!(&short, Err(Unfit::Hole(reason)) if reason.contains("its head is missing")), "{short:?}");
    let mut reading = Reading::of(0);
    let foreign = take(&mut reading, &[changing(1, "anna", 0, 1), changing(2, "anna", 2, 3)]);
    assert!(matches!(&foreign, Err((1, Unfit::Hole(reason))) if reason.contains("does not fit")), "{foreign:?}");
}

/// The name of each customer and how many touchpoints have come of it.
fn known(pages: &[Vec<u8>]) -> Vec<(String, u64)> {
    let mut reading = Reading::of(0);
    take(&mut reading, pages).expect("in order");
    let (customers, _) = reading.finish(&ledger()).expect("whole");
    let mut known: Vec<_> =
        customers.all().iter().map(|customer| (customer.identity.id.to_string(), customer.touchpoints)).collect();
    known.sort();
    known
}

/// The owner before cuts the log while the first of a commit's pages have been read: what comes next is of a later commit.
#[test]
fn what_was_read_of_a_commit_that_was_cut_away_is_forgotten() {
    let abandoned = saying(0, None, 0, |draft| {
        whole("anna", 1)(draft);
        whole("ben", 1)(draft);
    });
    let first = saying(0, Some(9), 9, whole("anna", 5));
    let next = saying(0, Some(10), 9, changed("anna", 5, 6));
    let expected = vec![("anna".to_owned(), 6)];
    assert_eq!(known(&[abandoned.clone(), first, next.clone()]), expected, "ben was erased meanwhile");
    // Without the whole customer, what has changed of her follows from nothing that is known.
    let cut = saying(0, Some(9), 3, changed("anna", 4, 5));
    let mut reading = Reading::of(0);
    take(&mut reading, &[abandoned, cut, next]).expect("in order");
    let short = reading.finish(&ledger());
    assert!(matches!(short, Err(Unfit::Hole(_))), "{short:?}");
}

/// Somebody who stands by has read all that the log held before journeys were dropped from it.
#[test]
fn a_commit_from_which_on_the_log_is_needed_leaves_nobody_it_says_nothing_of() {
    let kept = [saying(0, Some(4), 4, whole("anna", 0)), saying(0, Some(5), 4, whole("ben", 0))];
    // Whatever number it has: that of the offsets may be ahead of the log.
    let ahead = [kept[0].clone(), saying(0, Some(9), 9, whole("ben", 0))];
    let hole = take(&mut Reading::of(0), &[kept[0].clone(), saying(0, Some(9), 4, whole("ben", 0))]);
    assert!(matches!(hole, Err((1, Unfit::Hole(_)))), "{hole:?}");
    let dropped = [kept[0].clone(), saying(0, Some(5), 5, whole("ben", 0))];
    let names = |pages: &[Vec<u8>]| known(pages).into_iter().map(|(name, _)| name).collect::<Vec<_>>();
    assert_eq!((names(&kept), names(&dropped)), (vec!["anna".to_owned(), "ben".to_owned()], vec!["ben".to_owned()]));
    assert_eq!(names(&ahead), ["ben"]);
}

#[test]
fn who_is_gone_is_neither_known_nor_missed() {
    let log = [changing(1, "anna", 0, 1), changing(2, "anna", 1, 2), saying(0, Some(3), 0, gone("anna"))];
    assert_eq!(known(&log), []);
    assert_eq!(known(&log[1..]), [], "cut behind what her change follows from");
    assert_eq!(known(&[&log[..], &[changing(4, "anna", 0, 1)]].concat()), [("anna".to_owned(), 1)], "she is back");
}

/// A model of the shop by its version: a stage is renamed, then one comes between, then one more.
fn shop(version: usize) -> Arc<Model> {
    let stages = [
        "looking: { enter: a }, buying: { enter: b }",
        "browsing: { enter: a }, buying: { enter: b } }\nrenamed: { stages: { looking: browsing }",
        "browsing: { enter: a }, asking: { enter: c }, buying: { enter: b }",
    ];
    let stages = stages[version - 1];
    let text = format!("sillage: 1\nmodel: shop\nversion: {version}\nstages: {{ {stages} }}\n");
    let (model, faults) = crate::model::load("shop.yaml", &text);
    Arc::new(model.unwrap_or_else(|| panic!("{faults:?}")))
}

/// A commit with a customer who does something under that version for the first time.
fn commit(sequence: u64, version: usize, who: &str, does: &str) -> Vec<u8> {
    let mut customer = Customer::new(Identity::customer(who));
    let touchpoint = crate::touchpoint::Touchpoint {
        id: "t".into(),
        id_given: false,
        identity: customer.identity.clone(),
        linked: None,
        event_time: Timestamp::from_millis(0),
        kind: does.into(),
        channel: None,
        session: None,
        properties: Vec::new(),
    };
    let at = touchpoint.event_time;
    let moment = crate::journey::Moment { log_time: at, counts_from: at, stream_time: at };
    customer.apply(&[shop(version)], &touchpoint, moment, 0, &mut crate::journey::Noticed::default(), &mut Vec::new());
    let head = Head { models: vec![Mark::of(&shop(version))], ..head(0, Some(sequence), 0) };
    let mut draft = Draft::default();
    draft.add(&packed(&customer)).expect("added");
    draft.finish(&head).expect("a page")
}

/// Where everybody stands under that version, once these commits are read.
fn stands(commits: &[Vec<u8>], version: usize) -> Result<String, String> {
    let ledger = Ledger { models: vec![Mark::of(&shop(version))], ..ledger() };
    let mut reading = Reading::of(0);
    let why = |unfit| match unfit {
        Unfit::Hole(reason) | Unfit::Wrong(reason) => reason,
    };
    commits.iter().try_for_each(|page| reading.take(&ledger, page)).map_err(why)?;
    let (customers, _) = reading.finish(&ledger).map_err(why)?;
    let stage = |customer: &Customer| {
        let stage = customer.journeys[0].stage().expect("entered one");
        format!("{} {}", customer.identity.id, shop(version).stage_name(stage))
    };
    Ok(customers.all().iter().map(stage).collect::<Vec<_>>().join(", "))
}

#[test]
fn a_log_written_under_several_versions_is_read_as_one_wherever_it_was_cut() {
    let log = [
        commit(1, 1, "anna", "a"),
        commit(2, 1, "ben", "b"),
        // The process died after its first commit under the new names, and the one after it knows two versions.
        commit(3, 2, "carla", "a"),
        commit(4, 3, "dora", "c"),
        commit(5, 3, "anna", "b"),
    ];
    assert_eq!(stands(&log[..2], 1).as_deref(), Ok("anna looking, ben buying"));
    assert_eq!(stands(&log[..2], 2).as_deref(), Ok("anna browsing, ben buying"));
    assert_eq!(stands(&log[..3], 2).as_deref(), Ok("anna browsing, ben buying, carla browsing"));
    assert_eq!(stands(&log[..3], 3).as_deref(), Ok("anna browsing, ben buying, carla browsing"));
    assert_eq!(stands(&log, 3).as_deref(), Ok("anna buying, ben buying, carla browsing, dora asking"));
    assert_eq!(stands(&log[2..], 3).as_deref(), Ok("anna buying, carla browsing, dora asking"));
    // Version 3 alone does not say what became of the first names; a worker that was rolled back knows less than the log.
    assert!(stands(&log[..2], 3).is_err_and(|reason| reason.contains("(D001)")));
    assert!(stands(&log, 2).is_err_and(|reason| reason.contains("version 3 of the model shop, and this is version 2")));
}
