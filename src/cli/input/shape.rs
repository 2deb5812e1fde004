//! What a file is, by its first bytes.

use super::{MARK, SEPARATOR, end_of, trimmed};

/// The shapes that are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// One JSON value a line, or several.
    Lines,
    /// An array, or values that go on over several lines.
    Stream,
    /// A table with a header, with this between its columns.
    Table(u8),
}

/// Beginnings of files that are none of it.
const OTHERS: &[(&[u8], &str, &str)] = &[
    (&[0xFF, 0xFE], "UTF-16 text", UTF_16),
    (&[0xFE, 0xFF], "UTF-16 text", UTF_16),
    (&[0x1f, 0x8b], "packed twice", "unpack it once: gunzip FILE"),
    (&[0x28, 0xb5, 0x2f, 0xfd], "packed twice", "unpack it once: unzstd FILE"),
    (b"PK\x03\x04", "a ZIP archive (or a workbook)", "unpack it, or export the sheet as CSV"),
    (b"PAR1", "a Parquet file", "export it as NDJSON or CSV"),
    (b"Obj\x01", "an Avro container file", "export it as NDJSON"),
    (b"ORC", "an ORC file", "export it as NDJSON or CSV"),
    (b"BZh", "bzip2", "unpack it, or pipe it in: bzcat FILE | sillage … -"),
    (b"\xFD7zXZ\0", "xz", "unpack it, or pipe it in: xzcat FILE | sillage … -"),
    (b"SQLite format 3\0", "an SQLite database", "export its table as NDJSON or CSV"),
    (b"\xD0\xCF\x11\xE0", "an Office document", "export the sheet as CSV"),
];
const UTF_16: &str = "save it as UTF-8, or convert it: iconv -f UTF-16 -t UTF-8 FILE | sillage … -";
/// What may stand between the columns of a table.
const DELIMITERS: [u8; 4] = [b',', b';', b'\t', b'|'];

/// The shape of a file that begins so.
///
/// # Errors
/// What it is instead, and what to do.
pub(super) fn of(head: &[u8]) -> Result<Shape, String> {
    if let Some((_, what, help)) = OTHERS.iter().find(|(beginning, _, _)| head.starts_with(beginning)) {
        return Err(format!("it is {what}; {help}"));
    }
    // Without its mark: every other byte of what is mostly ASCII is zero.
    if head.iter().take(64).any(|byte| *byte == 0) {
        let zeros = |from: usize| head.iter().take(64).skip(from).step_by(2).filter(|byte| **byte == 0).count();
        let half = head.len().min(64) / 2;
        return Err(match zeros(0).max(zeros(1)) * 2 > half {
            true => format!("it is UTF-16 text; {UTF_16}"),
            false => "it is no text; files of touchpoints are JSON or CSV, plain, gzip or zstd".to_owned(),
        });
    }
    let text = begun(head);
    let mut lines = text.split(|byte| *byte == b'\n').map(trimmed).filter(|line| !line.is_empty());
    let (first, second) = (lines.next().unwrap_or_default(), lines.next());
    Ok(match first.first() {
        Some(b'[') => Shape::Stream,
        Some(b'{') if end_of(first).is_some() => Shape::Lines,
        // Either a value over several lines, or a broken one before others that are whole.
        Some(b'{') => match second {
            Some(second) if second.starts_with(b"{") && end_of(second).is_some() => Shape::Lines,
            Some(_) => Shape::Stream,
            None => Shape::Lines,
        },
        _ => delimiter(first).map_or(Shape::Lines, Shape::Table),
    })
}

/// From the first byte that says something.
fn begun(mut text: &[u8]) -> &[u8] {
    loop {
        let shorter = text.trim_ascii_start();
        let shorter = shorter.strip_prefix(MARK).or_else(|| shorter.strip_prefix(&[SEPARATOR])).unwrap_or(shorter);
        if shorter.len() == text.len() {
            return text;
        }
        text = shorter;
    }
}

/// What stands between the columns, if this is a header: names. A column may have none, as an index that was written along.
fn delimiter(line: &[u8]) -> Option<u8> {
    let line = std::str::from_utf8(line).ok()?;
    let best = DELIMITERS.into_iter().max_by_key(|delimiter| line.bytes().filter(|byte| byte == delimiter).count())?;
    let names: Vec<&str> = line.split(char::from(best)).map(|name| name.trim().trim_matches('"').trim()).collect();
    let plain = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | ' ' | '$' | ':' | '#' | '/' | '(' | ')');
    let is_name =
        |name: &&str| name.starts_with(|c: char| c.is_alphabetic() || matches!(c, '_' | '$')) && name.chars().all(plain);
    let named = names.iter().filter(|name| !name.is_empty());
    (named.clone().count() > 1 && named.clone().all(is_name)).then_some(best)
}
