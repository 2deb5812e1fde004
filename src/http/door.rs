//! The listener: so many connections at once, none idle for long, and all of them cut when told so.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::serve::Listener;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, Sleep};

use super::stopped;

/// Connections at once; more wait to be accepted.
const CONNECTIONS: usize = 1024;
/// A connection on which nothing moved for so long is cut. Longer than the longest long poll.
const IDLE: Duration = Duration::from_secs(90);

/// A listener with limits.
pub(super) struct Door {
    listener: TcpListener,
    places: Arc<Semaphore>,
    cutting: watch::Receiver<bool>,
}

impl Door {
    /// Cuts all its connections once `cutting` is up.
    pub(super) fn new(listener: TcpListener, cutting: watch::Receiver<bool>) -> Self {
        Door { listener, places: Arc::new(Semaphore::new(CONNECTIONS)), cutting }
    }
}

impl Listener for Door {
    type Io = Line;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Line, SocketAddr) {
        let place = Arc::clone(&self.places).acquire_owned().await.ok();
        let (stream, address) = Listener::accept(&mut self.listener).await;
        // Without it answers wait for the client's delayed acknowledgement; a failure costs speed only.
        let _ = stream.set_nodelay(true);
        let mut cutting = self.cutting.clone();
        let cut = Box::pin(async move { stopped(&mut cutting).await });
        (Line { stream, cut, idle: Box::pin(tokio::time::sleep(IDLE)), _place: place }, address)
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
    _place: Option<OwnedSemaphorePermit>,
}

impl Line {
    /// Lets an operation's answer through; instead of waiting, fails where the connection is to be cut.
    fn pass<T>(&mut self, context: &mut Context<'_>, answer: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if answer.is_ready() {
            self.idle.as_mut().reset(Instant::now() + IDLE);
            return answer;
        }
        if self.cut.as_mut().poll(context).is_ready() || self.idle.as_mut().poll(context).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        Poll::Pending
    }
}

impl AsyncRead for Line {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let answer = Pin::new(&mut self.stream).poll_read(context, buffer);
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
