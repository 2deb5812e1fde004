//! A standby follows the state log and takes the place of a member that is gone: under its name in the group and in its
//! transactions, in the middle of a live load.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::harness::clients::{Published, Reader};
use crate::harness::service::{Service, Setup};
use crate::harness::{kafka, model, now_millis, say, wait};
use crate::load;
use crate::shop::{SOON, Shop};
use crate::story::{ALL_PASSED, OUTPUTS, compare, expected, in_order, write_amid};

const TOUCHPOINTS: usize = 30_000;
/// From the decision to the first commit, on a quiet machine; here other tests run.
const TAKEN_OVER: i64 = 6_000;

#[test]
fn a_standby_takes_the_place_of_a_killed_member_and_nothing_is_lost_or_doubled() {
    let Some(kafka) = kafka() else { return };
    let customers = load::customers(815, TOUCHPOINTS);
    let mut shop = Shop::open(kafka, "standby", &["app", "web"], 6);
    shop.setup.model = model("shop.yaml");
    let standby = || Service::start(&Setup { arguments: vec!["--standby"], ..shop.setup.clone() });
    // The one that works, and the one that stands by.
    let mut both = vec![shop.serve(), standby()];
    let reader = Reader::of(&shop.direct, &shop.setup.output_topics(&OUTPUTS));
    let begin = now_millis() + 500;
    let mut taken = Vec::new();
    let end = write_amid(&shop, &customers, begin, |written| {
        both[1].wait_for_line("standing by", SOON);
        wait::until_true("the standby to know somebody", SOON, || both[1].metric("sillage_standby_customers") > 100.0);
        assert!(!both[1].is_ready(), "a standby serves nobody");
        both.remove(0).kill();
        let decided = now_millis();
        both[0].take_over();
        let by_standby = |record: &Published| record.timestamp > decided;
        let read = reader.until("the standby's first commit", SOON, |read| {
            written.load(Ordering::Acquire) || read.iter().any(by_standby)
        });
        taken.extend(read.iter().map(|record| record.timestamp).filter(|at| *at > decided).min().map(|at| at - decided));
        both.push(standby());
    });
    let total: usize = expected(&customers, begin, end + ALL_PASSED).values().map(Vec::len).sum();
    let customers = in_order(&shop, customers);
    let expected = expected(&customers, begin, end + ALL_PASSED);
    // Where something is missing, the comparison says what.
    let (begun, mut published) = (Instant::now(), reader.to_the_end());
    while published.len() < total && begun.elapsed() < SOON * 2 {
        published = reader.to_the_end();
    }
    for service in both {
        let ended = service.terminate();
        assert_eq!(ended.status.code(), Some(0), "{}", ended.log);
    }
    compare(&customers, &expected, &published);
    say(&format!(
        "standby: {TOUCHPOINTS} touchpoints, {total} outcomes; from the decision to the first commit: {taken:?} ms"
    ));
    assert!(taken.len() >= 2 && taken.iter().all(|after| *after < TAKEN_OVER), "{taken:?}");
}

/// The one that was thought dead comes back: its name is taken, so it ends instead of fighting.
#[test]
fn a_member_whose_place_was_taken_ends_and_a_silent_one_is_replaced() {
    let Some(kafka) = kafka() else { return };
    let shop = Shop::open(kafka, "replaced", &["web"], 2);
    let active = shop.serve();
    shop.does("anna", "cart.added", 0);
    let reader = shop.reader();
    reader.until("her decision", SOON, |read| !read.is_empty());
    let address = active.address().expect("it serves");
    let mut setup = shop.setup.clone();
    let url: &'static str = Box::leak(format!("http://{}", address.trim()).into_boxed_str());
    setup.arguments = vec!["--standby-of", url];
    let mut waiting = Service::start(&setup);
    waiting.wait_for_line("standing by", SOON);
    active.freeze();
    waiting.wait_until_ready(SOON);
    shop.does("anna", "order.completed", 0);
    reader.until("her purchase", SOON, |read| crate::shop::tells(read, "anna", "completion basket"));
    active.thaw();
    let ended = active.wait_for_end(Duration::from_secs(60));
    assert_eq!(ended.status.code(), Some(2), "{}", ended.log);
    assert_eq!(waiting.terminate().status.code(), Some(0));
    let read = reader.to_the_end();
    let purchases = read.iter().filter(|record| record.json()["kind"] == "completion").count();
    assert_eq!(purchases, 1);
}
