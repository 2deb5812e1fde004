//! What the commands that speak to a running service share: one HTTP client, and what to do when it does not answer.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::Failure;
use crate::seldom::Seldom;

/// Where the service listens unless told otherwise.
pub(super) const DEFAULT_URL: &str = "http://127.0.0.1:8080";
/// Bytes of an answer; the service ends its own well before.
const ANSWER: u64 = 128 << 20;
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// Between two messages that say what is being waited for.
const BETWEEN_MESSAGES: Duration = Duration::from_secs(10);

/// A client of one service.
pub(super) struct Client {
    agent: ureq::Agent,
    base: String,
    /// The value of the header that shows the token.
    authorization: Option<String>,
}

/// The token to show, if one is given, and the file that holds it.
const TOKEN: &str = "SILLAGE_TOKEN";
const TOKEN_FILE: &str = "SILLAGE_TOKEN_FILE";

/// The token that the environment gives: by itself, or by the name of its file.
fn token() -> Result<Option<String>, Failure> {
    let text = |name: &str| match std::env::var(name) {
        Ok(text) => Ok(Some(text)),
        Err(std::env::VarError::NotPresent) => Ok(None),
        Err(std::env::VarError::NotUnicode(_)) => Err(Failure::could_not_run(format!("{name} is not UTF-8"))),
    };
    let token =
        match (text(TOKEN)?, text(TOKEN_FILE)?) {
            (Some(_), Some(_)) => {
                return Err(Failure::could_not_run(format!("{TOKEN} and {TOKEN_FILE} are both set; keep one")));
            }
            (token, None) => token,
            (None, Some(file)) => Some(std::fs::read_to_string(file).map_err(|error| {
                Failure::could_not_run(format!("the file that {TOKEN_FILE} names cannot be read: {error}"))
            })?),
        };
    let token = token.as_deref().and_then(|token| token.split_ascii_whitespace().next()).map(str::to_owned);
    token.iter().for_each(|token| crate::terminal::keep_secret(token));
    Ok(token)
}

/// What to ask for.
pub(super) struct Request<'a> {
    pub(super) method: &'static str,
    /// Path and query.
    pub(super) path: &'a str,
    pub(super) headers: &'a [(&'static str, &'a str)],
    pub(super) body: &'a [u8],
}

/// An answer of the service.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) position: Option<u64>,
    pub(super) body: Vec<u8>,
    retry_after: Option<Duration>,
}

/// An address as it may be repeated.
fn without_name(url: &str) -> &str {
    url.rsplit_once('@').map_or(url, |(_, host)| host)
}

impl Client {
    /// A client of the service at `url`.
    pub(super) fn new(url: &str) -> Result<Self, Failure> {
        let host = url.strip_prefix("http://").ok_or_else(|| {
            Failure::could_not_run(format!(
                "{:?} is not the address of a service; write it as {DEFAULT_URL} (TLS is not spoken here)",
                without_name(url)
            ))
        })?;
        if host.contains('@') {
            // A name and a password are not spoken here, and are repeated by nobody.
            return Err(Failure::could_not_run(format!(
                "the address of a service has no name and no password; write it as {DEFAULT_URL}, and a token into SILLAGE_TOKEN"
            )));
        }
        if host.is_empty() || host.contains(|character: char| character.is_whitespace() || "?#".contains(character)) {
            return Err(Failure::could_not_run(format!(
                "{url:?} is not the address of a service; write it as {DEFAULT_URL}"
            )));
        }
        let agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            // The service is asked directly: a proxy would have to know the machine's own addresses.
            .proxy(None)
            .timeout_connect(Some(Duration::from_secs(10)))
            .timeout_global(Some(Duration::from_secs(120)))
            .build()
            .new_agent();
        let authorization = token()?.map(|token| format!("Bearer {token}"));
        Ok(Client { agent, base: url.trim_end_matches('/').to_owned(), authorization })
    }

    /// The same, showing this token where the environment gives none.
    pub(super) fn or_with(mut self, token: Option<&str>) -> Self {
        self.authorization = self.authorization.or(token.map(|token| format!("Bearer {token}")));
        self
    }

