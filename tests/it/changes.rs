//! Models that change under running journeys (rule 25), as stories: what Anna did under the old file, what she does under the
//! new one, and what is told of the latter.

use std::sync::Arc;

use sillage::journey::Migration;
use sillage::model::{self, Model, Structure};
use sillage::shard::{Customers, Settings};
use sillage::time::Span;

use crate::world::{World, after, good_model, sentences, touchpoint, with_id};

/// A touchpoint: when, which type, and properties as `name=value`.
type Deed<'a> = (&'a str, &'a str);

fn give(world: &mut World, deeds: &[Deed<'_>], from: usize) {
    for (number, (at, deed)) in deeds.iter().enumerate() {
        let mut words = deed.split(' ');
        let mut given = touchpoint("Anna", words.next().expect("a type"), after(at), &format!("t{}", from + number));
        for (name, value) in words.filter_map(|word| word.split_once('=')) {
            given = with_id(given, name, value);
        }
        world.give(0, given, after(at));
    }
}

fn settings() -> Settings {
    Settings { settle: Span::ZERO, ..Settings::default() }
}

/// What is told from the change on, until an instant.
fn told(old: &[&str], before: &[Deed<'_>], new: &[&str], then: &[Deed<'_>], until: &str) -> String {
    let load = |texts: &[&str]| -> Vec<Arc<Model>> { texts.iter().map(|text| good_model("m.yaml", text)).collect() };
    let (old, new) = (load(old), load(new));
    for after in &new {
        for before in old.iter().filter(|before| before.name == after.name) {
            let diff = model::diff(before, after);
            assert_eq!(diff.refusals().count(), 0, "{}", diff.text());
        }
    }
    let structures = |models: &[Arc<Model>]| -> Vec<Structure> { models.iter().map(|model| Structure::of(model)).collect() };
    let (was, is) = (structures(&old), structures(&new));
    fn named<'a>(models: &'a [Arc<Model>], of: &'a [Structure]) -> Vec<(&'a str, &'a Structure)> {
        models.iter().map(|model| model.name.as_str()).zip(of).collect()
    }
    let migration = Migration::new(&named(&old, &was), &named(&new, &is));
    let mut world = World::new(&old, settings(), 1);
    give(&mut world, before, 0);
    world.commit();
    let mut customers = Customers::default();
    for mut customer in world.customers() {
        migration.migrate(&mut customer);
        customers.restore(&customer);
    }
    let mut world = World::going_on(&new, settings(), customers, world.shard.committed().clone());
    give(&mut world, then, before.len());
    world.quiet_until(0, after(until));
    sentences(&world.take_outcomes())
}

const SHOP: &str = "
sillage: 1
model: shop
stages:
  looking: { enter: [page.viewed, { 3 of: ad.seen, within: 7d }], quiet: 1d }
  deciding: { enter: cart.added, quiet: 2h }
  owning: { enter: order.completed }
episodes:
  basket: { known by: [cart_id, order_id, customer], opens: cart.added, progresses: cart.added, completes: order.completed, abandoned after: 1h }
friction:
  ignored: { after: question.asked, missing: question.answered, within: 30m, cool-down: 1d }
";

/// The shop's next version, with these lines otherwise.
fn next(changes: &[(&str, &str)]) -> String {
    let mut text = SHOP.replace("model: shop\n", "model: shop\nversion: 2\n");
    for (from, to) in changes {
        assert!(text.contains(from), "{from}");
        text = text.replace(from, to);
    }
    text
}

#[test]
fn a_deadline_that_runs_keeps_its_instant_and_the_new_span_counts_from_the_next_progress() {
    let shorter = next(&[("abandoned after: 1h", "abandoned after: 5m"), ("quiet: 2h", "quiet: 10m")]);
    let open = [("0m", "cart.added cart_id=A")];
    for (then, until, expected) in [
        (vec![], "59m", "quiet"),
        (vec![], "3h", "abandons basket A after 1h; abandons deciding after 2h"),
        (vec![("30m", "cart.added cart_id=A")], "36m", "abandons basket A after 5m"),
        (vec![("30m", "order.completed cart_id=A")], "3h", "completes basket A; deciding → owning"),
    ] {
        assert_eq!(told(&[SHOP], &open, &[&shorter], &then, until), expected, "{then:?} until {until}");
    }
    let never = next(&[(", abandoned after: 1h", ""), (", quiet: 2h", "")]);
    assert_eq!(
        told(&[SHOP], &open, &[&never], &[], "3h"),
        "abandons basket A after 1h; abandons deciding after 2h",
        "also where the span is gone"
    );
}

