//! Who may ask: the service by a name of its own, no page of another origin, and JSON where something is written.
//!
//! A browser lets any page send a request here; what it does not let the page do is choose `Host`, `Origin`,
//! `Sec-Fetch-Site`, or a JSON content type without asking first. So each request is judged by these four. Knows no paths
//! except the three that probes and Prometheus ask for, by whatever name they reach them.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::{self, HeaderName};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::packed::Encoding;
use super::problem::{Kind, Problem};
use super::{App, body};

/// Asked for by whoever watches the process; they tell nothing about customers and change nothing.
const WATCHED: [&str; 3] = ["/livez", "/readyz", "/metrics"];
/// Content types that hold JSON, one value or one a line.
const ONE_VALUE: &str = "application/json";
const LINES: [&str; 4] = ["application/x-ndjson", "application/ndjson", "application/jsonl", "application/x-jsonlines"];
const SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");
const DESTINATION: HeaderName = HeaderName::from_static("sec-fetch-dest");

/// The names under which the service is asked, and the pages that may ask it.
#[derive(Clone, Debug)]
pub(super) struct Gate {
    listen: IpAddr,
    hosts: Vec<String>,
    origins: Vec<String>,
}

impl Gate {
    /// `hosts` and `origins` come beside what `listen` allows, in lower case.
    pub(super) fn new(listen: SocketAddr, hosts: &[String], origins: &[String]) -> Self {
        Gate { listen: listen.ip().to_canonical(), hosts: hosts.to_vec(), origins: origins.to_vec() }
    }

    /// Whether a request may go on. `Some` with the origin of a page that is allowed by name.
    fn judge(&self, method: &Method, uri: &Uri, headers: &HeaderMap) -> Result<Option<HeaderValue>, Problem> {
        let host = self.host(uri, headers)?;
        let origin = self.origin(method, &host, headers)?;
        if method == Method::POST {
            content_type(headers)?;
            Encoding::of(headers)?;
        }
        Ok(origin)
    }

    /// The host that is asked for, which must be a name of this service: a page whose own name has been pointed at this
    /// machine (DNS rebinding) comes with that name.
    fn host(&self, uri: &Uri, headers: &HeaderMap) -> Result<String, Problem> {
        let mut hosts = headers.get_all(header::HOST).into_iter();
        let (Some(host), None) = (hosts.next(), hosts.next()) else {
            return Err(Problem::new(
                Kind::UnknownHost,
                "Send one Host header with the name under which the service is asked.",
            ));
        };
        let host = host.to_str().unwrap_or_default().to_ascii_lowercase();
        // A request may name the host in its first line as well; the name there must be ours too.
        let names = [Some(host.as_str()), uri.authority().map(|authority| authority.as_str())];
        if names.into_iter().flatten().all(|name| self.is_ours(&name.to_ascii_lowercase())) {
            return Ok(host);
        }
        let detail = "The Host header names another machine. Ask under the address in `listen`, under localhost, or add the \
                      name to `hosts` in the configuration.";
        Err(Problem::new(Kind::UnknownHost, detail))
    }

    /// Whatever the port: a proxy or a container may have another one.
    fn is_ours(&self, host: &str) -> bool {
        let name = without_port(host);
        let literal = name.strip_prefix('[').map_or(name, |name| name.strip_suffix(']').unwrap_or(name));
        if let Ok(address) = literal.parse::<IpAddr>() {
            let address = address.to_canonical();
            // An address cannot be pointed elsewhere as a name can; where all of them are listened on, each is ours.
            if address.is_loopback() || address == self.listen || self.listen.is_unspecified() {
                return true;
            }
        }
        let name = name.strip_suffix('.').unwrap_or(name);
        name == "localhost" || name.ends_with(".localhost") || self.hosts.iter().any(|known| known == name)
    }

    fn origin(&self, method: &Method, host: &str, headers: &HeaderMap) -> Result<Option<HeaderValue>, Problem> {
        let mut origins = headers.get_all(header::ORIGIN).into_iter();
        match (origins.next(), origins.next()) {
            (None, _) => {}
            (Some(origin), None) => {
                let text = origin.to_str().unwrap_or_default().to_ascii_lowercase();
                if self.origins.contains(&text) {
                    return Ok(Some(origin.clone()));
                }
                // A page of our own: what it comes from is what it asks.
                if text.strip_prefix("http://") != Some(host) {
                    return Err(foreign());
                }
            }
            (Some(_), Some(_)) => return Err(foreign()),
        }
        let site = headers.get(SITE).map(HeaderValue::as_bytes);
        match site {
            None | Some(b"same-origin" | b"none") => Ok(None),
            Some(_) if is_visit(method, headers) => Ok(None),
            Some(_) => Err(foreign()),
        }
    }
}

