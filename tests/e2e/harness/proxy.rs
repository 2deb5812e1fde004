//! A TCP proxy before the broker. It rewrites nothing, but it can freeze, cut, refuse, and act on one chosen request.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::wait;

/// The request that ends a transaction.
pub(crate) const END_TXN: i16 = 26;

/// What to do at the next request of a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// Cut the connection instead of forwarding the request.
    BeforeRequest,
    /// Forward the request, and cut the connection when the broker answers it.
    BeforeAnswer,
    /// Cut the connection, and let the request arrive so much later all the same: the network had held it.
    Late(Duration),
}

/// What happens to everybody else when it happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Then {
    /// Nothing: the client may connect again at once.
    GoOn,
    /// All connections are cut and new ones refused, until [`Proxy::accept`].
    Refuse,
}

/// A proxy; the threads behind it live as long as the process.
#[derive(Clone)]
pub(crate) struct Proxy {
    address: SocketAddr,
    upstream: u16,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    frozen: bool,
    refusing: bool,
    fault: Option<(i16, Cut, Then)>,
    hits: usize,
    connections: Vec<Arc<Connection>>,
}

struct Connection {
    client: TcpStream,
    broker: TcpStream,
    /// Correlation id of the request whose answer is not to come through.
    unanswered: Mutex<Option<([u8; 4], Then)>>,
}

impl Connection {
    fn cut(&self) {
        // An end that is gone already needs no cutting.
        let _ = self.client.shutdown(Shutdown::Both);
        let _ = self.broker.shutdown(Shutdown::Both);
    }
}

impl Proxy {
    /// A proxy before this port on loopback, listening from now on.
    pub(crate) fn before(upstream: u16) -> Proxy {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let address = listener.local_addr().expect("an address");
        let shared = Arc::new(Shared::default());
        let behind = Arc::clone(&shared);
        spawn("proxy", move || {
            for client in listener.incoming().flatten() {
                behind.connect(client, upstream);
            }
        });
        Proxy { address, upstream, shared }
    }

    /// `host:port` of the proxy itself.
    pub(crate) fn address(&self) -> String {
        self.address.to_string()
    }

    /// The port behind it.
    pub(crate) fn upstream(&self) -> u16 {
        self.upstream
    }

    /// Lets nothing through, in either direction, until [`Proxy::thaw`]; connections stay open.
    pub(crate) fn freeze(&self) {
        self.shared.state().frozen = true;
    }

    /// Lets through what was held.
    pub(crate) fn thaw(&self) {
        self.shared.state().frozen = false;
        self.shared.changed.notify_all();
    }

    /// Cuts all connections; new ones are served.
    pub(crate) fn cut(&self) {
        self.shared.cut_all(&mut self.shared.state());
    }

    /// Serves new connections again.
    pub(crate) fn accept(&self) {
        self.shared.state().refusing = false;
    }

    /// Acts on the next request with this API key, once.
    pub(crate) fn arm(&self, api_key: i16, cut: Cut, then: Then) {
        let mut state = self.shared.state();
        state.fault = Some((api_key, cut, then));
        state.hits = 0;
    }

    /// Whether the armed request came.
    pub(crate) fn was_hit(&self) -> bool {
        self.shared.state().hits > 0
    }

    /// Expects nothing any more; says whether something came.
    pub(crate) fn disarm(&self) -> bool {
        let mut state = self.shared.state();
        state.fault = None;
        state.hits > 0
    }

