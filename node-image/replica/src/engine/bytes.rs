//! Numbers and byte strings in deltas and images. Reading is defensive: any bytes give a value or an error.

/// Bytes are no delta, or no image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a delta or image of this version: {what}, {left} bytes before the end")]
pub struct DeltaError {
    /// What is wrong.
    pub what: &'static str,
    /// How many bytes before the end of the input.
    pub left: usize,
}

pub(crate) fn put_number(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

pub(crate) fn put_signed(out: &mut Vec<u8>, number: i64) {
    put_number(out, ((number << 1) ^ (number >> 63)) as u64);
}

pub(crate) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_number(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Reads from the front of its bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader<'a> {
    pub(crate) rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn error<T>(&self, what: &'static str) -> Result<T, DeltaError> {
        Err(DeltaError { what, left: self.rest.len() })
    }

    pub(crate) fn byte(&mut self) -> Result<u8, DeltaError> {
        let Some((&first, rest)) = self.rest.split_first() else { return self.error("cut off") };
        self.rest = rest;
        Ok(first)
    }

    #[inline]
    pub(crate) fn number(&mut self) -> Result<u64, DeltaError> {
        match self.rest.split_first() {
            Some((&only, rest)) if only < 0x80 => {
                self.rest = rest;
                Ok(only.into())
            }
            _ => self.long_number(),
        }
    }

    fn long_number(&mut self) -> Result<u64, DeltaError> {
        let mut number = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            if shift == 63 && byte > 1 {
                break;
            }
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        self.error("a number of more than 64 bits")
    }

    pub(crate) fn small(&mut self) -> Result<u32, DeltaError> {
        match u32::try_from(self.number()?) {
            Ok(number) => Ok(number),
            Err(_) => self.error("a number of more than 32 bits"),
        }
    }

    pub(crate) fn signed(&mut self) -> Result<i64, DeltaError> {
        let number = self.number()?;
        Ok((number >> 1) as i64 ^ -((number & 1) as i64))
    }

    pub(crate) fn fixed(&mut self) -> Result<u64, DeltaError> {
        let Some((first, rest)) = self.rest.split_first_chunk::<8>() else { return self.error("cut off") };
        self.rest = rest;
        Ok(u64::from_le_bytes(*first))
    }

    pub(crate) fn bytes(&mut self) -> Result<&'a [u8], DeltaError> {
        let length = self.number()?;
        if length > self.rest.len() as u64 {
            return self.error("a length beyond the end");
        }
        let (bytes, rest) = self.rest.split_at(length as usize);
        self.rest = rest;
        Ok(bytes)
    }

    /// A count of things that take at least `each` bytes: so no count makes more memory than the input has.
    pub(crate) fn count(&mut self, each: usize) -> Result<usize, DeltaError> {
        let count = self.number()?;
        if count > (self.rest.len() / each) as u64 {
            return self.error("a count beyond the end");
        }
        Ok(count as usize)
    }
}
