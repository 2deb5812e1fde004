//! What passes through the process stays within its budget of memory, and nothing is lost for it.
//!
//! `MEMORY=whole` sends as much as would fill a machine: 9,000 records of 800 kB behind an input that is held (7 GB on the
//! brokers' disk), a backlog of 25 GB of one letter and one of 4 GB that nothing makes smaller, 500 posts of 15 MB at once and 1,000 readers that stall.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::json;

use crate::harness::clients::{Record, Writer};
use crate::harness::service::Service;
use crate::harness::{kafka, model, now_millis, say, wait};
use crate::load::Dice;
use crate::shop::{SOON, Shop, story, tells};

/// The least that a process may have, and a tenth more.
const BUDGET: u64 = 128 << 20;
const BOUND: u64 = BUDGET / 10 * 11;
/// What takes long on a machine that is busy with other things.
const LATER: Duration = Duration::from_secs(300);

fn serve(shop: &mut Shop) -> (Service, u64) {
    shop.setup.extra.push("memory: 128MiB".to_owned());
    let service = shop.serve();
    let before = service.peak_memory();
    (service, before)
}

fn whole() -> bool {
    std::env::var("MEMORY").is_ok_and(|size| size == "whole")
}

/// What it took beyond what it has anyway.
fn check(what: &str, service: &Service, before: u64) {
    let taken = service.peak_memory() - before;
    say(&format!("memory: {what}: {} MiB beside {} MiB", taken >> 20, before >> 20));
    assert!(taken <= BOUND, "{what}: {taken} bytes");
}

#[test]
fn an_input_that_is_held_does_not_let_the_others_grow() {
    let records = if whole() { 9_000 } else { 600 };
    let Some(kafka) = kafka() else { return };
    let mut shop = Shop::open(kafka, "held", &["web", "app"], 1);
    let (service, before) = serve(&mut shop);
    let (reader, dead) = (shop.reader(), shop.dead_letters());
    let upstream = Writer::transactional(&shop.direct, &format!("{}-upstream", shop.setup.group));
    upstream.begin();
    upstream.write(Record { topic: &shop.setup.inputs[0], key: "held", value: b"[]", partition: None });
    // They wait as they came: nobody can read them.
    let large = vec![b'['; 800_000];
    for number in 0..records {
        let key = format!("large-{number}");
        shop.writer.send(Record { topic: &shop.setup.inputs[1], key: &key, value: &large, partition: None });
    }
    shop.writer.flush();
    shop.does("last", "cart.added", 1);
    wait::until_true("records to wait", SOON, || service.metric("sillage_waiting_bytes") > BUDGET as f64 / 16.0);
    // Meanwhile all of them could have been read.
    wait::until_true("stream time to be held", SOON, || service.metric("sillage_stream_time_behind_seconds") > 8.0);
    check("an input is held", &service, before);
    upstream.commit();
    let letters = dead.until("the dead letters", LATER, |read| read.len() > records);
    let keys: BTreeSet<&str> = letters.iter().filter_map(|letter| letter.key.as_deref()).collect();
    assert_eq!((letters.len(), keys.len()), (records + 1, records + 1), "each once");
    reader.until("what stands behind them", LATER, |read| tells(read, "last", "transition deciding"));
    check("it goes on", &service, before);
    assert!(service.terminate().status.success());
}

#[test]
fn a_backlog_of_one_letter_is_taken_piece_by_piece() {
    let note = "x".repeat(NOTE);
    backlog("letter", if whole() { 50_000 } else { 2_000 }, "zstd", || note.clone());
}

/// What lies in the client's queues is as large as what comes of it.
#[test]
fn a_backlog_that_nothing_makes_smaller_is_taken_piece_by_piece() {
    let mut dice = Dice(11);
    let letters: Vec<u8> = (b'a'..=b'z').chain(b'A'..=b'Z').chain(b'0'..=b'9').collect();
    let mut note = move || (0..NOTE).map(|_| char::from(letters[dice.below(letters.len() as u64) as usize])).collect();
    backlog("random", if whole() { 8_000 } else { 400 }, "none", &mut note);
}

const NOTE: usize = 500_000;

fn backlog(name: &str, records: usize, compression: &str, mut note: impl FnMut() -> String) {
    let Some(kafka) = kafka() else { return };
    let mut shop = Shop::open(kafka, name, &["web"], 1);
    let topic = shop.setup.inputs[0].clone();
    let settings = [("compression.type", compression), ("batch.size", "1000000"), ("queue.buffering.max.kbytes", "65536")];
    let writer = Writer::with(&shop.direct, &settings);
    for number in 0..records {
        let customer = format!("c{}", number % 10);
        let kind = if number < records - 10 { "page.scrolled" } else { "cart.added" };
        let value = json!({"customer_id": customer, "occurred_at": now_millis(), "type": kind, "note": note()}).to_string();
        writer.send(Record { topic: &topic, key: &customer, value: value.as_bytes(), partition: None });
    }
    writer.flush();
    let (service, before) = serve(&mut shop);
    let reader = shop.reader();
    let all = |read: &[_]| (0..10).all(|number| tells(read, &format!("c{number}"), "transition deciding"));
    let read = reader.until("the end of the backlog", LATER, all);
    assert_eq!(story(&read, "c3")[0], "transition deciding");
    wait::until_true("all to be counted", SOON, || service.metric("sillage_records_consumed_total") == records as f64);
    check(name, &service, before);
    assert!(service.terminate().status.success());
}

