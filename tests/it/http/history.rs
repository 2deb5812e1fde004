//! Loading a history.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sillage::http::LoadLimits;

use super::client::Reply;
use super::shop::{Shop, Terms, touchpoint};
use super::{assert_problem, post};

fn begin(shop: &Shop, first: &str) -> Reply {
    post(shop, "/v1/history", &json!({"first": first}).to_string())
}

fn at(customer: &str, id: &str, kind: &str, instant: &str) -> Value {
    let mut touchpoint = touchpoint(customer, id, kind);
    touchpoint["occurred_at"] = instant.into();
    touchpoint
}

#[test]
fn live_posts_wait_for_a_load_and_its_touchpoints_are_decided_in_their_own_time() {
    let shop = Shop::open();
    let added = at("ada", "1", "cart.added", "2025-03-01T10:00:00Z").to_string();
    let bought = at("ada", "2", "order.completed", "2025-03-01T10:10:00Z").to_string();
    let left = at("bob", "1", "cart.added", "2025-03-01T10:05:00Z").to_string();
    assert_problem(&post(&shop, "/v1/touchpoints?history=true", &added), 409, "no-load", "before the load");
    assert_eq!(begin(&shop, "2025-03-01T10:00:00Z").json(), json!({"loading": true, "first": "2025-03-01T10:00:00.000Z"}));
    let live = post(&shop, "/v1/touchpoints", &touchpoint("eve", "1", "ad.seen").to_string());
    assert_problem(&live, 503, "loading", "a live post");
    assert!(live.header("retry-after").is_some());
    assert_eq!(begin(&shop, "2025-03-01T10:00:00Z").status, 200, "going on with the load");
    let load = format!("{added}\n{left}\n{bought}\n");
    assert_eq!(post(&shop, "/v1/touchpoints?history=true", &load).json(), json!({"accepted": 3, "duplicates": 0}));
    assert_eq!(post(&shop, "/v1/touchpoints?history=true", &load).json(), json!({"accepted": 0, "duplicates": 3}));
    let ended = shop.call("DELETE", "/v1/history", &[], b"");
    assert_eq!((ended.status, ended.json()), (200, json!({"loading": false})));
    // Bob's basket and, half an hour later, his decision; Ada's retention long after.
    let abandoned = shop.outcomes("topic=abandonments", 3);
    let of_baskets: Vec<String> = abandoned
        .iter()
        .filter(|line| line.to_string().contains("basket"))
        .map(|line| super::text(line, "customer_id"))
        .collect();
    assert_eq!(of_baskets, ["bob"], "half an hour passed for bob only: {abandoned:?}");
    let live = post(&shop, "/v1/touchpoints", &touchpoint("eve", "1", "ad.seen").to_string());
    assert_eq!(live.status, 200, "{}", live.text());
    assert_problem(&begin(&shop, "2025-03-01T10:00:00Z"), 409, "too-late", "stream time has passed it");
}

#[test]
fn a_load_does_not_begin_later_than_now() {
    let shop = Shop::open();
    let refused = begin(&shop, "2999-01-01T00:00:00Z");
    assert_problem(&refused, 400, "ahead", "a far instant");
    let live = post(&shop, "/v1/touchpoints", &touchpoint("eve", "1", "ad.seen").to_string());
    assert_eq!(live.status, 200, "no load was opened: {}", live.text());
}

fn limited(silence: u64, whole: u64) -> Shop {
    let (silence, whole) = (Duration::from_secs(silence), Duration::from_secs(whole));
    Shop::open_on(Terms { load_limits: LoadLimits { silence, whole }, ..Terms::default() })
}

/// Posts a touchpoint of a history, for the owner of its load.
fn load(shop: &Shop, owner: &str) -> Reply {
    let body = at("ada", "1", "cart.added", "2025-03-01T10:00:00Z").to_string();
    let headers: &[_] = if owner.is_empty() { &[] } else { &[("sillage-load", owner)] };
    shop.call("POST", "/v1/touchpoints?history=true", headers, body.as_bytes())
}

