//! The way to the receivers: HTTP, one connection for each request, to an address that was checked.
//!
//! No redirects, no proxy, no cookies; answers are read as far as they are needed, and no further. Decides nothing.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use ureq::RequestExt;
use ureq::config::Config;
use ureq::http::{self, StatusCode, Uri};
use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{DefaultConnector, NextTimeout};

use super::addresses;
use super::lanes::Reply;
use super::lanes::delivery::What;
use super::request::{Destination, Private, Request, Step};
use crate::port::Now;
use crate::time::{Span, Timestamp};

/// Bytes of an answer that are read, where something of it is needed.
const ANSWER: u64 = 64 << 10;
/// Bytes of the headers of an answer.
const HEADERS: usize = 16 << 10;

/// What is to be delivered, once.
#[derive(Clone, Debug)]
pub struct Parcel {
    /// The outcome's id.
    pub id: String,
    /// What it is.
    pub what: What,
    /// The outcome as published.
    pub record: String,
    /// What earlier answers said.
    pub captured: BTreeMap<String, String>,
    /// No request begins or lasts beyond.
    pub until: Option<Timestamp>,
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct Answer {
    /// In one word.
    pub reply: Reply,
    /// What the answers said that is needed later, of steps that went well as well.
    pub captured: BTreeMap<String, String>,
}

/// The way to one destination.
pub struct Courier {
    destination: Destination,
    agent: ureq::Agent,
    now: Now,
}

impl Courier {
    /// Connects to nobody yet.
    ///
    /// # Errors
    /// Certificates that are none.
    pub fn new(destination: Destination, now: Now) -> Result<Self, String> {
        let roots = match &destination.authorities {
            None => RootCerts::WebPki,
            Some(pem) => RootCerts::Specific(Arc::new(certificates(pem)?)),
        };
        let config = Config::builder()
            .http_status_as_error(false)
            .proxy(None)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .max_idle_connections(0)
            .max_idle_connections_per_host(0)
            .max_response_header_size(HEADERS)
            .tls_config(TlsConfig::builder().root_certs(roots).build())
            .build();
        let resolver = Checked { inner: DefaultResolver::default(), private: destination.private.clone() };
        let agent = ureq::Agent::with_parts(config, DefaultConnector::default(), resolver);
        Ok(Courier { destination, agent, now })
    }

    /// Delivers, step by step, on this thread.
    pub fn deliver(&self, parcel: &Parcel) -> Answer {
        let mut captured = parcel.captured.clone();
        let reply = match serde_json::from_str(&parcel.record) {
            Err(fault) => Reply::Unusable { reason: format!("the outcome is no JSON: {fault}") },
            Ok(outcome) => self.steps(parcel, &outcome, &mut captured),
        };
        Answer { reply, captured }
    }

    fn steps(&self, parcel: &Parcel, outcome: &Value, captured: &mut BTreeMap<String, String>) -> Reply {
        for step in self.destination.steps(parcel.what).iter() {
            if !step.keep.is_empty() && step.keep.iter().all(|(name, _)| captured.contains_key(name)) {
                continue;
            }
            let now = (self.now)();
            let left = parcel.until.map_or(self.destination.timeout, |until| until.since(now).min(self.destination.timeout));
            if left <= Span::ZERO {
                return Reply::Refused { reason: "it expired before it could be sent".to_owned() };
            }
            let made = self.destination.request(step, (&parcel.id, &parcel.record, outcome), captured, now);
            let request = match made {
                Ok(request) => request,
                Err(reason) => return Reply::Unusable { reason },
            };
            match self.ask(request, step, left) {
                Ok(kept) => captured.extend(kept),
                Err(reply) => return reply,
            }
        }
        Reply::Accepted
    }