#[test]
fn a_batch_that_the_client_refuses_parks_its_partition_and_no_other() {
    let Some(kafka) = kafka() else { return };
    let mut shop = Shop::open(kafka, "refused", &["web"], 2);
    // Everybody stays where the test puts them.
    shop.setup.extra.push("misrouted: apply".to_owned());
    let topic = shop.setup.inputs[0].clone();
    let (service, before) = serve(&mut shop);
    let reader = shop.reader();
    let writes = |writer: &Writer, customer: &str, value: &[u8], partition: i32| {
        writer.write(Record { topic: &topic, key: customer, value, partition: Some(partition) });
    };
    let cart = |customer: &str| {
        json!({"customer_id": customer, "occurred_at": now_millis(), "type": "cart.added"}).to_string().into_bytes()
    };
    writes(&shop.writer, "before", &cart("before"), 0);
    let settings = [("compression.type", "zstd"), ("message.max.bytes", "60000000")];
    writes(&Writer::with(&shop.direct, &settings), "bomb", &vec![b'x'; 50_000_000], 0);
    let refused = || service.not_ready().is_some_and(|why| why.contains("cannot read the batch at offset 1 of"));
    wait::until_true("the partition to be parked", SOON, refused);
    writes(&shop.writer, "behind", &cart("behind"), 0);
    writes(&shop.writer, "beside", &cart("beside"), 1);
    let read = reader.until("the other partition", SOON, |read| tells(read, "beside", "transition deciding"));
    assert_eq!(story(&read, "before"), ["transition deciding"], "what stood before the batch is committed");
    assert_eq!(story(&read, "behind"), Vec::<String>::new(), "and nothing behind it is decided");
    check("a batch that is refused", &service, before);
    assert!(service.terminate().status.success());
}

#[test]
fn posts_at_once_and_readers_that_stall_are_served_within_the_budget() {
    const LINES: usize = 30;
    let (posts, stalled) = if whole() { (500, 1_000) } else { (16, 100) };
    let folder = tempfile::tempdir().expect("a temporary directory");
    // All of them come from this machine's one address.
    let lines = "memory: 128MiB\ntrusted_proxies: [\"127.0.0.1\"]";
    let mut service = Service::start_embedded_saying(folder.path(), &model("shop.yaml"), lines);
    service.wait_until_ready(SOON);
    let address = service.address().expect("an address");
    let before = service.peak_memory();
    let note = "x".repeat(500_000);
    std::thread::scope(|scope| {
        for post in 0..posts {
            let (address, note) = (&address, &note);
            scope.spawn(move || {
                let line = |number: usize| {
                    let (who, kind) = (format!("c{post}-{number}"), "cart.added");
                    let id = format!("{who}-1");
                    json!({"event_id": id, "customer_id": who, "occurred_at": now_millis(), "type": kind, "note": note})
                };
                let body: String = (0..LINES).map(|number| line(number).to_string() + "\n").collect();
                let url = format!("http://{address}/v1/touchpoints");
                wait::until_true("a post to be taken", LATER * 4, || {
                    match ureq::post(&url).content_type("application/x-ndjson").send(&body) {
                        Ok(_) => true,
                        Err(ureq::Error::StatusCode(status)) => {
                            assert!(status == 429 || status == 503, "a post is refused with {status}");
                            false
                        }
                        // It was cut off: too many bodies arrive too slowly.
                        Err(_) => false,
                    }
                });
            });
        }
    });
    check("posts at once", &service, before);
    let all = (posts * LINES) as f64;
    wait::until_true("all to be taken in", LATER, || service.metric("sillage_records_consumed_total") >= all);
    let all_told = || service.metric("sillage_outcomes_total") >= all;
    wait::until_true("all to be told", LATER, all_told);
    let mut readers: Vec<TcpStream> = (0..stalled)
        .map(|_| {
            let mut reader = TcpStream::connect(&address).expect("a place");
            write!(reader, "GET /v1/outcomes?limit=10000 HTTP/1.1\r\nhost: {address}\r\n\r\n").expect("it is asked");
            reader
        })
        .collect();
    // Each has its answer begun, and reads nothing more of it; or is told that too many read at once.
    let mut begun = 0;
    for reader in &mut readers {
        let mut begins = [0; 12];
        reader.read_exact(&mut begins).expect("an answer");
        match &begins {
            b"HTTP/1.1 200" => begun += 1,
            other => assert_eq!(String::from_utf8_lossy(other), "HTTP/1.1 429"),
        }
    }
    assert!(begun >= 10, "{begun} of {stalled} readers have an answer");
    assert!(service.is_ready(), "who does not read makes nobody unready");
    assert_eq!(service.metric("sillage_records_consumed_total"), all, "each is taken in once");
    check("readers that stall", &service, before);
    drop(readers);
    assert!(service.terminate().status.success());
}
