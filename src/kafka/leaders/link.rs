//! A connection to a broker, on which one thing after the other is asked. Whoever waits says until when.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use super::fault::Fault;
use super::messages::{self, Answer, Question, SASL_AUTHENTICATION_FAILED, Token, UNSUPPORTED_VERSION};
use super::security::{Sasl, Security};

/// An answer may have so many bytes: the metadata of some hundred thousand partitions.
const MOST_BYTES: usize = 16 << 20;
/// Brokers close connections that are idle for minutes: one that nobody has used for so long is not trusted.
const IDLE: Duration = Duration::from_secs(60);
/// A session is given up so long before the broker ends it.
const BEFORE_ITS_END: Duration = Duration::from_secs(10);

/// `host` and port.
pub(super) type Address = (String, u16);

enum Stream {
    Plain(TcpStream),
    #[cfg(feature = "tls")]
    Encrypted(openssl::ssl::SslStream<TcpStream>),
}

impl Stream {
    /// What is read or written next is given up then.
    fn until(&self, until: Instant) -> Result<(), Fault> {
        let left = Some(left(until)?);
        self.tcp().set_read_timeout(left)?;
        Ok(self.tcp().set_write_timeout(left)?)
    }

    fn tcp(&self) -> &TcpStream {
        match self {
            Stream::Plain(tcp) => tcp,
            #[cfg(feature = "tls")]
            Stream::Encrypted(stream) => stream.get_ref(),
        }
    }
}

impl Read for Stream {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Plain(tcp) => tcp.read(bytes),
            #[cfg(feature = "tls")]
            Stream::Encrypted(stream) => stream.read(bytes),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Plain(tcp) => tcp.write(bytes),
            #[cfg(feature = "tls")]
            Stream::Encrypted(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Stream::Plain(tcp) => tcp.flush(),
            #[cfg(feature = "tls")]
            Stream::Encrypted(stream) => stream.flush(),
        }
    }
}

fn left(until: Instant) -> Result<Duration, Fault> {
    let left = until.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(Fault::Passing("it does not answer".to_owned())) } else { Ok(left) }
}

/// A connection on which a broker can be asked. After a fault it is of no use: an answer may still be on its way.
pub(super) struct Link {
    stream: Stream,
    client: String,
    correlation: i32,
    used: Instant,
    /// When its session ends, where the broker has said so.
    ends: Option<Instant>,
}

impl Link {
    /// Connects, encrypts, says who asks, and makes sure that the broker understands what it will be asked.
    pub(super) fn open(address: &Address, security: &Security, client: &str, until: Instant) -> Result<Self, Fault> {
        let stream = encrypted(connected(address, until)?, &address.0, security, until)?;
        let mut link = Link { stream, client: client.to_owned(), correlation: 0, used: Instant::now(), ends: None };
        let answer = link.ask(until, messages::api_versions)?;
        let known = Answer::of(&answer).api_versions()?;
        let known = known.map_err(|code| Fault::Refused(format!("it does not say what it understands (error {code})")))?;
        let mut needed = vec![Question::Metadata, Question::OffsetForLeaderEpoch];
        if security.sasl.is_some() {
            needed.extend([Question::SaslHandshake, Question::SaslAuthenticate]);
        }
        if let Some(question) = needed.into_iter().find(|question| !known.contains(question)) {
            return Err(Fault::Refused(format!("it does not understand {question:?} in version {}", question.version())));
        }
        if let Some(sasl) = &security.sasl {
            link.authenticate(sasl, until)?;
        }
        Ok(link)
    }

    /// Whether it is still there, as far as one can know: it was used lately, and its session goes on for a while.
    pub(super) fn is_good(&self) -> bool {
        self.used.elapsed() < IDLE && self.ends.is_none_or(|ends| ends > Instant::now())
    }

    /// Asks, and waits for the answer.
    pub(super) fn ask(&mut self, until: Instant, request: impl FnOnce(i32, &str) -> Vec<u8>) -> Result<Vec<u8>, Fault> {
        let correlation = self.send(until, request)?;
        self.receive(correlation, until)
    }

    /// Asks; the answer is to be received before anything else is asked for.
    pub(super) fn send(&mut self, until: Instant, request: impl FnOnce(i32, &str) -> Vec<u8>) -> Result<i32, Fault> {
        self.correlation = self.correlation.wrapping_add(1);
        self.used = Instant::now();
        self.stream.until(until)?;
        self.stream.write_all(&request(self.correlation, &self.client))?;
        Ok(self.correlation)
    }

