//! Numbers, texts and ids as bytes, and back. Numbers are in groups of seven bits, the least first.

use compact_str::CompactString;

use super::super::Id;

/// Bytes that are not what was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damaged;

#[inline]
pub(in crate::journey) fn push_number(out: &mut Vec<u8>, number: u64) {
    // Nearly all numbers are small; what is said of them is not worth a call.
    if number < 0x80 { out.push(number as u8) } else { push_large(out, number) }
}

#[inline(never)]
fn push_large(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Small numbers of either sign take few bytes.
#[inline]
pub(in crate::journey) fn push_signed(out: &mut Vec<u8>, number: i64) {
    push_number(out, ((number << 1) ^ (number >> 63)) as u64);
}

/// A number of more than 64 bits, as [`push_signed`] writes smaller ones.
pub(in crate::journey) fn push_wide(out: &mut Vec<u8>, number: i128) {
    let mut number = ((number << 1) ^ (number >> 127)).cast_unsigned();
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

pub(in crate::journey) fn push_text(out: &mut Vec<u8>, text: &str) {
    push_number(out, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}

/// A length and, in its lowest bit, whether sixteen bytes of a UUID stand in place of a text.
pub(in crate::journey) fn push_id(out: &mut Vec<u8>, id: &Id) {
    match id {
        Id::Uuid(bytes) => {
            out.push(1);
            out.extend_from_slice(bytes);
        }
        Id::Text(text) => {
            push_number(out, (text.len() as u64) << 1);
            out.extend_from_slice(text.as_bytes());
        }
    }
}

/// Goes over an id.
pub(in crate::journey) fn skip_id(bytes: &mut Bytes<'_>) -> Result<(), Damaged> {
    let head = bytes.number()?;
    let length = if head == 1 { 16 } else { usize::try_from(head >> 1).map_err(|_| Damaged)? };
    bytes.take(length).map(|_| ())
}

/// Reads bytes from the front.
#[derive(Clone, Copy, Debug)]
pub(in crate::journey) struct Bytes<'a>(pub(in crate::journey) &'a [u8]);

impl<'a> Bytes<'a> {
    #[inline]
    pub(in crate::journey) fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    #[inline]
    pub(in crate::journey) fn byte(&mut self) -> Result<u8, Damaged> {
        let (first, rest) = self.0.split_first().ok_or(Damaged)?;
        self.0 = rest;
        Ok(*first)
    }

    #[inline]
    pub(in crate::journey) fn number(&mut self) -> Result<u64, Damaged> {
        let first = self.byte()?;
        if first < 0x80 { Ok(u64::from(first)) } else { self.large(first) }
    }

    #[inline(never)]
    fn large(&mut self, first: u8) -> Result<u64, Damaged> {
        let mut number = u64::from(first & 0x7f);
        for shift in (7..64).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(Damaged)
    }

    #[inline]
    pub(in crate::journey) fn small<T: TryFrom<u64>>(&mut self) -> Result<T, Damaged> {
        T::try_from(self.number()?).map_err(|_| Damaged)
    }

    /// How many things follow, of which each takes at least a byte.
    pub(in crate::journey) fn count(&mut self) -> Result<usize, Damaged> {
        let count: usize = self.small()?;
        if count > self.0.len() { Err(Damaged) } else { Ok(count) }
    }

    #[inline]
    pub(in crate::journey) fn signed(&mut self) -> Result<i64, Damaged> {
        let number = self.number()?;
        Ok((number >> 1) as i64 ^ -((number & 1) as i64))
    }

    pub(in crate::journey) fn wide(&mut self) -> Result<i128, Damaged> {
        let mut number = 0_u128;
        for shift in (0..128).step_by(7) {
            let byte = self.byte()?;
            number |= u128::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok((number >> 1).cast_signed() ^ -((number & 1).cast_signed()));
            }
        }
        Err(Damaged)
    }

    #[inline]
    pub(in crate::journey) fn take(&mut self, length: usize) -> Result<&'a [u8], Damaged> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(Damaged)?;
        self.0 = rest;
        Ok(taken)
    }

    #[inline]
    pub(in crate::journey) fn array<const N: usize>(&mut self) -> Result<[u8; N], Damaged> {
        let (taken, rest) = self.0.split_first_chunk::<N>().ok_or(Damaged)?;
        self.0 = rest;
        Ok(*taken)
    }

    pub(in crate::journey) fn text(&mut self) -> Result<&'a str, Damaged> {
        let length = self.small()?;
        std::str::from_utf8(self.take(length)?).map_err(|_| Damaged)
    }

    pub(in crate::journey) fn id(&mut self) -> Result<Id, Damaged> {
        let head = self.number()?;
        if head == 1 {
            return Ok(Id::Uuid(self.array()?));
        }
        if head & 1 != 0 {
            return Err(Damaged);
        }
        let length = usize::try_from(head >> 1).map_err(|_| Damaged)?;
        let text = std::str::from_utf8(self.take(length)?).map_err(|_| Damaged)?;
        Ok(Id::Text(CompactString::new(text)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_written_is_read(number: u64, signed: i64, wide: i128, text: String) {
            let mut out = Vec::new();
            push_number(&mut out, number);
            push_signed(&mut out, signed);
            push_wide(&mut out, wide);
            push_text(&mut out, &text);
            push_id(&mut out, &Id::of(&text));
            let mut bytes = Bytes(&out);
            prop_assert_eq!((bytes.number(), bytes.signed(), bytes.wide()), (Ok(number), Ok(signed), Ok(wide)));
            prop_assert_eq!(bytes.text(), Ok(text.as_str()));
            prop_assert_eq!((bytes.id(), bytes.is_empty()), (Ok(Id::of(&text)), true));
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
            let mut left = Bytes(&bytes);
            while left.signed().is_ok() && left.id().is_ok() && left.text().is_ok() && left.count().is_ok() {}
        }
    }
}
