//! The widget in a real Chromium, on the embedded log: a checkout is stuck, the offer appears on the page, the purchase takes it
//! away, and what the customer answers comes back.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use serde_json::{Value, json};

use crate::browser::chromium;
use crate::harness::command::sillage;
use crate::harness::service::Service;
use crate::harness::{model, now_millis, wait};
use crate::observability::is_missing;
use crate::shop::SOON;

const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// Uses the script of `examples/widget`; tells this test what a customer would see. The second offer is accepted at once.
const PAGE: &str = r#"<!doctype html><script type="module">
import { offers } from "/widget.js";
const tell = (what) => fetch("/report", { method: "POST", body: JSON.stringify(what) });
let shown = 0;
offers({
  url: "http://127.0.0.1:WIDGET",
  token: async () => (await fetch("/widget-token")).text(),
  show(offer, accept) { tell({ shown: offer.payload.text }); shown += 1; if (shown === 2) accept(); },
  hide: (id) => tell({ hidden: id !== undefined }),
});
tell({ ready: true });
</script>"#;

#[test]
fn a_stuck_checkout_is_offered_help_on_the_page_until_it_is_over() {
    if is_missing(&["chromium"]) {
        return;
    }
    let folder = tempfile::tempdir().expect("a temporary directory");
    let pages = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = pages.local_addr().expect("an address").port();
    // Free a moment ago; the service takes it next.
    let widget = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port").port();
    let deliver = folder.path().join("deliver.yaml");
    std::fs::write(folder.path().join("secret"), SECRET).expect("a file");
    let settings = format!(
        "widget:\n  listen: 127.0.0.1:{widget}\n  origins: [\"http://friend.example:{port}\"]\n  audience: shop\n  \
         keys: {{ web: {{ algorithm: HS256, secret: {{ file: secret }} }} }}\n\
         destinations:\n  crm: {{ url: \"http://127.0.0.1:{port}\", private_addresses: [127.0.0.1], \
         offer: {{ post: /hook, body: outcome }} }}\n"
    );
    std::fs::write(&deliver, settings).expect("a file");
    let line = format!("deliver: \"{}\"", deliver.display());
    let store = folder.path().join("store");
    let mut service = Service::start_embedded_saying(&store, &model("rescue.yaml"), &line);
    service.wait_until_ready(SOON);
    let address = service.address().expect("an address");

    let reports = serve(pages, PAGE.replace("WIDGET", &widget.to_string()), deliver);
    let home = tempfile::tempdir().expect("a temporary directory");
    let url = format!("http://friend.example:{port}/");
    let mut browser = chromium(home.path()).args(["--remote-debugging-port=0", &url]).spawn().expect("Chromium starts");
    let next = || reports.recv_timeout(Duration::from_secs(60)).expect("the page tells something");
    assert_eq!(next(), json!({"ready": true}));
    stuck(&address, "b-1");
    assert_eq!(next(), json!({"shown": "help-with-payment"}));
    knows(&address, "offer.shown");
    post(&address, "order.completed", "b-1", 3);
    assert_eq!(next(), json!({"hidden": true}));
    stuck(&address, "b-2");
    assert_eq!(next(), json!({"shown": "help-with-payment"}));
    knows(&address, "offer.accepted");
    // The same file has the embedded log deliver to a receiver as well.
    knows(&address, "intervention.delivered");
    assert_eq!(next(), json!({"hidden": true}));
    assert!(service.metric("sillage_widgets_connected") >= 1.0);
    browser.kill().expect("it can be killed");
    browser.wait().expect("it ends");
    assert_eq!(service.terminate().status.code(), Some(0));
}

fn stuck(address: &str, cart: &str) {
    for (number, kind) in ["cart.added", "payment.failed", "payment.failed"].into_iter().enumerate() {
        post(address, kind, cart, number);
    }
}

fn post(address: &str, kind: &str, cart: &str, number: usize) {
    let now = jiff::Timestamp::from_millisecond(now_millis()).expect("an instant").to_string();
    let touchpoint = json!({"event_id": format!("{cart}-{number}"), "customer_id": "anna", "occurred_at": now, "type": kind,
        "properties": {"cart_id": cart, "value": 89.9, "currency": "EUR"}});
    let post = ureq::post(format!("http://{address}/v1/touchpoints")).content_type("application/json");
    post.send(touchpoint.to_string()).expect("it is taken");
}

/// Waits until the customer's latest touchpoints hold one of this type.
fn knows(address: &str, kind: &str) {
    wait::until_true(kind, SOON, || {
        let answer = ureq::get(format!("http://{address}/v1/customers/anna")).call();
        answer.is_ok_and(|mut answer| answer.body_mut().read_to_string().is_ok_and(|text| text.contains(kind)))
    });
}

/// The shop's own server: the page, the script, a token for who is logged in; and what the page tells.
fn serve(listener: TcpListener, page: String, deliver: PathBuf) -> Receiver<Value> {
    let (told, reports) = channel();
    let serving = move || {
        for stream in listener.incoming().flatten() {
            let (page, deliver, told) = (page.clone(), deliver.clone(), told.clone());
            // A browser opens connections that it does not use.
            let answering = move || drop(answer(stream, &page, &deliver, &told));
            std::thread::Builder::new().spawn(answering).expect("a thread");
        }
    };
    std::thread::Builder::new().spawn(serving).expect("a thread");
    reports
}

fn answer(mut stream: TcpStream, page: &str, deliver: &Path, told: &Sender<Value>) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let (mut first, mut length) = (String::new(), 0);
    reader.read_line(&mut first)?;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 || line.trim_end().is_empty() {
            break;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap_or(0);
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let (kind, text) = match first.split(' ').nth(1).unwrap_or_default() {
        "/" => ("text/html", page.to_owned()),
        "/widget.js" => ("text/javascript", include_str!("../../examples/widget/widget.js").to_owned()),
        "/widget-token" => ("text/plain", token(deliver)),
        "/report" => {
            let _ = told.send(serde_json::from_slice(&body).unwrap_or_default());
            ("text/plain", String::new())
        }
        _ => ("text/plain", String::new()),
    };
    let head =
        format!("HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", text.len());
    stream.write_all((head + &text).as_bytes())
}

fn token(deliver: &Path) -> String {
    let made = sillage().args(["token", "-c"]).arg(deliver).args(["--customer", "anna"]).output();
    String::from_utf8(made.expect("it runs").stdout).expect("a token").trim().to_owned()
}
