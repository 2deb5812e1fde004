//! What stands where an id should, and is nobody's: a client that wrote `null` as a text, an advertising id that is all zeros.
//! Taken for ids, they would make one customer of everybody who sends them.

/// Whether the text is a placeholder and no id.
pub fn is_placeholder(text: &str) -> bool {
    const WORDS: [&str; 8] = ["null", "undefined", "none", "nan", "anonymous", "guest", "-1", "[object object]"];
    let text = text.trim();
    // Ids are mostly longer than any of the words, and do not begin with a zero.
    // Dashes stand in the id of no device, and nowhere else: `0-0` may be somebody of a shop that numbers so.
    let is_zeros = || text.bytes().all(|byte| byte == b'0' || (byte == b'-' && text.len() == 36));
    text.is_empty()
        || (text.len() <= 15 && WORDS.iter().any(|word| text.eq_ignore_ascii_case(word)))
        || (text.starts_with('0') && is_zeros())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_clients_write_where_they_know_nobody_is_no_id() {
        for text in [
            "null",
            "NULL",
            "undefined",
            "None",
            "NaN",
            "anonymous",
            "guest",
            "-1",
            "0",
            "0000",
            " ",
            "[object Object]",
            "00000000-0000-0000-0000-000000000000",
        ] {
            assert!(is_placeholder(text), "{text}");
        }
        for text in ["c-0", "01", "10", "guest-7", "nobody", "-", "-2", "0-0", "00000000-0000-0000-0000-000000000001"] {
            assert!(!is_placeholder(text), "{text}");
        }
    }
}
