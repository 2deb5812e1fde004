//! What stands in the control topic: somebody is to be erased (rule 28). One JSON object a record:
//! `{"erase":{"customer_id":"c-17"}}`, or `anonymous_id` in place of it.

use serde::{Deserialize, Serialize};

use crate::touchpoint::{Identity, IdentityKind, MAX_NAME_BYTES};

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written<'a> {
    #[serde(borrow)]
    erase: Whom<'a>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Whom<'a> {
    CustomerId(std::borrow::Cow<'a, str>),
    AnonymousId(std::borrow::Cow<'a, str>),
}

/// The bytes that ask for an erasure.
pub fn encode(who: &Identity) -> Vec<u8> {
    let id = std::borrow::Cow::Borrowed(who.id.as_str());
    let erase = match who.kind {
        IdentityKind::Customer => Whom::CustomerId(id),
        IdentityKind::Anonymous => Whom::AnonymousId(id),
    };
    // Two texts can always be written.
    serde_json::to_vec(&Written { erase }).unwrap_or_default()
}

/// Reads whom to erase.
///
/// # Errors
/// Why that cannot be known; names no customer.
pub fn decode(bytes: &[u8]) -> Result<Identity, String> {
    let shape = r#"{"erase":{"customer_id":"…"}}"#;
    let written: Written<'_> = serde_json::from_slice(bytes)
        .map_err(|error| format!("whom to erase cannot be read (line {}); {shape} is expected", error.line()))?;
    match written.erase {
        Whom::CustomerId(id) => identity(IdentityKind::Customer, &id),
        Whom::AnonymousId(id) => identity(IdentityKind::Anonymous, &id),
    }
    .map_err(|reason| format!("the id of whom to erase is no id: {reason}"))
}

/// An identity as people write it.
///
/// # Errors
/// An id that no touchpoint can have.
pub fn identity(kind: IdentityKind, id: &str) -> Result<Identity, String> {
    match id.len() {
        _ if id.trim().is_empty() => Err("it is empty".to_owned()),
        0..=MAX_NAME_BYTES => Ok(Identity { id: id.into(), kind }),
        length => Err(format!("it has {length} bytes, and ids have at most {MAX_NAME_BYTES}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whom_to_erase_reads_back_and_what_is_not_that_says_so_without_naming_anybody() {
        for who in [Identity::customer("c-17"), Identity::anonymous("a \"quoted\" ü")] {
            assert_eq!(decode(&encode(&who)), Ok(who));
        }
        assert_eq!(encode(&Identity::customer("c")), br#"{"erase":{"customer_id":"c"}}"#);
        let long = format!(r#"{{"erase":{{"customer_id":"{}"}}}}"#, "secret".repeat(100));
        for text in [
            "",
            "secret",
            r#"{"erase":{"customer_id":""}}"#,
            r#"{"erase":{"customer_id":"secret","anonymous_id":"x"}}"#,
            r#"{"erase":{"name":"secret"}}"#,
            r#"{"keep":{"customer_id":"secret"}}"#,
            &long,
        ] {
            let reason = decode(text.as_bytes()).expect_err(text);
            assert!(!reason.contains("secret"), "{reason}");
        }
    }
}
