//! Short tokens for widgets: JSON Web Tokens (RFC 7519) of two algorithms, one fixed for each key. Pure.
//!
//! What a token says of itself decides nothing: its key is known by `kid`, and the key knows its algorithm. `exp` and `aud` are
//! demanded; `sub` is `customer:ID` or `anonymous:ID`.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::hmac;
use ring::signature::{ED25519, UnparsedPublicKey};
use serde::Deserialize;
use serde_json::json;

use crate::time::{Span, Timestamp};
use crate::touchpoint::Identity;

/// A token is good for so long at the most.
pub const LONGEST: Span = Span::from_secs(15 * 60);
/// Clocks may differ by so much.
const SKEW: Span = Span::from_secs(30);
/// Bytes of a secret, at least: as many as the hash has.
const SECRET_BYTES: usize = 32;
/// Characters of a token.
const MAX_CHARS: usize = 4_096;
/// Bytes of an id.
const MAX_ID: usize = 512;
/// What comes before the key itself in a public key of Ed25519 in DER (RFC 8410).
const SPKI: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// What tokens are checked with, by `kid`.
#[derive(Clone, Debug)]
pub struct Keys {
    /// Whom tokens must be meant for.
    pub audience: String,
    /// The keys.
    pub keys: BTreeMap<String, Key>,
}

/// A key, and with it the one algorithm.
#[derive(Clone)]
pub enum Key {
    /// HMAC with SHA-256.
    Hs256(hmac::Key),
    /// Ed25519; the public half.
    EdDsa(Vec<u8>),
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.algorithm())
    }
}

/// Whom a token lets in, and for how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ticket {
    /// Whose offers.
    pub subject: Identity,
    /// Until then.
    pub until: Timestamp,
}

/// Why a token lets nobody in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// It is no token.
    Malformed,
    /// Its key is not known.
    Key,
    /// Its algorithm is not its key's.
    Algorithm,
    /// The signature is wrong.
    Signature,
    /// It is meant for somebody else.
    Audience,
    /// It has expired, is not good yet, or does not say.
    Time,
    /// It would be good for too long.
    TooLong,
    /// It names nobody.
    Subject,
}

impl Refused {
    /// The word for metrics.
    pub fn word(self) -> &'static str {
        match self {
            Refused::Malformed => "malformed",
            Refused::Key => "key",
            Refused::Algorithm => "algorithm",
            Refused::Signature => "signature",
            Refused::Audience => "audience",
            Refused::Time => "time",
            Refused::TooLong => "too-long",
            Refused::Subject => "subject",
        }
    }
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: String,
    crit: Option<serde_json::Value>,
}

#[derive(Deserialize)]
struct Claims {
    aud: serde_json::Value,
    exp: i64,
    nbf: Option<i64>,
    sub: String,
}

impl Key {
    /// A secret for HS256.
    ///
    /// # Errors
    /// It is too short.
    pub fn hs256(secret: &[u8]) -> Result<Self, String> {
        if secret.len() < SECRET_BYTES {
            return Err(format!("a secret for HS256 has at least {SECRET_BYTES} bytes, and this one {}", secret.len()));
        }
        Ok(Key::Hs256(hmac::Key::new(hmac::HMAC_SHA256, secret)))
    }

    /// The public key for EdDSA: in PEM, or its 32 bytes in base64.
    ///
    /// # Errors
    /// It is none.
    pub fn ed_dsa(text: &str) -> Result<Self, String> {
        let lines = text.lines().filter(|line| !line.starts_with("-----"));
        let inner: String = lines.flat_map(|line| line.trim().chars()).collect();
        let bytes = STANDARD.decode(&inner).or_else(|_| URL_SAFE_NO_PAD.decode(&inner)).unwrap_or_default();
        match bytes.strip_prefix(&SPKI).unwrap_or(&bytes) {
            key if key.len() == 32 => Ok(Key::EdDsa(key.to_vec())),
            _ => Err("a public key for EdDSA is Ed25519, in PEM or as 32 bytes in base64".to_owned()),
        }
    }

    /// As JSON Web Tokens call it.
    pub fn algorithm(&self) -> &'static str {
        match self {
            Key::Hs256(_) => "HS256",
            Key::EdDsa(_) => "EdDSA",
        }
    }

    fn is_signature(&self, signed: &[u8], signature: &[u8]) -> bool {
        match self {
            // In constant time.
            Key::Hs256(key) => hmac::verify(key, signed, signature).is_ok(),
            Key::EdDsa(key) => UnparsedPublicKey::new(&ED25519, key).verify(signed, signature).is_ok(),
        }
    }
}

