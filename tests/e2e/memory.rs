//! What passes through the process stays within its budget of memory, and nothing is lost for it.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::json;

use crate::harness::clients::{Record, Writer};
use crate::harness::service::Service;
use crate::harness::{kafka, now_millis, say, wait};
use crate::shop::{SOON, Shop, story, tells};

/// The least that a process may have, and a tenth more.
const BUDGET: u64 = 128 << 20;
const BOUND: u64 = BUDGET / 10 * 11;
/// What takes long on a machine that is busy with other things.
const LATER: Duration = Duration::from_secs(120);

fn serve(shop: &mut Shop) -> (Service, u64) {
    shop.setup.extra.push("memory: 128MiB".to_owned());
    let service = shop.serve();
    let before = service.peak_memory();
    (service, before)
}

/// What it took beyond what it has anyway.
fn check(what: &str, service: &Service, before: u64) {
    let taken = service.peak_memory() - before;
    say(&format!("memory: {what}: {} MiB beside {} MiB", taken >> 20, before >> 20));
    assert!(taken <= BOUND, "{what}: {taken} bytes");
}

#[test]
fn an_input_that_is_held_does_not_let_the_others_grow() {
    const RECORDS: usize = 600;
    let Some(kafka) = kafka() else { return };
    let mut shop = Shop::open(kafka, "held", &["web", "app"], 1);
    let (service, before) = serve(&mut shop);
    let (reader, dead) = (shop.reader(), shop.dead_letters());
    let upstream = Writer::transactional(&shop.direct, &format!("{}-upstream", shop.setup.group));
    upstream.begin();
    upstream.write(Record { topic: &shop.setup.inputs[0], key: "held", value: b"[]", partition: None });
    // They wait as they came: nobody can read them.
    let large = vec![b'['; 800_000];
    for number in 0..RECORDS {
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
    let letters = dead.until("the dead letters", LATER, |read| read.len() > RECORDS);
    let keys: BTreeSet<&str> = letters.iter().filter_map(|letter| letter.key.as_deref()).collect();
    assert_eq!((letters.len(), keys.len()), (RECORDS + 1, RECORDS + 1), "each once");
    reader.until("what stands behind them", LATER, |read| tells(read, "last", "transition deciding"));
    check("it goes on", &service, before);
    assert!(service.terminate().status.success());
}

#[test]
fn a_backlog_of_one_letter_is_taken_piece_by_piece() {
    const RECORDS: usize = 2_000;
    let Some(kafka) = kafka() else { return };
    let mut shop = Shop::open(kafka, "letter", &["web"], 1);
    let topic = shop.setup.inputs[0].clone();
    let settings = [("compression.type", "zstd"), ("batch.size", "1000000"), ("queue.buffering.max.kbytes", "65536")];
    let writer = Writer::with(&shop.direct, &settings);
    let note = "x".repeat(500_000);
    for number in 0..RECORDS {
        let customer = format!("c{}", number % 10);
        let kind = if number < RECORDS - 10 { "page.scrolled" } else { "cart.added" };
        let value = json!({"customer_id": customer, "occurred_at": now_millis(), "type": kind, "note": note}).to_string();
        writer.send(Record { topic: &topic, key: &customer, value: value.as_bytes(), partition: None });
    }
    writer.flush();
    let (service, before) = serve(&mut shop);
    let reader = shop.reader();
    let all = |read: &[_]| (0..10).all(|number| tells(read, &format!("c{number}"), "transition deciding"));
    let read = reader.until("the end of the backlog", LATER, all);
    assert_eq!(story(&read, "c3")[0], "transition deciding");
    wait::until_true("all to be counted", SOON, || service.metric("sillage_records_consumed_total") == RECORDS as f64);
    check("a backlog of one letter", &service, before);
    assert!(service.terminate().status.success());
}

#[test]
fn a_batch_that_the_client_refuses_parks_its_partition_and_no_other() {
    let Some(kafka) = kafka() else { return };
    let mut shop = Shop::open(kafka, "refused", &["web"], 2);
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
