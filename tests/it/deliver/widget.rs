//! The widget's listener as a page, and as somebody who means harm, reaches it: nothing shown, nothing taken.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use sillage::deliver::notice::Notice;
use sillage::deliver::token;
use sillage::deliver::widget::{Board, Widget, router};
use sillage::port::Now;
use sillage::runtime::clock::Clock;
use sillage::time::Span;
use sillage::touchpoint::{Identity, Touchpoint};
use sillage::wire::Format;
use uuid::Uuid;

use super::{offer, read, withdrawal};

const PAGE: &str = "https://shop.example.com";
const SETTINGS: &str = "widget: { origins: [\"https://shop.example.com\"], audience: shop, connections: 20, \
                        trusted_proxies: [127.0.0.1], keys: { web: { algorithm: HS256, secret: { variable: S } } } }\n";

/// A listener at work.
struct Place {
    address: SocketAddr,
    board: Board,
    now: Now,
    reported: Arc<Mutex<Vec<Value>>>,
    secret: ring::hmac::Key,
    _runtime: tokio::runtime::Runtime,
}

impl Place {
    fn new() -> Place {
        let settings = read(SETTINGS).widget.expect("a widget");
        let secret = settings.secrets["web"].clone();
        let (now, board) = (Clock::starting_now(1.0).handle(), Board::default());
        let reported: Arc<Mutex<Vec<Value>>> = Arc::default();
        let ours = Arc::clone(&reported);
        let report = move |known: &Touchpoint, value: Vec<u8>| {
            let touchpoint: Value = serde_json::from_slice(&value).expect("a touchpoint");
            assert_eq!(touchpoint["customer_id"], known.identity.id.as_str());
            ours.lock().expect("no panic").push(touchpoint);
            Ok(())
        };
        let proxies = settings.trusted_proxies.clone();
        let widget =
            Widget { settings, board: board.clone(), report: Arc::new(report), format: Format::Json, now: now.clone() };
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).expect("a port");
        let address = listener.local_addr().expect("an address");
        runtime.spawn(async move {
            sillage::http::serve_apart(listener, router(widget), &proxies, std::future::pending()).await.expect("serving");
        });
        Place { address, board, now, reported, secret, _runtime: runtime }
    }

    fn publish(&self, outcome: &Value) {
        let notice = Notice::read(outcome.to_string().as_bytes()).expect("an outcome").expect("a notice");
        self.board.read(&notice, (self.now)());
    }

    fn token(&self, subject: &Identity, seconds: i64) -> String {
        token::issue(&self.secret, "web", "shop", subject, (self.now)() + Span::from_secs(seconds))
    }

    /// Sends a request and reads the head of the answer: status, headers, and the rest as it comes.
    fn ask(&self, method: &str, headers: &[(&str, &str)], body: &str) -> (u16, String, BufReader<TcpStream>) {
        let mut stream = TcpStream::connect(self.address).expect("a connection");
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a limit");
        let mut request =
            format!("{method} /v1/offers HTTP/1.1\r\nhost: widget.example.com\r\ncontent-length: {}\r\n", body.len());
        headers.iter().for_each(|(name, value)| request += &format!("{name}: {value}\r\n"));
        stream.write_all((request + "\r\n" + body).as_bytes()).expect("sent");
        let mut reader = BufReader::new(stream);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert!(reader.read_line(&mut head).expect("an answer") > 0, "cut after {head:?}");
        }
        (head[9..12].parse().expect("a status"), head.to_ascii_lowercase(), reader)
    }

    fn get(&self, token: &str, more: &[(&str, &str)]) -> (u16, String, BufReader<TcpStream>) {
        let bearer = format!("Bearer {token}");
        let headers: Vec<(&str, &str)> = [("authorization", bearer.as_str())].iter().chain(more).copied().collect();
        self.ask("GET", &headers, "")
    }

    fn post(&self, token: &str, body: &str) -> u16 {
        let bearer = format!("Bearer {token}");
        let headers = [("authorization", bearer.as_str()), ("content-type", "application/json"), ("origin", PAGE)];
        self.ask("POST", &headers, body).0
    }

    fn reported(&self) -> Vec<Value> {
        self.reported.lock().expect("no panic").clone()
    }
}

