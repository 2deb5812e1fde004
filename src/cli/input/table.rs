//! Tables (CSV) with a header, each row as a JSON object: every column under its name, so that a mapping finds it, and those
//! that are no fields of a touchpoint within `properties` as well, so that none is needed.
//!
//! All values are texts, as a table has no others; models convert what they declare. Empty cells are left out.

use std::io::{self, BufRead};

use csv_core::{ReadRecordResult, Reader, ReaderBuilder};

use super::{MARK, Piece};

/// The columns that are fields of a touchpoint.
const FIELDS: [&str; 7] = ["event_id", "customer_id", "anonymous_id", "occurred_at", "channel", "type", "session_id"];
/// A column of this name may hold an object of properties.
const PROPERTIES: &str = "properties";
/// More columns are no table of touchpoints.
const MAX_COLUMNS: usize = 4_096;

/// The rows of a table.
pub struct Table {
    reader: Box<dyn BufRead + Send>,
    csv: Reader,
    header: Vec<String>,
    /// The cells of a row, one behind the other, and where each ends.
    cells: Vec<u8>,
    ends: Vec<usize>,
    object: Vec<u8>,
    line: u64,
    quotes: Quotes,
}

/// Where in a cell's quotes the reader is. The library that takes cells apart tells nobody.
struct Quotes {
    delimiter: u8,
    place: Place,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// A cell begins here.
    Begins,
    Plain,
    Quoted,
    /// Behind a quote within quotes: they end, or a second quote makes one of both.
    Quote,
}

impl Quotes {
    fn read(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.place = match (self.place, byte) {
                (Place::Begins, b'"') | (Place::Quote, b'"') => Place::Quoted,
                (Place::Quoted, b'"') => Place::Quote,
                (Place::Quoted, _) => Place::Quoted,
                (_, b'\n' | b'\r') => Place::Begins,
                (_, byte) if *byte == self.delimiter => Place::Begins,
                _ => Place::Plain,
            };
        }
    }
}

/// A row that was read.
enum Row {
    Cells(usize),
    TooLong(u64),
}

impl Table {
    pub(super) fn new(mut reader: Box<dyn BufRead + Send>, delimiter: u8, limit: usize) -> io::Result<Self> {
        let csv = ReaderBuilder::new().delimiter(delimiter).build();
        while reader.fill_buf()?.starts_with(MARK) {
            reader.consume(MARK.len());
        }
        let (cells, ends) = (vec![0; limit.max(1)], vec![0; MAX_COLUMNS]);
        let quotes = Quotes { delimiter, place: Place::Begins };
        let mut table = Table { reader, csv, header: Vec::new(), cells, ends, object: Vec::new(), line: 1, quotes };
        if let Some((_, Row::Cells(columns))) = table.row()? {
            if columns > MAX_COLUMNS {
                return Err(io::Error::other(format!("the header has {columns} columns; at most {MAX_COLUMNS} are read")));
            }
            let name = |cell: &[u8]| String::from_utf8_lossy(cell.trim_ascii()).into_owned();
            table.header = (0..columns).map(|at| name(table.cell(at))).collect();
            let named = table.header.iter().enumerate().filter(|(_, name)| !name.is_empty());
            if let Some((_, twice)) = named.clone().find(|(at, name)| table.header[..*at].contains(name)) {
                return Err(io::Error::other(format!("the header has `{twice}` twice; call one of the columns otherwise")));
            }
        }
        Ok(table)
    }

