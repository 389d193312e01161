//! Bytes on their way out, in pieces: large ones are sent from where they lie.

use std::{collections::VecDeque, io::IoSlice};

use bytes::{Buf, Bytes, BytesMut};

/// A buffer larger than this is given back when it is empty.
const KEEP_BYTES: usize = 1 << 20;

/// Bytes in their order. What is added to [`Pieces::end`] is copied there; what is pushed is not.
#[derive(Debug, Default)]
pub struct Pieces {
    whole: VecDeque<Bytes>,
    /// Bytes of `whole`.
    bytes: usize,
    end: BytesMut,
}

impl Pieces {
    /// Where small things are added.
    pub fn end(&mut self) -> &mut BytesMut {
        &mut self.end
    }

    /// Adds a piece without a copy.
    pub fn push(&mut self, piece: Bytes) {
        for piece in [self.end.split().freeze(), piece] {
            if !piece.is_empty() {
                self.bytes += piece.len();
                self.whole.push_back(piece);
            }
        }
    }

    /// Gives memory back, if nothing is left and there is much of it.
    pub fn let_go(&mut self) {
        // The capacity does not count what was taken off the front.
        if self.is_empty() && self.end.try_reclaim(KEEP_BYTES + 1) {
            self.end = BytesMut::new();
        }
    }

    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        !self.has_remaining()
    }
}

impl Buf for Pieces {
    fn remaining(&self) -> usize {
        self.bytes + self.end.len()
    }

    fn chunk(&self) -> &[u8] {
        self.whole.front().map_or(&self.end[..], |piece| &piece[..])
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let end = Some(&self.end[..]).filter(|end| !end.is_empty());
        let all = self.whole.iter().map(|piece| &piece[..]).chain(end);
        slices.iter_mut().zip(all).map(|(slice, piece)| *slice = IoSlice::new(piece)).count()
    }

    fn advance(&mut self, mut count: usize) {
        while let Some(first) = self.whole.front_mut() {
            let step = count.min(first.len());
            (self.bytes, count) = (self.bytes - step, count - step);
            if step < first.len() {
                return first.advance(step);
            }
            self.whole.pop_front();
        }
        self.end.advance(count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_come_out_in_their_order_however_many_are_taken() {
        for step in 1..12 {
            let mut pieces = Pieces::default();
            pieces.end().extend_from_slice(b"ab");
            pieces.push(Bytes::from_static(b"cdefg"));
            pieces.push(Bytes::new());
            pieces.push(Bytes::from_static(b"h"));
            pieces.end().extend_from_slice(b"ijk");
            let mut slices = [IoSlice::new(&[]); 8];
            assert_eq!(pieces.chunks_vectored(&mut slices), 4);
            let whole: Vec<u8> = slices.iter().flat_map(|slice| slice.to_vec()).collect();
            assert_eq!(whole, b"abcdefghijk");
            let mut out = Vec::new();
            while !pieces.is_empty() {
                let taken = pieces.copy_to_bytes(step.min(pieces.remaining()));
                out.extend_from_slice(&taken);
                assert_eq!(pieces.remaining(), 11 - out.len());
            }
            assert_eq!(out, b"abcdefghijk", "{step} at a time");
        }
    }
}
