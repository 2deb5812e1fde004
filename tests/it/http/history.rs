//! Loading a history.

use serde_json::{Value, json};

use super::client::Reply;
use super::shop::{Shop, touchpoint};
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
