//! The HTTP side as clients see it: a real server on a loopback port, a real store, real workers, and a plain client that
//! shares no code with the server.

mod client;
mod commands;
mod foreign;
mod history;
mod memory;
mod shop;
mod slow;
mod stopping;
mod tokens;

use serde_json::{Value, json};

use client::Reply;
use shop::{Shop, touchpoint};

fn post(shop: &Shop, path: &str, body: &str) -> Reply {
    shop.call("POST", path, &[], body.as_bytes())
}

fn assert_problem(reply: &Reply, status: u16, name: &str, what: &str) {
    let shown: String = reply.text().chars().take(300).collect();
    assert_eq!(reply.status, status, "{what}: {shown}");
    assert_eq!(reply.header("content-type"), Some("application/problem+json"), "{what}");
    let problem = reply.json();
    assert_eq!(problem["type"], format!("urn:sillage:problem:{name}"), "{what}: {shown}");
    assert_eq!(problem["status"], status, "{what}");
    assert!(problem["title"].is_string() && problem["detail"].is_string(), "{what}: {shown}");
}

#[test]
fn health_and_metrics_are_served_as_they_stand() {
    let shop = Shop::open();
    let metrics = shop.get("/metrics");
    assert_eq!((metrics.status, metrics.header("content-type")), (200, Some("text/plain; version=0.0.4")));
    assert_eq!(metrics.text(), "a_metric 1\n");
    assert_eq!(shop.get("/livez").text(), "ok\n");
    assert_eq!(shop.get("/readyz").text(), "ok\n");
    shop.say_not_ready("two\nlines");
    let reply = shop.get("/readyz");
    assert_eq!((reply.status, reply.text().as_str()), (503, "two lines\n"));
    assert_eq!(shop.get("/livez").status, 200, "not ready is not dead");
}

#[test]
fn unknown_paths_and_methods_list_what_there_is() {
    let shop = Shop::open();
    let unknown = shop.get("/v1/touchpoint");
    assert_problem(&unknown, 404, "unknown-path", "a typing error");
    let endpoints = unknown.json()["endpoints"].to_string();
    for endpoint in ["POST /v1/touchpoints", "GET /v1/customers/{id}", "GET /metrics"] {
        assert!(endpoints.contains(endpoint), "{endpoint} in {endpoints}");
    }
    assert_problem(&shop.get("/v1/touchpoints"), 405, "wrong-method", "reading what is only written");
}

#[test]
fn objects_arrays_and_lines_are_taken_and_repeats_are_not_counted() {
    let shop = Shop::open();
    let one = touchpoint("ada", "1", "ad.seen");
    for (what, body, accepted, duplicates) in [
        ("an object", one.to_string(), 1, 0),
        ("the same again", format!("{one:#}"), 0, 1),
        ("an array", json!([touchpoint("ada", "2", "page.viewed"), one]).to_string(), 1, 1),
        ("lines", format!("{}\n\n{}\r\n", touchpoint("ada", "3", "page.viewed"), touchpoint("bob", "3", "ad.seen")), 2, 0),
        ("an empty array", "[]".to_owned(), 0, 0),
    ] {
        let reply = post(&shop, "/v1/touchpoints", &body);
        assert_eq!(reply.status, 200, "{what}: {}", reply.text());
        assert_eq!(reply.json(), json!({"accepted": accepted, "duplicates": duplicates}), "{what}");
    }
    let lines = shop.outcomes("topic=transitions", 3);
    let told: Vec<(String, String)> = lines.iter().map(|line| (text(line, "customer_id"), text(line, "to"))).collect();
    let expected = [("ada", "awareness"), ("ada", "consideration"), ("bob", "awareness")];
    for (customer, stage) in expected {
        assert!(told.contains(&(customer.to_owned(), stage.to_owned())), "{customer} in {stage}: {told:?}");
    }
    assert_eq!(told.len(), expected.len(), "{told:?}");
}