#[test]
fn a_stage_that_is_gone_hands_its_journeys_on_with_their_deadline_and_without_a_word() {
    let gone = next(&[
        ("  looking: { enter: [page.viewed, { 3 of: ad.seen, within: 7d }], quiet: 1d }\n", ""),
        ("version: 2\n", "version: 2\nremoved: { stages: { looking: deciding } }\n"),
    ]);
    let looks = [("0m", "page.viewed")];
    assert_eq!(told(&[SHOP], &looks, &[&gone], &[], "2d"), "abandons deciding after 1d");
    assert_eq!(told(&[SHOP], &looks, &[&gone], &[("5m", "order.completed")], "10m"), "deciding → owning");
    let over = next(&[
        (
            "  owning: { enter: order.completed }\n",
            "  owning: { enter: order.completed }\n  gone: { enter: left, ends: true }\n",
        ),
        ("  looking: { enter: [page.viewed, { 3 of: ad.seen, within: 7d }], quiet: 1d }\n", ""),
        ("version: 2\n", "version: 2\nremoved: { stages: { looking: gone } }\n"),
    ]);
    assert_eq!(told(&[SHOP], &looks, &[&over], &[], "2d"), "quiet", "a journey that is over awaits nothing");
}

#[test]
fn what_was_counted_goes_on_counting_when_ways_and_stages_move() {
    let moved = next(&[
        (
            "[page.viewed, { 3 of: ad.seen, within: 7d }]",
            "[page.viewed, { 2 of: mail.opened, within: 7d }, { 3 of: ad.seen, within: 7d }]",
        ),
        ("stages:\n", "stages:\n  dreaming: { enter: dream.seen }\n"),
    ]);
    let two = [("0m", "ad.seen"), ("1m", "ad.seen")];
    assert_eq!(told(&[SHOP], &two, &[&moved], &[("5m", "ad.seen")], "6m"), "enters looking, skipping");
    assert_eq!(told(&[SHOP], &two, &[&moved], &[("5m", "mail.opened")], "6m"), "quiet");
}

#[test]
fn a_basket_is_found_by_the_new_name_of_its_id_and_not_by_one_that_is_gone() {
    let renamed = next(&[
        ("known by: [cart_id, order_id, customer]", "known by: [order_id, basket_id, customer]"),
        ("version: 2\n", "version: 2\nrenamed: { ids: { cart_id: basket_id } }\n"),
    ]);
    let two = [("0m", "cart.added cart_id=A"), ("1m", "cart.added cart_id=B")];
    assert_eq!(
        told(&[SHOP], &two, &[&renamed], &[("5m", "order.completed basket_id=A")], "2h"),
        "completes basket A; deciding → owning; abandons basket B after 1h"
    );
    let gone = next(&[
        ("known by: [cart_id, order_id, customer]", "known by: order_id"),
        ("version: 2\n", "version: 2\nremoved: { ids: [cart_id] }\n"),
    ]);
    assert_eq!(told(&[SHOP], &two, &[&gone], &[], "1h 30m"), "quiet", "nothing that comes could be about them");
}

#[test]
fn what_is_gone_never_fires_and_what_is_new_knows_nothing_of_the_past() {
    let asked = [("0m", "cart.added cart_id=A"), ("1m", "question.asked"), ("2m", "payment.failed")];
    let ignored = "  ignored: { after: question.asked, missing: question.answered, within: 30m, cool-down: 1d }\n";
    let without = next(&[
        (&format!("friction:\n{ignored}"), ""),
        (
            "episodes:\n  basket: { known by: [cart_id, order_id, customer], opens: cart.added, progresses: cart.added, completes: order.completed, abandoned after: 1h }\n",
            "",
        ),
        ("version: 2\n", "version: 2\nremoved: { episodes: [basket] }\n"),
    ]);
    assert_eq!(told(&[SHOP], &asked, &[&without], &[], "1h 30m"), "quiet");
    let more = next(&[("friction:\n", "friction:\n  trouble: { 2 of: payment.failed, within: 1h }\n")]);
    let failed = [("5m", "payment.failed")];
    assert_eq!(told(&[SHOP], &asked, &[&more], &failed, "32m"), "friction ignored");
    let failed_twice = [("5m", "payment.failed"), ("6m", "payment.failed")];
    assert_eq!(told(&[SHOP], &asked, &[&more], &failed_twice, "20m"), "friction trouble");
}