/// The next event: its kind, its id and its data. Chunks and comments are passed over.
fn event(reader: &mut BufReader<TcpStream>) -> Option<(String, String, Value)> {
    let (mut kind, mut id, mut data) = (String::new(), String::new(), None);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        match line.trim_end().split_once(": ") {
            Some(("event", value)) => kind = value.to_owned(),
            Some(("id", value)) => id = value.to_owned(),
            Some(("data", value)) => data = serde_json::from_str(value).ok(),
            Some(_) => {}
            None if line.trim_end() == "0" => return None,
            None => {
                if let (true, Some(data)) = (line.trim_end().is_empty(), data.take()) {
                    return Some((kind, id, data));
                }
            }
        }
    }
}

fn id(number: u128) -> String {
    Uuid::from_u128(number).to_string()
}

#[test]
fn a_page_sees_its_customers_offers_and_their_withdrawals_and_answers() {
    let place = Place::new();
    let expires_at = (place.now)() + Span::from_secs(60);
    place.publish(&offer(1, "c-17", expires_at));
    place.publish(&offer(2, "c-18", expires_at));
    let token = place.token(&Identity::customer("c-17"), 600);
    let (status, head, mut events) = place.get(&token, &[("origin", PAGE)]);
    assert_eq!(status, 200, "{head}");
    for line in [
        "content-type: text/event-stream",
        "access-control-allow-origin: https://shop.example.com",
        "access-control-allow-credentials: true",
        "cache-control: no-",
    ] {
        assert!(head.contains(line), "no {line} in {head}");
    }
    let (kind, event_id, data) = event(&mut events).expect("an event");
    assert_eq!((kind.as_str(), event_id.as_str()), ("offer", id(1).as_str()));
    assert_eq!(data["payload"], json!({"text": "help \"with\" payment"}));
    assert_eq!(data.get("value"), None);

    assert_eq!(place.post(&token, &json!({"outcome_id": id(1), "type": "offer.shown"}).to_string()), 204);
    place.publish(&offer(3, "c-17", expires_at));
    assert_eq!(event(&mut events).map(|event| event.1), Some(id(3)));
    place.publish(&withdrawal(101, 1, "c-17"));
    let (kind, event_id, data) = event(&mut events).expect("an event");
    assert_eq!((kind.as_str(), event_id, &data["outcome_id"]), ("withdrawal", id(101), &json!(id(1))));
    assert_eq!(place.post(&token, &json!({"outcome_id": id(3), "type": "offer.accepted"}).to_string()), 204);
    assert_eq!(event(&mut events).map(|event| event.2), Some(json!({"outcome_id": id(3), "reason": "accepted"})));

    let told: Vec<(Value, Value)> =
        place.reported().iter().map(|told| (told["type"].clone(), told["event_id"].clone())).collect();
    let shown = (json!("offer.shown"), json!(format!("{}/offer.shown", id(1))));
    assert_eq!(told, [shown, (json!("offer.accepted"), json!(format!("{}/offer.accepted", id(3))))]);
    assert_eq!(place.reported()[0]["properties"], json!({"intervention": "shop/rescue", "outcome_id": id(1)}));

    // Back after a break: what came since, and nothing that is over.
    place.publish(&offer(4, "c-17", expires_at));
    let (_, _, mut events) = place.get(&token, &[("last-event-id", &id(3))]);
    assert_eq!(event(&mut events).map(|event| event.1), Some(id(101)));
    assert_eq!(event(&mut events).map(|event| event.1), Some(id(4)));
    let (_, _, mut events) = place.get(&token, &[("last-event-id", &id(77))]);
    assert_eq!(event(&mut events).map(|event| event.0), Some("reset".to_owned()));
}

#[test]
fn a_stream_ends_with_its_token() {
    let place = Place::new();
    let (status, _, mut events) = place.get(&place.token(&Identity::customer("c-17"), 2), &[]);
    assert_eq!((status, event(&mut events)), (200, None));
}

/// Each method by origin, content type and how the token is shown, judged by the rules as the documentation states them.
#[test]
fn the_listener_by_method_origin_content_type_and_token() {
    for method in ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"] {
        for kind in ["application/json", "text/plain", ""] {
            by_origin_and_token(method, kind);
        }
    }
}

