//! `sillage model diff` as people read it.

use std::process::{Command, Output};

const OLD: &str = "\
sillage: 1
model: shop
version: 3
tallies:
  bought: { count: order.completed }
segments:
  loyal: customer.bought >= 3
  everyone: true
stages:
  noticing: { enter: { 3 of: ad.seen, within: 7d } }
  looking: { enter: page.viewed, quiet: { loyal: 3d, everyone: 7d } }
  deciding: { enter: cart.added, quiet: 1h }
  owning: { enter: order.completed }
episodes:
  basket: { known by: [cart_id, customer], opens: cart.added, completes: order.completed, abandoned after: 1h }
  wish: { known by: customer, opens: wish.noted, completes: order.completed }
friction:
  trouble: { in: basket, 2 of: payment.failed, within: 10m }
  ignored: { after: question.asked, missing: question.answered, within: 2m }
";

const NEW: &str = "\
sillage: 1
model: shop
version: 4
tallies:
  purchases: { count: order.completed }
  visits: { visits: any }
segments:
  loyal: customer.purchases >= 3
  everyone: true
stages:
  browsing: { enter: [page.viewed, product.viewed], quiet: { loyal: 3d, everyone: 10d } }
  comparing: { enter: review.read }
  deciding: { enter: cart.added, quiet: 30m }
  owning: { enter: order.completed }
episodes:
  basket: { known by: [basket_id, order_id, customer], opens: cart.added, completes: order.completed, abandoned after: 30m }
friction:
  trouble: { in: session, 2 of: payment.failed, within: 10m }
";

const DECLARED: &str = "\
renamed:
  stages: { looking: browsing }
  ids: { cart_id: basket_id }
  tallies: { bought: purchases }
removed:
  stages: { noticing: browsing }
  episodes: [wish]
";

/// Exit code, standard output and standard error.
fn diff(old: &str, new: &str) -> (i32, String, String) {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, text) in [("old.yaml", old), ("new.yaml", new)] {
        std::fs::write(folder.path().join(name), text).expect("written");
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_sillage"));
    let Output { status, stdout, stderr } =
        command.current_dir(folder.path()).args(["model", "diff", "old.yaml", "new.yaml"]).output().expect("sillage runs");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    (status.code().expect("an end"), text(stdout), text(stderr))
}

#[test]
fn what_becomes_of_running_journeys_is_told_in_words() {
    let (code, said, faults) = diff(OLD, &format!("{NEW}{DECLARED}"));
    assert_eq!((code, faults.as_str()), (0, ""), "{said}");
    assert_eq!(said, include_str!("model_diff/goes_on.txt"));
}

#[test]
fn what_would_strand_journeys_is_refused_where_it_stands_with_the_line_to_write() {
    let (code, said, _) = diff(OLD, &NEW.replace("version: 4", "version: 3"));
    assert_eq!(code, 1);
    let (_, refused) = said.split_once("it cannot be deployed like this.\n").expect("the verdict");
    assert_eq!(refused, include_str!("model_diff/strands.txt"));
}

#[test]
fn the_same_model_changes_nothing_and_one_that_cannot_be_read_is_not_compared() {
    assert_eq!(diff(OLD, OLD), (0, "shop: version 3 to 3\n\nNothing changes for running journeys.\n".into(), String::new()));
    let (code, said, faults) = diff(OLD, &OLD.replace("enter: page.viewed", "entre: page.viewed"));
    assert_eq!((code, said.as_str()), (2, ""));
    assert!(faults.contains("error[Y010]") && faults.contains("nothing is compared until they are mended"), "{faults}");
}

#[test]
fn spans_types_and_conditions_change_under_the_same_version() {
    let (code, said, _) = diff(OLD, &OLD.replace("abandoned after: 1h", "abandoned after: 2h").replace("2 of:", "3 of:"));
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("  ~ basket               abandoned after 2h, was 1h\n"), "{said}");
}
