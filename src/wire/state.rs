//! A customer's state, and a change of it, as bytes: a version, a checksum, postcard.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::journey::{Change, Customer};
use crate::touchpoint::{Identity, IdentityKind};

const VERSION: u8 = 2;
/// Version and checksum stand before the state.
const HEAD: usize = 5;

/// Appends the key of a customer within a shard.
pub fn key(identity: &Identity, key: &mut Vec<u8>) {
    key.push(match identity.kind {
        IdentityKind::Customer => b'c',
        IdentityKind::Anonymous => b'a',
    });
    key.extend_from_slice(identity.id.as_bytes());
}

/// Whose key this is.
///
/// # Errors
/// What is wrong with the bytes.
pub fn identity(key: &[u8]) -> Result<Identity, String> {
    let wrong = || "the key of a customer cannot be read; put a backup back, or begin anew with `sillage reset`".to_owned();
    let (kind, id) = key.split_first().ok_or_else(wrong)?;
    let id = std::str::from_utf8(id).map_err(|_| wrong())?;
    match kind {
        b'c' => Ok(Identity::customer(id)),
        b'a' => Ok(Identity::anonymous(id)),
        _ => Err(wrong()),
    }
}

/// Appends a customer's state to `bytes`; where that fails, part of it.
///
/// # Errors
/// Only where memory ends.
pub fn encode(customer: &Customer, bytes: &mut Vec<u8>) -> Result<(), String> {
    write(customer, bytes)
}

/// Appends a change of a customer's state to `bytes`; where that fails, part of it.
///
/// # Errors
/// Only where memory ends.
pub fn encode_change(change: &Change<'_>, bytes: &mut Vec<u8>) -> Result<(), String> {
    write(change, bytes)
}

/// Reads a customer's state.
///
/// # Errors
/// What is wrong with the bytes, and what to do.
pub fn decode(bytes: &[u8]) -> Result<Customer, String> {
    read(bytes)
}

/// Reads a change of a customer's state.
///
/// # Errors
/// What is wrong with the bytes, and what to do.
pub fn decode_change(bytes: &[u8]) -> Result<Change<'static>, String> {
    read(bytes)
}

fn write(what: &impl Serialize, bytes: &mut Vec<u8>) -> Result<(), String> {
    let begin = bytes.len();
    bytes.extend_from_slice(&[VERSION, 0, 0, 0, 0]);
    postcard::to_io(what, &mut *bytes).map_err(|error| format!("cannot write a customer's state: {error}"))?;
    let (head, state) = bytes[begin..].split_at_mut(HEAD);
    head[1..].copy_from_slice(&crc32fast::hash(state).to_le_bytes());
    Ok(())
}

fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    let Some((head, state)) = bytes.split_at_checked(HEAD) else {
        return Err("a customer's state is cut off; put a backup back, or begin anew with `sillage reset`".to_owned());
    };
    if head[0] != VERSION {
        return Err(format!(
            "a customer's state has version {}, and this Sillage knows version {VERSION}; use the Sillage that wrote it",
            head[0]
        ));
    }
    if head[1..] != crc32fast::hash(state).to_le_bytes() {
        return Err("a customer's state is damaged; put a backup back, or begin anew with `sillage reset`".to_owned());
    }
    postcard::from_bytes(state).map_err(|error| {
        format!("a customer's state cannot be read ({error}); put a backup back, or begin anew with `sillage reset`")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_reads_back_and_a_damaged_one_says_so() {
        let customer = Customer::new(Identity::customer("c-1"));
        let mut bytes = Vec::new();
        encode(&customer, &mut bytes).expect("written");
        assert_eq!(decode(&bytes), Ok(customer));
        for place in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[place] ^= 1;
            assert!(decode(&damaged).is_err(), "byte {place}");
            assert!(decode(&bytes[..place]).is_err(), "cut at {place}");
        }
    }

    #[test]
    fn a_customer_and_an_anonymous_one_of_the_same_id_are_kept_apart() {
        let keys = [Identity::customer("123"), Identity::anonymous("123")].map(|identity| {
            let mut bytes = Vec::new();
            key(&identity, &mut bytes);
            assert_eq!(super::identity(&bytes), Ok(identity));
            bytes
        });
        assert_ne!(keys[0], keys[1]);
    }
}