fn by_origin_and_token(method: &str, kind: &str) {
    let place = Place::new();
    place.publish(&offer(1, "c-17", (place.now)() + Span::from_secs(600)));
    let subject = Identity::customer("c-17");
    let (good, expired) = (place.token(&subject, 600), place.token(&subject, -1));
    let (with_good, with_expired) = (format!("Bearer {good}"), format!("Bearer {expired}"));
    let cookie = format!("sillage_widget={good}");
    let shown = [
        ("none", None),
        ("good", Some(("authorization", with_good.as_str()))),
        ("expired", Some(("authorization", with_expired.as_str()))),
        ("cookie", Some(("cookie", cookie.as_str()))),
    ];
    let body = json!({"outcome_id": id(1), "type": "offer.shown"}).to_string();
    for origin in ["", PAGE, "https://evil.example.com", "null"] {
        for (what, token) in shown {
            let cells = [("origin", origin), ("content-type", kind)];
            let mut headers: Vec<(&str, &str)> = cells.into_iter().filter(|(_, value)| !value.is_empty()).collect();
            headers.extend(token);
            let expected = match (method, origin, what) {
                (_, "null" | "https://evil.example.com", _) => 403,
                ("OPTIONS", PAGE, _) => 204,
                ("OPTIONS", _, _) => 403,
                ("PUT" | "PATCH" | "DELETE", _, _) => 405,
                (_, _, "none" | "expired") => 401,
                // The browser adds it by itself, so it counts on a page that is known.
                (_, "", "cookie") => 403,
                ("POST", _, _) if kind != "application/json" => 415,
                ("POST", _, _) => 204,
                (_, _, _) => 200,
            };
            let (status, head, _) = place.ask(method, &headers, &body);
            let row = format!("{method} {origin:?} {kind:?} {what}");
            assert_eq!(status, expected, "{row}: {head}");
            assert_eq!(head.contains("access-control-allow-origin"), origin == PAGE, "{row}: {head}");
        }
    }
    // Without an origin, and from the page with either way to show the token.
    let taken = if method == "POST" && kind == "application/json" { 3 } else { 0 };
    assert_eq!(place.reported().len(), taken, "{method} {kind:?}");
}