fn foreign() -> Problem {
    let detail = "A web page of another origin may not ask this service. If the page is yours, add its origin, such as \
                  https://shop.example.com, to `origins` in the configuration.";
    Problem::new(Kind::ForeignOrigin, detail)
}

/// Somebody follows a link: the page with the link does not see the answer, and nothing is written.
fn is_visit(method: &Method, headers: &HeaderMap) -> bool {
    let is = |name: &HeaderName, value: &str| headers.get(name).is_some_and(|given| given == value);
    method == Method::GET && is(&MODE, "navigate") && is(&DESTINATION, "document")
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        Some(_) | None => host,
    }
}

/// How the body of a request is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// JSON, in one value or one a line.
    Json,
    /// One value a line.
    Lines,
}

/// What a body holds by its content type. JSON types are those that a foreign page cannot send without asking first.
pub(super) fn content_type(headers: &HeaderMap) -> Result<Content, Problem> {
    let mut kinds = headers.get_all(header::CONTENT_TYPE).into_iter();
    let kind = match (kinds.next(), kinds.next()) {
        (Some(kind), None) => kind.to_str().unwrap_or_default(),
        (_, _) => "",
    };
    let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    match kind.as_str() {
        ONE_VALUE => Ok(Content::Json),
        kind if LINES.contains(&kind) => Ok(Content::Lines),
        _ => {
            let detail = "Send one header `content-type: application/json`, or `application/x-ndjson` for one object a line \
                          (curl: -H 'content-type: application/json').";
            Err(Problem::new(Kind::ContentType, detail))
        }
    }
}

/// Lets a request through, or refuses it.
pub(super) async fn pass(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    if WATCHED.contains(&request.uri().path()) {
        return next.run(request).await;
    }
    match app.gate.judge(request.method(), request.uri(), request.headers()) {
        Ok(None) => with_token(&app, request, next).await,
        Ok(Some(origin)) => {
            // A browser that asks whether it may ask shows no token yet.
            let asks_first =
                request.method() == Method::OPTIONS && request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
            let mut answer =
                if asks_first { StatusCode::NO_CONTENT.into_response() } else { with_token(&app, request, next).await };
            welcome(answer.headers_mut(), origin, asks_first);
            answer
        }
        Err(problem) => refuse(request, problem).await,
    }
}

/// Lets a request with the right token through.
async fn with_token(app: &App, request: Request, next: Next) -> Response {
    match app.service.tokens.judge(request.method(), request.uri().path(), request.headers()) {
        Ok(()) => next.run(request).await,
        Err(problem) => refuse(request, problem).await,
    }
}

async fn refuse(request: Request, problem: Problem) -> Response {
    body::drain(request.into_body()).await;
    problem.into_response()
}

/// Tells the browser that a page of this origin may ask and read (CORS).
fn welcome(headers: &mut HeaderMap, origin: HeaderValue, asks_first: bool) {
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.insert(header::VARY, HeaderValue::from_static("origin"));
    headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("sillage-position, retry-after"));
    if asks_first {
        headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, POST, DELETE"));
        headers.insert(
            header::ACCESS_CONTROL_ALLOW_HEADERS,
            HeaderValue::from_static("content-type, content-encoding, idempotency-key, authorization, sillage-load"),
        );
        headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_ours_by_address_or_by_name() {
        let gate = |listen: &str| {
            let listen = SocketAddr::new(listen.parse().expect("an address"), 8080);
            Gate::new(listen, &["sillage.example.com".to_owned()], &[])
        };
        for (listen, host, expected) in [
            ("127.0.0.1", "127.0.0.1:8080", true),
            ("127.0.0.1", "127.0.0.1", true),
            ("127.0.0.1", "localhost:9999", true),
            ("127.0.0.1", "localhost.", true),
            ("127.0.0.1", "shop.localhost", true),
            ("127.0.0.1", "[::1]:8080", true),
            ("127.0.0.1", "sillage.example.com:80", true),
            ("127.0.0.1", "10.0.0.1:8080", false),
            ("127.0.0.1", "", false),
            ("127.0.0.1", ":8080", false),
            ("127.0.0.1", "evil.example.com", false),
            ("127.0.0.1", "127.0.0.1.evil.example.com", false),
            ("127.0.0.1", "localhost.evil.example.com", false),
            ("127.0.0.1", "evillocalhost", false),
            ("127.0.0.1", "127.0.0.1@evil.example.com", false),
            ("127.0.0.1", "a.sillage.example.com", false),
            ("10.0.0.1", "10.0.0.1:8080", true),
            ("10.0.0.1", "10.0.0.2:8080", false),
            ("0.0.0.0", "10.0.0.2:8080", true),
            ("0.0.0.0", "evil.example.com", false),
            ("::", "[fd00::2]:8080", true),
            ("::ffff:10.0.0.1", "10.0.0.1", true),
        ] {
            assert_eq!(gate(listen).is_ours(host), expected, "{host:?} at {listen}");
        }
    }
}
