//! Frames: a 4-byte little-endian length, then a protobuf [`Frame`].

use bytes::{Buf, BufMut, Bytes, BytesMut};
use prost::{
    Message as _,
    encoding::{WireType, encode_key, encode_varint, encoded_len_varint, key_len},
};

use crate::{
    message::{Frame, Message},
    pieces::Pieces,
};

/// Largest frame accepted, in bytes: above the largest entry, so that a length beyond it is a broken or foreign peer.
pub const FRAME_BYTES_MAX: usize = 516 << 20;

/// Room in bytes that is made for a frame of which little has come.
const ROOM_BYTES: usize = 2 << 20;

/// Entries of so many bytes are sent from where they lie.
const LARGE_BYTES: usize = 32 << 10;
/// Tags of what has entries, and of the entries in both.
const APPEND: u32 = 4;
const FEED: u32 = 20;
const ENTRIES: u32 = 4;

/// Why a byte stream is not one of frames.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The length is out of bounds.
    #[error(
        "a frame of {0} bytes was announced, at most {FRAME_BYTES_MAX} are accepted: the peer speaks another protocol, or the stream is damaged"
    )]
    TooLong(usize),
    /// The content is not protobuf of the known shape.
    #[error("a frame could not be read: {0}")]
    Malformed(#[from] prost::DecodeError),
}

/// Appends a frame to `out`.
pub fn encode(message: Message, out: &mut BytesMut) {
    let frame = Frame { message: Some(message) };
    let length = frame.encoded_len();
    out.reserve(4 + length);
    out.put_u32_le(length as u32);
    frame.encode_raw(out);
}

/// Appends a frame, large entries as pieces without a copy: they are its last field then, which is the same to who reads it.
pub fn encode_in_pieces(message: Message, out: &mut Pieces) {
    match message {
        Message::Append(mut append) if append.entries.len() >= LARGE_BYTES => {
            let entries = std::mem::take(&mut append.entries);
            with_entries(APPEND, &append, &[entries], out);
        }
        Message::Feed(mut feed) if feed.entries.iter().any(|piece| piece.len() >= LARGE_BYTES) => {
            let entries = std::mem::take(&mut feed.entries);
            with_entries(FEED, &*feed, &entries, out);
        }
        other => encode(other, out.end()),
    }
}

/// A frame of what is `rest` but for its entries.
fn with_entries(tag: u32, rest: &impl prost::Message, entries: &[Bytes], out: &mut Pieces) {
    let head = |length| key_len(ENTRIES) + encoded_len_varint(length as u64);
    let body = rest.encoded_len() + entries.iter().map(|piece| head(piece.len()) + piece.len()).sum::<usize>();
    out.end().put_u32_le((key_len(tag) + encoded_len_varint(body as u64) + body) as u32);
    encode_key(tag, WireType::LengthDelimited, out.end());
    encode_varint(body as u64, out.end());
    rest.encode_raw(out.end());
    for piece in entries {
        encode_key(ENTRIES, WireType::LengthDelimited, out.end());
        encode_varint(piece.len() as u64, out.end());
        match piece.len() {
            LARGE_BYTES.. => out.push(piece.clone()),
            _ => out.end().extend_from_slice(piece),
        }
    }
}

/// Takes the first whole frame off `input`; `None` where more bytes are needed. A frame of a kind not known here is `Some(None)`.
///
/// # Errors
/// Where the stream cannot be one of frames; the connection is of no more use.
pub fn decode(input: &mut BytesMut) -> Result<Option<Option<Message>>, FrameError> {
    if input.len() < 4 {
        return Ok(None);
    }
    let length = u32::from_le_bytes([input[0], input[1], input[2], input[3]]) as usize;
    if length > FRAME_BYTES_MAX {
        return Err(FrameError::TooLong(length));
    }
    if input.len() < 4 + length {
        // No more than has come already: a length alone costs its sender nothing.
        input.reserve((4 + length - input.len()).min(input.len().max(ROOM_BYTES)));
        return Ok(None);
    }
    input.advance(4);
    let body: Bytes = input.split_to(length).freeze();
    Ok(Some(Frame::decode(body)?.message))
}

#[cfg(test)]
mod tests {
    use std::io::IoSlice;

    use super::*;
    use crate::{
        ids::Epoch,
        message::{Append, Feed},
    };

    #[test]
    fn a_frame_comes_back_from_any_cut_of_the_stream() {
        let message =
            Message::Append(Append { commit: 7, entries: Bytes::from_static(b"records"), ..Append::default() });
        let mut whole = BytesMut::new();
        encode(message.clone(), &mut whole);
        encode(message.clone(), &mut whole);
        for cut in 0..whole.len() {
            let (mut input, mut got) = (BytesMut::new(), Vec::new());
            for part in [&whole[..cut], &whole[cut..]] {
                input.extend_from_slice(part);
                while let Some(frame) = decode(&mut input).unwrap() {
                    got.push(frame.unwrap());
                }
            }
            assert_eq!(got, [message.clone(), message.clone()], "cut at {cut}");
        }
    }

    #[test]
    fn what_was_sent_in_pieces_is_read_like_everything_else() {
        let large = |length: usize| Bytes::from(vec![7; length]);
        for length in [0, 1, LARGE_BYTES - 1, LARGE_BYTES, 5 * LARGE_BYTES] {
            let epoch = Epoch { number: 3, proposer: 1 };
            let append = Append { epoch, commit: 7, entries: large(length), leased: true, ..Append::default() };
            let feed = Feed {
                epoch,
                entries: vec![large(9), large(length), large(LARGE_BYTES)],
                version: 5,
                ..Feed::default()
            };
            let messages = [Message::Append(append), Message::Feed(Box::new(feed))];
            let mut pieces = Pieces::default();
            messages.iter().for_each(|message| encode_in_pieces(message.clone(), &mut pieces));
            let mut slices = [IoSlice::new(&[]); 16];
            let shared = 1 + usize::from(length >= LARGE_BYTES) * 2;
            assert_eq!(pieces.chunks_vectored(&mut slices), 2 * shared, "{length}");
            let mut input: BytesMut = slices.iter().flat_map(|slice| slice.to_vec()).collect();
            for message in &messages {
                assert_eq!(decode(&mut input).unwrap().flatten().as_ref(), Some(message), "{length}");
            }
            assert!(input.is_empty());
        }
    }

    #[test]
    fn a_length_makes_no_room_before_its_bytes_come() {
        let mut input = BytesMut::from(&(FRAME_BYTES_MAX as u32).to_le_bytes()[..]);
        while input.len() < 8 << 20 {
            assert!(decode(&mut input).unwrap().is_none());
            assert!(input.capacity() <= 4 * input.len().max(ROOM_BYTES), "{} for {}", input.capacity(), input.len());
            input.resize(input.capacity(), 0);
        }
    }

    #[test]
    fn an_impossible_length_is_refused() {
        assert!(matches!(decode(&mut BytesMut::from(&b"GET / HTTP/1.1"[..])), Err(FrameError::TooLong(_))));
    }
}
