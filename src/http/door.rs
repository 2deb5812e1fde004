//! The listener: so many connections at once, in all and from one address, none idle or slow in asking for long, and all of
//! them cut when told so.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::extract::Request;
use axum::extract::connect_info::{ConnectInfo, Connected};
use axum::middleware::Next;
use axum::response::Response;
use axum::serve::{IncomingStream, Listener};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, Sleep};

use super::stopped;

/// Connections at once; more wait to be accepted.
const CONNECTIONS: usize = 1024;
/// A connection on which nothing moved for so long is cut. Longer than the longest long poll.
const IDLE: Duration = Duration::from_secs(90);
/// Connections from one address; more are closed at once.
const FROM_ONE: usize = 256;
/// The head of a request (its first line and its headers) must be there so long after its first byte, and after connecting.
const HEAD: Duration = Duration::from_secs(10);

/// Bytes read at once: what a connection has of its own is bounded by twice as many.
const AT_ONCE: usize = 16 << 10;

/// A listener with limits.
pub(super) struct Door {
    listener: TcpListener,
    places: Arc<Semaphore>,
    callers: Callers,
    proxies: Vec<IpAddr>,
    cutting: watch::Receiver<bool>,
}

impl Door {
    /// Cuts all its connections once `cutting` is up. Connections from `proxies` are not counted by address.
    pub(super) fn new(listener: TcpListener, cutting: watch::Receiver<bool>, proxies: &[IpAddr]) -> Self {
        let proxies = proxies.iter().map(IpAddr::to_canonical).collect();
        let callers = Callers::default();
        Door { listener, callers, proxies, places: Arc::new(Semaphore::new(CONNECTIONS)), cutting }
    }
}

impl Listener for Door {
    type Io = Line;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Line, SocketAddr) {
        let place = Arc::clone(&self.places).acquire_owned().await.ok();
        let (stream, address, counted) = loop {
            let (stream, address) = Listener::accept(&mut self.listener).await;
            let ip = address.ip().to_canonical();
            if self.proxies.contains(&ip) {
                break (stream, address, None);
            }
            // Dropping a stream closes it; an answer would have to wait until somebody reads it.
            if let Some(counted) = self.callers.count_in(caller(ip)) {
                break (stream, address, Some(counted));
            }
        };
        // Without it answers wait for the client's delayed acknowledgement; a failure costs speed only.
        let _ = stream.set_nodelay(true);
        let mut cutting = self.cutting.clone();
        let cut = Box::pin(async move { stopped(&mut cutting).await });
        let line = Line {
            stream,
            cut,
            idle: Box::pin(tokio::time::sleep(IDLE)),
            heads: Heads::default(),
            begun: Some(0),
            head: Box::pin(tokio::time::sleep(HEAD)),
            _place: place,
            _counted: counted,
        };
        (line, address)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A connection that can be cut.
pub(super) struct Line {
    stream: TcpStream,
    cut: Pin<Box<dyn Future<Output = ()> + Send>>,
    idle: Pin<Box<Sleep>>,
    heads: Heads,
    /// What `heads` said when the first byte of a head came; the head is due at `head`.
    begun: Option<u64>,
    head: Pin<Box<Sleep>>,
    _place: Option<OwnedSemaphorePermit>,
    _counted: Option<Counted>,
}

/// Counts heads that have come and requests that have been answered: odd while a request is worked on.
#[derive(Clone, Debug, Default)]
pub(super) struct Heads(Arc<AtomicU64>);

impl Heads {
    fn count(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }

    fn pass(&self) {
        self.0.fetch_add(1, Ordering::AcqRel);
    }
}

impl Connected<IncomingStream<'_, Door>> for Heads {
    fn connect_info(stream: IncomingStream<'_, Door>) -> Self {
        stream.io().heads.clone()
    }
}

/// Tells the connection when the head of a request has come, and when the request is answered.
pub(super) async fn attend(ConnectInfo(heads): ConnectInfo<Heads>, request: Request, next: Next) -> Response {
    heads.pass();
    let answer = next.run(request).await;
    heads.pass();
    answer
}

/// How many connections there are from each address.
#[derive(Clone, Debug, Default)]
struct Callers(Arc<Mutex<HashMap<IpAddr, usize>>>);

impl Callers {
    fn counts(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts one more connection of this address; `None` where it has too many.
    fn count_in(&self, caller: IpAddr) -> Option<Counted> {
        let mut counts = self.counts();
        let count = counts.entry(caller).or_default();
        if *count == FROM_ONE {
            return None;
        }
        *count += 1;
        Some(Counted { callers: self.clone(), caller })
    }
}

/// A connection of one address, counted until it is dropped.
struct Counted {
    callers: Callers,
    caller: IpAddr,
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut counts = self.callers.counts();
        if let Some(count) = counts.get_mut(&self.caller) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.caller);
            }
        }
    }
}

/// Whom an address belongs to: with IPv6 one machine has a whole network of 64 bits.
fn caller(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
    }
}

impl Line {
    /// Lets an operation's answer through; instead of waiting, fails where the connection is to be cut.
    fn pass<T>(&mut self, context: &mut Context<'_>, answer: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if answer.is_ready() {
            self.idle.as_mut().reset(Instant::now() + IDLE);
            return answer;
        }
        let late = self.begun == Some(self.heads.count()) && self.head.as_mut().poll(context).is_ready();
        if late || self.cut.as_mut().poll(context).is_ready() || self.idle.as_mut().poll(context).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        Poll::Pending
    }
}

impl AsyncRead for Line {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        // Whoever fills a large buffer is given a larger one.
        let most = buffer.remaining().min(AT_ONCE);
        let mut part = ReadBuf::new(buffer.initialize_unfilled_to(most));
        let answer = Pin::new(&mut self.stream).poll_read(context, &mut part);
        let read = part.filled().len();
        buffer.advance(read);
        let count = self.heads.count();
        // Between requests, even a byte is the beginning of a head.
        if read > 0 && count.is_multiple_of(2) && self.begun != Some(count) {
            self.begun = Some(count);
            self.head.as_mut().reset(Instant::now() + HEAD);
        }
        self.pass(context, answer)
    }
}

impl AsyncWrite for Line {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let answer = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.pass(context, answer)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let answer = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.pass(context, answer)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
