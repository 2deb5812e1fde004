//! Bodies that came packed (`content-encoding`), as the libraries of apps and many senders of logs do: unpacked within the
//! same limits as those that come plain, however small they were.

use std::io::{self, Cursor, Read};

use axum::http::{HeaderMap, header};
use flate2::bufread::MultiGzDecoder;

use super::body::{Arrived, Placed};
use super::problem::{Kind, Problem};
use super::room::Room;

/// A frame of zstd may ask for a window of so many bytes, as a power of two (RFC 8878 advises readers to grant 8 MiB).
const WINDOW_LOG: u32 = 23;
/// Unpacked at once.
const STEP: usize = 64 << 10;

/// How a body is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    /// Not at all.
    Plain,
    Gzip,
    Zstd,
}

impl Encoding {
    /// What the headers say.
    ///
    /// # Errors
    /// Something that is not unpacked here, or several one over another.
    pub(super) fn of(headers: &HeaderMap) -> Result<Encoding, Problem> {
        let mut named = headers.get_all(header::CONTENT_ENCODING).into_iter();
        let name = match (named.next(), named.next()) {
            (None, _) => return Ok(Encoding::Plain),
            (Some(name), None) => name.to_str().unwrap_or_default().trim().to_ascii_lowercase(),
            (Some(_), Some(_)) => String::new(),
        };
        match name.as_str() {
            "identity" => Ok(Encoding::Plain),
            "gzip" | "x-gzip" => Ok(Encoding::Gzip),
            "zstd" => Ok(Encoding::Zstd),
            _ => {
                let detail = "The body is packed in a way that is not unpacked here; send it plain, or with one header \
                              `content-encoding: gzip` or `content-encoding: zstd`.";
                Err(Problem::new(Kind::ContentEncoding, detail))
            }
        }
    }

    /// What a body unpacks to; it may have `limit` bytes, and takes room as one that arrives does.
    ///
    /// # Errors
    /// A body that is not packed so, was cut off, or is too large.
    pub(super) fn unpack(self, arrived: Arrived, limit: usize, room: &Room) -> Result<Arrived, Problem> {
        let name = match self {
            Encoding::Plain => return Ok(arrived),
            Encoding::Gzip => "gzip",
            Encoding::Zstd => "zstd",
        };
        let (packed, mut unpacked) = arrived.unpacked();
        let packed = Cursor::new(packed.as_slice());
        let mut reader: Box<dyn Read + '_> = match self {
            Encoding::Plain | Encoding::Gzip => Box::new(MultiGzDecoder::new(packed)),
            Encoding::Zstd => Box::new(zstd_reader(packed).map_err(|error| broken(name, &error))?),
        };
        let mut step = vec![0; STEP];
        loop {
            let read = reader.read(&mut step).map_err(|error| broken(name, &error))?;
            if read == 0 {
                return Ok(unpacked.alone());
            }
            let mut taken = unpacked.take(&step[..read], limit, room);
            // Nobody waits here: others wait for the turn that this body has.
            if taken == Placed::NoRoom && unpacked.take_place(room) {
                taken = unpacked.take(&step[..read], limit, room);
            }
            match taken {
                Placed::In => {}
                Placed::TooLarge => {
                    let detail = format!("a body may have {limit} bytes, unpacked as well; send it in several requests");
                    return Err(Problem::new(Kind::TooLarge, detail));
                }
                Placed::NoRoom => {
                    return Err(Problem::new(Kind::Busy, "Too many bodies are in flight; send this one again later."));
                }
            }
        }
    }
}

fn zstd_reader(packed: Cursor<&[u8]>) -> io::Result<zstd::stream::read::Decoder<'static, Cursor<&[u8]>>> {
    let mut reader = zstd::stream::read::Decoder::with_buffer(packed)?;
    reader.window_log_max(WINDOW_LOG)?;
    Ok(reader)
}

