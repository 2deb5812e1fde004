//! A receiver of requests over real connections, as well or as badly behaved as a test wants it.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;
use sillage::runtime::clock::Clock;
use sillage::time::Timestamp;

/// What happens to a request.
pub(crate) enum Then {
    /// A status, and headers.
    Answer(u16, &'static str),
    /// The same with headers of the test's own.
    Lead(u16, String),
    /// A status and a JSON body.
    Say(u16, Value),
    /// The status after so long.
    After(Duration, u16),
    /// The connection is cut.
    Reset,
    /// Nothing, until the other side has had enough.
    Silence,
    /// 200, and a body without end.
    Endless,
}

/// A request that came.
#[derive(Clone, Debug)]
pub(crate) struct Got {
    pub(crate) at: Timestamp,
    /// `webhook-id`, where there is one.
    pub(crate) id: String,
    /// First line without the version.
    pub(crate) line: String,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Value,
    raw: Vec<u8>,
}

impl Got {
    /// Lets the reference implementation look at the signature.
    pub(crate) fn verify(&self, secret: &str) {
        let mut headers = axum::http::HeaderMap::new();
        for name in ["webhook-id", "webhook-timestamp", "webhook-signature"] {
            headers.insert(name, self.headers[name].parse().expect("a value"));
        }
        standardwebhooks::Webhook::new(secret).expect("a secret").verify(&self.raw, &headers).expect("a good signature");
    }
}

struct Shared {
    got: Mutex<Vec<Got>>,
    came: Condvar,
    connections: AtomicUsize,
    over: AtomicBool,
    clock: Arc<Clock>,
}

pub(crate) struct Receiver {
    address: SocketAddr,
    shared: Arc<Shared>,
}

impl Receiver {
    /// What happens to a request follows from how many came in all, this one included, and how many of this id before.
    pub(crate) fn new(then: impl Fn(usize, usize) -> Then + Send + Sync + 'static) -> Receiver {
        Receiver::judging(move |_, all, before| then(all, before))
    }

    /// The same, knowing the request.
    pub(crate) fn judging(then: impl Fn(&Got, usize, usize) -> Then + Send + Sync + 'static) -> Receiver {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let shared = Arc::new(Shared {
            got: Mutex::default(),
            came: Condvar::new(),
            connections: AtomicUsize::new(0),
            over: AtomicBool::new(false),
            clock: Clock::starting_now(1.0),
        });
        let (ours, then) = (Arc::clone(&shared), Arc::new(then));
        let accepting = move || {
            for stream in listener.incoming() {
                if ours.over.load(Ordering::Acquire) {
                    return;
                }
                ours.connections.fetch_add(1, Ordering::AcqRel);
                let (ours, then) = (Arc::clone(&ours), Arc::clone(&then));
                let serving = move || drop(serve(stream.expect("a connection"), &ours, &*then));
                std::thread::Builder::new().spawn(serving).expect("a thread");
            }
        };
        std::thread::Builder::new().spawn(accepting).expect("a thread");
        Receiver { address, shared }
    }

    /// Nobody listens there any more.
    pub(crate) fn closed(self) -> Receiver {
        self.shared.over.store(true, Ordering::Release);
        // Wakes the listener, which ends then.
        drop(TcpStream::connect(self.address));
        let begun = Instant::now();
        while TcpStream::connect(self.address).is_ok() {
            assert!(begun.elapsed() < Duration::from_secs(5), "it does not close");
            std::thread::yield_now();
        }
        self
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn got(&self) -> Vec<Got> {
        self.shared.got.lock().expect("no panic").clone()
    }

    pub(crate) fn ids(&self) -> BTreeSet<String> {
        self.got().into_iter().map(|got| got.id).collect()
    }

    pub(crate) fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::Acquire)
    }

    /// Waits for so many requests; the id of the last one.
    pub(crate) fn wait_for(&self, count: usize) -> String {
        let begun = Instant::now();
        let mut got = self.shared.got.lock().expect("no panic");
        while got.len() < count {
            assert!(begun.elapsed() < Duration::from_secs(10), "{} of {count} requests came", got.len());
            got = self.shared.came.wait_timeout(got, Duration::from_millis(100)).expect("no panic").0;
        }
        got[count - 1].id.clone()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::Release);
        drop(TcpStream::connect(self.address));
    }
}

fn serve(stream: TcpStream, shared: &Shared, then: &dyn Fn(&Got, usize, usize) -> Then) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(());
    }
    let mut headers = BTreeMap::new();
    loop {
        let mut header = String::new();
        reader.read_line(&mut header)?;
        match header.trim_end().split_once(": ") {
            Some((name, value)) => drop(headers.insert(name.to_ascii_lowercase(), value.to_owned())),
            None => break,
        }
    }
    let length = headers.get("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    let mut raw = vec![0; length];
    reader.read_exact(&mut raw)?;
    let got = Got {
        at: shared.clock.now(),
        id: headers.get("webhook-id").cloned().unwrap_or_default(),
        line: line.rsplit_once(' ').map_or("", |(line, _)| line).to_owned(),
        headers,
        body: serde_json::from_slice(&raw).unwrap_or(Value::Null),
        raw,
    };
    let then = {
        let mut all = shared.got.lock().expect("no panic");
        let before = all.iter().filter(|known| known.id == got.id).count();
        let then = then(&got, all.len() + 1, before);
        all.push(got);
        shared.came.notify_all();
        then
    };
    answer(stream, then)
}

fn answer(mut stream: TcpStream, then: Then) -> std::io::Result<()> {
    let head = |status: u16, headers: &str, length: usize| {
        format!("HTTP/1.1 {status} Because\r\n{headers}content-length: {length}\r\nconnection: close\r\n\r\n")
    };
    match then {
        Then::Answer(status, headers) => stream.write_all(head(status, headers, 0).as_bytes()),
        Then::Lead(status, headers) => stream.write_all(head(status, &headers, 0).as_bytes()),
        Then::Say(status, body) => {
            let body = body.to_string();
            stream.write_all((head(status, "content-type: application/json\r\n", body.len()) + &body).as_bytes())
        }
        Then::After(pause, status) => {
            // It is the slowness that is tested.
            std::thread::sleep(pause);
            stream.write_all(head(status, "", 0).as_bytes())
        }
        Then::Reset => rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).map_err(Into::into),
        Then::Silence => stream.read(&mut [0; 1]).map(drop),
        Then::Endless => {
            stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")?;
            loop {
                stream.write_all(b"4\r\nmore\r\n")?;
            }
        }
    }
}
