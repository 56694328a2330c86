//! Little-endian cursor and writer: the only place that slices raw input.
//!
//! Integers are little-endian; `varint` is unsigned LEB128 of at most 10 bytes in its shortest form;
//! signed values are zigzag-coded varints; byte strings are a varint length and the bytes.

use decube_backup_core::{Error, ErrorKind, Result};

/// A `Corrupt` error naming the structure that does not decode.
pub fn corrupt(what: &'static str) -> Error {
    Error::new(ErrorKind::Corrupt, "decode", "not a valid structure").with("structure", what)
}

/// Reads fields from the front of a byte slice; every method fails cleanly at the end.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
    what: &'static str,
}

impl<'a> Reader<'a> {
    /// Reads `bytes`; errors name `what`.
    pub fn new(bytes: &'a [u8], what: &'static str) -> Self {
        Self { rest: bytes, what }
    }
    /// A `Corrupt` error for this structure.
    pub fn corrupt(&self) -> Error {
        corrupt(self.what)
    }
    /// Bytes left.
    pub fn remaining(&self) -> usize {
        self.rest.len()
    }
    /// The next `n` bytes.
    ///
    /// # Errors
    /// `Corrupt` if fewer are left.
    pub fn take(&mut self, n: usize) -> Result<&'a [u8]> {
        match self.rest.split_at_checked(n) {
            Some((head, tail)) => {
                self.rest = tail;
                Ok(head)
            }
            None => Err(self.corrupt()),
        }
    }
    /// The next `N` bytes as an array.
    ///
    /// # Errors
    /// `Corrupt` if fewer are left.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut out = [0; N];
        out.copy_from_slice(self.take(N)?);
        Ok(out)
    }
    /// One byte.
    ///
    /// # Errors
    /// `Corrupt` at the end.
    pub fn u8(&mut self) -> Result<u8> {
        Ok(self.array::<1>()?[0])
    }
    /// A little-endian u16.
    ///
    /// # Errors
    /// `Corrupt` at the end.
    pub fn u16(&mut self) -> Result<u16> {
        Ok(u16::from_le_bytes(self.array()?))
    }
    /// A little-endian u32.
    ///
    /// # Errors
    /// `Corrupt` at the end.
    pub fn u32(&mut self) -> Result<u32> {
        Ok(u32::from_le_bytes(self.array()?))
    }
    /// A little-endian u64.
    ///
    /// # Errors
    /// `Corrupt` at the end.
    pub fn u64(&mut self) -> Result<u64> {
        Ok(u64::from_le_bytes(self.array()?))
    }
    /// An unsigned varint in its shortest form.
    ///
    /// # Errors
    /// `Corrupt` if cut short, over 64 bits, or padded.
    pub fn varint(&mut self) -> Result<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.u8()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return Err(self.corrupt());
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                if byte == 0 && shift != 0 {
                    return Err(self.corrupt());
                }
                return Ok(value);
            }
        }
        Err(self.corrupt())
    }
    /// A zigzag-coded signed varint.
    ///
    /// # Errors
    /// As [`Self::varint`].
    pub fn signed(&mut self) -> Result<i64> {
        let raw = self.varint()?;
        Ok((raw >> 1) as i64 ^ -((raw & 1) as i64))
    }
    /// A varint that counts items of at least `item_bytes_min` (≥ 1) bytes each: bounded by what is left.
    ///
    /// # Errors
    /// `Corrupt` if the rest cannot hold that many.
    pub fn count(&mut self, item_bytes_min: usize) -> Result<usize> {
        let n = self.varint()?;
        match usize::try_from(n) {
            Ok(n) if n.saturating_mul(item_bytes_min.max(1)) <= self.remaining() => Ok(n),
            _ => Err(self.corrupt()),
        }
    }
    /// A length-prefixed byte string of at most `len_max` bytes.
    ///
    /// # Errors
    /// `Corrupt` if longer or cut short.
    pub fn bytes(&mut self, len_max: usize) -> Result<&'a [u8]> {
        let n = self.count(1)?;
        if n > len_max {
            return Err(self.corrupt());
        }
        self.take(n)
    }
    /// Ends the structure.
    ///
    /// # Errors
    /// `Corrupt` if bytes are left over.
    pub fn finish(self) -> Result<()> {
        if self.rest.is_empty() { Ok(()) } else { Err(self.corrupt()) }
    }
}

/// Appends fields to a buffer.
pub trait Writer {
    /// Appends one byte.
    fn write_u8(&mut self, value: u8);
    /// Appends a little-endian u16.
    fn write_u16(&mut self, value: u16);
    /// Appends a little-endian u32.
    fn write_u32(&mut self, value: u32);
    /// Appends a little-endian u64.
    fn write_u64(&mut self, value: u64);
    /// Appends an unsigned varint.
    fn write_varint(&mut self, value: u64);
    /// Appends a zigzag-coded signed varint.
    fn write_signed(&mut self, value: i64) {
        self.write_varint((value << 1 ^ value >> 63) as u64);
    }
    /// Appends a length-prefixed byte string.
    fn write_bytes(&mut self, bytes: &[u8]);
}

impl Writer for Vec<u8> {
    fn write_u8(&mut self, value: u8) {
        self.push(value);
    }
    fn write_u16(&mut self, value: u16) {
        self.extend_from_slice(&value.to_le_bytes());
    }
    fn write_u32(&mut self, value: u32) {
        self.extend_from_slice(&value.to_le_bytes());
    }
    fn write_u64(&mut self, value: u64) {
        self.extend_from_slice(&value.to_le_bytes());
    }
    fn write_varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.push(value as u8);
    }
    fn write_bytes(&mut self, bytes: &[u8]) {
        self.write_varint(bytes.len() as u64);
        self.extend_from_slice(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varints_round_trip_and_padding_is_refused() {
        for value in [0, 1, 127, 128, 300, u64::from(u32::MAX), u64::MAX] {
            let mut out = Vec::new();
            out.write_varint(value);
            out.write_signed(value as i64);
            let mut reader = Reader::new(&out, "test");
            assert_eq!(reader.varint().expect("value"), value);
            assert_eq!(reader.signed().expect("value"), value as i64);
            reader.finish().expect("all read");
        }
        assert!(Reader::new(&[0x80, 0x00], "test").varint().is_err());
        assert!(Reader::new(&[0xff; 10], "test").varint().is_err());
        assert!(Reader::new(&[200, 1], "test").count(1).is_err());
    }
}
