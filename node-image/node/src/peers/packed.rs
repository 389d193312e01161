//! Messages to another region, made smaller.
//!
//! All that a turn has for a peer is one stream of frames. It is cut into pieces, and each goes out as one LZ4 block in a frame of its own
//! ([`Packed`]), to who said in its Hello that it understands that. Within a region nothing is packed: there the same bytes go to the disk and to every peer.

use bytes::BytesMut;
use lz4_flex::block::{CompressTable, compress_into_with_table, decompress_into, get_maximum_output_size};
use trireme_proto::{Message, frame, message::Packed};

/// Less than this is sent as it is.
pub(super) const BATCH_BYTES_MIN: usize = 1 << 10;
/// Longest piece in bytes: whoever unpacks needs room for no more, whatever it is sent, and the small table of the compressor is enough.
const PIECE_BYTES_MAX: usize = 60 << 10;
/// A batch that loses less than one part in so many is sent as it is: the values are packed already, or random.
const SAVING_MIN: usize = 16;
/// What is kept of the room for packed bytes.
const KEEP_BYTES: usize = 1 << 20;

/// What packs, with its tables.
#[derive(Default)]
pub(super) struct Packer {
    table: CompressTable,
    block: BytesMut,
    out: BytesMut,
}

impl Packer {
    /// The bytes of a buffer from here on are frames: puts pieces of them in their place, and tells whether that was worth it.
    pub(super) fn pack(&mut self, buffer: &mut BytesMut, from: usize) -> bool {
        self.out.clear();
        let mut taken = 0;
        for piece in buffer[from..].chunks(PIECE_BYTES_MAX) {
            self.block.resize(get_maximum_output_size(piece.len()), 0);
            let Ok(length) = compress_into_with_table(piece, &mut self.block, &mut self.table) else { return false };
            self.block.truncate(length);
            let lz4 = self.block.split().freeze();
            frame::encode(Message::Packed(Packed { bytes: piece.len() as u32, lz4 }), &mut self.out);
            taken += piece.len();
            if self.out.len() > taken - taken / SAVING_MIN {
                return false;
            }
        }
        buffer.truncate(from);
        buffer.extend_from_slice(&self.out);
        if self.out.capacity() > KEEP_BYTES {
            self.out = BytesMut::new();
        }
        true
    }
}

/// Puts what was packed behind the rest of the pieces before it.
///
/// # Errors
/// Where it is too long, or not what it says.
pub(crate) fn unpack(packed: &Packed, unpacked: &mut BytesMut) -> Result<(), String> {
    let (at, bytes) = (unpacked.len(), packed.bytes as usize);
    if bytes == 0 || bytes > PIECE_BYTES_MAX {
        return Err(format!("a packed piece of {bytes} bytes was announced, 1 to {PIECE_BYTES_MAX} are accepted"));
    }
    unpacked.resize(at + bytes, 0);
    match decompress_into(&packed.lz4, &mut unpacked[at..]) {
        Ok(length) if length == bytes => Ok(()),
        Ok(length) => Err(format!("a packed piece was {length} bytes instead of {bytes}")),
        Err(error) => Err(format!("a packed piece could not be read: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    /// Sends through a packer, and reads back what came out, frame by frame.
    fn back(mut wire: BytesMut) -> Result<BytesMut, String> {
        let mut unpacked = BytesMut::new();
        while let Some(message) = frame::decode(&mut wire).unwrap() {
            let Some(Message::Packed(packed)) = message else { panic!("not packed") };
            unpack(&packed, &mut unpacked)?;
        }
        Ok(unpacked)
    }

    #[test]
    fn what_is_packed_comes_back_whatever_its_length() {
        let mut packer = Packer::default();
        for length in [1_000, PIECE_BYTES_MAX, PIECE_BYTES_MAX + 1, 10 * PIECE_BYTES_MAX + 77] {
            let bytes: Vec<u8> = (0..length).map(|i| (i / 100 % 251) as u8).collect();
            let mut buffer = BytesMut::from(&b"before"[..]);
            buffer.extend_from_slice(&bytes);
            assert!(packer.pack(&mut buffer, 6), "{length}");
            assert!(buffer.len() < length / 2, "{length} became {}", buffer.len());
            assert_eq!(&buffer.split_to(6)[..], b"before");
            assert_eq!(&back(buffer).unwrap()[..], &bytes[..], "{length}");
        }
    }

    #[test]
    fn what_does_not_get_smaller_stays_as_it_is() {
        let mut state = 7_u64;
        let noise = std::iter::repeat_with(|| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 56) as u8
        });
        let noise: Vec<u8> = noise.take(200_000).collect();
        let mut buffer = BytesMut::from(&noise[..]);
        assert!(!Packer::default().pack(&mut buffer, 0));
        assert_eq!(&buffer[..], &noise[..]);
    }

    #[test]
    fn a_piece_that_lies_or_is_damaged_is_refused_without_room_for_what_it_claims() {
        let (mut packer, mut buffer) = (Packer::default(), BytesMut::from(&b"abcdefgh".repeat(500)[..]));
        assert!(packer.pack(&mut buffer, 0));
        let Some(Some(Message::Packed(good))) = frame::decode(&mut buffer).unwrap() else { panic!("not packed") };
        for bytes in [0, 1, good.bytes - 1, good.bytes + 1, PIECE_BYTES_MAX as u32 + 1, u32::MAX] {
            let mut unpacked = BytesMut::new();
            assert!(unpack(&Packed { bytes, ..good.clone() }, &mut unpacked).is_err(), "{bytes}");
            assert!(unpacked.capacity() <= 2 * PIECE_BYTES_MAX, "{}", unpacked.capacity());
        }
        for at in 0..good.lz4.len() {
            for flip in [1, 0x10, 0x80, 0xff] {
                let mut lz4 = good.lz4.to_vec();
                lz4[at] ^= flip;
                // It may happen to be another text of the same length; but nothing worse.
                let _ = unpack(&Packed { lz4: lz4.into(), ..good.clone() }, &mut BytesMut::new());
            }
            let short = Packed { lz4: good.lz4.slice(..at), ..good.clone() };
            assert!(unpack(&short, &mut BytesMut::new()).is_err(), "cut at {at}");
        }
        assert!(unpack(&Packed { lz4: Bytes::new(), ..good }, &mut BytesMut::new()).is_err());
    }
}
