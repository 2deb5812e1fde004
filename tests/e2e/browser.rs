//! What a web page can do to a Sillage on the same machine, in a real Chromium: nothing, unless its origin is allowed by name.
//!
//! The service is as open as it can be without tokens: anybody on this machine may erase and load a history. One page tries
//! everything that a page can try. It is opened once as that of a stranger, and once as that of an origin in `origins`, which
//! shows that the attempts are such as would succeed.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::service::Service;
use crate::harness::{model, wait};
use crate::observability::is_missing;
use crate::shop::SOON;

const PAGE: &str = include_str!("browser.html");
/// All of them lie on this machine.
const NAMES: &str = "MAP stranger.example 127.0.0.1, MAP friend.example 127.0.0.1";

#[test]
fn a_web_page_can_do_nothing_unless_its_origin_is_allowed() {
    if is_missing(&["chromium"]) {
        return;
    }
    let page = Page::serve();
    let port = page.port;
    let folder = tempfile::tempdir().expect("a temporary directory");
    let allowed = format!("origins: [\"http://friend.example:{port}\"]");
    let mut service = Service::start_embedded_saying(folder.path(), &model("shop.yaml"), &allowed);
    service.wait_until_ready(SOON);
    let empty_folder = tempfile::tempdir().expect("a temporary directory");
    let mut empty = Service::start_embedded_saying(empty_folder.path(), &model("shop.yaml"), &allowed);
    empty.wait_until_ready(SOON);
    let [address, empty_address] = [&service, &empty].map(|service| service.address().expect("an address"));
    page.leads_to.set([address.clone(), empty_address.clone()]).expect("it is set once");
    let post = ureq::post(format!("http://{address}/v1/touchpoints")).content_type("application/json");
    let victim = json!({"event_id": "1", "customer_id": "victim", "type": "ad.seen", "occurred_at": now()});
    post.send(victim.to_string()).expect("a client without an origin may post");
    wait::until_true("the victim to be known", SOON, || service.look_up("victim") == 200);
    let before = counts(&service, &empty);

    let both = format!("{address}&{empty_address}");
    let reported = visit(&format!("http://stranger.example:{port}/?{both}"), &page.reports);
    assert_eq!(reported["could"], json!([]), "{reported}");
    let tried: BTreeSet<&str> = names(&reported["tried"]);
    assert_eq!(tried.len(), 24, "{tried:?}");
    assert_eq!(counts(&service, &empty), before, "a stranger's page changed something");
    assert_eq!(service.look_up("victim"), 200, "a stranger's page erased a customer");

    // The page's own name leads to this service all of a sudden (DNS rebinding): for a browser that is one origin. `/metrics`
    // alone answers under any name, as Prometheus needs it.
    let own = format!("stranger.example:{}", page.port);
    let reported = visit(&format!("http://{own}/?{own}&{own}"), &page.reports);
    assert_eq!(reported["could"], json!(["read metrics"]), "{reported}");
    assert_eq!(
        (counts(&service, &empty), service.look_up("victim")),
        (before, 200),
        "a page under a name of its own changed something"
    );

    let reported = visit(&format!("http://friend.example:{port}/?{both}"), &page.reports);
    let could = names(&reported["could"]);
    for name in ["read outcomes", "read a customer", "post application/json", "erase", "load a history"] {
        assert!(could.contains(name), "a page of an allowed origin cannot {name}: {reported}");
    }
    wait::until_true("the victim to be erased", SOON, || service.look_up("victim") == 404);
    let after = counts(&service, &empty);
    assert!(after.0 > before.0, "nothing that an allowed page posted has come");
    assert_eq!(before.2, 0, "a stranger's page loads a history");
    wait::until_true("the history of an allowed page", SOON, || counts(&service, &empty).2 == 1);
    drop(empty);
    assert_eq!(service.terminate().status.code(), Some(0));
}