#[test]
fn who_means_harm_is_shown_nothing_and_nothing_is_taken() {
    let place = Place::new();
    let expires_at = (place.now)() + Span::from_secs(60);
    place.publish(&offer(1, "c-17", expires_at));
    place.publish(&offer(2, "c-18", expires_at));
    let good = place.token(&Identity::customer("c-17"), 600);
    let other = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, b"another secret of thirty-two byte");
    let until = (place.now)() + Span::from_secs(600);
    let subject = Identity::customer("c-17");
    let unsigned = good.rsplit_once('.').expect("a signature").0.to_owned() + ".";
    let header = "eyJhbGciOiJub25lIiwia2lkIjoid2ViIn0"; // {"alg":"none","kid":"web"}
    let swapped = format!("{header}.{}.", good.split('.').nth(1).expect("claims"));
    for (token, what) in [
        (String::new(), "none"),
        (token::issue(&other, "web", "shop", &subject, until), "forged"),
        (token::issue(&place.secret, "web", "bank", &subject, until), "meant for somebody else"),
        (token::issue(&place.secret, "app", "shop", &subject, until), "of an unknown key"),
        (place.token(&subject, -1), "expired"),
        (place.token(&subject, 3_600), "too long"),
        (unsigned, "unsigned"),
        (swapped, "of another algorithm"),
    ] {
        let (status, head, mut rest) = place.get(&token, &[("origin", PAGE)]);
        assert_eq!(status, 401, "{what}: {head}");
        let mut text = String::new();
        drop(rest.get_mut().set_read_timeout(Some(Duration::from_millis(300))));
        drop(rest.read_to_string(&mut text));
        assert!(!text.contains("offer\n") && !text.contains("rescue"), "{what}: {text}");
        assert_eq!(place.post(&token, &json!({"outcome_id": id(1), "type": "offer.shown"}).to_string()), 401, "{what}");
    }
    // Not in the address.
    let line = format!("GET /v1/offers?token={good}&access_token={good} HTTP/1.1\r\nhost: w\r\n\r\n");
    let mut stream = TcpStream::connect(place.address).expect("a connection");
    stream.write_all(line.as_bytes()).expect("sent");
    let mut head = [0; 12];
    stream.read_exact(&mut head).expect("an answer");
    assert_eq!(&head[9..12], b"401");

    // Pages of other origins, whatever they show; and a page that has the browser add the cookie without saying where it is from.
    let cookie = format!("a=b; sillage_widget={good}");
    for (method, headers) in [
        ("GET", vec![("origin", "https://evil.example"), ("cookie", cookie.as_str())]),
        ("GET", vec![("origin", "https://shop.example.com.evil.example"), ("cookie", cookie.as_str())]),
        ("GET", vec![("origin", "null"), ("cookie", cookie.as_str())]),
        ("GET", vec![("cookie", cookie.as_str())]),
        ("GET", vec![("cookie", cookie.as_str()), ("sec-fetch-site", "cross-site")]),
        ("GET", vec![("origin", PAGE), ("origin", "https://evil.example"), ("cookie", cookie.as_str())]),
        (
            "POST",
            vec![("origin", "https://evil.example"), ("cookie", cookie.as_str()), ("content-type", "application/json")],
        ),
        ("OPTIONS", vec![("origin", "https://evil.example"), ("access-control-request-method", "POST")]),
    ] {
        let (status, head, _) =
            place.ask(method, &headers, &json!({"outcome_id": id(1), "type": "offer.shown"}).to_string());
        assert_eq!(status, 403, "{method} {headers:?}");
        assert!(!head.contains("access-control-allow-origin"), "{head}");
    }
    let (status, head, _) = place.ask("OPTIONS", &[("origin", PAGE), ("access-control-request-method", "POST")], "");
    assert!(status == 204 && head.contains("access-control-allow-headers: authorization"), "{head}");
    let (status, _, mut events) = place.ask("GET", &[("origin", PAGE), ("cookie", &cookie)], "");
    assert_eq!((status, event(&mut events).map(|event| event.1)), (200, Some(id(1))));

    // About an offer of another, or none; another type; more than is asked for.
    for (body, status) in [
        (json!({"outcome_id": id(2), "type": "offer.accepted"}).to_string(), 404),
        (json!({"outcome_id": id(9), "type": "offer.accepted"}).to_string(), 404),
        (json!({"outcome_id": id(1), "type": "order.completed"}).to_string(), 400),
        (json!({"outcome_id": id(1), "type": "offer.accepted", "customer_id": "c-18"}).to_string(), 400),
        (json!({"outcome_id": "1", "type": "offer.accepted"}).to_string(), 400),
        ("[]".to_owned(), 400),
        (" ".repeat(5_000), 413),
    ] {
        assert_eq!(place.post(&good, &body), status, "{body:.80}");
    }
    let bearer = format!("Bearer {good}");
    let form = [("authorization", bearer.as_str()), ("content-type", "text/plain")];
    let (status, _, _) = place.ask("POST", &form, &json!({"outcome_id": id(1), "type": "offer.shown"}).to_string());
    assert_eq!(status, 415);
    // The anonymous one of the same id is somebody else.
    let anonymous = place.token(&Identity::anonymous("c-17"), 2);
    assert_eq!(place.post(&anonymous, &json!({"outcome_id": id(1), "type": "offer.shown"}).to_string()), 404);
    let (status, _, mut events) = place.get(&anonymous, &[]);
    assert_eq!((status, event(&mut events)), (200, None));
    assert_eq!(place.reported(), Vec::<Value>::new());
}

#[test]
fn there_are_only_so_many_readers_at_once() {
    let place = Place::new();
    let token = |number: usize| place.token(&Identity::customer(format!("c-{}", number / 4)), 60);
    let readers: Vec<_> = (0..20).map(|number| place.get(&token(number), &[])).collect();
    assert!(readers.iter().all(|(status, _, _)| *status == 200));
    assert_eq!(place.get(&token(90), &[]).0, 503);
    drop(readers);
    // Each that has gone is noticed when it is written to next, or by the connection's end.
    let begun = std::time::Instant::now();
    while place.get(&token(91), &[]).0 != 200 {
        assert!(begun.elapsed() < Duration::from_secs(20), "no place was given back");
    }
}
