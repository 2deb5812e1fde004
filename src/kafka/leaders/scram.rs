//! SCRAM (RFC 5802, RFC 7677): a password is proved without being sent. With OpenSSL, which is there where librdkafka can do it.

use openssl::base64::{decode_block, encode_block};
use openssl::error::ErrorStack;
use openssl::hash::{MessageDigest, hash};
use openssl::pkcs5::pbkdf2_hmac;
use openssl::pkey::PKey;
use openssl::sign::Signer;

/// A broker may ask for so many rounds: more would hold up everything else that is asked.
const MOST_ROUNDS: usize = 1_000_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Digest {
    Sha256,
    Sha512,
}

impl Digest {
    pub(super) fn mechanism(self) -> &'static str {
        match self {
            Digest::Sha256 => "SCRAM-SHA-256",
            Digest::Sha512 => "SCRAM-SHA-512",
        }
    }

    fn message(self) -> MessageDigest {
        match self {
            Digest::Sha256 => MessageDigest::sha256(),
            Digest::Sha512 => MessageDigest::sha512(),
        }
    }

    fn mac(self, key: &[u8], text: &[u8]) -> Result<Vec<u8>, ErrorStack> {
        Signer::new(self.message(), &*PKey::hmac(key)?)?.sign_oneshot_to_vec(text)
    }
}

/// A nonce that nobody can guess.
pub(super) fn nonce() -> Result<String, String> {
    let mut bytes = [0; 24];
    openssl::rand::rand_bytes(&mut bytes).map_err(|error| error.to_string())?;
    Ok(encode_block(&bytes))
}

/// What is said in the beginning, behind the header.
fn introduction(user: &str, nonce: &str) -> String {
    format!("n={},r={nonce}", user.replace('=', "=3D").replace(',', "=2C"))
}

/// The first words.
pub(super) fn first(user: &str, nonce: &str) -> Vec<u8> {
    format!("n,,{}", introduction(user, nonce)).into_bytes()
}

/// The words that prove the password, after the broker's first ones; and what the broker's last ones must be.
///
/// # Errors
/// What is wrong with the broker's words.
pub(super) fn last(
    digest: Digest,
    user: &str,
    password: &str,
    nonce: &str,
    broker: &[u8],
) -> Result<(Vec<u8>, Vec<u8>), String> {
    let broker = std::str::from_utf8(broker).map_err(|_| "the broker's words are not UTF-8")?;
    let of = |name: &str| broker.split(',').find_map(|part| part.strip_prefix(name));
    let (Some(both), Some(salt), Some(rounds)) = (of("r="), of("s="), of("i=")) else {
        return Err("the broker did not say how to prove the password".to_owned());
    };
    if !both.starts_with(nonce) || both.len() == nonce.len() {
        return Err("the broker answers somebody else".to_owned());
    }
    let salt = decode_block(salt).map_err(|_| "the broker's salt is not base64")?;
    let rounds = rounds.parse().ok().filter(|rounds| (1..=MOST_ROUNDS).contains(rounds));
    let rounds = rounds.ok_or("the broker asks for no number of rounds, or for too many")?;
    let intent = format!("c=biws,r={both}");
    let all = format!("{},{broker},{intent}", introduction(user, nonce));
    let sealed = |digest: Digest| -> Result<_, ErrorStack> {
        let mut salted = vec![0; digest.message().size()];
        pbkdf2_hmac(password.as_bytes(), &salt, rounds, digest.message(), &mut salted)?;
        let key = digest.mac(&salted, b"Client Key")?;
        let stored = hash(digest.message(), &key)?;
        let signature = digest.mac(&stored, all.as_bytes())?;
        let proof: Vec<u8> = key.iter().zip(&signature).map(|(key, signature)| key ^ signature).collect();
        let expected = digest.mac(&digest.mac(&salted, b"Server Key")?, all.as_bytes())?;
        Ok((proof, expected))
    };
    let (proof, expected) = sealed(digest).map_err(|error| error.to_string())?;
    Ok((format!("{intent},p={}", encode_block(&proof)).into_bytes(), format!("v={}", encode_block(&expected)).into_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of RFC 7677.
    #[test]
    fn the_example_of_the_standard_comes_out() {
        let nonce = "rOprNGfwEbeRWgbNEkqO";
        assert_eq!(first("user", nonce), b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
        let broker = b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
        let (proof, expected) = last(Digest::Sha256, "user", "pencil", nonce, broker).expect("words");
        let words = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                     p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
        assert_eq!(String::from_utf8_lossy(&proof), words);
        assert_eq!(expected, b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
    }

    #[test]
    fn a_broker_that_answers_somebody_else_or_asks_for_too_much_is_refused() {
        for broker in ["r=other,s=AAAA,i=4096", "r=mine,s=AAAA,i=4096", "r=mine2,s=AAAA,i=99999999", "r=mine2,s=?,i=1", "x"]
        {
            assert!(last(Digest::Sha512, "u", "p", "mine", broker.as_bytes()).is_err(), "{broker}");
        }
    }
}