/// Records taken in, erased customers, and whether a history is being loaded into a service that was empty.
fn counts(service: &Service, empty: &Service) -> (u64, u64, u64) {
    let of = |service: &Service, name| service.metric(name) as u64;
    let taken = of(service, "sillage_records_consumed_total") + of(empty, "sillage_records_consumed_total");
    (taken, of(service, "sillage_customers_erased_total"), of(empty, "sillage_history_loading"))
}

fn names(list: &Value) -> BTreeSet<&str> {
    list.as_array().expect("a list").iter().filter_map(Value::as_str).collect()
}

fn now() -> String {
    jiff::Timestamp::from_millisecond(crate::harness::now_millis()).expect("an instant").to_string()
}

/// Opens the page, and waits for what it reports.
fn visit(url: &str, reports: &Receiver<Value>) -> Value {
    let home = tempfile::tempdir().expect("a temporary directory");
    let mut browser = chromium(home.path()).args(["--remote-debugging-port=0", url]).spawn().expect("Chromium starts");
    let reported = reports.recv_timeout(Duration::from_secs(120));
    browser.kill().expect("it can be killed");
    browser.wait().expect("it ends");
    reported.expect("the page reports what it could do")
}

pub(crate) fn chromium(home: &Path) -> Command {
    let mut command = Command::new("chromium");
    command.args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]);
    command.args([
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--disable-dev-shm-usage",
    ]);
    command.arg(format!("--user-data-dir={}", home.display())).arg(format!("--host-resolver-rules={NAMES}"));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// The page, on a port of its own.
struct Page {
    port: u16,
    reports: Receiver<Value>,
    /// Where everything goes that is not the page's; and where histories go.
    leads_to: Arc<OnceLock<[String; 2]>>,
}

impl Page {
    fn serve() -> Page {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("its address").port();
        let (sender, reports) = channel();
        let leads_to = Arc::<OnceLock<[String; 2]>>::default();
        let page = Page { port, reports, leads_to: leads_to.clone() };
        beside("page", move || {
            for connection in listener.incoming().flatten() {
                let (sender, leads_to) = (sender.clone(), leads_to.clone());
                // A browser opens connections on which it asks nothing.
                beside("page-request", move || answer(connection, &sender, &leads_to));
            }
        });
        page
    }
}

fn beside<T: Send + 'static>(name: &str, work: impl FnOnce() -> T + Send + 'static) {
    std::thread::Builder::new().name(name.to_owned()).spawn(work).expect("a thread");
}

fn answer(connection: TcpStream, reports: &Sender<Value>, leads_to: &OnceLock<[String; 2]>) -> Option<()> {
    let mut reader = BufReader::new(connection);
    let mut asked = String::new();
    reader.read_line(&mut asked).ok()?;
    let (mut length, mut head) = (0, asked.clone());
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        // One request is all that a connection carries on.
        head +=
            if line.to_ascii_lowercase().starts_with("connection: keep-alive") { "connection: close\r\n" } else { &line };
        match line.trim_end().split_once(':') {
            Some((name, value)) if name.eq_ignore_ascii_case("content-length") => length = value.trim().parse().ok()?,
            Some(_) => {}
            None => break,
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    if asked.starts_with("POST /report") {
        reports.send(serde_json::from_slice(&body).ok()?).ok()?;
    }
    if asked.contains(" /v1/") || asked.contains(" /metrics") {
        let is_history = usize::from(asked.contains(" /v1/history"));
        let mut service = TcpStream::connect(&leads_to.get()?[is_history]).ok()?;
        service.write_all(&[head.as_bytes(), &body].concat()).ok()?;
        std::io::copy(&mut service, reader.get_mut()).ok()?;
        return Some(());
    }
    let page = if asked.starts_with("GET /?") { PAGE } else { "" };
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: text/html; charset=utf-8\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        page.len()
    );
    reader.get_mut().write_all((head + page).as_bytes()).ok()
}
