//! What went wrong with a request, as `application/problem+json` (RFC 9457). Ends with the next action.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value};

/// How bodies may be packed.
const ACCEPTED: &str = "gzip, zstd";

/// The kinds of problems. Their names are part of the interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    UnknownPath,
    UnknownHost,
    ForeignOrigin,
    ContentType,
    ContentEncoding,
    NotAllowed,
    NoToken,
    Scope,
    Ahead,
    WrongMethod,
    NotEmbedded,
    BadQuery,
    NoPosition,
    BadBody,
    Unusable,
    BadKey,
    NoKey,
    TooLarge,
    SlowBody,
    NotJson,
    Busy,
    UnknownCustomer,
    NoShard,
    Loading,
    NoLoad,
    OtherLoad,
    TooLate,
    Full,
    Unreachable,
    Broken,
}

impl Kind {
    /// Status, name and title.
    fn facts(self) -> (StatusCode, &'static str, &'static str) {
        use StatusCode as S;
        match self {
            Kind::UnknownPath => (S::NOT_FOUND, "unknown-path", "There is nothing at this path"),
            Kind::UnknownHost => (S::MISDIRECTED_REQUEST, "unknown-host", "This service is not known by that name"),
            Kind::ForeignOrigin => (S::FORBIDDEN, "foreign-origin", "A page of another origin asks"),
            Kind::ContentType => (S::UNSUPPORTED_MEDIA_TYPE, "content-type", "The content type is not JSON"),
            Kind::ContentEncoding => {
                (S::UNSUPPORTED_MEDIA_TYPE, "content-encoding", "The body is packed in another way than is unpacked here")
            }
            Kind::NotAllowed => (S::FORBIDDEN, "not-allowed", "This service does not do that"),
            Kind::NoToken => (S::UNAUTHORIZED, "no-token", "A token is needed"),
            Kind::Scope => (S::FORBIDDEN, "scope", "The token does not allow this"),
            Kind::Ahead => (S::BAD_REQUEST, "ahead", "The history begins in the future"),
            Kind::WrongMethod => (S::METHOD_NOT_ALLOWED, "wrong-method", "This path is not asked for in this way"),
            Kind::NotEmbedded => (S::NOT_FOUND, "not-embedded", "This service does not run on the embedded log"),
            Kind::BadQuery => (S::BAD_REQUEST, "bad-query", "The query is not understood"),
            Kind::NoPosition => (S::CONFLICT, "no-position", "There is no outcome of that position yet"),
            Kind::BadBody => (S::BAD_REQUEST, "bad-body", "The body is not understood"),
            Kind::Unusable => (S::BAD_REQUEST, "unusable-touchpoints", "Touchpoints cannot be used; nothing was stored"),
            Kind::BadKey => (S::BAD_REQUEST, "bad-idempotency-key", "The Idempotency-Key is not one"),
            Kind::NoKey => (S::BAD_REQUEST, "no-idempotency-key", "Touchpoints without an id need an Idempotency-Key"),
            Kind::TooLarge => (S::PAYLOAD_TOO_LARGE, "too-large", "The request holds too much"),
            Kind::SlowBody => (S::REQUEST_TIMEOUT, "slow-body", "The body did not arrive in time"),
            Kind::NotJson => (S::UNSUPPORTED_MEDIA_TYPE, "not-json", "This service does not read JSON"),
            Kind::Busy => (S::TOO_MANY_REQUESTS, "busy", "Too many requests are in flight"),
            Kind::UnknownCustomer => (S::NOT_FOUND, "unknown-customer", "No journey is known"),
            Kind::NoShard => (S::SERVICE_UNAVAILABLE, "no-shard", "No shard is readable yet"),
            Kind::Loading => (S::SERVICE_UNAVAILABLE, "loading", "A history is being loaded"),
            Kind::NoLoad => (S::CONFLICT, "no-load", "No load of a history is open"),
            Kind::OtherLoad => (S::CONFLICT, "other-load", "Somebody else is loading a history"),
            Kind::TooLate => (S::CONFLICT, "too-late", "Stream time has passed the beginning of this history"),
            Kind::Full => (S::INSUFFICIENT_STORAGE, "full", "The disk is full"),
            Kind::Unreachable => (S::SERVICE_UNAVAILABLE, "unreachable", "The brokers do not answer"),
            Kind::Broken => (S::INTERNAL_SERVER_ERROR, "broken", "The log cannot be used"),
        }
    }

    /// After how many seconds it is worth trying again; `None` where it is not.
    fn retry_after(self) -> Option<u32> {
        match self {
            Kind::Busy | Kind::NoShard => Some(1),
            Kind::Loading | Kind::Unreachable => Some(5),
            Kind::UnknownPath
            | Kind::UnknownHost
            | Kind::ForeignOrigin
            | Kind::ContentType
            | Kind::ContentEncoding
            | Kind::NotAllowed
            | Kind::NoToken
            | Kind::Scope
            | Kind::Ahead
            | Kind::WrongMethod
            | Kind::NotEmbedded
            | Kind::BadQuery
            | Kind::NoPosition
            | Kind::BadBody
            | Kind::Unusable
            | Kind::BadKey
            | Kind::NoKey
            | Kind::TooLarge
            | Kind::SlowBody
            | Kind::NotJson
            | Kind::UnknownCustomer
            | Kind::NoLoad
            | Kind::OtherLoad
            | Kind::TooLate
            | Kind::Full
            | Kind::Broken => None,
        }
    }
}

/// A problem with a request.
#[derive(Debug)]
pub(super) struct Problem {
    kind: Kind,
    detail: String,
    more: Map<String, Value>,
}

impl Problem {
    pub(super) fn new(kind: Kind, detail: impl Into<String>) -> Self {
        Problem { kind, detail: detail.into(), more: Map::new() }
    }

    /// Adds a member of its own.
    pub(super) fn with(mut self, name: &str, value: Value) -> Self {
        self.more.insert(name.to_owned(), value);
        self
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let (status, name, title) = self.kind.facts();
        let mut members = Map::new();
        members.insert("type".to_owned(), format!("urn:sillage:problem:{name}").into());
        members.insert("title".to_owned(), title.into());
        members.insert("status".to_owned(), status.as_u16().into());
        members.insert("detail".to_owned(), self.detail.into());
        members.extend(self.more);
        let body = Value::Object(members).to_string() + "\n";
        let mut response = (status, [(header::CONTENT_TYPE, "application/problem+json")], body).into_response();
        if self.kind == Kind::NoToken {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if self.kind == Kind::ContentEncoding {
            response.headers_mut().insert(header::ACCEPT_ENCODING, HeaderValue::from_static(ACCEPTED));
        }
        if let Some(seconds) = self.kind.retry_after() {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}