    pub(super) fn next_piece(&mut self) -> io::Result<Option<Piece<'_>>> {
        let expected = self.header.len();
        Ok(match self.row()? {
            None => None,
            Some((line, Row::TooLong(length))) => Some(Piece::TooLong { line, length }),
            Some((line, Row::Cells(columns))) if columns != expected => Some(Piece::Misshapen { line, columns, expected }),
            Some((line, Row::Cells(_))) => {
                self.write_object();
                Some(Piece::Whole { line, bytes: &self.object })
            }
        })
    }

    /// Reads the next row that is not blank, and says where it begins.
    fn row(&mut self) -> io::Result<Option<(u64, Row)>> {
        let (mut filled, mut ended, mut beyond, mut length) = (0, 0, 0, 0);
        let mut line = None;
        loop {
            let chunk = match self.reader.fill_buf() {
                Ok(chunk) => chunk,
                Err(cause) if cause.kind() == io::ErrorKind::Interrupted => continue,
                Err(cause) => return Err(cause),
            };
            // Between two rows, ends of lines say nothing.
            let blank = chunk.iter().take_while(|byte| matches!(byte, b'\n' | b'\r')).count();
            if line.is_none() && blank > 0 {
                self.line += chunk[..blank].iter().filter(|byte| **byte == b'\n').count() as u64;
                self.reader.consume(blank);
                continue;
            }
            let begins = *line.get_or_insert(self.line);
            if chunk.is_empty() && self.quotes.place == Place::Quoted {
                return Err(io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    format!("it ends within quotes, in the row that begins in line {begins}: a quote there is not closed"),
                ));
            }
            let (cells, ends) = (&mut self.cells[filled..], &mut self.ends[ended..]);
            let (result, read, wrote, closed) = self.csv.read_record(chunk, cells, ends);
            self.line += chunk[..read].iter().filter(|byte| **byte == b'\n').count() as u64;
            self.quotes.read(&chunk[..read]);
            self.reader.consume(read);
            (filled, ended, length) = (filled + wrote, ended + closed, length + wrote as u64);
            match result {
                ReadRecordResult::InputEmpty => {}
                // What does not fit is read on, over what there is.
                ReadRecordResult::OutputFull => filled = 0,
                ReadRecordResult::OutputEndsFull => (beyond, ended) = (beyond + ended, 0),
                ReadRecordResult::Record if length > filled as u64 => return Ok(Some((begins, Row::TooLong(length)))),
                ReadRecordResult::Record => return Ok(Some((begins, Row::Cells(beyond + ended)))),
                ReadRecordResult::End => return Ok(None),
            }
        }
    }

    fn cell(&self, at: usize) -> &[u8] {
        let begin = at.checked_sub(1).map_or(0, |before| self.ends[before]);
        self.cells.get(begin..self.ends[at]).unwrap_or_default()
    }

    fn write_object(&mut self) {
        let mut object = std::mem::take(&mut self.object);
        object.clear();
        object.push(b'{');
        for (at, name) in self.header.iter().enumerate().filter(|(_, name)| !name.is_empty() && *name != PROPERTIES) {
            put(name, self.cell(at), &mut object);
        }
        if object.len() > 1 {
            object.push(b',');
        }
        object.extend_from_slice(b"\"properties\":{");
        let whole = self.header.iter().position(|name| name == PROPERTIES).map(|at| self.cell(at).trim_ascii());
        match whole.map(|cell| (cell, cell.strip_prefix(b"{").and_then(|cell| cell.strip_suffix(b"}")))) {
            Some((_, Some(inner))) => object.extend_from_slice(inner.trim_ascii()),
            // What is no object is a property like any other column.
            Some((cell, None)) => put(PROPERTIES, cell, &mut object),
            None => {}
        }
        for (at, name) in self.header.iter().enumerate() {
            if !name.is_empty() && name != PROPERTIES && !FIELDS.contains(&name.as_str()) {
                put(name.strip_prefix("properties.").unwrap_or(name), self.cell(at), &mut object);
            }
        }
        object.extend_from_slice(b"}}");
        self.object = object;
    }
}

/// Appends a member of an object, unless the cell is blank.
fn put(name: &str, cell: &[u8], object: &mut Vec<u8>) {
    let cell = cell.trim_ascii();
    if cell.is_empty() {
        return;
    }
    if object.last().is_some_and(|last| *last != b'{') {
        object.push(b',');
    }
    quote(name.as_bytes(), object);
    object.push(b':');
    quote(cell, object);
}

/// Appends a text in quotes. Bytes that are no UTF-8 stay what they are, for the reader of the touchpoint to judge.
fn quote(text: &[u8], object: &mut Vec<u8>) {
    object.push(b'"');
    for byte in text {
        match byte {
            b'"' | b'\\' => object.extend_from_slice(&[b'\\', *byte]),
            b'\n' => object.extend_from_slice(b"\\n"),
            0..0x20 => object.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
            other => object.push(*other),
        }
    }
    object.push(b'"');
}
