//! Tokens for the HTTP side, and where it may listen without them.

use std::net::SocketAddr;

use crate::diagnostic::{Faults, Place, Spanned};
use crate::http::{Scope, Tokens};

/// The keys that hold tokens.
pub(super) const KEYS: &[(&str, Scope)] = &[
    ("read_token", Scope::Read),
    ("write_token", Scope::Write),
    ("erase_token", Scope::Erase),
    ("admin_token", Scope::Admin),
];
/// A token has so many characters, so that nobody guesses it.
const SHORTEST: usize = 16;
/// And no more than a header may well have.
const LONGEST: usize = 1_024;

/// The tokens of these keys: of each several, separated by blanks, while one takes the place of another.
pub(super) fn read(given: &[(&str, Scope, Spanned<String>)], faults: &mut Faults) -> Tokens {
    let mut tokens = Tokens::default();
    for (key, scope, text) in given {
        let words: Vec<&str> = text.value.split_ascii_whitespace().collect();
        if words.is_empty() || !words.iter().all(|word| is_token(word)) {
            let cause = format!("`{key}` is no token: one has {SHORTEST} to {LONGEST} visible ASCII characters");
            faults.error("C017", &text.place, cause, "make one that nobody guesses, such as with `openssl rand -hex 32`");
        }
        words.into_iter().for_each(|word| tokens.add(*scope, word));
    }
    tokens
}

fn is_token(word: &str) -> bool {
    (SHORTEST..=LONGEST).contains(&word.len()) && word.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Refuses to let others than this machine in without a token: whoever reaches the address could do everything.
pub(super) fn check_listen(listen: SocketAddr, place: &Place, faults: &mut Faults) {
    if listen.ip().to_canonical().is_loopback() {
        return;
    }
    let cause = "others than this machine reach this address, and there is no token: they could read and write everything";
    let help =
        "set `admin_token`, or listen on 127.0.0.1, or write `insecure: true` where something else keeps strangers out";
    faults.error("C018", place, cause, help);
}
