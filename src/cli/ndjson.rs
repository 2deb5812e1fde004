//! Files of one JSON value a line: plain, gzip or zstd, or standard input, read with bounded memory.
//!
//! Knows lines and their numbers; what a line says is its reader's affair. A line beyond the limit is reported and skipped.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::path::Path;

use flate2::bufread::GzDecoder;

const GZIP: &[u8] = &[0x1f, 0x8b];
const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];
const BUFFER: usize = 256 * 1024;

/// Opens a file for reading, or standard input for `-`. What it is compressed with is seen from its first bytes, not from
/// its name.
///
/// # Errors
/// A file that cannot be opened or begun to be read, by name and cause.
pub fn open(path: &Path) -> Result<Box<dyn BufRead + Send>, String> {
    if path.as_os_str() == "-" {
        return unpacked(BufReader::with_capacity(BUFFER, io::stdin()))
            .map_err(|cause| format!("standard input cannot be read: {cause}"));
    }
    let fault = |cause: io::Error| format!("{} cannot be read: {cause}", path.display());
    let file = File::open(path).map_err(fault)?;
    unpacked(BufReader::with_capacity(BUFFER, file)).map_err(fault)
}

/// What a stream of bytes unpacks to.
///
/// # Errors
/// A stream that cannot be begun to be read.
pub(super) fn unpacked(mut reader: impl BufRead + Send + 'static) -> io::Result<Box<dyn BufRead + Send>> {
    let mut head = Vec::with_capacity(ZSTD.len());
    // `fill_buf` may show a pipe's first byte only, so the head is read and put back in front.
    reader.by_ref().take(ZSTD.len() as u64).read_to_end(&mut head)?;
    // A skippable frame (RFC 8878, 3.1.2), with which `pzstd` begins.
    let skippable = matches!(head.as_slice(), [0x50..=0x5F, 0x2A, 0x4D, 0x18]);
    let (gzip, zstd) = (head.starts_with(GZIP), head == ZSTD || skippable);
    let whole = Cursor::new(head).chain(reader);
    Ok(if gzip {
        Box::new(BufReader::with_capacity(BUFFER, Members(Some(GzDecoder::new(whole)))))
    } else if zstd {
        Box::new(BufReader::with_capacity(BUFFER, zstd::stream::read::Decoder::with_buffer(whole)?))
    } else {
        Box::new(whole)
    })
}

/// The members of a gzip file, one after the other, and zeros behind the last one as tapes and block devices leave them.
struct Members<R>(Option<GzDecoder<R>>);

impl<R: BufRead> Read for Members<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while let Some(member) = &mut self.0 {
            let read = member.read(buffer)?;
            if read > 0 || buffer.is_empty() {
                return Ok(read);
            }
            let Some(mut rest) = self.0.take().map(GzDecoder::into_inner) else { break };
            loop {
                let chunk = rest.fill_buf()?;
                let zeros = chunk.iter().take_while(|byte| **byte == 0).count();
                if zeros == 0 {
                    break;
                }
                rest.consume(zeros);
            }
            match rest.fill_buf()?.first() {
                None => break,
                Some(first) if *first == GZIP[0] => self.0 = Some(GzDecoder::new(rest)),
                Some(_) => {
                    return Err(io::Error::new(io::ErrorKind::InvalidData, "something that is no gzip follows what is"));
                }
            }
        }
        Ok(0)
    }
}

/// A line that is not blank.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line<'a> {
    /// A line within the limit, without its end.
    Whole {
        /// 1, 2, … blank lines counted.
        number: u64,
        /// What it says.
        bytes: &'a [u8],
    },
    /// A line beyond the limit; it was skipped.
    TooLong {
        /// 1, 2, … blank lines counted.
        number: u64,
        /// How long it is.
        length: u64,
    },
}

/// Reads lines of at most a given length.
pub struct Lines {
    reader: Box<dyn BufRead + Send>,
    limit: usize,
    number: u64,
    line: Vec<u8>,
}

impl Lines {
    /// Reads lines of at most `limit` bytes.
    pub fn new(reader: Box<dyn BufRead + Send>, limit: usize) -> Self {
        Lines { reader, limit, number: 0, line: Vec::new() }
    }

