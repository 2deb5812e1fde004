//! A customer's state as bytes that need nothing else to be read: a version, a checksum, the words of its dictionary, and the
//! customer as packed with them.

use serde::de::DeserializeOwned;

use crate::journey::packed::{Damaged, Words};
use crate::journey::{Customer, CustomerV2};
use crate::touchpoint::{Identity, IdentityKind};

/// Since version 10 interventions can wait; since version 9 a shard's own row can say who was erased lately; since version 8 a
/// customer can have exposures; since version 7 contacts; since version 6 episodes can have sums, things count once, and absences
/// are told again; since version 5 a customer can have a redirect, and links have times; since version 4 a window; version 3
/// remembered each id that was over by itself, and not when latest values came.
const VERSION: u8 = 10;
/// The oldest version that is read: the state in postcard.
const POSTCARD: u8 = 2;
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

/// Appends a customer's state to `bytes`.
pub fn encode(customer: &Customer, bytes: &mut Vec<u8>) {
    let (mut words, mut packed) = (Words::default(), Vec::new());
    customer.pack(&mut words, &mut packed);
    let begin = bytes.len();
    bytes.extend_from_slice(&[VERSION, 0, 0, 0, 0]);
    // A customer has far fewer words than a dictionary may hold.
    bytes.extend_from_slice(&(words.len() as u16).to_le_bytes());
    for (_, text) in words.after(0) {
        // A word is short.
        bytes.push(text.len() as u8);
        bytes.extend_from_slice(text.as_bytes());
    }
    bytes.extend_from_slice(&packed);
    let (head, state) = bytes[begin..].split_at_mut(HEAD);
    head[1..].copy_from_slice(&checksum(VERSION, state).to_le_bytes());
}

/// The version is part of it since version 3, so that damage does not make a state of one version one of another.
fn checksum(version: u8, state: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    if version > POSTCARD {
        hasher.update(&[version]);
    }
    hasher.update(state);
    hasher.finalize()
}

/// Reads a customer's state of any version.
///
/// # Errors
/// What is wrong with the bytes, and what to do.
pub fn decode(bytes: &[u8]) -> Result<Customer, String> {
    let (version, state) = checked(bytes)?;
    match version {
        POSTCARD => postcard::<CustomerV2>(state).map(Customer::from),
        _ => image(state).map_err(|_| unreadable("it is not what was written")),
    }
}

fn image(state: &[u8]) -> Result<Customer, Damaged> {
    let (count, mut left) = state.split_first_chunk::<2>().ok_or(Damaged)?;
    let mut words = Words::default();
    for number in 1..=u32::from(u16::from_le_bytes(*count)) {
        let (length, rest) = left.split_first().ok_or(Damaged)?;
        let (text, rest) = rest.split_at_checked((*length).into()).ok_or(Damaged)?;
        words.learn(number, std::str::from_utf8(text).map_err(|_| Damaged)?).map_err(|_| Damaged)?;
        left = rest;
    }
    Customer::image(left, &words)
}

/// Reads what the state log held of a customer before its version 5.
///
/// # Errors
/// What is wrong with the bytes, and what to do.
pub(super) fn decode_postcard<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    match checked(bytes)? {
        (POSTCARD, state) => postcard(state),
        (_, _) => Err(unreadable("it is of another version than the log")),
    }
}

fn postcard<T: DeserializeOwned>(state: &[u8]) -> Result<T, String> {
    postcard::from_bytes(state).map_err(|error| unreadable(&error.to_string()))
}

fn unreadable(why: &str) -> String {
    format!("a customer's state cannot be read ({why}); put a backup back, or begin anew with `sillage reset`")
}

/// The version, and what stands behind version and checksum.
fn checked(bytes: &[u8]) -> Result<(u8, &[u8]), String> {
    let Some((head, state)) = bytes.split_at_checked(HEAD) else {
        return Err("a customer's state is cut off; put a backup back, or begin anew with `sillage reset`".to_owned());
    };
    if !(POSTCARD..=VERSION).contains(&head[0]) {
        return Err(format!(
            "a customer's state has version {}, and this Sillage knows versions {POSTCARD} to {VERSION}; use the Sillage that \
             wrote it",
            head[0]
        ));
    }
    if head[1..] != checksum(head[0], state).to_le_bytes() {
        return Err("a customer's state is damaged; put a backup back, or begin anew with `sillage reset`".to_owned());
    }
    Ok((head[0], state))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_reads_back_and_a_damaged_one_says_so() {
        let customer = Customer::new(Identity::customer("c-1"));
        let mut bytes = Vec::new();
        encode(&customer, &mut bytes);
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