    /// Waits until the armed request came and was acted upon.
    pub(crate) fn wait_for_hit(&self, within: Duration) {
        wait::until_true("the request that the proxy waits for", within, || self.shared.state().hits > 0);
    }
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) {
    std::thread::Builder::new().name(name.to_owned()).spawn(work).expect("a thread starts");
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn connect(self: &Arc<Self>, client: TcpStream, upstream: u16) {
        let mut state = self.state();
        if state.refusing {
            return;
        }
        let Ok(broker) = TcpStream::connect((Ipv4Addr::LOCALHOST, upstream)) else { return };
        let _ = (client.set_nodelay(true), broker.set_nodelay(true));
        let both = (client.try_clone().expect("a socket"), broker.try_clone().expect("a socket"));
        let connection = Arc::new(Connection { client, broker, unanswered: Mutex::new(None) });
        state.connections.push(Arc::clone(&connection));
        drop(state);
        let (mut requests, mut answers) = both;
        let (shared, serving) = (Arc::clone(self), Arc::clone(&connection));
        spawn("proxy-requests", move || {
            while let Some(frame) = read_frame(&mut requests)
                && shared.pass_request(&serving, &frame)
            {}
            serving.cut();
        });
        let shared = Arc::clone(self);
        spawn("proxy-answers", move || {
            while let Some(frame) = read_frame(&mut answers)
                && shared.pass_answer(&connection, &frame)
            {}
            connection.cut();
        });
    }

    /// Waits while frozen.
    fn passable(&self) -> MutexGuard<'_, State> {
        let state = self.state();
        self.changed.wait_while(state, |state| state.frozen).unwrap_or_else(PoisonError::into_inner)
    }

    fn cut_all(&self, state: &mut State) {
        state.connections.drain(..).for_each(|connection| connection.cut());
    }

    fn hit(&self, state: &mut State, then: Then) {
        state.hits += 1;
        match then {
            Then::GoOn => {}
            Then::Refuse => {
                state.refusing = true;
                self.cut_all(state);
            }
        }
    }

    /// Forwards a request, or not; says whether the connection goes on. A frame is the length (4 bytes), the API key (2), its
    /// version (2), the correlation id (4) and the rest.
    fn pass_request(&self, connection: &Connection, frame: &[u8]) -> bool {
        let mut state = self.passable();
        let key = frame.get(4..6).map(|key| i16::from_be_bytes([key[0], key[1]]));
        if let Some((_, cut, then)) = state.fault.take_if(|(wanted, ..)| Some(*wanted) == key) {
            match cut {
                Cut::BeforeRequest => {
                    self.hit(&mut state, then);
                    return false;
                }
                Cut::Late(by) => {
                    self.hit(&mut state, then);
                    deliver_late(connection, frame.to_vec(), by);
                    return false;
                }
                Cut::BeforeAnswer => {
                    let correlation = frame[8..12].try_into().expect("four bytes");
                    *connection.unanswered.lock().unwrap_or_else(PoisonError::into_inner) = Some((correlation, then));
                }
            }
        }
        drop(state);
        (&connection.broker).write_all(frame).is_ok()
    }

    /// Forwards an answer, or not; says whether the connection goes on. A frame is the length (4 bytes), the correlation id
    /// (4) and the rest.
    fn pass_answer(&self, connection: &Connection, frame: &[u8]) -> bool {
        let mut state = self.passable();
        let unanswered = *connection.unanswered.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((correlation, then)) = unanswered
            && frame.get(4..8) == Some(&correlation[..])
        {
            self.hit(&mut state, then);
            return false;
        }
        drop(state);
        (&connection.client).write_all(frame).is_ok()
    }
}

/// Sends a request on a connection of its own: that it came on is gone by then.
fn deliver_late(connection: &Connection, frame: Vec<u8>, by: Duration) {
    let Ok(broker) = connection.broker.peer_addr() else { return };
    spawn("proxy-late", move || {
        std::thread::sleep(by);
        // The broker may be away; then the request is lost, as it would be on a network.
        if let Ok(mut broker) = TcpStream::connect(broker)
            && broker.write_all(&frame).is_ok()
        {
            let _ = read_frame(&mut broker);
        }
    });
}

fn read_frame(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut length = [0; 4];
    stream.read_exact(&mut length).ok()?;
    let mut frame = length.to_vec();
    frame.resize(4 + u32::from_be_bytes(length) as usize, 0);
    stream.read_exact(&mut frame[4..]).ok()?;
    Some(frame)
}
