//! Files of touchpoints in whatever shape people have them: JSON one a line, an array, written over several lines, with
//! record separators or byte order marks; tables (CSV) with a header; plain, gzip or zstd. Read with bounded memory.
//!
//! The shape is seen from the first bytes, and what is of another kind is refused by its name. Knows nothing of touchpoints:
//! it hands out one JSON object after another, with the line where it begins.

mod lines;
mod shape;
mod stream;
mod table;

use std::io::{self, BufRead, Cursor, Read};

use lines::Objects;
use shape::Shape;
use stream::Stream;
use table::Table;

/// So many bytes from the beginning decide on the shape.
const HEAD: usize = 64 << 10;
/// Or so many lines.
const LINES: usize = 16;

/// One JSON value, or what stands in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// A value within the limit.
    Whole {
        /// The line where it begins: 1, 2, …
        line: u64,
        /// What it says.
        bytes: &'a [u8],
    },
    /// A value beyond the limit; it was skipped.
    TooLong {
        /// The line where it begins.
        line: u64,
        /// How long it is.
        length: u64,
    },
    /// A row of a table that does not fit its header.
    Misshapen {
        /// The line where it begins.
        line: u64,
        /// Its columns.
        columns: usize,
        /// Those of the header.
        expected: usize,
    },
}

/// A file as one value after another.
pub enum Pieces {
    /// One or several a line.
    Lines(Objects),
    /// An array, or values over several lines.
    Stream(Stream),
    /// A table with a header.
    Table(Box<Table>),
}

impl Pieces {
    /// Looks at the beginning of a file that is unpacked already; values may have at most `limit` bytes.
    ///
    /// # Errors
    /// A file that cannot be read, and one that is no text, by what it is and with what to do.
    pub fn new(mut reader: Box<dyn BufRead + Send>, limit: usize) -> io::Result<Pieces> {
        let mut head = Vec::new();
        // No more than is needed: the rest of a pipe may take its time.
        while head.len() < HEAD && head.iter().filter(|byte| **byte == b'\n').count() < LINES {
            let chunk = match reader.fill_buf() {
                Ok([]) => break,
                Ok(chunk) => chunk,
                Err(cause) if cause.kind() == io::ErrorKind::Interrupted => continue,
                Err(cause) => return Err(cause),
            };
            let taken = chunk.len().min(HEAD - head.len());
            head.extend_from_slice(&chunk[..taken]);
            reader.consume(taken);
        }
        let shape = shape::of(&head).map_err(io::Error::other)?;
        let whole: Box<dyn BufRead + Send> = Box::new(Cursor::new(head).chain(reader));
        Ok(match shape {
            Shape::Lines => Pieces::Lines(Objects::new(whole, limit)),
            Shape::Stream => Pieces::Stream(Stream::new(whole, limit)),
            Shape::Table(delimiter) => Pieces::Table(Box::new(Table::new(whole, delimiter, limit)?)),
        })
    }

    /// The next value; `None` at the end.
    ///
    /// # Errors
    /// A file that cannot be read further, or that ends within a value.
    pub fn next_piece(&mut self) -> io::Result<Option<Piece<'_>>> {
        match self {
            Pieces::Lines(objects) => objects.next_piece(),
            Pieces::Stream(stream) => stream.next_piece(),
            Pieces::Table(table) => table.next_piece(),
        }
    }
}

/// A byte order mark, which editors put before a file and `cat` leaves within one.
const MARK: &[u8] = b"\xef\xbb\xbf";
/// What stands before each value of a JSON text sequence (RFC 7464).
const SEPARATOR: u8 = 0x1E;

/// Cuts off what says nothing between values.
fn trimmed(mut text: &[u8]) -> &[u8] {
    loop {
        let shorter = text.trim_ascii();
        let shorter = shorter.strip_prefix(MARK).unwrap_or(shorter);
        let shorter = shorter.strip_prefix(&[SEPARATOR]).unwrap_or(shorter);
        let shorter = shorter.strip_suffix(&[SEPARATOR]).unwrap_or(shorter);
        if shorter.len() == text.len() {
            return text;
        }
        text = shorter;
    }
}

/// Where an object or a list ends that begins a text: behind its last bracket. `None` where it goes on.
fn end_of(text: &[u8]) -> Option<usize> {
    let mut bounds = Bounds::default();
    text.iter().position(|byte| bounds.take(*byte)).map(|last| last + 1)
}

/// Follows brackets and strings, and nothing else: what stands between them is for the reader of the value to judge.
#[derive(Clone, Copy, Debug, Default)]
struct Bounds {
    depth: usize,
    in_string: bool,
    escaped: bool,
}