    /// The answer to what was asked under this number, behind its header.
    pub(super) fn receive(&mut self, correlation: i32, until: Instant) -> Result<Vec<u8>, Fault> {
        let mut head = [0; 8];
        self.fill(&mut head, until)?;
        let [a, b, c, d, e, f, g, h] = head;
        let length = usize::try_from(i32::from_be_bytes([a, b, c, d])).unwrap_or(0);
        if !(4..=MOST_BYTES).contains(&length) || i32::from_be_bytes([e, f, g, h]) != correlation {
            return Err(messages::Garbled.into());
        }
        let mut answer = vec![0; length - 4];
        self.fill(&mut answer, until)?;
        Ok(answer)
    }

    fn fill(&mut self, mut bytes: &mut [u8], until: Instant) -> Result<(), Fault> {
        while !bytes.is_empty() {
            self.stream.until(until)?;
            match self.stream.read(bytes) {
                Ok(0) => return Err(Fault::Passing("it has closed the connection".to_owned())),
                Ok(read) => bytes = &mut bytes[read..],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn authenticate(&mut self, sasl: &Sasl, until: Instant) -> Result<(), Fault> {
        let mechanism = sasl.mechanism();
        let answer = self.ask(until, |number, client| messages::handshake(number, client, mechanism))?;
        let known = Answer::of(&answer).handshake()?;
        known.map_err(|known| Fault::Refused(format!("it does not know the SASL mechanism {mechanism}, but {known}")))?;
        match sasl {
            Sasl::Plain { user, password } => {
                self.token(format!("\0{user}\0{password}").as_bytes(), until)?;
            }
            #[cfg(feature = "tls")]
            Sasl::Scram { digest, user, password } => {
                use super::scram;
                let nonce = scram::nonce().map_err(Fault::Refused)?;
                let words = self.token(&scram::first(user, &nonce), until)?;
                let (proof, expected) = scram::last(*digest, user, password, &nonce, &words).map_err(Fault::Refused)?;
                if self.token(&proof, until)? != expected {
                    return Err(Fault::Refused("it does not know the password itself".to_owned()));
                }
            }
        }
        Ok(())
    }

    /// Hands a token over; the broker's token in return.
    fn token(&mut self, token: &[u8], until: Instant) -> Result<Vec<u8>, Fault> {
        let answer = self.ask(until, |number, client| messages::authenticate(number, client, token))?;
        match Answer::of(&answer).authenticate()? {
            Ok(Token { token, lasts_millis }) => {
                let lasts = u64::try_from(lasts_millis).ok().filter(|lasts| *lasts > 0).map(Duration::from_millis);
                self.ends = lasts.map(|lasts| Instant::now() + lasts.saturating_sub(BEFORE_ITS_END).max(lasts / 2));
                Ok(token.to_vec())
            }
            Err((SASL_AUTHENTICATION_FAILED | UNSUPPORTED_VERSION, words)) => {
                Err(Fault::Refused(format!("it does not let this client in: {words}")))
            }
            Err((code, words)) => Err(Fault::Passing(format!("it does not let this client in (error {code}): {words}"))),
        }
    }
}

fn connected((host, port): &Address, until: Instant) -> Result<TcpStream, Fault> {
    let mut last = Fault::Passing(format!("nobody knows the address of {host}"));
    for address in (host.as_str(), *port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, left(until)?) {
            Ok(tcp) => {
                tcp.set_nodelay(true)?;
                return Ok(tcp);
            }
            Err(error) => last = error.into(),
        }
    }
    Err(last)
}

#[cfg(feature = "tls")]
fn encrypted(tcp: TcpStream, host: &str, security: &Security, until: Instant) -> Result<Stream, Fault> {
    let stream = Stream::Plain(tcp);
    stream.until(until)?;
    Ok(match (stream, &security.tls) {
        (Stream::Plain(tcp), Some(tls)) => Stream::Encrypted(tls.encrypt(host, tcp)?),
        (stream, _) => stream,
    })
}

#[cfg(not(feature = "tls"))]
fn encrypted(tcp: TcpStream, _host: &str, _security: &Security, _until: Instant) -> Result<Stream, Fault> {
    Ok(Stream::Plain(tcp))
}
