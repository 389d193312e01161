//! Just enough gRPC to put keys into etcd: one request in flight on a connection, over HTTP/2 without TLS.
//!
//! etcd's own client and its JSON gateway both cost more than the put itself on the two cores that everything shares; this costs as much as the RESP
//! client. Headers are sent in a form that needs no compression state. The answer's headers are not decoded at all: in gRPC a call that failed sends
//! no message, so a message followed by the end of the stream is success and an end without one is an error.

use super::{Outcome, Protocol, Request, Step, resp::Resp};

const FRAME_HEADER: usize = 9;
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
/// On DATA and HEADERS: the last frame of its stream.
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
/// On SETTINGS and PING: an answer.
const ACK: u8 = 1;
/// Bytes that the server may send before it needs leave to send more: as many as there can be, once.
const WINDOW: u32 = i32::MAX as u32 - 65_535;

/// `etcdserverpb.KV/Put` with values of a given size.
#[derive(Clone, Debug)]
pub struct EtcdPut {
    keys: Resp,
    value: Vec<u8>,
    headers: Vec<u8>,
}

/// What a connection has seen of the answer it waits for.
#[derive(Debug, Default)]
pub struct State {
    calls: u32,
    message: bool,
}

impl EtcdPut {
    /// Puts with the keys that `keys` would use, and values of `value_bytes`.
    pub fn new(keys: Resp, value_bytes: usize) -> Self {
        let mut random = fastrand::Rng::with_seed(1);
        let value = (0..value_bytes).map(|_| random.alphanumeric() as u8).collect();
        // Indexed fields of HPACK's static table, and literals that neither side remembers.
        let mut headers = vec![0x83, 0x86];
        literal(&mut headers, &[0x04], b"/etcdserverpb.KV/Put");
        literal(&mut headers, &[0x01], b"etcd");
        literal(&mut headers, &[0x0f, 0x10], b"application/grpc");
        literal(&mut headers, &[0x00, 2, b't', b'e'], b"trailers");
        EtcdPut { keys, value, headers }
    }
}

fn literal(headers: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    headers.extend_from_slice(name);
    headers.push(value.len() as u8);
    headers.extend_from_slice(value);
}

fn frame(out: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    out.extend_from_slice(&(payload.len() as u32).to_be_bytes()[1..]);
    out.push(kind);
    out.push(flags);
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(payload);
}

/// A protobuf field of bytes.
fn field(out: &mut Vec<u8>, number: u8, bytes: &[u8]) {
    out.push(number << 3 | 2);
    let mut length = bytes.len();
    while length >= 0x80 {
        out.push(length as u8 | 0x80);
        length >>= 7;
    }
    out.push(length as u8);
    out.extend_from_slice(bytes);
}

impl Protocol for EtcdPut {
    type Connection = State;

    fn open(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        frame(out, SETTINGS, 0, 0, &[]);
        frame(out, WINDOW_UPDATE, 0, 0, &WINDOW.to_be_bytes());
    }

    fn requests(&self, state: &mut State, batch: &[Request], out: &mut Vec<u8>) {
        for request in batch {
            let stream = state.calls * 2 + 1;
            state.calls += 1;
            let mut put = vec![0; 5];
            field(&mut put, 1, &self.keys.key(request.key));
            field(&mut put, 2, &self.value);
            let length = (put.len() - 5) as u32;
            put[1..5].copy_from_slice(&length.to_be_bytes());
            frame(out, HEADERS, END_HEADERS, stream, &self.headers);
            frame(out, DATA, END_STREAM, stream, &put);
        }
    }

    fn receive<'a>(&self, state: &mut State, input: &'a [u8], out: &mut Vec<u8>) -> Step<'a> {
        let Some(header) = input.get(..FRAME_HEADER) else { return Step::Partial };
        let length = u32::from_be_bytes([0, header[0], header[1], header[2]]) as usize;
        let consumed = FRAME_HEADER + length;
        let Some(payload) = input.get(FRAME_HEADER..consumed) else { return Step::Partial };
        let (kind, flags) = (header[3], header[4]);
        match kind {
            DATA => state.message |= !payload.is_empty(),
            HEADERS if flags & END_STREAM != 0 => {
                let outcome = if state.message { Outcome::Ok } else { Outcome::Failed("gRPC error") };
                state.message = false;
                return Step::Finished { consumed, requests: 1, outcome };
            }
            RST_STREAM => {
                state.message = false;
                return Step::Finished { consumed, requests: 1, outcome: Outcome::Failed("stream reset") };
            }
            SETTINGS if flags & ACK == 0 => frame(out, SETTINGS, ACK, 0, &[]),
            PING if flags & ACK == 0 => frame(out, PING, ACK, 0, payload),
            GOAWAY => return Step::Broken("go away"),
            _ => {}
        }
        Step::Consumed(consumed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::resp::{Command, Wait};

    fn put() -> EtcdPut {
        EtcdPut::new(Resp::new(Command::Set, Wait::No, 16, 0, 10).unwrap(), 200)
    }

    fn answer(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        frame(&mut bytes, kind, flags, 1, payload);
        bytes
    }

    #[test]
    fn a_put_is_a_header_frame_and_a_data_frame() {
        let mut out = Vec::new();
        put().requests(&mut State::default(), &[Request { key: 3, number: 1 }], &mut out);
        let data = FRAME_HEADER + u32::from_be_bytes([0, out[0], out[1], out[2]]) as usize;
        assert_eq!((out[3], out[4], out[8]), (HEADERS, END_HEADERS, 1));
        assert_eq!((out[data + 3], out[data + 4]), (DATA, END_STREAM));
        let message = &out[data + FRAME_HEADER..];
        assert_eq!(message[..5], [0, 0, 0, 0, message.len() as u8 - 5]);
        assert_eq!(&message[5..7], &[0x0a, 16]);
        assert_eq!(&message[23..26], &[0x12, 200, 1], "a length above 127 takes two bytes");
    }

    #[test]
    fn success_is_a_message_before_the_end_and_nothing_else() {
        let (put, mut state, mut out) = (put(), State::default(), Vec::new());
        let headers = answer(HEADERS, END_HEADERS, &[0x88]);
        assert_eq!(put.receive(&mut state, &headers, &mut out), Step::Consumed(headers.len()));
        put.receive(&mut state, &answer(DATA, 0, &[0; 7]), &mut out);
        let end = answer(HEADERS, END_HEADERS | END_STREAM, &[0x88]);
        let finished = |outcome| Step::Finished { consumed: end.len(), requests: 1, outcome };
        assert_eq!(put.receive(&mut state, &end, &mut out), finished(Outcome::Ok));
        assert_eq!(put.receive(&mut state, &end, &mut out), finished(Outcome::Failed("gRPC error")));
    }

    #[test]
    fn settings_and_pings_are_answered() {
        let (put, mut state, mut out) = (put(), State::default(), Vec::new());
        put.receive(&mut state, &answer(SETTINGS, 0, &[]), &mut out);
        put.receive(&mut state, &answer(PING, 0, &[9; 8]), &mut out);
        assert_eq!((out[3], out[4]), (SETTINGS, ACK));
        assert_eq!((out[FRAME_HEADER + 3], out[FRAME_HEADER + 4], out[2 * FRAME_HEADER]), (PING, ACK, 9));
    }
}