    pub(super) fn base(&self) -> &str {
        &self.base
    }

    /// Asks once.
    ///
    /// # Errors
    /// A service that cannot be reached, or breaks off, in words.
    pub(super) fn ask(&self, request: &Request<'_>) -> Result<Answer, String> {
        let uri = format!("{}{}", self.base, request.path);
        let mut asked = ureq::http::Request::builder().method(request.method).uri(uri);
        for (name, value) in request.headers {
            asked = asked.header(*name, *value);
        }
        if let Some(authorization) = &self.authorization {
            asked = asked.header("authorization", authorization);
        }
        let response = match (request.method, request.body) {
            ("POST", body) => self.agent.run(asked.body(body).map_err(|fault| fault.to_string())?),
            (_, _) => self.agent.run(asked.body(()).map_err(|fault| fault.to_string())?),
        };
        let mut response = response.map_err(|fault| format!("{} does not answer: {fault}", self.base))?;
        let header = |name: &str| response.headers().get(name)?.to_str().ok()?.parse::<u64>().ok();
        let (position, retry_after) = (header("sillage-position"), header("retry-after").map(Duration::from_secs));
        let status = response.status().as_u16();
        let body = response.body_mut().with_config().limit(ANSWER).read_to_vec();
        let body = body.map_err(|fault| format!("{} broke off its answer: {fault}", self.base))?;
        Ok(Answer { status, position, body, retry_after })
    }

    /// Asks until there is an answer that trying again would not change, for at most `patience`.
    ///
    /// # Errors
    /// A service that cannot be reached, or has no room, for that long.
    pub(super) fn insist(&self, request: &Request<'_>, patience: Duration) -> Result<Answer, Failure> {
        let mut waiting = Waiting::new(patience);
        loop {
            match self.ask(request) {
                Ok(answer) if !answer.is_passing() => return Ok(answer),
                Ok(answer) => waiting.pause(&answer.words(), answer.retry_after)?,
                Err(reason) => waiting.pause(&reason, None)?,
            }
        }
    }
}

impl Answer {
    pub(super) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// Whether the same request may find another answer later.
    pub(super) fn is_passing(&self) -> bool {
        matches!(self.status, 408 | 429 | 503 | 507)
    }

    /// The members of a JSON answer.
    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    /// What the service said, in one line.
    pub(super) fn words(&self) -> String {
        let problem = self.json();
        match (problem["title"].as_str(), problem["detail"].as_str()) {
            (Some(title), Some(detail)) => format!("{title}: {detail}"),
            (_, _) => format!("the service answered {} without a reason; is this Sillage's address?", self.status),
        }
    }

    /// An answer that is not a success, as the end of a command.
    pub(super) fn refusal(&self) -> Failure {
        match self.status {
            400..500 => Failure::answer_is_no(self.words()),
            _ => Failure::could_not_run(self.words()),
        }
    }
}

/// Growing pauses between tries, with a word now and then.
pub(super) struct Waiting {
    begun: Instant,
    patience: Duration,
    pause: Duration,
    said: Seldom,
}

impl Waiting {
    pub(super) fn new(patience: Duration) -> Self {
        Waiting { begun: Instant::now(), patience, pause: FIRST_PAUSE, said: Seldom::new(BETWEEN_MESSAGES) }
    }

    /// Waits before the next try, as long as the service asked for or a little longer than the last time.
    ///
    /// # Errors
    /// When patience has run out.
    pub(super) fn pause(&mut self, reason: &str, asked: Option<Duration>) -> Result<(), Failure> {
        let left = self.patience.saturating_sub(self.begun.elapsed());
        if left.is_zero() {
            let waited = self.patience.as_secs();
            return Err(Failure::could_not_run(format!(
                "{reason} (tried for {waited} s; run the same command again to go on)"
            )));
        }
        if self.said.is_due() {
            super::say(&format!("sillage: {reason}; trying again"));
        }
        std::thread::sleep(asked.unwrap_or(self.pause).min(LONGEST_PAUSE).min(left));
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        Ok(())
    }
}
