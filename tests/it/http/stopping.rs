//! Stopping, and what is in flight then.

use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use super::assert_problem;
use super::client::{self, Reply};
use super::shop::Shop;

/// Calls until there is an answer of this status.
fn until(status: u16, call: impl Fn() -> Reply) -> Reply {
    let begun = Instant::now();
    loop {
        let reply = call();
        if reply.status == status {
            return reply;
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "no {status}, but {}: {}", reply.status, reply.text());
    }
}

#[test]
fn readers_beyond_the_limit_are_told_and_stopping_ends_every_long_poll() {
    let mut shop = Shop::open();
    let mut polls: Vec<TcpStream> =
        (0..64).map(|_| client::begin(shop.address, "GET", "/v1/outcomes?wait=30", &[], 0)).collect();
    let busy = until(429, || shop.get("/v1/outcomes"));
    assert_problem(&busy, 429, "busy", "the 65th");
    assert_eq!(busy.header("retry-after"), Some("1"));
    let took = shop.stop();
    assert!(took < Duration::from_secs(4), "{took:?}");
    for poll in &mut polls {
        let reply = client::read(poll).expect("an answer");
        assert_eq!((reply.status, reply.text().as_str(), reply.header("sillage-position")), (200, "", Some("0")));
    }
}

#[test]
fn posts_beyond_the_limit_are_told_and_stopping_cuts_those_that_hang() {
    let mut shop = Shop::open();
    let mut hanging: Vec<TcpStream> = (0..16)
        .map(|_| {
            let mut stream = client::begin(shop.address, "POST", "/v1/touchpoints", &[], 1000);
            stream.write_all(b"{\"half\":").expect("a server that reads");
            stream
        })
        .collect();
    let busy = until(429, || shop.call("POST", "/v1/touchpoints", &[], b"[]"));
    assert_problem(&busy, 429, "busy", "the 17th");
    assert_eq!(busy.header("retry-after"), Some("1"));
    let took = shop.stop();
    assert!(took < Duration::from_secs(8), "{took:?}");
    for stream in &mut hanging {
        let reply = client::read(stream);
        assert!(reply.as_ref().is_none_or(|reply| reply.status == 400), "nothing that looks like success: {reply:?}");
    }
}

#[test]
fn a_post_that_broke_off_leaves_nothing_and_gives_its_place_back() {
    let shop = Shop::open();
    for _ in 0..40 {
        let mut stream = client::begin(shop.address, "POST", "/v1/touchpoints", &[], 1000);
        stream.write_all(b"[{\"half\":").expect("a server that reads");
    }
    until(200, || shop.call("POST", "/v1/touchpoints", &[], b"[]"));
}
