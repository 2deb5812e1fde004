//! Who may do what: tokens with scopes, as `Authorization: Bearer TOKEN`. Without any token, whoever reaches the service may ask.

use std::fmt;
use std::hint::black_box;

use axum::http::{HeaderMap, Method, header};

use super::problem::{Kind, Problem};

/// What a token allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// To read outcomes and journeys.
    Read,
    /// To post touchpoints.
    Write,
    /// To have customers erased.
    Erase,
    /// Everything, and the loads of histories.
    Admin,
}

impl Scope {
    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Scope::Read => "read",
            Scope::Write => "write",
            Scope::Erase => "erase",
            Scope::Admin => "admin",
        }
    }

    /// What a request needs. Whatever is not listed needs the most.
    fn needed(method: &Method, path: &str) -> Scope {
        let is_read = method == Method::GET || method == Method::HEAD;
        match path {
            "/v1/touchpoints" if method == Method::POST => Scope::Write,
            "/v1/outcomes" | "/v1/interventions" if is_read => Scope::Read,
            _ if path.starts_with("/v1/customers/") && is_read => Scope::Read,
            _ if path.starts_with("/v1/customers/") && method == Method::DELETE => Scope::Erase,
            _ => Scope::Admin,
        }
    }
}

/// The tokens of a service. Shows none of them.
#[derive(Clone, Default)]
pub struct Tokens(Vec<(Scope, String)>);

impl fmt::Debug for Tokens {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_list().entries(self.0.iter().map(|(scope, _)| scope)).finish()
    }
}

impl Tokens {
    /// One more token of this scope.
    pub fn add(&mut self, scope: Scope, token: impl Into<String>) {
        self.0.push((scope, token.into()));
    }

    /// Whether there is none: everybody may do everything then.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The tokens, with their scopes.
    pub fn iter(&self) -> impl Iterator<Item = (Scope, &str)> {
        self.0.iter().map(|(scope, token)| (*scope, token.as_str()))
    }

    /// Lets a request pass, or says which token it lacks.
    pub(super) fn judge(&self, method: &Method, path: &str, headers: &HeaderMap) -> Result<(), Problem> {
        if self.is_empty() {
            return Ok(());
        }
        let needed = Scope::needed(method, path);
        let Some(given) = bearer(headers) else {
            let detail =
                format!("Send a header `Authorization: Bearer TOKEN` with a token of the scope {}.", wanted(needed));
            return Err(Problem::new(Kind::NoToken, detail));
        };
        // All are compared, whichever it is.
        let found = self.0.iter().filter(|(_, known)| is_equal(given.as_bytes(), known.as_bytes()));
        let scopes: Vec<Scope> = found.map(|(scope, _)| *scope).collect();
        if scopes.is_empty() {
            return Err(Problem::new(Kind::NoToken, "The token is not one of this service's; see `docs/configuration.md`."));
        }
        if scopes.contains(&needed) || scopes.contains(&Scope::Admin) {
            return Ok(());
        }
        let names: Vec<&str> = scopes.iter().map(|scope| scope.name()).collect();
        let detail = format!("The token has the scope `{}`; this takes {}.", names.join("`, `"), wanted(needed));
        Err(Problem::new(Kind::Scope, detail))
    }
}

/// The scopes that suffice.
fn wanted(needed: Scope) -> String {
    match needed {
        Scope::Admin => "`admin`".to_owned(),
        Scope::Read | Scope::Write | Scope::Erase => format!("`{}` or `admin`", needed.name()),
    }
}

/// The token of a request, where it has exactly one.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut given = headers.get_all(header::AUTHORIZATION).into_iter();
    let (Some(given), None) = (given.next(), given.next()) else { return None };
    let (scheme, token) = given.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// Compares in a time that depends on the known token's length and on nothing else, so that nobody finds a token byte by byte.
fn is_equal(given: &[u8], known: &[u8]) -> bool {
    let mut different = usize::from(given.len() != known.len());
    for (index, byte) in known.iter().enumerate() {
        // Something is always compared.
        let other = given.get(index % given.len().max(1)).copied().unwrap_or_default();
        different |= usize::from(black_box(byte ^ other));
    }
    black_box(different) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_equals_itself_only() {
        let known = b"0123456789abcdef";
        assert!(is_equal(known, known));
        for other in [
            &b""[..],
            b"0",
            b"0123456789abcde",
            b"0123456789abcdeg",
            b"0123456789abcdef0",
            b"0123456789abcdef0123456789abcdef",
        ] {
            assert!(!is_equal(other, known), "{other:?}");
        }
    }

    #[test]
    fn what_nobody_has_listed_takes_the_most() {
        for (method, path, scope) in [
            (Method::GET, "/v1/outcomes", Scope::Read),
            (Method::HEAD, "/v1/customers/ada", Scope::Read),
            (Method::DELETE, "/v1/customers/ada", Scope::Erase),
            (Method::POST, "/v1/touchpoints", Scope::Write),
            (Method::PUT, "/v1/touchpoints", Scope::Admin),
            (Method::POST, "/v1/touchpoints/", Scope::Admin),
            (Method::POST, "/v1/history", Scope::Admin),
            (Method::DELETE, "/v1/history", Scope::Admin),
            (Method::DELETE, "/v1/outcomes", Scope::Admin),
            (Method::GET, "/v1/customers", Scope::Admin),
            (Method::OPTIONS, "/v1/outcomes", Scope::Admin),
            (Method::GET, "/", Scope::Admin),
        ] {
            assert_eq!(Scope::needed(&method, path), scope, "{method} {path}");
        }
    }

    #[test]
    fn tokens_are_not_shown() {
        let mut tokens = Tokens::default();
        tokens.add(Scope::Write, "0123456789abcdef");
        assert_eq!(format!("{tokens:?}"), "[Write]");
    }
}
