//! Answers that nobody reads: they share what there is for them, and others get less instead of nothing.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use super::client;
use super::shop::{Shop, Terms, touchpoint};

const PAGE: &str = "/v1/outcomes?topic=dead-letters&limit=1000";
/// A page ends there, by docs/embedded.md.
const LARGEST: usize = 16 << 20;

/// More than the kernel keeps of a page that nobody reads.
const METRICS: usize = 6 << 20;

/// Asks for a page and reads nothing of it but that it comes. Its own buffer is small, so that the answer stays with the server.
fn stalled(shop: &Shop) -> TcpStream {
    let address = shop.address;
    let mut stream = shop.block_on(async move {
        let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
        socket.set_recv_buffer_size(4096).expect("a small buffer");
        socket.connect(address).await.expect("a server").into_std().expect("a stream")
    });
    stream.set_nonblocking(false).expect("a blocking stream");
    write!(stream, "GET {PAGE} HTTP/1.1\r\nhost: {address}\r\n\r\n").expect("a server that reads");
    let mut status = [0; 12];
    stream.read_exact(&mut status).expect("an answer");
    assert_eq!(&status, b"HTTP/1.1 200");
    stream
}

#[test]
fn readers_that_stall_make_pages_shorter_and_nobody_is_refused() {
    let shop = Shop::open_on(Terms { metrics: "\n".repeat(METRICS), ..Terms::default() });
    let body = ("x".repeat(900_000) + "\n").repeat(12);
    for _ in 0..2 {
        let kind = [("content-type", "application/x-ndjson")];
        let reply = shop.call("POST", "/v1/touchpoints?unusable=dead-letter", &kind, body.as_bytes());
        assert_eq!(reply.status, 200, "{}", reply.text());
    }
    let until = |enough: &dyn Fn(usize) -> bool| {
        let begun = Instant::now();
        loop {
            let reply = shop.get(PAGE);
            assert_eq!(reply.status, 200, "{}", reply.text());
            if enough(reply.body.len()) {
                return;
            }
            assert!(begun.elapsed() < Duration::from_secs(30), "a page has {} bytes", reply.body.len());
        }
    };
    until(&|bytes| bytes >= LARGEST);
    let readers: Vec<TcpStream> = (0..8).map(|_| stalled(&shop)).collect();
    until(&|bytes| (900_000..LARGEST / 2).contains(&bytes));
    // Until what is left would not do for the metrics.
    let mut more = Vec::new();
    while shop.get(PAGE).body.len() > METRICS {
        more.push(stalled(&shop));
    }
    let metrics = shop.get("/metrics");
    assert_eq!((metrics.status, metrics.body.len()), (200, METRICS), "Prometheus is answered all the same");
    drop((readers, more));
    until(&|bytes| bytes >= LARGEST);
}

/// Without a place apart, bodies that come at once take each other's room, and hardly one is ever whole.
#[test]
fn large_bodies_at_once_are_served_one_after_the_other_beside_some_that_stall() {
    const LARGEST_BODY: usize = 16 << 20;
    let shop = Shop::open_on(Terms { memory: 128 << 20, ..Terms::default() });
    let note = "x".repeat(500_000);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut stream = client::begin(shop.address, "POST", "/v1/touchpoints", &[], LARGEST_BODY);
                // All but the last byte, of which the server may have enough before.
                let _ = stream.write_all(&vec![b' '; LARGEST_BODY - 1]);
                let reply = client::read(&mut stream);
                assert!(reply.is_none_or(|reply| reply.status == 429 || reply.status == 408), "one that stalls is cut");
            });
        }
        let posts: Vec<_> = (0..12)
            .map(|post| {
                let (shop, note) = (&shop, &note);
                scope.spawn(move || {
                    let line = |number: usize| {
                        let mut line = touchpoint(&format!("c{post}-{number}"), "1", "ad.seen");
                        line["note"] = note.as_str().into();
                        line.to_string() + "\n"
                    };
                    let body: String = (0..30).map(line).collect();
                    let kind = [("content-type", "application/x-ndjson")];
                    shop.call("POST", "/v1/touchpoints", &kind, body.as_bytes()).status
                })
            })
            .collect();
        let statuses: Vec<u16> = posts.into_iter().map(|post| post.join().expect("an answer")).collect();
        assert_eq!(statuses, [200; 12]);
    });
}
