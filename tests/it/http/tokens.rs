//! Tokens: each endpoint by method, content type, origin, host and token, judged by a table of its own.

use sillage::http::{Scope, Tokens};

use super::client::{Reply, call};
use super::shop::{Shop, Terms, touchpoint};
use super::{assert_problem, commands};

const READ: &str = "read-0123456789abcdef";
const WRITE: &str = "write-0123456789abcdef";
const ERASE: &str = "erase-0123456789abcdef";
const ADMIN: &str = "admin-0123456789abcdef";
const OTHER: &str = "other-0123456789abcdef";

fn guarded() -> Shop {
    let mut tokens = Tokens::default();
    for (scope, token) in [(Scope::Read, READ), (Scope::Write, WRITE), (Scope::Erase, ERASE), (Scope::Admin, ADMIN)] {
        tokens.add(scope, token);
    }
    Shop::open_on(Terms { tokens, allowed: sillage::http::Allowed::No, ..Terms::default() })
}

fn ask(shop: &Shop, method: &str, path: &str, headers: &[(&str, &str)]) -> Reply {
    let body = match (method, path) {
        // Later than now, so that no load is opened.
        ("POST", "/v1/history") => r#"{"first": "2999-01-01T00:00:00Z"}"#.to_owned(),
        ("POST", _) => touchpoint("ada", "1", "ad.seen").to_string(),
        (_, _) => String::new(),
    };
    call(shop.address, method, path, headers, body.as_bytes())
}

/// A browser's question whether it may ask, beside the methods themselves.
const PREFLIGHT: &str = "OPTIONS, to ask first";
const METHODS: [&str; 9] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "TRACE", "OPTIONS", PREFLIGHT];
const PAGE: &str = "https://shop.example.com";

