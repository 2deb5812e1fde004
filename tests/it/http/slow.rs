//! Slow and greedy clients, on plain sockets from several addresses of the loopback, and those beside them.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use super::client;
use super::shop::{Shop, touchpoint};

/// Between two bytes of one that drips.
const PACE: Duration = Duration::from_millis(200);
/// Connections from one address, by docs/embedded.md.
const FROM_ONE: usize = 256;
/// Whoever drips is cut by then: a head has ten seconds, a body five at less than its rate.
const BY_THEN: Duration = Duration::from_secs(40);

/// A connection to the shop from this address.
fn from(shop: &Shop, ip: &str) -> TcpStream {
    let from = SocketAddr::new(ip.parse::<IpAddr>().expect("an address"), 0);
    let address = shop.address;
    let stream = shop.block_on(async move {
        let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
        socket.bind(from).expect("an address of the loopback");
        socket.connect(address).await.expect("a server").into_std().expect("a stream")
    });
    stream.set_nonblocking(false).expect("a blocking stream");
    stream.set_read_timeout(Some(BY_THEN)).expect("a timeout");
    stream
}

fn ask(mut stream: TcpStream, shop: &Shop) -> Option<client::Reply> {
    // A connection that is closed already may refuse what is written.
    let _ = write!(stream, "GET /livez HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\r\n", shop.address);
    client::read(&mut stream)
}

#[test]
fn healthy_posts_are_served_beside_slow_bodies_and_dripping_heads_which_are_cut() {
    let shop = Shop::open();
    let mut slow: Vec<TcpStream> = Vec::new();
    for n in 0..500 {
        let mut stream = from(&shop, &format!("127.0.0.{}", 2 + n % 5));
        stream.write_all(b"POST /v1/touchpoints HTTP/1.1\r\nx-drip: ").expect("a server that reads");
        slow.push(stream);
    }
    let head = format!(
        "POST /v1/touchpoints HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\ncontent-length: 100000\r\n\r\n[",
        shop.address
    );
    for n in 0..64 {
        let mut stream = from(&shop, &format!("127.0.0.{}", 10 + n % 2));
        stream.write_all(head.as_bytes()).expect("a server that reads");
        slow.push(stream);
    }
    let (stop, stopped) = mpsc::channel::<()>();
    let (shop, mut readers) = (&shop, Vec::new());
    for stream in &slow {
        readers.push(stream.try_clone().expect("another handle"));
    }
    let begun = Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            while stopped.recv_timeout(PACE) == Err(RecvTimeoutError::Timeout) {
                // Those that are cut refuse it.
                slow.retain_mut(|stream| stream.write_all(b" ").is_ok());
            }
        });
        let posts: Vec<_> = (0..60)
            .map(|n| {
                scope.spawn(move || {
                    let body = touchpoint(&format!("c{n}"), "1", "ad.seen").to_string();
                    shop.call("POST", "/v1/touchpoints", &[], body.as_bytes()).status
                })
            })
            .collect();
        let statuses: Vec<u16> = posts.into_iter().map(|post| post.join().expect("an answer")).collect();
        assert_eq!(statuses, [200; 60]);
        for stream in &mut readers {
            let mut said = Vec::new();
            let ended = stream.read_to_end(&mut said);
            let timed_out = ended.as_ref().is_err_and(|fault| fault.kind() == std::io::ErrorKind::WouldBlock);
            assert!(!timed_out && begun.elapsed() < BY_THEN, "one that drips is not cut");
            let said = String::from_utf8_lossy(&said).into_owned();
            assert!(said.is_empty() || said.starts_with("HTTP/1.1 408"), "{said}");
        }
        drop(stop);
    });
}

#[test]
fn connections_from_one_address_are_bounded_unless_it_is_a_proxy() {
    let shop = Shop::open();
    let mut held: Vec<TcpStream> = (0..FROM_ONE).map(|_| from(&shop, "127.0.0.20")).collect();
    assert!(ask(from(&shop, "127.0.0.20"), &shop).is_none(), "one more from there");
    assert_eq!(ask(from(&shop, "127.0.0.21"), &shop).expect("an answer").status, 200, "somebody else");
    let proxied: Vec<TcpStream> = (0..=FROM_ONE).map(|_| from(&shop, "127.0.0.30")).collect();
    assert_eq!(ask(from(&shop, "127.0.0.30"), &shop).expect("an answer").status, 200, "a proxy");
    drop(proxied);
    held.pop();
    let begun = Instant::now();
    while ask(from(&shop, "127.0.0.20"), &shop).is_none() {
        assert!(begun.elapsed() < Duration::from_secs(5), "a place that was given back is not given again");
    }
}

#[test]
fn a_connection_that_asks_again_has_the_same_time_again() {
    let shop = Shop::open();
    let mut stream = from(&shop, "127.0.0.40");
    for _ in 0..3 {
        write!(stream, "GET /livez HTTP/1.1\r\nhost: {}\r\n\r\n", shop.address).expect("a server that reads");
        let mut said = Vec::new();
        while !said.ends_with(b"ok\n") {
            let mut byte = [0];
            assert_eq!(stream.read(&mut byte).expect("an answer"), 1, "{}", String::from_utf8_lossy(&said));
            said.push(byte[0]);
        }
        assert!(said.starts_with(b"HTTP/1.1 200"));
    }
}
