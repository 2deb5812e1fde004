//! Stopping, and what is in flight then.

use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use super::assert_problem;
use super::client::{self, Reply};
use super::shop::Shop;

/// Takes places until a call that needs one finds none. A call that found one may have taken it from somebody who was to
/// keep it, so that each such call is followed by one more.
fn take_all_places(mut take: impl FnMut(), call: impl Fn() -> Reply) -> Reply {
    let begun = Instant::now();
    loop {
        let reply = call();
        if reply.status == 429 {
            return reply;
        }
        assert_eq!(reply.status, 200, "{}", reply.text());
        assert!(begun.elapsed() < Duration::from_secs(20), "no limit is reached");
        take();
    }
}

fn poll(shop: &Shop) -> TcpStream {
    client::begin(shop.address, "GET", "/v1/outcomes?wait=30", &[], 0)
}

fn half_a_post(shop: &Shop) -> TcpStream {
    let mut stream = client::begin(shop.address, "POST", "/v1/touchpoints", &[], 1000);
    stream.write_all(b"[{\"half\":").expect("a server that reads");
    stream
}

#[test]
fn readers_beyond_the_limit_are_told_and_stopping_ends_every_long_poll() {
    let mut shop = Shop::open();
    let mut polls: Vec<TcpStream> = (0..64).map(|_| poll(&shop)).collect();
    let busy = take_all_places(|| polls.push(poll(&shop)), || shop.get("/v1/outcomes"));
    assert_problem(&busy, 429, "busy", "the 65th");
    assert_eq!(busy.header("retry-after"), Some("1"));
    let took = shop.stop();
    assert!(took < Duration::from_secs(4), "{took:?}");
    let replies: Vec<Reply> = polls.iter_mut().filter_map(client::read).filter(|reply| reply.status != 429).collect();
    assert_eq!(replies.len(), 64, "each poll that had a place is answered");
    for reply in replies {
        assert_eq!((reply.status, reply.text().as_str(), reply.header("sillage-position")), (200, "", Some("0")));
    }
}

#[test]
fn posts_that_hang_take_no_place_and_stopping_cuts_them() {
    let mut shop = Shop::open();
    let mut hanging: Vec<TcpStream> = (0..64).map(|_| half_a_post(&shop)).collect();
    let reply = shop.call("POST", "/v1/touchpoints", &[], b"[]");
    assert_eq!(reply.status, 200, "{}", reply.text());
    let took = shop.stop();
    assert!(took < Duration::from_secs(8), "{took:?}");
    for stream in &mut hanging {
        let reply = client::read(stream);
        let status = reply.as_ref().map(|reply| reply.status);
        assert!(matches!(status, None | Some(400 | 408)), "nothing that looks like success: {reply:?}");
    }
}

#[test]
fn posts_that_broke_off_give_their_places_back() {
    let shop = Shop::open();
    for _ in 0..40 {
        drop(half_a_post(&shop));
    }
    let begun = Instant::now();
    let mut reply = shop.call("POST", "/v1/touchpoints", &[], b"[]");
    while reply.status == 429 && begun.elapsed() < Duration::from_secs(20) {
        reply = shop.call("POST", "/v1/touchpoints", &[], b"[]");
    }
    assert_eq!(reply.status, 200, "{}", reply.text());
}
