//! Foreign web pages, other names, other content types: each endpoint by each of them.

use super::assert_problem;
use super::client::{Reply, call};
use super::shop::{Shop, touchpoint};

const JSON: &str = "application/json";
const LINES: &str = "application/x-ndjson";
const TEXT: &str = "text/plain";
const FORM: &str = "application/x-www-form-urlencoded";
const MULTIPART: &str = "multipart/form-data; boundary=x";
const ALLOWED: &str = "https://shop.example.com";
const EVIL: &str = "https://evil.example.com";
/// Stands for the address that is listened on.
const HERE: &str = "HERE";
const REBOUND: &str = "evil.example.com:8080";
const NAMED: &str = "Sillage.example.com";

/// Sends exactly what the row says; an empty cell sends no header.
fn ask(shop: &Shop, method: &str, path: &str, kind: &str, origin: &str, site: &str, host: &str) -> Reply {
    let body = match (method, path) {
        ("POST", "/v1/history") => r#"{"first": "2025-03-01T10:00:00Z"}"#.to_owned(),
        ("POST", _) => touchpoint("ada", "1", "ad.seen").to_string(),
        (_, _) => String::new(),
    };
    let here = shop.address.to_string();
    let place = |text: &str| text.replace(HERE, &here);
    let (origin, host) = (place(origin), place(host));
    let cells = [("content-type", kind), ("origin", &origin), ("sec-fetch-site", site), ("host", &host)];
    // The client gives a content type of its own unless it is told that there is none.
    let headers: Vec<(&str, &str)> =
        cells.into_iter().filter(|(name, value)| !value.is_empty() || *name == "content-type").collect();
    call(shop.address, method, path, &headers, body.as_bytes())
}

#[test]
fn who_asks_for_what_decides_the_answer() {
    let shop = Shop::open();
    const POINTS: &str = "/v1/touchpoints";
    const HISTORY: &str = "/v1/history";
    const ADA: &str = "/v1/customers/ada";
    const OUTCOMES: &str = "/v1/outcomes";
    #[rustfmt::skip]
    let rows: &[(&str, &str, &str, &str, &str, &str, u16)] = &[
        // method, path, content type, origin, sec-fetch-site, host, status
        ("POST", POINTS, JSON, "", "", HERE, 200),
        ("POST", POINTS, LINES, "", "", HERE, 200),
        ("POST", POINTS, "Application/JSON; charset=utf-8", "", "", HERE, 200),
        ("POST", POINTS, JSON, "", "none", "localhost:8080", 200),
        ("POST", POINTS, JSON, "", "", NAMED, 200),
        ("POST", POINTS, JSON, "http://HERE", "same-origin", HERE, 200),
        ("POST", POINTS, JSON, ALLOWED, "cross-site", HERE, 200),
        ("POST", POINTS, TEXT, "", "", HERE, 415),
        ("POST", POINTS, FORM, "", "", HERE, 415),
        ("POST", POINTS, MULTIPART, "", "", HERE, 415),
        ("POST", POINTS, "", "", "", HERE, 415),
        ("POST", POINTS, "text/plain; application/json", "", "", HERE, 415),
        ("POST", POINTS, TEXT, ALLOWED, "cross-site", HERE, 415),
        ("POST", POINTS, TEXT, EVIL, "cross-site", HERE, 403),
        ("POST", POINTS, JSON, EVIL, "cross-site", HERE, 403),
        ("POST", POINTS, JSON, EVIL, "", HERE, 403),
        ("POST", POINTS, JSON, "null", "", HERE, 403),
        ("POST", POINTS, JSON, "https://HERE", "", HERE, 403),
        ("POST", POINTS, JSON, "http://localhost:3000", "same-site", HERE, 403),
        ("POST", POINTS, JSON, "https://shop.example.com.evil.example.com", "", HERE, 403),
        ("POST", POINTS, JSON, "http://shop.example.com", "", HERE, 403),
        ("POST", POINTS, JSON, "", "cross-site", HERE, 403),
        ("POST", POINTS, JSON, "", "same-site", HERE, 403),
        ("POST", POINTS, JSON, "", "", REBOUND, 421),
        ("POST", POINTS, JSON, "http://evil.example.com:8080", "same-origin", REBOUND, 421),
        ("POST", POINTS, JSON, ALLOWED, "", REBOUND, 421),
        ("POST", HISTORY, JSON, EVIL, "", HERE, 403),
        ("POST", HISTORY, TEXT, "", "", HERE, 415),
        ("POST", HISTORY, "", "", "", HERE, 415),
        ("POST", HISTORY, JSON, "", "", REBOUND, 421),
        ("DELETE", HISTORY, "", EVIL, "", HERE, 403),
        ("DELETE", HISTORY, "", "", "cross-site", HERE, 403),
        ("DELETE", HISTORY, "", "", "", REBOUND, 421),
        ("DELETE", HISTORY, "", "", "", HERE, 200),
        ("DELETE", ADA, "", "", "", HERE, 202),
        ("DELETE", ADA, "", ALLOWED, "", HERE, 202),
        ("DELETE", ADA, "", EVIL, "", HERE, 403),
        ("DELETE", ADA, "", "", "same-site", HERE, 403),
        ("DELETE", ADA, "", "", "", REBOUND, 421),
        ("GET", OUTCOMES, "", "", "", HERE, 200),
        ("GET", OUTCOMES, "", "", "none", HERE, 200),
        ("GET", OUTCOMES, "", ALLOWED, "cross-site", HERE, 200),
        ("GET", OUTCOMES, "", EVIL, "cross-site", HERE, 403),
        ("GET", OUTCOMES, "", "", "cross-site", HERE, 403),
        ("GET", OUTCOMES, "", "", "", REBOUND, 421),
        ("GET", "/v1/customers/nobody", "", "", "", HERE, 404),
        ("GET", "/v1/customers/nobody", "", EVIL, "", HERE, 403),
        ("GET", "/v1/customers/nobody", "", "", "", REBOUND, 421),
        ("OPTIONS", POINTS, "", EVIL, "cross-site", HERE, 403),
        ("GET", "/livez", "", EVIL, "cross-site", REBOUND, 200),
        ("GET", "/readyz", "", "", "", "10.1.2.3:8080", 200),
        ("GET", "/metrics", "", "", "", "sillage:8080", 200),
        ("GET", "/v1/nothing", "", "", "", REBOUND, 421),
    ];
    for (method, path, kind, origin, site, host, status) in rows {
        let row = format!("{method} {path} {kind:?} {origin:?} {site:?} {host:?}");
        let reply = ask(&shop, method, path, kind, origin, site, host);
        match status {
            403 => assert_problem(&reply, 403, "foreign-origin", &row),
            415 => assert_problem(&reply, 415, "content-type", &row),
            421 => assert_problem(&reply, 421, "unknown-host", &row),
            status => assert_eq!(reply.status, *status, "{row}: {}", reply.text()),
        }
    }
}