fn broken(name: &str, error: &io::Error) -> Problem {
    let detail = format!("the body is not what `content-encoding: {name}` says, or it was cut off: {error}");
    Problem::new(Kind::BadBody, detail)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use axum::http::HeaderValue;

    use super::*;

    fn arrived(bytes: &[u8], room: &Room) -> Arrived {
        let mut arrived = Arrived::default();
        assert!(matches!(arrived.take(bytes, 1 << 20, room), Placed::In));
        arrived
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(bytes).expect("in memory");
        gzip.finish().expect("in memory")
    }

    fn unpack(encoding: Encoding, bytes: &[u8]) -> Result<Vec<u8>, String> {
        let room = Room::new(1 << 20);
        let unpacked = encoding.unpack(arrived(bytes, &room), 1000, &room);
        unpacked.map(|arrived| arrived.bytes).map_err(|problem| format!("{problem:?}"))
    }

    #[test]
    fn what_was_packed_is_unpacked_within_the_limit() {
        let text = b"{\"a\":1}\n".repeat(100);
        let zstd = |bytes: &[u8]| zstd::encode_all(bytes, 3).expect("in memory");
        for (encoding, packed) in [
            (Encoding::Plain, text.clone()),
            (Encoding::Gzip, gzip(&text)),
            (Encoding::Gzip, [gzip(&text[..80]), gzip(&text[80..])].concat()),
            (Encoding::Zstd, zstd(&text)),
            (Encoding::Zstd, [zstd(&text[..80]), zstd(&text[80..])].concat()),
        ] {
            assert_eq!(unpack(encoding, &packed), Ok(text.clone()), "{encoding:?}");
        }
        for (encoding, packed, told) in [
            (Encoding::Gzip, gzip(&vec![b'x'; 10 << 20]), "TooLarge"),
            (Encoding::Zstd, zstd(&vec![b'x'; 10 << 20]), "TooLarge"),
            (Encoding::Gzip, gzip(&text)[..20].to_vec(), "cut off"),
            (Encoding::Zstd, zstd(&text)[..20].to_vec(), "cut off"),
            (Encoding::Gzip, text.clone(), "content-encoding: gzip"),
            (Encoding::Zstd, gzip(&text), "content-encoding: zstd"),
        ] {
            let fault = unpack(encoding, &packed).expect_err(told);
            assert!(fault.contains(told), "{encoding:?}: {fault}");
        }
    }

    #[test]
    fn what_is_unpacked_takes_room_beside_what_was_packed_and_then_alone() {
        let (packed, bytes) = (gzip(&vec![b'x'; 900_000]), 900_000_usize);
        let small = Room::new(100 << 10);
        let fault = Encoding::Gzip.unpack(arrived(&packed, &small), 1 << 20, &small);
        assert!(format!("{fault:?}").contains("Busy"), "{fault:?}");
        assert_eq!(small.free(), 100 << 10);
        // A place apart is taken where nobody has it.
        let room = Room::with_place_apart(1_100 << 10, 1 << 20);
        let unpacked = Encoding::Gzip.unpack(arrived(&packed, &room), 1 << 20, &room).expect("there is room");
        assert_eq!(unpacked.bytes.len(), bytes);
        let fault = Encoding::Gzip.unpack(arrived(&packed, &room), 1 << 20, &room);
        assert!(format!("{fault:?}").contains("Busy"), "somebody has it: {fault:?}");
        drop(unpacked);
        assert_eq!(room.free(), 76 << 10);
        assert!(Encoding::Gzip.unpack(arrived(&packed, &room), 1 << 20, &room).is_ok());
    }

    #[test]
    fn an_encoding_is_named_once() {
        let of = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(header::CONTENT_ENCODING, HeaderValue::from_static(value));
            }
            Encoding::of(&headers).ok()
        };
        for (values, expected) in [
            (&[][..], Some(Encoding::Plain)),
            (&["identity"], Some(Encoding::Plain)),
            (&["gzip"], Some(Encoding::Gzip)),
            (&[" X-GZIP "], Some(Encoding::Gzip)),
            (&["zstd"], Some(Encoding::Zstd)),
            (&["br"], None),
            (&["deflate"], None),
            (&["gzip, gzip"], None),
            (&["gzip", "zstd"], None),
            (&[""], None),
        ] {
            assert_eq!(of(values), expected, "{values:?}");
        }
    }
}