#[test]
fn a_rule_that_looks_for_something_else_begins_anew_and_goes_on_cooling() {
    let other =
        next(&[("after: question.asked, missing: question.answered, within: 30m", "2 of: payment.failed, within: 1h")]);
    let fired = [("0m", "question.asked"), ("1h", "page.viewed")];
    let failed = [("2h", "payment.failed"), ("2h 1m", "payment.failed")];
    assert_eq!(told(&[SHOP], &fired, &[&other], &failed, "3h"), "quiet", "it spoke at 30m, and cools down for a day");
    let waits = [("0m", "question.asked")];
    let failed = [("31m", "payment.failed"), ("32m", "payment.failed")];
    assert_eq!(told(&[SHOP], &waits, &[&other], &failed, "33m"), "friction ignored", "the question waits no more");
}

#[test]
fn sums_go_on_under_a_new_name_and_begin_anew_where_they_are_of_another_sort() {
    let tally = |version: u32, sum: &str, rest: &str| {
        format!(
            "sillage: 1\nmodel: club\nversion: {version}\nproperties: {{ total: number }}\ntallies: {{ {sum} }}\nsegments:\n  \
             loyal: customer.bought >= 3\n  everyone: true\nstages:\n  buying: {{ enter: order.completed }}\n  owning: \
             {{ enter: shipped }}\n{rest}"
        )
    };
    let old = tally(1, "bought: { count: order.completed }", "").replace("properties: { total: number }\n", "");
    let three = [("0m", "order.completed"), ("1m", "order.completed"), ("2m", "order.completed")];
    let renamed = old
        .replace("version: 1", "version: 2\nrenamed: { tallies: { bought: orders } }")
        .replace("bought", "orders")
        .replace("{ orders: orders }", "{ bought: orders }");
    let segment = |new: &str| {
        let models = [good_model("m.yaml", new)];
        let was = Structure::of(&good_model("m.yaml", &old));
        let is = Structure::of(&models[0]);
        let mut world = World::new(&[good_model("m.yaml", &old)], settings(), 1);
        give(&mut world, &three, 0);
        let mut customer = world.customers().remove(0);
        Migration::new(&[("club", &was)], &[("club", &is)]).migrate(&mut customer);
        world.commit();
        let mut customers = Customers::default();
        customers.restore(&customer);
        let mut world = World::going_on(&models, settings(), customers, world.shard.committed().clone());
        give(&mut world, &[("5m", "shipped")], 3);
        world.take_outcomes().first().and_then(|outcome| outcome.segment.clone()).unwrap_or_default()
    };
    assert_eq!(segment(&renamed), "loyal");
    assert_eq!(segment(&tally(2, "bought: { sum: total, of: order.completed }", "")), "everyone");
}

#[test]
fn models_come_and_go_and_the_others_journeys_stay_theirs() {
    let club = "sillage: 1\nmodel: club\nstages: { member: { enter: page.viewed, quiet: 1h }, fan: { enter: fan.joined } }";
    let looks = [("0m", "page.viewed")];
    let (both, shop) = ("abandons member after 1h; abandons looking after 1d", "abandons looking after 1d");
    assert_eq!(told(&[SHOP, club], &looks, &[club, SHOP], &[], "2d"), both);
    assert_eq!(told(&[SHOP], &looks, &[club, SHOP], &[], "2d"), shop, "a model that is new has seen nobody");
    assert_eq!(told(&[club, SHOP], &looks, &[SHOP], &[], "2d"), shop);
    assert_eq!(
        told(&[SHOP], &looks, &[club, SHOP], &[("5m", "page.viewed"), ("6m", "fan.joined")], "10m"),
        "enters member; member → fan",
        "its journey begins with the next touchpoint"
    );
}