    fn ask(&self, request: Request, step: &Step, within: Span) -> Result<BTreeMap<String, String>, Reply> {
        let mut made = http::Request::builder().method(request.method).uri(&request.url);
        for (name, value) in &request.headers {
            made = made.header(name, value);
        }
        let made = made.body(request.body).map_err(|fault| Reply::Unusable { reason: fault.to_string() })?;
        let within = Duration::from_millis(within.as_millis().unsigned_abs());
        let asked = made.with_agent(&self.agent).configure().timeout_global(Some(within)).build().run();
        let mut answer = asked.map_err(|fault| failed(&fault))?;
        let status = answer.status();
        if !status.is_success() && !step.fine.contains(&status.as_u16()) {
            return Err(refused(status, answer.headers(), (self.now)()));
        }
        if step.keep.is_empty() {
            return Ok(BTreeMap::new());
        }
        let body = answer.body_mut().with_config().limit(ANSWER).read_to_vec().map_err(|fault| failed(&fault))?;
        let body: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
        let kept = step.keep.iter().map(|(name, path)| Ok((name.clone(), super::template::look_up(&body, path)?)));
        // It was accepted, yet cannot be gone on from.
        kept.collect::<Result<_, String>>().map_err(|reason| Reply::Unclear { reason })
    }
}

fn certificates(pem: &[u8]) -> Result<Vec<ureq::tls::Certificate<'static>>, String> {
    let mut found = Vec::new();
    for item in parse_pem(pem) {
        if let PemItem::Certificate(certificate) = item.map_err(|fault| fault.to_string())? {
            found.push(certificate);
        }
    }
    if found.is_empty() { Err("there is no certificate in PEM".to_owned()) } else { Ok(found) }
}

/// An answer that is no success.
fn refused(status: StatusCode, headers: &http::HeaderMap, now: Timestamp) -> Reply {
    let reason = match status.as_u16() {
        300..400 => format!("{status}; redirects are not followed"),
        _ => status.to_string(),
    };
    match status.as_u16() {
        410 => Reply::Gone,
        429 | 503 => {
            let after = headers.get("retry-after").and_then(|value| retry_after(value.to_str().ok()?, now));
            Reply::Slow { after, reason }
        }
        // It says itself that it did nothing.
        300..=407 | 409 | 411..=499 => Reply::Refused { reason },
        _ => Reply::Unclear { reason },
    }
}

/// Seconds, or an instant.
fn retry_after(text: &str, now: Timestamp) -> Option<Span> {
    if let Ok(seconds) = text.trim().parse::<u32>() {
        return Some(Span::from_secs(i64::from(seconds)));
    }
    let at = jiff::fmt::rfc2822::parse(text.trim()).ok()?.timestamp().as_millisecond();
    Some(Timestamp::from_millis(at).since(now).max(Span::ZERO))
}

/// No answer: whether the request may have arrived all the same.
fn failed(fault: &ureq::Error) -> Reply {
    use std::io::ErrorKind as Kind;
    let reason = fault.to_string();
    let never_began = match fault {
        ureq::Error::Io(cause) => {
            matches!(cause.kind(), Kind::ConnectionRefused | Kind::HostUnreachable | Kind::NetworkUnreachable)
        }
        ureq::Error::Timeout(ureq::Timeout::Resolve | ureq::Timeout::Connect) => true,
        ureq::Error::HostNotFound
        | ureq::Error::ConnectionFailed
        | ureq::Error::Rustls(_)
        | ureq::Error::Tls(_)
        | ureq::Error::Other(_) => true,
        _ => false,
    };
    if never_began { Reply::Refused { reason } } else { Reply::Unclear { reason } }
}

/// Leaves out the addresses that may not be connected to; what is left is what is connected to.
#[derive(Debug)]
struct Checked {
    inner: DefaultResolver,
    private: Private,
}

impl Resolver for Checked {
    fn resolve(&self, uri: &Uri, config: &Config, timeout: NextTimeout) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let found = self.inner.resolve(uri, config, timeout).map_err(|fault| match fault {
            // Nobody was asked yet.
            ureq::Error::Io(_) => ureq::Error::HostNotFound,
            other => other,
        })?;
        let mut fit = self.inner.empty();
        let mut why = None;
        for address in found.iter() {
            match self.refusal(address) {
                None => fit.push(*address),
                Some(reason) => why = Some(reason),
            }
        }
        match why {
            Some(why) if fit.is_empty() => Err(ureq::Error::Other(
                format!("the host's address is {why}; name it in `private_addresses` if that is meant").into(),
            )),
            Some(_) | None => Ok(fit),
        }
    }
}

impl Checked {
    fn refusal(&self, address: &SocketAddr) -> Option<&'static str> {
        if self.private.host || self.private.addresses.contains(&address.ip().to_canonical()) {
            return None;
        }
        addresses::refusal(address.ip())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_receiver_asks_for_is_understood() {
        let now = Timestamp::parse("2015-10-21T07:27:00Z").expect("an instant");
        for (text, after) in [
            ("120", Some(120)),
            ("Wed, 21 Oct 2015 07:28:00 GMT", Some(60)),
            ("Wed, 21 Oct 2015 07:00:00 GMT", Some(0)),
            ("soon", None),
            ("-1", None),
        ] {
            assert_eq!(retry_after(text, now), after.map(Span::from_secs), "{text}");
        }
    }
}
