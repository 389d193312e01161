//! Frames: a 4-byte little-endian length, then a protobuf [`Frame`].

use bytes::{Buf, BufMut, Bytes, BytesMut};
use prost::Message as _;

use crate::message::{Frame, Message};

/// Largest frame accepted, in bytes: above the largest entry, so that a length beyond it is a broken or foreign peer.
pub const FRAME_BYTES_MAX: usize = 516 << 20;

/// Room in bytes that is made for a frame of which little has come.
const ROOM_BYTES: usize = 256 << 10;

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
    use super::*;
    use crate::message::Append;

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
