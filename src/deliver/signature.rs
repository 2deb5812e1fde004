//! Signatures by Standard Webhooks 1.0 (<https://www.standardwebhooks.com>). Pure.
//!
//! `webhook-signature: v1,BASE64` is HMAC-SHA256 over `ID.TIMESTAMP.BODY`; one for each secret while they rotate. The secret is
//! `whsec_` and the key in base64, 24 to 64 bytes.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;

use crate::time::Timestamp;

/// What a secret begins with.
const PREFIX: &str = "whsec_";
/// Bytes of a key.
const BYTES: std::ops::RangeInclusive<usize> = 24..=64;

/// The secrets of one receiver: one, or two while they rotate.
#[derive(Clone)]
pub struct Secrets(Vec<hmac::Key>);

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} secrets", self.0.len())
    }
}

/// The headers of one try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Headers {
    /// `webhook-timestamp`.
    pub timestamp: String,
    /// `webhook-signature`.
    pub signature: String,
}

impl Secrets {
    /// Reads one secret or several, separated by blanks.
    ///
    /// # Errors
    /// What is wrong, without the secret.
    pub fn read(text: &str) -> Result<Self, String> {
        let keys: Result<Vec<hmac::Key>, String> = text.split_ascii_whitespace().map(key).collect();
        match keys? {
            keys if keys.is_empty() => Err("there is no secret".to_owned()),
            keys if keys.len() > 2 => Err("there are more than two secrets; two are enough to rotate".to_owned()),
            keys => Ok(Secrets(keys)),
        }
    }

    /// Signs a body.
    pub fn sign(&self, id: &str, at: Timestamp, body: &[u8]) -> Headers {
        let timestamp = at.as_millis().div_euclid(1_000).to_string();
        let signed = |key: &hmac::Key| {
            let mut context = hmac::Context::with_key(key);
            for part in [id.as_bytes(), b".", timestamp.as_bytes(), b".", body] {
                context.update(part);
            }
            format!("v1,{}", STANDARD.encode(context.sign()))
        };
        let signature = self.0.iter().map(signed).collect::<Vec<_>>().join(" ");
        Headers { timestamp, signature }
    }
}

fn key(text: &str) -> Result<hmac::Key, String> {
    let encoded = text.strip_prefix(PREFIX).ok_or("a secret begins with `whsec_`")?;
    let bytes = STANDARD.decode(encoded).map_err(|_| "what follows `whsec_` is base64")?;
    if !BYTES.contains(&bytes.len()) {
        return Err(format!("a secret has {} to {} bytes, not {}", BYTES.start(), BYTES.end(), bytes.len()));
    }
    Ok(hmac::Key::new(hmac::HMAC_SHA256, &bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
    const OTHER: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwq1sV+V2p8w0=";
    const ID: &str = "msg_27UH4WbU6Z5A5EzD8u03UvzRbpk";
    const BODY: &[u8] = br#"{"email":"test@example.com","username":"test_user"}"#;

    fn sign(secrets: &str, at: Timestamp) -> Headers {
        Secrets::read(secrets).expect("secrets").sign(ID, at, BODY)
    }

    /// The vector that the libraries of Standard Webhooks are tested with.
    #[test]
    fn the_known_vector_comes_out() {
        let headers = sign(SECRET, Timestamp::from_millis(1_649_367_553_999));
        assert_eq!(headers.timestamp, "1649367553");
        assert_eq!(headers.signature, "v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw=");
    }

    /// The reference implementation takes what is signed, with either secret while they rotate, and nothing else.
    #[test]
    fn the_reference_implementation_verifies() {
        // It reads the machine's clock, and takes five minutes to either side.
        #[allow(clippy::disallowed_methods)]
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_millis();
        let both = sign(&format!("{SECRET}\n{OTHER}"), Timestamp::from_millis(now as i64));
        let verify = |secret: &str, id: &str, body: &[u8]| {
            let mut headers = axum::http::HeaderMap::new();
            for (name, value) in
                [("webhook-id", id), ("webhook-timestamp", &both.timestamp), ("webhook-signature", &both.signature)]
            {
                headers.insert(name, value.parse().expect("a value"));
            }
            standardwebhooks::Webhook::new(secret).expect("a secret").verify(body, &headers).is_ok()
        };
        assert!(verify(SECRET, ID, BODY) && verify(OTHER, ID, BODY));
        assert!(!verify(SECRET, "msg_other", BODY));
        assert!(!verify(SECRET, ID, b"{}"));
        assert!(!verify("whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", ID, BODY));
    }

    #[test]
    fn what_is_no_secret_is_refused_without_quoting_it() {
        for text in ["", "C2FVsBQIhrscChlQIMV+b5sSYspob7oD", "whsec_!", "whsec_c2hvcnQ=", &[SECRET, OTHER, SECRET].join(" ")]
        {
            let fault = Secrets::read(text).expect_err("refused");
            assert!(!fault.contains("C2FV") && !fault.contains("c2hv"), "{fault}");
        }
    }
}