#[test]
fn packed_bodies_are_unpacked_and_other_encodings_refused() {
    let shop = Shop::open();
    let gzip = |text: &str| {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut gzip, text.as_bytes()).expect("in memory");
        gzip.finish().expect("in memory")
    };
    let send = |encoding: &str, body: &[u8]| shop.call("POST", "/v1/touchpoints", &[("content-encoding", encoding)], body);
    let of = |id: &str| touchpoint("ada", id, "ad.seen").to_string();
    for (encoding, body) in [
        ("gzip", gzip(&of("1"))),
        ("zstd", zstd::encode_all(of("2").as_bytes(), 1).expect("in memory")),
        ("identity", of("3").into_bytes()),
    ] {
        let reply = send(encoding, &body);
        assert_eq!((reply.status, reply.json()), (200, json!({"accepted": 1, "duplicates": 0})), "{encoding}");
    }
    let refused = send("br", of("4").as_bytes());
    assert_problem(&refused, 415, "content-encoding", "another encoding");
    assert_eq!(refused.header("accept-encoding"), Some("gzip, zstd"));
    assert_problem(&send("gzip", of("5").as_bytes()), 400, "bad-body", "what is not packed so");
    assert_problem(&send("gzip", &gzip(&of("6"))[..20]), 400, "bad-body", "what was cut off");
    let bomb = gzip(&" ".repeat(17 << 20));
    assert!(bomb.len() < 1 << 20);
    assert_problem(&send("gzip", &bomb), 413, "too-large", "what unpacks to more than may be sent");
    let delete = shop.call("POST", "/v1/history", &[("content-encoding", "br")], b"{}");
    assert_problem(&delete, 415, "content-encoding", "another request");
}

/// A field of the outcome in a line, wherever it stands.
fn text(line: &Value, name: &str) -> String {
    fn find<'a>(value: &'a Value, name: &str) -> Option<&'a str> {
        let members = value.as_object()?;
        members.get(name).and_then(Value::as_str).or_else(|| members.values().find_map(|inner| find(inner, name)))
    }
    find(&line["outcome"], name).unwrap_or_else(|| panic!("{name} in {line}")).to_owned()
}