    /// The next line that is not blank; `None` at the end.
    ///
    /// # Errors
    /// A file that cannot be read further, or whose compression is damaged.
    pub fn next_line(&mut self) -> io::Result<Option<Line<'_>>> {
        loop {
            let Some(length) = self.read()? else { return Ok(None) };
            self.number += 1;
            if length > self.limit as u64 {
                return Ok(Some(Line::TooLong { number: self.number, length }));
            }
            if self.number == 1 && self.line.starts_with(b"\xef\xbb\xbf") {
                self.line.drain(..3);
            }
            if !self.line.iter().all(u8::is_ascii_whitespace) {
                return Ok(Some(Line::Whole { number: self.number, bytes: &self.line }));
            }
        }
    }

    /// What the line says that was handed out last, if it was within the limit.
    pub fn current(&self) -> &[u8] {
        &self.line
    }

    /// Reads one line into the buffer and says how long it is; of a line beyond the limit the buffer holds the beginning.
    fn read(&mut self) -> io::Result<Option<u64>> {
        self.line.clear();
        let mut length = 0;
        loop {
            let chunk = match self.reader.fill_buf() {
                Ok(chunk) => chunk,
                Err(cause) if cause.kind() == io::ErrorKind::Interrupted => continue,
                Err(cause) => return Err(cause),
            };
            if chunk.is_empty() {
                return Ok((length > 0).then_some(length));
            }
            let end = memchr::memchr(b'\n', chunk);
            let part = &chunk[..end.unwrap_or(chunk.len())];
            // One byte above the limit is kept for a carriage return.
            let room = (self.limit + 1).saturating_sub(self.line.len()).min(part.len());
            self.line.extend_from_slice(&part[..room]);
            length += part.len() as u64;
            let used = part.len() + usize::from(end.is_some());
            self.reader.consume(used);
            if end.is_some() {
                if length == self.line.len() as u64 && self.line.last() == Some(&b'\r') {
                    self.line.pop();
                    length -= 1;
                }
                return Ok(Some(length));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn lines(reader: Box<dyn BufRead + Send>, limit: usize) -> Vec<(u64, Result<String, u64>)> {
        let mut lines = Lines::new(reader, limit);
        let mut read = Vec::new();
        while let Some(line) = lines.next_line().expect("readable") {
            read.push(match line {
                Line::Whole { number, bytes } => (number, Ok(String::from_utf8_lossy(bytes).into_owned())),
                Line::TooLong { number, length } => (number, Err(length)),
            });
        }
        read
    }

    fn whole(number: u64, text: &str) -> (u64, Result<String, u64>) {
        (number, Ok(text.to_owned()))
    }

    #[test]
    fn lines_keep_their_numbers_and_long_ones_are_skipped() {
        for (text, expected) in [
            ("", vec![]),
            ("\n\n", vec![]),
            ("a", vec![whole(1, "a")]),
            ("a\r\n\n  \nb\n", vec![whole(1, "a"), whole(4, "b")]),
            ("12345\n123456\n12345\r\nb", vec![whole(1, "12345"), (2, Err(6)), whole(3, "12345"), whole(4, "b")]),
            ("1234567890", vec![(1, Err(10))]),
            ("\u{feff}{}\n", vec![whole(1, "{}")]),
        ] {
            assert_eq!(lines(Box::new(Cursor::new(text.to_owned())), 5), expected, "{text:?}");
        }
    }

    #[test]
    fn a_long_line_costs_no_memory_beyond_the_limit() {
        let mut lines = Lines::new(Box::new(BufReader::new(io::repeat(b'x').take(50_000_000))), 1000);
        assert_eq!(lines.next_line().expect("readable"), Some(Line::TooLong { number: 1, length: 50_000_000 }));
        assert!(lines.line.capacity() < 10_000, "{}", lines.line.capacity());
    }

    #[test]
    fn compression_is_seen_from_the_bytes_and_damage_is_an_error() {
        let text = "a\nb\n".repeat(1000);
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(text.as_bytes()).expect("in memory");
        let gzip = gzip.finish().expect("in memory");
        let zstd = zstd::encode_all(text.as_bytes(), 1).expect("in memory");
        for packed in [
            text.clone().into_bytes(),
            gzip.clone(),
            zstd.clone(),
            [gzip.clone(), gzip.clone()].concat(),
            [zstd.clone(), zstd.clone()].concat(),
            [&b"\x50\x2a\x4d\x18\x04\0\0\0size"[..], &zstd, b"\x5f\x2a\x4d\x18\0\0\0\0", &zstd].concat(),
            [gzip.clone(), vec![0; 100_000]].concat(),
            [gzip.clone(), vec![0; 512], gzip.clone()].concat(),
        ] {
            let reader = unpacked(Cursor::new(packed.clone())).expect("a beginning");
            let read = lines(reader, 10).len();
            assert!(read == 2000 || read == 4000, "{read} lines of {} bytes", packed.len());
        }
        let followed = [gzip.as_slice(), b"more"].concat();
        for packed in [&gzip[..gzip.len() / 2], &zstd[..zstd.len() / 2], &followed[..]] {
            let mut lines = Lines::new(unpacked(Cursor::new(packed.to_vec())).expect("a beginning"), 10);
            let end = loop {
                match lines.next_line() {
                    Ok(Some(_)) => {}
                    Ok(None) => break None,
                    Err(cause) => break Some(cause),
                }
            };
            assert!(end.is_some(), "a cut file must not look whole");
        }
    }

    #[test]
    fn a_missing_file_is_named() {
        let fault = open(Path::new("no/such/file.ndjson")).err().expect("a fault");
        assert!(fault.starts_with("no/such/file.ndjson cannot be read: "), "{fault}");
    }
}