impl Bounds {
    /// Takes a byte of a value that begins with a bracket; says whether it is the last one.
    fn take(&mut self, byte: u8) -> bool {
        if self.in_string {
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' => self.escaped = true,
                b'"' => self.in_string = false,
                _ => {}
            }
            return false;
        }
        match byte {
            b'"' => self.in_string = true,
            b'{' | b'[' => self.depth += 1,
            b'}' | b']' => {
                self.depth = self.depth.saturating_sub(1);
                return self.depth == 0;
            }
            _ => {}
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8], limit: usize) -> Result<Vec<(u64, String)>, String> {
        let reader: Box<dyn BufRead + Send> = Box::new(Cursor::new(bytes.to_vec()));
        let mut pieces = Pieces::new(reader, limit).map_err(|error| error.to_string())?;
        let mut read = Vec::new();
        while let Some(piece) = pieces.next_piece().map_err(|error| error.to_string())? {
            read.push(match piece {
                Piece::Whole { line, bytes } => (line, String::from_utf8_lossy(bytes).into_owned()),
                Piece::TooLong { line, length } => (line, format!("{length} bytes")),
                Piece::Misshapen { line, columns, expected } => (line, format!("{columns} columns, not {expected}")),
            });
        }
        Ok(read)
    }

    #[test]
    fn the_same_two_values_are_found_in_files_of_many_shapes() {
        let (a, b) = (r#"{"a":"}{,\"","n":[{"x":1}]}"#, r#"{"b":NaN}"#);
        let mark = "\u{feff}";
        let pretty = "{\n  \"a\": \"}{,\\\"\",\n  \"n\": [\n    {\"x\":1}\n  ]\n}";
        for (text, lines) in [
            (format!("{a}\n{b}\n"), [1, 2]),
            (format!("{mark}{a}\r\n\r\n{b}"), [1, 3]),
            (format!("{mark}{mark}{a}\n{mark}{b}\n{mark}"), [1, 2]),
            (format!("{a}{b}"), [1, 1]),
            (format!("{a} {b}\n"), [1, 1]),
            (format!("{a},\n{b}"), [1, 2]),
            (format!("\u{1e}{a}\n\u{1e}{b}\n"), [1, 2]),
            (format!("[{a},{b}]"), [1, 1]),
            (format!(" [\n{a},\n{b}\n]\n"), [2, 3]),
            (format!("{mark}[\n{a}\n,\n{b}]"), [2, 4]),
            (format!("[{a}]\n[{b}]\n"), [1, 2]),
            (format!("[\n  {pretty},\n  {b}\n]"), [2, 8]),
            (format!("{pretty}\n{b}\n"), [1, 7]),
        ] {
            let read = read(text.as_bytes(), 100).unwrap_or_else(|error| panic!("{text}: {error}"));
            let values: Vec<String> = read.iter().map(|(_, value)| value.replace(['\n', ' '], "")).collect();
            assert_eq!(values, [a, b], "{text}");
            assert_eq!(read.iter().map(|(line, _)| *line).collect::<Vec<u64>>(), lines, "{text}");
        }
    }

    #[test]
    fn a_broken_line_costs_itself_and_a_broken_end_is_told() {
        let lines = |text: &str| read(text.as_bytes(), 30).map(|read| read.into_iter().map(|(_, value)| value).collect());
        for (text, expected) in [
            ("", vec![]),
            (" \n\n", vec![]),
            ("{\"a\":\n{\"b\":1}\n", vec!["{\"a\":", "{\"b\":1}"]),
            ("{\"a\":1}\n{\"b\":\n{\"c\":1}\n", vec!["{\"a\":1}", "{\"b\":", "{\"c\":1}"]),
            ("{\"a\":1}\n{\"a\":1}{\"b\":\n", vec!["{\"a\":1}", "{\"a\":1}", "{\"b\":"]),
            ("nonsense\n{\"a\":1}", vec!["nonsense", "{\"a\":1}"]),
            ("{\"a\":1} more\n", vec!["{\"a\":1}", "more"]),
            ("[1,\"x\",null]", vec!["1", "\"x\"", "null"]),
            ("[{\"a\":\"1234567890123456789012345\"},{\"b\":1}]", vec!["33 bytes", "{\"b\":1}"]),
            ("{\"a\":\"1234567890123456789012345\"}\n{\"b\":1}", vec!["33 bytes", "{\"b\":1}"]),
        ] {
            let read: Result<Vec<String>, String> = lines(text);
            assert_eq!(
                read.as_deref(),
                Ok(&expected.iter().map(|value| (*value).to_owned()).collect::<Vec<_>>()[..]),
                "{text:?}"
            );
        }
        for (text, told) in [
            ("[{\"a\":1},{\"b\":", "ends within the value that begins on line 1"),
            ("[{\"a\":1}\n,{\"b\":1}", "ends within an array"),
            ("{\n\"a\": 1,\n\"b\":", "ends within the value that begins on line 1"),
        ] {
            let error = read(text.as_bytes(), 100).expect_err(text);
            assert!(error.contains(told), "{text:?}: {error}");
        }
    }

    /// A quote or a bracket that is missing costs the value that lacks it, in whichever shape values follow each other.
    #[test]
    fn a_value_without_an_end_costs_itself() {
        let good = |n: usize| format!("{{\"n\": {n}, \"in\": {{\"x\": [{{}}, {{\"y\": \"\\\"\"}}]}}}}");
        let pretty = |n: usize| format!("{{\n  \"n\": {n},\n  \"in\":\n  {{\n    \"x\": [\n    {{}}]\n  }}\n}}");
        let bad =
            ["{\"n\": \"0, \"in\": {}}", "{\"n\": 0, \"in\": {}", "{\"n\": 0, \"in: {}}", "{\"n\": 0, \"in\": {\"x\": 1}"];
        let bad_pretty = [
            "{\n  \"n\": \"0,\n  \"in\": 1\n}",
            "{\n  \"n\": 0,\n  \"in\": {}\n",
            "{\n  \"n\": 0,\n  \"in\": {\n    \"x\": 1\n}",
        ];
        type Shape<'a> = (&'a dyn Fn(usize) -> String, &'a [&'a str], &'a str, &'a str, &'a str);
        let shapes: [Shape<'_>; 5] = [
            (&good, &bad, "[\n", ",\n", "\n]\n"),
            (&good, &bad, "[\n  ", ",\n  ", "\n]"),
            (&good, &bad, "[ ", "\n, ", "\n]\n"),
            (&pretty, &bad_pretty, "", "\n", "\n"),
            (&pretty, &bad_pretty, "[", ",\n", "]"),
        ];
        for (good, bad, begin, between, end) in shapes {
            for bad in bad {
                for place in 0..4 {
                    let mut values: Vec<String> = (1..=5).map(good).collect();
                    values.insert(place, (*bad).to_owned());
                    let text = format!("{begin}{}{end}", values.join(between));
                    let read = read(text.as_bytes(), 1_000).unwrap_or_else(|fault| panic!("{fault}: {text}"));
                    let found = |value: &String| {
                        read.iter().any(|(line, read)| {
                            let at = text.lines().nth(*line as usize - 1).unwrap_or_default();
                            read == value && at.contains(value.lines().next().unwrap_or_default())
                        })
                    };
                    let missing: Vec<&String> = values.iter().filter(|value| *value != bad && !found(value)).collect();
                    assert!(missing.is_empty(), "without {missing:?} of\n{text}\nread {read:#?}");
                }
            }
        }
    }

    #[test]
    fn a_header_may_leave_an_index_without_a_name_and_names_nothing_twice() {
        for (text, expected) in [
            (",type,b\n0,t,1\n", r#"{"type":"t","b":"1","properties":{"b":"1"}}"#),
            (";type;b\n0;t;1\n", r#"{"type":"t","b":"1","properties":{"b":"1"}}"#),
            ("type,b,\nt,1,\n", r#"{"type":"t","b":"1","properties":{"b":"1"}}"#),
        ] {
            assert_eq!(read(text.as_bytes(), 500), Ok(vec![(2, expected.to_owned())]), "{text}");
        }
        let fault = read(b"type,b,b\nt,1,2\n", 500).expect_err("twice");
        assert!(fault.contains("the header has `b` twice"), "{fault}");
    }

    #[test]
    fn a_table_with_a_header_is_one_object_a_row() {
        let header = "event_id,customer_id,occurred_at,type,cart_id,value";
        let row = r#"{"event_id":"e1","customer_id":"c-1","type":"t","cart_id":"A","value":"4,\"0","properties":{"cart_id":"A","value":"4,\"0"}}"#;
        for text in [
            format!("{header}\ne1,c-1,,t,A,\"4,\"\"0\"\n"),
            format!("\u{feff}{header}\r\ne1,c-1, ,t,A,\"4,\"\"0\"\r\n\r\n"),
            format!("{}\ne1;c-1;;t;A;\"4,\"\"0\"\n", header.replace(',', ";")),
            format!("{}\ne1\tc-1\t\tt\tA\t\"4,\"\"0\"", header.replace(',', "\t")),
        ] {
            assert_eq!(read(text.as_bytes(), 500), Ok(vec![(2, row.to_owned())]), "{text}");
        }
        let rows = |text: &str| read(text.as_bytes(), 60);
        let told = |line, text: &str| (line, text.to_owned());
        assert_eq!(
            rows("type,b\nx\n\"two\nlines\",1\nx,y,z\nends"),
            Ok(vec![
                told(2, "1 columns, not 2"),
                told(3, r#"{"type":"two\nlines","b":"1","properties":{"b":"1"}}"#),
                told(5, "3 columns, not 2"),
                told(6, "1 columns, not 2"),
            ])
        );
        let nested = rows("type,properties,properties.b\nt,\"{\"\"a\"\":1}\",2\nt,,2\nt,{},\n").expect("readable");
        let values: Vec<&str> = nested.iter().map(|(_, value)| value.as_str()).collect();
        assert_eq!(values[0], r#"{"type":"t","properties.b":"2","properties":{"a":1,"b":"2"}}"#);
        assert_eq!(values[1], r#"{"type":"t","properties.b":"2","properties":{"b":"2"}}"#);
        assert_eq!(values[2], r#"{"type":"t","properties":{}}"#);
        // A quote that does not end takes no memory beyond the limit.
        let endless = format!("a,b\n1,\"{}", "x".repeat(1 << 20));
        assert!(rows(&endless).is_err_and(|fault| fault.contains("a quote there is not closed")));
        assert!(matches!(rows(&(endless + "\"")).as_deref(), Ok([(2, told)]) if told.ends_with(" bytes")));
    }

    #[test]
    fn what_is_no_text_is_refused_by_its_name() {
        let utf16: Vec<u8> = "{\"a\":1}\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
        for (bytes, told) in [
            ([&[0xFF, 0xFE][..], &utf16].concat(), "UTF-16"),
            (utf16, "UTF-16"),
            (b"\0{\0\"".to_vec(), "UTF-16"),
            (b"PK\x03\x04rest".to_vec(), "a ZIP archive"),
            (b"PAR1rest".to_vec(), "a Parquet file"),
            (b"Obj\x01rest".to_vec(), "an Avro container file"),
            (b"BZh9rest".to_vec(), "bzip2"),
            (b"\xFD7zXZ\0rest".to_vec(), "xz"),
            (b"SQLite format 3\0".to_vec(), "an SQLite database"),
        ] {
            let fault = read(&bytes, 100).expect_err(told);
            assert!(fault.contains(told) && fault.contains(';'), "{fault}");
        }
    }

    proptest::proptest! {
        #![proptest_config(proptest::test_runner::Config { failure_persistence: None, ..Default::default() })]

        #[test]
        fn no_file_does_harm(text in "([\\[\\]{},\"\\\\\n a1;\u{feff}\u{1e}]{0,40}|[ab,\"\n\r]{0,30})") {
            if let Ok(read) = read(text.as_bytes(), 10) {
                for (line, _) in read {
                    proptest::prop_assert!(line >= 1 && line <= text.lines().count().max(1) as u64 + 1);
                }
            }
        }
    }

    #[test]
    fn a_quote_that_is_not_closed_is_no_end_of_a_table() {
        let header = "event_id,note\n";
        let whole = format!("{header}1,\"17\"\" rim\"\n2,\"a\nb\"\n3,plain \"quotes\" within\n");
        assert_eq!(read(whole.as_bytes(), 1_000).expect("a table").len(), 3);
        for cut in ["1,x\n2,\"17 inch rim\n3,y\n", "1,x\n2,\"a"] {
            let fault = read(format!("{header}{cut}").as_bytes(), 1_000).expect_err("cut off");
            assert!(fault.contains("within quotes, in the row that begins in line 3"), "{fault}");
        }
    }

    #[test]
    fn a_row_of_more_columns_than_any_table_has_is_no_row_of_three() {
        let cells = ["x"; 4_099].join(",");
        let table = format!("type,b,c\nt,2,3\n{cells}\n");
        let read = read(table.as_bytes(), 100_000).expect("a table");
        assert_eq!(read[1], (3, "4099 columns, not 3".to_owned()));
        let names = (0..4_099).map(|at| format!("c{at}")).collect::<Vec<_>>().join(",");
        let wide = format!("type,{names}\nt,{cells}\n");
        let fault = self::read(wide.as_bytes(), 100_000).map(|rows| rows.len());
        assert!(fault.as_ref().is_err_and(|fault| fault.contains("the header has 4100 columns")), "{fault:?}");
    }
}