impl Keys {
    /// Checks a token.
    ///
    /// # Errors
    /// Why it lets nobody in.
    pub fn check(&self, token: &str, now: Timestamp) -> Result<Ticket, Refused> {
        let mut parts = token.split('.');
        let (Some(header), Some(claims), Some(signature), None) = (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(Refused::Malformed);
        };
        if token.len() > MAX_CHARS {
            return Err(Refused::Malformed);
        }
        let decoded = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| Refused::Malformed);
        let written: Header = serde_json::from_slice(&decoded(header)?).map_err(|_| Refused::Malformed)?;
        if written.crit.is_some() {
            return Err(Refused::Malformed);
        }
        let key = self.keys.get(&written.kid).ok_or(Refused::Key)?;
        if written.alg != key.algorithm() {
            return Err(Refused::Algorithm);
        }
        let signed = &token[..header.len() + 1 + claims.len()];
        if !key.is_signature(signed.as_bytes(), &decoded(signature)?) {
            return Err(Refused::Signature);
        }
        let claims: Claims = serde_json::from_slice(&decoded(claims)?).map_err(|_| Refused::Malformed)?;
        self.let_in(&claims, now)
    }

    fn let_in(&self, claims: &Claims, now: Timestamp) -> Result<Ticket, Refused> {
        let is_ours = |value: &serde_json::Value| value.as_str() == Some(self.audience.as_str());
        if !is_ours(&claims.aud) && !claims.aud.as_array().is_some_and(|list| list.iter().any(is_ours)) {
            return Err(Refused::Audience);
        }
        let at = |seconds: i64| Timestamp::from_millis(seconds.saturating_mul(1_000));
        let until = at(claims.exp);
        if until <= now || claims.nbf.is_some_and(|from| at(from) > now + SKEW) {
            return Err(Refused::Time);
        }
        if until > now + LONGEST + SKEW {
            return Err(Refused::TooLong);
        }
        let subject = match claims.sub.split_once(':') {
            Some((_, id)) if id.is_empty() || id.len() > MAX_ID => return Err(Refused::Subject),
            Some(("customer", id)) => Identity::customer(id),
            Some(("anonymous", id)) => Identity::anonymous(id),
            Some(_) | None => return Err(Refused::Subject),
        };
        Ok(Ticket { subject, until })
    }
}

/// A token for this subject, signed with a secret.
pub fn issue(secret: &hmac::Key, kid: &str, audience: &str, subject: &Identity, until: Timestamp) -> String {
    let header = json!({"alg": "HS256", "typ": "JWT", "kid": kid});
    let kind = if subject.customer_id().is_some() { "customer" } else { "anonymous" };
    let seconds = until.as_millis().div_euclid(1_000);
    let claims = json!({"aud": audience, "exp": seconds, "sub": format!("{kind}:{}", subject.id)});
    let encoded = |value: &serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", encoded(&header), encoded(&claims));
    let signature = URL_SAFE_NO_PAD.encode(hmac::sign(secret, signed.as_bytes()));
    format!("{signed}.{signature}")
}

#[cfg(test)]
mod tests {
    use ring::signature::{Ed25519KeyPair, KeyPair};

    use super::*;

    const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";

    fn now() -> Timestamp {
        Timestamp::from_millis(1_800_000_000_000)
    }

    fn pair() -> Ed25519KeyPair {
        Ed25519KeyPair::from_seed_unchecked(&[7; 32]).expect("a pair")
    }

    fn keys() -> Keys {
        let public = STANDARD.encode(pair().public_key());
        let keys = [
            ("web".to_owned(), Key::hs256(SECRET).expect("long enough")),
            ("site".to_owned(), Key::ed_dsa(&public).expect("a key")),
        ];
        Keys { audience: "shop".to_owned(), keys: keys.into() }
    }

    fn sign(header: &str, claims: &str, signature: impl Fn(&[u8]) -> Vec<u8>) -> String {
        let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
        let signature = URL_SAFE_NO_PAD.encode(signature(signed.as_bytes()));
        format!("{signed}.{signature}")
    }

    fn hs(secret: &[u8]) -> impl Fn(&[u8]) -> Vec<u8> {
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
        move |signed| hmac::sign(&key, signed).as_ref().to_vec()
    }

    fn ed(signed: &[u8]) -> Vec<u8> {
        pair().sign(signed).as_ref().to_vec()
    }