#[test]
fn refusals_name_the_remedy_and_change_nothing() {
    let shop = Shop::open();
    for (kind, origin, host, remedy) in
        [(TEXT, "", HERE, "content-type: application/json"), (JSON, EVIL, HERE, "`origins`"), (JSON, "", REBOUND, "`hosts`")]
    {
        let reply = ask(&shop, "POST", "/v1/touchpoints", kind, origin, "", host);
        let detail = reply.json()["detail"].to_string();
        assert!(detail.contains(remedy), "{remedy} in {detail}");
        assert_eq!(ask(&shop, "POST", "/v1/history", kind, origin, "", host).status, reply.status);
    }
    let live = ask(&shop, "POST", "/v1/touchpoints", JSON, "", "", HERE);
    assert_eq!(live.json()["accepted"], 1, "no load was opened and nothing was stored: {}", live.text());
}

#[test]
fn an_allowed_page_is_told_that_it_may_ask() {
    let shop = Shop::open();
    let asks = [("origin", ALLOWED), ("access-control-request-method", "POST"), ("sec-fetch-site", "cross-site")];
    let first = shop.call("OPTIONS", "/v1/touchpoints", &asks, b"");
    assert_eq!(first.status, 204, "{}", first.text());
    assert_eq!(first.header("access-control-allow-origin"), Some(ALLOWED));
    assert!(first.header("access-control-allow-headers").is_some_and(|names| names.contains("content-type")));
    let reply = ask(&shop, "POST", "/v1/touchpoints", JSON, ALLOWED, "cross-site", HERE);
    assert_eq!((reply.status, reply.header("access-control-allow-origin")), (200, Some(ALLOWED)));
    let own = shop.get("/v1/outcomes");
    assert_eq!(own.header("access-control-allow-origin"), None, "nobody else is told");
}

#[test]
fn a_link_may_be_followed_but_writes_nothing() {
    let shop = Shop::open();
    let visit = [("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "document")];
    assert_eq!(shop.call("GET", "/v1/outcomes", &visit, b"").status, 200);
    assert_eq!(shop.call("POST", "/v1/touchpoints", &visit, b"{}").status, 403, "a form that is sent");
    let framed = [("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "iframe")];
    assert_eq!(shop.call("GET", "/v1/outcomes", &framed, b"").status, 403);
}

#[test]
fn one_host_and_one_content_type_are_given() {
    let shop = Shop::open();
    let here = shop.address.to_string();
    let hosts = [("host", here.as_str()), ("host", "evil.example.com")];
    assert_problem(&shop.call("GET", "/v1/outcomes", &hosts, b""), 421, "unknown-host", "two hosts");
    let kinds = [("content-type", TEXT), ("content-type", JSON)];
    assert_problem(&shop.call("POST", "/v1/touchpoints", &kinds, b"[]"), 415, "content-type", "two types");
    let elsewhere = format!("http://evil.example.com{}", "/v1/outcomes");
    assert_problem(&shop.call("GET", &elsewhere, &[], b""), 421, "unknown-host", "another in the first line");
}
