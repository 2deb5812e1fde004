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
    pub(super) fn unpack(self, arrived: Arrived, limit: usize, room: &Room) -> Result<Unpacked, Problem> {
        let name = match self {
            Encoding::Plain => return Ok(Unpacked::Whole(arrived)),
            Encoding::Gzip => "gzip",
            Encoding::Zstd => "zstd",
        };
        let (packed, mut unpacked) = arrived.unpacked();
        let bytes = Cursor::new(packed.as_slice());
        let mut reader: Box<dyn Read + '_> = match self {
            Encoding::Plain | Encoding::Gzip => Box::new(MultiGzDecoder::new(bytes)),
            Encoding::Zstd => Box::new(zstd_reader(bytes).map_err(|error| broken(name, &error))?),
        };
        let mut step = vec![0; STEP];
        loop {
            let read = reader.read(&mut step).map_err(|error| broken(name, &error))?;
            if read == 0 {
                return Ok(Unpacked::Whole(unpacked.alone()));
            }
            match unpacked.take(&step[..read], limit, room) {
                Placed::In => {}
                Placed::TooLarge => {
                    let detail = format!("a body may have {limit} bytes, unpacked as well; send it in several requests");
                    return Err(Problem::new(Kind::TooLarge, detail));
                }
                Placed::NoRoom => {
                    drop(reader);
                    return Ok(Unpacked::NoRoom(unpacked.given_up(packed)));
                }
            }
        }
    }
}

/// What came of a packed body.
#[derive(Debug)]
pub(super) enum Unpacked {
    /// All of it.
    Whole(Arrived),
    /// There is no room for all of it now; here it is as it came. Nobody waits while unpacking: others wait for the turn to work.
    NoRoom(Arrived),
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
        match encoding.unpack(arrived(bytes, &room), 1000, &room) {
            Ok(Unpacked::Whole(arrived)) => Ok(arrived.bytes),
            Ok(Unpacked::NoRoom(_)) => Err("no room".to_owned()),
            Err(problem) => Err(format!("{problem:?}")),
        }
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

    #[tokio::test]
    async fn what_is_unpacked_takes_room_beside_what_was_packed_and_then_alone() {
        let (packed, bytes) = (gzip(&vec![b'x'; 900_000]), 900_000_usize);
        let unpack = |arrived, room: &Room| Encoding::Gzip.unpack(arrived, 1 << 20, room).expect("well packed");
        let small = Room::new(100 << 10);
        let Unpacked::NoRoom(given_back) = unpack(arrived(&packed, &small), &small) else { panic!("there is no room") };
        assert!(given_back.bytes == packed && small.free() == (100 << 10) - packed.len().next_multiple_of(1024));
        drop(given_back);
        assert_eq!(small.free(), 100 << 10);
        // With the place apart there is room for one.
        let room = Room::with_place_apart(1_100 << 10, 1 << 20);
        let Unpacked::NoRoom(mut first) = unpack(arrived(&packed, &room), &room) else { panic!("there is no room") };
        assert!(first.wait_for_place(&room).await);
        let Unpacked::Whole(first) = unpack(first, &room) else { panic!("there is room") };
        assert_eq!(first.bytes.len(), bytes);
        let Unpacked::NoRoom(mut second) = unpack(arrived(&packed, &room), &room) else { panic!("somebody has it") };
        let waiting = async {
            assert!(second.wait_for_place(&room).await);
            second
        };
        let (second, ()) = tokio::join!(waiting, async { drop(first) });
        assert!(matches!(unpack(second, &room), Unpacked::Whole(_)));
        assert_eq!(room.free(), 76 << 10);
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