#[test]
fn what_cannot_be_used_is_named_and_nothing_is_stored() {
    let shop = Shop::open();
    let good = touchpoint("ada", "1", "ad.seen").to_string();
    let no_customer = json!({"event_id": "1", "type": "ad.seen", "occurred_at": "2026-01-01T00:00:00Z"}).to_string();
    let no_id = json!({"customer_id": "ada", "type": "ad.seen", "occurred_at": shop.now()}).to_string();
    let long = format!("{{\"event_id\":\"{}\"}}", "x".repeat(10_000_000));
    let many_properties: serde_json::Map<_, _> = (0..10_000).map(|n| (format!("p{n}"), json!(n))).collect();
    let mut laden = touchpoint("ada", "2", "ad.seen");
    laden["properties"] = many_properties.into();
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    for (what, body, name) in [
        ("nothing", String::new(), "bad-body"),
        ("blanks", " \n\n ".to_owned(), "bad-body"),
        ("a broken array", format!("[{good},"), "bad-body"),
        ("an array with something behind it", format!("[{good}] 1"), "bad-body"),
        ("depth", deep.clone(), "unusable-touchpoints"),
        ("depth in an array", format!("[{deep}]"), "unusable-touchpoints"),
        ("not JSON", "<xml/>".to_owned(), "unusable-touchpoints"),
        ("numbers", "[1, 2, 3]".to_owned(), "unusable-touchpoints"),
        ("a text", "\"touchpoint\"".to_owned(), "unusable-touchpoints"),
        ("a good one and a bad one", format!("{good}\n{no_customer}"), "unusable-touchpoints"),
        ("10 MB in one line", format!("{good}\n{long}"), "unusable-touchpoints"),
        ("no id and no key", format!("[{good},{no_id}]"), "no-idempotency-key"),
    ] {
        assert_problem(&post(&shop, "/v1/touchpoints", &body), 400, name, what);
    }
    assert_eq!(post(&shop, "/v1/touchpoints", &laden.to_string()).json()["accepted"], 1, "what nobody reads costs nothing");
    let nan = laden.to_string().replace(":9999", ":NaN").replace(r#""2""#, r#""3""#);
    assert_eq!(
        post(&shop, "/v1/touchpoints", &format!("[{nan}]")).json()["accepted"],
        1,
        "a number that is none costs itself"
    );
    let faults = post(&shop, "/v1/touchpoints", &format!("{good}\n{no_customer}\n{no_id}")).json()["faults"].clone();
    assert_eq!((&faults[0]["index"], &faults[1]["index"]), (&json!(1), &json!(2)), "{faults}");
    let many = post(&shop, "/v1/touchpoints", &"{}\n".repeat(150)).json();
    assert_eq!((many["faults"].as_array().map(Vec::len), &many["fault_count"]), (Some(100), &json!(150)));
    let reply = post(&shop, "/v1/touchpoints", &good);
    assert_eq!(reply.json()["accepted"], 1, "nothing of the refused batches was stored: {}", reply.text());
}

#[test]
fn queries_and_keys_that_are_not_understood_are_refused() {
    let shop = Shop::open();
    let good = touchpoint("ada", "1", "ad.seen").to_string();
    for (method, path) in [
        ("POST", "/v1/touchpoints?unusable=drop"),
        ("POST", "/v1/touchpoints?history=yes"),
        ("POST", "/v1/touchpoints?histroy=true"),
        ("POST", "/v1/history?first=2026-01-01T00:00:00Z"),
        ("GET", "/v1/outcomes?after=-1"),
        ("GET", "/v1/outcomes?after=1&after=2"),
        ("GET", "/v1/outcomes?after=99999999999999999999"),
        ("GET", "/v1/outcomes?limit=10001"),
        ("GET", "/v1/outcomes?wait=31"),
        ("GET", "/v1/outcomes?wait=soon"),
        ("GET", "/v1/outcomes?topic=purchases"),
        ("GET", "/v1/customers/ada?kind=cookie"),
        ("GET", "/v1/customers/%ff"),
    ] {
        assert_problem(&shop.call(method, path, &[], good.as_bytes()), 400, "bad-query", path);
    }
    for key in ["", "two words", "k\u{e9}y", &"k".repeat(129)] {
        let reply = shop.call("POST", "/v1/touchpoints", &[("Idempotency-Key", key)], good.as_bytes());
        assert_problem(&reply, 400, "bad-idempotency-key", key);
    }
    let twice = [("Idempotency-Key", "a"), ("Idempotency-Key", "b")];
    assert_problem(&shop.call("POST", "/v1/touchpoints", &twice, good.as_bytes()), 400, "bad-idempotency-key", "two keys");
}

#[test]
fn a_request_may_hold_sixteen_mebibytes_and_ten_thousand_touchpoints() {
    let shop = Shop::open();
    assert_problem(&post(&shop, "/v1/touchpoints", &" ".repeat((16 << 20) + 1)), 413, "too-large", "one byte too many");
    assert_problem(
        &post(&shop, "/v1/touchpoints", &" ".repeat(16 << 20)),
        400,
        "bad-body",
        "as many as there may be, all blank",
    );
    assert_problem(&post(&shop, "/v1/touchpoints", &"{}\n".repeat(10_001)), 413, "too-large", "one line too many");
    let most: String = (0..10_000).map(|n| touchpoint(&format!("c{n}"), "1", "ad.seen").to_string() + "\n").collect();
    assert_eq!(post(&shop, "/v1/touchpoints", &most).json(), json!({"accepted": 10_000, "duplicates": 0}));
}

#[test]
fn a_key_gives_ids_so_that_the_same_post_counts_once() {
    let shop = Shop::open();
    let body = json!([
        {"customer_id": "ada", "type": "ad.seen", "occurred_at": shop.now()},
        {"customer_id": "ada", "type": "page.viewed", "occurred_at": shop.now(), "event_id": null},
        touchpoint("ada", "own", "cart.added"),
    ]);
    let send = |key: &str| shop.call("POST", "/v1/touchpoints", &[("idempotency-key", key)], body.to_string().as_bytes());
    assert_eq!(send("k-1").json(), json!({"accepted": 3, "duplicates": 0}));
    assert_eq!(send("k-1").json(), json!({"accepted": 0, "duplicates": 3}));
    let causes: Vec<String> = shop.outcomes("topic=transitions", 3).iter().map(|line| text(line, "cause")).collect();
    assert_eq!(causes, ["k-1#0", "k-1#1", "own"]);
    assert_eq!(send("k-2").json(), json!({"accepted": 2, "duplicates": 1}), "another key means other touchpoints");
}

#[test]
fn an_id_is_put_where_the_mapping_reads_it() {
    let shop =
        Shop::open_mapped(&[("event_id", "meta.id"), ("customer_id", "user"), ("occurred_at", "at"), ("type", "what")]);
    let send = |body: Value| shop.call("POST", "/v1/touchpoints", &[("idempotency-key", "k")], body.to_string().as_bytes());
    let one = json!({"user": "ada", "at": shop.now(), "what": "ad.seen"});
    assert_eq!(send(one.clone()).json(), json!({"accepted": 1, "duplicates": 0}));
    assert_eq!(send(one).json(), json!({"accepted": 0, "duplicates": 1}));
    assert_eq!(text(&shop.outcomes("topic=transitions", 1)[0], "cause"), "k#0", "the worker reads it too");
    let blocked = json!({"user": "ada", "at": shop.now(), "what": "ad.seen", "meta": "full"});
    let reply = send(blocked);
    assert_problem(&reply, 400, "unusable-touchpoints", "no place for an id");
    assert!(reply.text().contains("meta.id"), "{}", reply.text());
}

#[test]
fn unusable_touchpoints_go_to_the_dead_letters_where_that_is_asked_for() {
    let shop = Shop::open();
    let body = format!("{}\nnonsense\n{}\n", touchpoint("ada", "1", "ad.seen"), "x".repeat(10_000_000));
    let headers = [("Idempotency-Key", "k"), ("Content-Type", "application/x-ndjson")];
    let send = || shop.call("POST", "/v1/touchpoints?unusable=dead-letter", &headers, body.as_bytes());
    assert_eq!(send().json(), json!({"accepted": 3, "duplicates": 0, "unusable": 2}));
    assert_eq!(send().json(), json!({"accepted": 0, "duplicates": 3, "unusable": 2}), "sent again");
    let letters = shop.outcomes("topic=dead-letters", 2);
    assert_eq!(letters.len(), 2);
    assert!(letters.iter().all(|line| line["topic"] == "dead-letters"), "{letters:?}");
    let reasons = letters.iter().map(|line| line["outcome"]["reason"].to_string()).collect::<String>();
    assert!(reasons.contains("not JSON") && reasons.contains("10000000"), "{reasons}");
    let all = shop.outcomes("", 1);
    assert!(all.iter().all(|line| line["topic"] == "transitions"), "dead letters come only to those who ask: {all:?}");
}

#[test]
fn outcomes_are_read_from_any_position_on() {
    let shop = Shop::open();
    let kinds = ["ad.seen", "page.viewed", "cart.added", "order.completed"];
    let body: String =
        (0..5).flat_map(|n| kinds.map(|kind| touchpoint(&format!("c{n}"), kind, kind).to_string() + "\n")).collect();
    assert_eq!(post(&shop, "/v1/touchpoints", &body).json()["accepted"], 20);
    // Four stages and one completed basket each.
    let all = shop.outcomes("", 25);
    assert_eq!(all.len(), 25, "{all:?}");
    let positions: Vec<u64> = all.iter().map(|line| line["position"].as_u64().expect("a position")).collect();
    assert!(positions.is_sorted_by(|a, b| a < b), "{positions:?}");
    let mut paged = Vec::new();
    let mut after = 0;
    loop {
        let page = shop.get(&format!("/v1/outcomes?after={after}&limit=3"));
        assert_eq!((page.status, page.header("content-type")), (200, Some("application/x-ndjson")));
        let lines = page.lines();
        let position: u64 = page.header("sillage-position").expect("a position").parse().expect("a number");
        assert_eq!(position, lines.last().map_or(after, |line| line["position"].as_u64().expect("a position")));
        if lines.is_empty() {
            break;
        }
        assert!(lines.len() <= 3);
        paged.extend(lines);
        after = position;
    }
    assert_eq!(paged, all, "page by page is all of it, each line once");
    let filtered = shop.get("/v1/outcomes?topic=completions&topic=recoveries");
    assert_eq!(filtered.lines().len(), 5);
    assert!(filtered.lines().iter().all(|line| line["topic"] == "completions" && line["stale"] == false));
    assert_eq!(filtered.header("sillage-position"), Some(after.to_string().as_str()), "what is left out counts as read");
    assert!(shop.get("/v1/outcomes?limit=0").lines().is_empty());
    assert!(shop.get(&format!("/v1/outcomes?after={after}")).lines().is_empty());
    let beyond = shop.get(&format!("/v1/outcomes?after={}", i64::MAX));
    assert_eq!(beyond.status, 409);
    let detail = beyond.json()["detail"].to_string();
    assert!(detail.contains(&format!("has position {after}")) && detail.contains("backup"), "{detail}");
}

#[test]
fn a_damaged_outcome_is_not_served_and_readiness_follows() {
    let shop = Shop::open();
    for customer in ["ada", "bob", "cid"] {
        assert_eq!(post(&shop, "/v1/touchpoints", &touchpoint(customer, "1", "ad.seen").to_string()).status, 200);
    }
    assert_eq!(shop.outcomes("", 3).len(), 3);
    assert_eq!(shop.get("/readyz").status, 200);
    let damage =
        "UPDATE outcomes SET value = CAST(replace(CAST(value AS TEXT), 'stage', 'stagf') AS BLOB) WHERE position = 2";
    assert_eq!(shop.raw().execute(damage, []).expect("damaged"), 1);
    let refused = shop.get("/v1/outcomes");
    assert_eq!(refused.status, 500);
    let detail = refused.json()["detail"].to_string();
    assert!(detail.contains("outcome 2 is not what was written") && detail.contains("backup"), "{detail}");
    assert_eq!(shop.get("/v1/outcomes?after=2").lines().len(), 1, "what lies behind it is");
    let ready = shop.get("/readyz");
    assert_eq!(ready.status, 503);
    assert!(ready.text().contains("outcome 2"), "{}", ready.text());
}

#[test]
fn a_long_poll_ends_with_the_first_outcome() {
    let shop = Shop::open();
    std::thread::scope(|scope| {
        let poll = scope.spawn(|| shop.get("/v1/outcomes?wait=30"));
        assert_eq!(post(&shop, "/v1/touchpoints", &touchpoint("ada", "1", "ad.seen").to_string()).status, 200);
        let reply = poll.join().expect("a reply");
        assert_eq!(reply.lines().len(), 1, "{}", reply.text());
    });
}

#[test]
fn customers_are_shown_as_committed() {
    let shop = Shop::open();
    let mut anonymous = touchpoint("c/1", "2", "ad.seen");
    anonymous["anonymous_id"] = anonymous["customer_id"].take();
    let body = json!([touchpoint("c/1", "1", "page.viewed"), anonymous]).to_string();
    assert_eq!(post(&shop, "/v1/touchpoints", &body).json()["accepted"], 2, "{body}");
    shop.outcomes("topic=transitions", 2);
    for (path, stage) in [("/v1/customers/c%2F1", "consideration"), ("/v1/customers/c%2F1?kind=anonymous", "awareness")] {
        // Outcomes are durable a moment before readers see the journeys.
        let reply = shop.get_until(200, path);
        assert_eq!(reply.header("content-type"), Some("application/json"));
        assert!(reply.text().contains(stage), "{stage} in {}", reply.text());
    }
    assert_problem(&shop.get("/v1/customers/nobody"), 404, "unknown-customer", "nobody");
    assert_problem(&shop.get("/v1/customers/nobody?kind=anonymous"), 404, "unknown-customer", "nobody");
}

#[test]
fn without_a_shard_or_a_store_the_answers_say_so() {
    let kafka = Shop::on_kafka();
    let reply = kafka.get("/v1/customers/ada");
    assert_problem(&reply, 503, "no-shard", "no shard yet");
    assert!(reply.header("retry-after").is_some());
    for (method, path) in
        [("POST", "/v1/touchpoints"), ("POST", "/v1/history"), ("DELETE", "/v1/history"), ("GET", "/v1/outcomes")]
    {
        let reply = kafka.call(method, path, &[], b"{}");
        assert_problem(&reply, 404, "not-embedded", path);
        assert!(reply.text().contains("Kafka topics"), "{}", reply.text());
    }
}

#[test]
fn a_full_store_says_so_and_keeps_what_it_has() {
    let shop = Shop::open_small(8 << 20);
    let mut laden = touchpoint("ada", "1", "ad.seen");
    laden["properties"] = json!({"text": "x".repeat(4000), "more": "y".repeat(4000)});
    let mut taken = 0;
    let full = (0..1000).find_map(|n| {
        let batch: String = (0..100)
            .map(|m| {
                laden["event_id"] = format!("{n}-{m}").into();
                laden.to_string() + "\n"
            })
            .collect();
        let reply = post(&shop, "/v1/touchpoints", &batch);
        if reply.status == 200 {
            taken += 1;
        }
        (reply.status != 200).then_some(reply)
    });
    assert_problem(&full.expect("an end of the room"), 507, "full", "after some batches");
    assert!(taken > 0, "something fitted before");
    assert_eq!(shop.get("/readyz").status, 200);
    assert_eq!(shop.outcomes("topic=transitions", 1).len(), 1, "what was taken is worked on");
}

#[test]
fn an_erased_customer_is_unknown_and_begins_anew() {
    let shop = Shop::open();
    let path = "/v1/customers/ada%20l";
    for (id, kind) in [("1", "ad.seen"), ("2", "page.viewed")] {
        assert_eq!(post(&shop, "/v1/touchpoints", &touchpoint("ada l", id, kind).to_string()).status, 200);
    }
    shop.get_until(200, path);
    let erased = shop.call("DELETE", path, &[], b"");
    assert_eq!((erased.status, erased.json()), (202, json!({"erasure": "asked for"})));
    shop.get_until(404, path);
    assert_eq!(shop.call("DELETE", path, &[], b"").status, 202, "asking twice does no harm");
    assert_eq!(post(&shop, "/v1/touchpoints", &touchpoint("ada l", "3", "page.viewed").to_string()).status, 200);
    let again = shop.get_until(200, path).json();
    assert_eq!((&again["touchpoints"], &again["journeys"][0]["journey"]), (&json!(1), &json!(1)), "{again}");
    // An anonymous one of the same id is somebody else.
    assert_eq!(shop.call("DELETE", &format!("{path}?kind=anonymous"), &[], b"").status, 202);
    assert_eq!(post(&shop, "/v1/touchpoints", &touchpoint("bob", "1", "ad.seen").to_string()).status, 200);
    shop.get_until(200, "/v1/customers/bob");
    assert_eq!(shop.get(path).status, 200);
    for (what, path) in [
        ("a blank id", "/v1/customers/%20".to_owned()),
        ("an id that nobody can have", format!("/v1/customers/{}", "x".repeat(257))),
        ("an unknown parameter", format!("{path}?who=me")),
    ] {
        assert_problem(&shop.call("DELETE", &path, &[], b""), 400, "bad-query", what);
    }
    let away = Shop::on_kafka();
    assert_problem(&away.call("DELETE", path, &[], b""), 503, "unreachable", "no broker");
}