    #[test]
    fn what_we_issue_and_what_others_sign_lets_in() {
        let secret = hmac::Key::new(hmac::HMAC_SHA256, SECRET);
        let until = now() + Span::from_secs(600);
        for subject in [Identity::customer("c-17"), Identity::anonymous("a:b")] {
            let token = issue(&secret, "web", "shop", &subject, until);
            assert_eq!(keys().check(&token, now()), Ok(Ticket { subject, until }));
        }
        let claims = r#"{"aud":["x","shop"],"exp":1800000600,"sub":"customer:c-17","iat":1}"#;
        let token = sign(r#"{"alg":"EdDSA","kid":"site"}"#, claims, ed);
        assert_eq!(keys().check(&token, now()).map(|ticket| ticket.subject), Ok(Identity::customer("c-17")));
    }

    #[test]
    fn nothing_else_does() {
        let good = r#"{"aud":"shop","exp":1800000600,"sub":"customer:c-17"}"#;
        let web = r#"{"alg":"HS256","kid":"web"}"#;
        let public = pair().public_key().as_ref().to_vec();
        let unsigned = |header: &str| sign(header, good, |_| Vec::new());
        for (token, why) in [
            ("".to_owned(), Refused::Malformed),
            ("a.b".to_owned(), Refused::Malformed),
            ("a.b.c.d".to_owned(), Refused::Malformed),
            ("..".to_owned(), Refused::Malformed),
            (sign(web, good, hs(b"another secret of thirty-two bytes")), Refused::Signature),
            (sign(web, good, |_| Vec::new()), Refused::Signature),
            // The algorithm swapped: none at all, the public key as a secret, the other key's.
            (unsigned(r#"{"alg":"none","kid":"web"}"#), Refused::Algorithm),
            (sign(r#"{"alg":"HS256","kid":"site"}"#, good, hs(&public)), Refused::Algorithm),
            (sign(r#"{"alg":"EdDSA","kid":"web"}"#, good, ed), Refused::Algorithm),
            (sign(r#"{"alg":"hs256","kid":"web"}"#, good, hs(SECRET)), Refused::Algorithm),
            (sign(r#"{"alg":"HS256","kid":"other"}"#, good, hs(SECRET)), Refused::Key),
            (sign(r#"{"alg":"HS256"}"#, good, hs(SECRET)), Refused::Malformed),
            (sign(r#"{"alg":"HS256","kid":"web","crit":["b64"]}"#, good, hs(SECRET)), Refused::Malformed),
            (sign(web, r#"{"exp":1800000600,"sub":"customer:c-17"}"#, hs(SECRET)), Refused::Malformed),
            (sign(web, r#"{"aud":"shop","sub":"customer:c-17"}"#, hs(SECRET)), Refused::Malformed),
            (sign(web, &good.replace("shop", "other"), hs(SECRET)), Refused::Audience),
            (sign(web, &good.replace("1800000600", "1800000000"), hs(SECRET)), Refused::Time),
            (sign(web, &good.replace("1800000600", "1800001000"), hs(SECRET)), Refused::TooLong),
            (sign(web, &good.replace("\"exp\"", "\"nbf\":1800000500,\"exp\""), hs(SECRET)), Refused::Time),
            (sign(web, &good.replace("customer:", ""), hs(SECRET)), Refused::Subject),
            (sign(web, &good.replace("customer:", "admin:"), hs(SECRET)), Refused::Subject),
            (sign(web, &good.replace("c-17", ""), hs(SECRET)), Refused::Subject),
        ] {
            assert_eq!(keys().check(&token, now()), Err(why), "{token}");
        }
        let token = sign(web, good, hs(SECRET));
        assert!(keys().check(&token, now()).is_ok());
        // A bit of what is signed, or of the signature, turned.
        for at in [0, 20, 60, token.len() - 2] {
            let mut turned = token.clone().into_bytes();
            turned[at] = if turned[at] == b'A' { b'B' } else { b'A' };
            let turned = String::from_utf8(turned).expect("ASCII");
            assert!(turned == token || keys().check(&turned, now()).is_err(), "{turned}");
        }
    }

    #[test]
    fn keys_that_are_too_weak_are_refused() {
        assert!(Key::hs256(&SECRET[1..]).is_err());
        assert!(Key::ed_dsa("AAAA").is_err() && Key::ed_dsa("").is_err());
        let mut der = SPKI.to_vec();
        der.extend(pair().public_key().as_ref());
        let pem = format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", STANDARD.encode(der));
        assert!(Key::ed_dsa(&pem).is_ok());
    }
}