/// A method, what an endpoint answers to it, and the tokens that it takes.
type Served = (&'static str, u16, &'static [&'static str]);

/// Endpoints, what they answer where all is as it should be, and what they answer to any other method.
const ENDPOINTS: [(&str, &[Served], u16); 8] = [
    ("/v1/touchpoints", &[("POST", 200, &[WRITE, ADMIN])], 405),
    ("/v1/history", &[("POST", 400, &[ADMIN]), ("DELETE", 200, &[ADMIN])], 405),
    ("/v1/outcomes", &[("GET", 200, &[READ, ADMIN])], 405),
    ("/v1/interventions", &[("GET", 200, &[READ, ADMIN])], 405),
    ("/v1/customers/nobody", &[("GET", 404, &[READ, ADMIN]), ("DELETE", 202, &[ERASE, ADMIN])], 405),
    ("/v1/nothing", &[], 404),
    ("/v1/touchpoints/", &[], 404),
    ("//v1/touchpoints", &[], 404),
];
/// These are open to whoever can reach them, and only to be read.
const WATCHED: [&str; 3] = ["/livez", "/readyz", "/metrics"];

/// What is expected of a request, by the rules as the documentation states them.
fn expected(
    (path, served, otherwise): (&str, &[Served], u16),
    method: &str,
    (kind, origin, host, token): (&str, &str, &str, &str),
) -> (u16, &'static str) {
    if WATCHED.contains(&path) {
        return (if ["GET", "HEAD"].contains(&method) { 200 } else { 405 }, "");
    }
    if host.starts_with("evil") {
        return (421, "unknown-host");
    }
    if origin.contains("evil") {
        return (403, "foreign-origin");
    }
    if method == PREFLIGHT && origin == PAGE {
        return (204, "");
    }
    if method == "POST" && kind != "application/json" {
        return (415, "content-type");
    }
    if token.is_empty() || token == OTHER {
        return (401, "no-token");
    }
    // Somebody who reads the head alone reads.
    let does = if method == "HEAD" { "GET" } else { method };
    let (good, scopes) = match served.iter().find(|(served, _, _)| *served == does) {
        Some((_, good, scopes)) => (*good, *scopes),
        None => (otherwise, &[ADMIN][..]),
    };
    if scopes.contains(&token) { (good, "") } else { (403, "scope") }
}

#[test]
fn each_endpoint_by_method_content_type_origin_host_and_token() {
    let shop = guarded();
    let here = shop.address.to_string();
    let watched = WATCHED.map(|path| (path, &[][..], 405));
    let mut tried = 0;
    for endpoint in ENDPOINTS.into_iter().chain(watched) {
        for method in METHODS {
            for kind in ["application/json", "text/plain", ""] {
                for origin in ["", PAGE, "https://evil.example.com"] {
                    for host in [here.as_str(), "evil.example.com:8080"] {
                        for token in ["", OTHER, READ, WRITE, ERASE, ADMIN] {
                            let bearer = format!("Bearer {token}");
                            let mut headers = vec![("content-type", kind), ("host", host)];
                            headers.extend((!origin.is_empty()).then_some(("origin", origin)));
                            headers.extend((!token.is_empty()).then_some(("authorization", bearer.as_str())));
                            headers.extend((method == PREFLIGHT).then_some(("access-control-request-method", "POST")));
                            let reply = ask(&shop, method.split(',').next().unwrap_or_default(), endpoint.0, &headers);
                            let row = format!("{method} {} {headers:?}", endpoint.0);
                            match expected(endpoint, method, (kind, origin, host, token)) {
                                (status, name) if name.is_empty() || method == "HEAD" => {
                                    assert_eq!(reply.status, status, "{row}: {}", reply.text());
                                }
                                (status, name) => assert_problem(&reply, status, name, &row),
                            }
                            assert_eq!(reply.header("www-authenticate").is_some(), reply.status == 401, "{row}");
                            tried += 1;
                        }
                    }
                }
            }
        }
    }
    assert_eq!(tried, 11 * 9 * 3 * 3 * 2 * 6);
}

#[test]
fn a_token_is_given_once_and_whole() {
    let shop = guarded();
    for (what, value) in [
        ("no scheme", READ.to_owned()),
        ("another scheme", format!("Basic {READ}")),
        ("a part", format!("Bearer {}", &READ[..READ.len() - 1])),
        ("more", format!("Bearer {READ}0")),
        ("twice", format!("Bearer {READ}{READ}")),
        ("nothing", "Bearer ".to_owned()),
        ("bytes", "Bearer \u{e9}".to_owned()),
    ] {
        assert_problem(&ask(&shop, "GET", "/v1/outcomes", &[("authorization", &value)]), 401, "no-token", what);
    }
    let one = format!("Bearer {READ}");
    let two = [("authorization", one.as_str()), ("authorization", one.as_str())];
    assert_problem(&ask(&shop, "GET", "/v1/outcomes", &two), 401, "no-token", "two headers");
    assert_eq!(ask(&shop, "GET", "/v1/outcomes", &[("authorization", &one.replace("Bearer", "bearer"))]).status, 200);
}

#[test]
fn a_browser_may_ask_before_it_shows_its_token() {
    let shop = guarded();
    let asks = [("origin", "https://shop.example.com"), ("access-control-request-method", "POST")];
    let reply = shop.call("OPTIONS", "/v1/touchpoints", &asks, b"");
    assert_eq!(reply.status, 204, "{}", reply.text());
    assert!(reply.header("access-control-allow-headers").is_some_and(|names| names.contains("authorization")));
}

#[test]
fn commands_show_the_token_that_the_environment_gives() {
    let shop = guarded();
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("token");
    std::fs::write(&file, format!("{READ}\n")).expect("written");
    let outcomes = |name: &str, value: &str| {
        let mut command = commands::sillage(&["outcomes", "--url", &shop.url()]);
        let ended = command.env(name, value).output().expect("a binary");
        (ended.status.code(), String::from_utf8_lossy(&ended.stderr).into_owned())
    };
    let (code, said) = outcomes("NOTHING", "");
    assert!(code == Some(1) && said.contains("`read` or `admin`"), "{code:?} {said}");
    let (code, said) = outcomes("SILLAGE_TOKEN", WRITE);
    assert!(code == Some(1) && said.contains("scope `write`") && !said.contains(WRITE), "{code:?} {said}");
    assert_eq!(outcomes("SILLAGE_TOKEN", READ).0, Some(0));
    assert_eq!(outcomes("SILLAGE_TOKEN_FILE", file.to_str().expect("text")).0, Some(0));
}