fn live(shop: &Shop) -> u16 {
    post(shop, "/v1/touchpoints", &touchpoint("eve", "1", "ad.seen").to_string()).status
}

fn begin_as(shop: &Shop, owner: &str) -> Reply {
    post(shop, "/v1/history", &json!({"first": "2025-03-01T10:00:00Z", "owner": owner}).to_string())
}

#[test]
fn a_load_has_an_owner_and_nobody_else_goes_on_with_it() {
    let shop = Shop::open();
    assert_eq!(begin_as(&shop, "kim").status, 200);
    assert_problem(&begin_as(&shop, "eve"), 409, "other-load", "another owner");
    assert_problem(&begin(&shop, "2025-03-01T10:00:00Z"), 409, "other-load", "no owner");
    assert_problem(&load(&shop, "eve"), 409, "other-load", "another owner's touchpoint");
    assert_problem(&load(&shop, ""), 409, "other-load", "nobody's touchpoint");
    assert_eq!(load(&shop, "kim").json(), json!({"accepted": 1, "duplicates": 0}));
    assert_eq!(begin_as(&shop, "kim").status, 200, "the same goes on");
    assert_problem(&begin_as(&shop, "two words"), 400, "bad-body", "no name");
    assert_eq!(shop.call("DELETE", "/v1/history", &[], b"").status, 200, "whoever may load may end it");
    assert_eq!(live(&shop), 200);
}

#[test]
fn a_load_ends_with_its_client_and_not_before() {
    let shop = limited(3, 86_400);
    assert_eq!(begin_as(&shop, "kim").status, 200);
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(4) {
        let reply = load(&shop, "kim");
        assert_eq!(reply.status, 200, "{}", reply.text());
    }
    assert_eq!(live(&shop), 503, "it lasts while its owner is heard of");
    let silent = Instant::now();
    while live(&shop) != 200 {
        assert!(silent.elapsed() < Duration::from_secs(20), "live posts wait for ever");
    }
    assert!(silent.elapsed() > Duration::from_secs(2), "it was not waited for");
    assert_problem(&load(&shop, "kim"), 409, "no-load", "it has ended");
}

#[test]
fn a_load_lasts_so_long_and_no_longer_whoever_goes_on_with_it() {
    let shop = limited(60, 2);
    assert_eq!(begin_as(&shop, "kim").status, 200);
    let begun = Instant::now();
    while load(&shop, "kim").status == 200 {
        assert!(begun.elapsed() < Duration::from_secs(20), "it never ends");
    }
    assert_problem(&load(&shop, "kim"), 409, "no-load", "it has ended");
}

#[test]
fn what_cannot_be_undone_is_done_only_where_it_is_allowed() {
    let shop = Shop::open_careful();
    let first = "{\"first\": \"2025-03-01T10:00:00Z\"}";
    for (method, path, key) in [
        ("POST", "/v1/history", "allow_history"),
        ("DELETE", "/v1/history", "allow_history"),
        ("DELETE", "/v1/customers/ada", "allow_erase"),
        ("DELETE", "/v1/customers/ada?kind=anonymous", "allow_erase"),
    ] {
        let body: &[u8] = if method == "POST" { first.as_bytes() } else { b"" };
        let reply = shop.call(method, path, &[], body);
        assert_problem(&reply, 403, "not-allowed", path);
        assert!(reply.text().contains(key), "{key} in {}", reply.text());
    }
    let live = post(&shop, "/v1/touchpoints", &touchpoint("eve", "1", "ad.seen").to_string());
    assert_eq!(live.status, 200, "no load was opened: {}", live.text());
}

#[test]
fn a_load_begins_with_an_instant() {
    let shop = Shop::open();
    for body in [
        "",
        "[]",
        "{}",
        "{\"first\": 3}",
        "{\"first\": \"yesterday\"}",
        "{\"first\": \"2025-03-01T10:00:00Z\", \"last\": 1}",
    ] {
        assert_problem(&post(&shop, "/v1/history", body), 400, "bad-body", body);
    }
    assert_problem(&post(&shop, "/v1/history", &" ".repeat(5000)), 413, "too-large", "too much");
}
