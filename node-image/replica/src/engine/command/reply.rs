//! Replies in the client protocol, RESP2 and RESP3, written straight into the connection's buffer.

use super::float;

/// Writes replies into a buffer. Nothing is allocated but the buffer's own growth.
///
/// The caller of [`Reply::array`], [`Reply::map`], [`Reply::set`] and [`Reply::push`] goes on to write exactly the
/// elements it announced.
#[derive(Debug)]
pub struct Reply<'a> {
    out: &'a mut Vec<u8>,
    resp3: bool,
}

impl<'a> Reply<'a> {
    /// A writer at the end of `out`, for a client that speaks RESP3 or RESP2.
    pub fn new(out: &'a mut Vec<u8>, resp3: bool) -> Self {
        Self { out, resp3 }
    }

    /// Whether the client speaks RESP3.
    pub fn is_resp3(&self) -> bool {
        self.resp3
    }

    /// What follows is RESP3 or RESP2: HELLO answers in the protocol it has just switched to.
    pub fn set_resp3(&mut self, resp3: bool) {
        self.resp3 = resp3;
    }

    /// The length of everything in the buffer: a place to [`Reply::rewind`] to.
    pub fn mark(&self) -> usize {
        self.out.len()
    }

    /// Takes back everything written since the mark.
    pub fn rewind(&mut self, mark: usize) {
        self.out.truncate(mark);
    }

    /// A simple string: a short text without line ends.
    pub fn simple(&mut self, text: &str) {
        self.line(b'+', text.as_bytes());
    }

    /// `+OK`.
    pub fn ok(&mut self) {
        self.out.extend_from_slice(b"+OK\r\n");
    }

    /// An error: its code, a space and its text, without the leading `-`. Line ends within become spaces.
    pub fn error(&mut self, text: &[u8]) {
        self.out.push(b'-');
        self.out.extend(text.iter().map(|&byte| if byte == b'\r' || byte == b'\n' { b' ' } else { byte }));
        self.out.extend_from_slice(b"\r\n");
    }

    /// An integer.
    pub fn integer(&mut self, value: i64) {
        self.header(b':', value);
    }

    /// A count, as an integer.
    pub fn count(&mut self, value: usize) {
        self.header(b':', value);
    }

    /// A bulk string: any bytes.
    pub fn bulk(&mut self, bytes: &[u8]) {
        self.header(b'$', bytes.len());
        self.out.extend_from_slice(bytes);
        self.out.extend_from_slice(b"\r\n");
    }

    /// An integer as a bulk string.
    pub fn bulk_integer(&mut self, value: i64) {
        self.bulk(itoa::Buffer::new().format(value).as_bytes());
    }

    /// A bulk string, or null.
    pub fn bulk_or_null(&mut self, bytes: Option<&[u8]>) {
        match bytes {
            Some(bytes) => self.bulk(bytes),
            None => self.null(),
        }
    }

    /// Nothing, where a string could have been.
    pub fn null(&mut self) {
        self.out.extend_from_slice(if self.resp3 { b"_\r\n" } else { b"$-1\r\n" });
    }

    /// Nothing, where an array could have been.
    pub fn null_array(&mut self) {
        self.out.extend_from_slice(if self.resp3 { b"_\r\n" } else { b"*-1\r\n" });
    }

    /// The head of an array of this many elements.
    pub fn array(&mut self, elements: usize) {
        self.header(b'*', elements);
    }

    /// The head of a map of this many pairs; in RESP2 an array of twice as many.
    pub fn map(&mut self, pairs: usize) {
        if self.resp3 { self.header(b'%', pairs) } else { self.header(b'*', 2 * pairs) }
    }

    /// The head of an attribute of this many pairs, which stands before the reply that it tells of. RESP2 has none: the caller leaves it out.
    pub fn attribute(&mut self, pairs: usize) {
        self.header(b'|', pairs);
    }

    /// The head of a set of this many elements; in RESP2 an array.
    pub fn set(&mut self, elements: usize) {
        self.header(if self.resp3 { b'~' } else { b'*' }, elements);
    }

    /// The head of a message that answers no command; in RESP2 an array.
    pub fn push(&mut self, elements: usize) {
        self.header(if self.resp3 { b'>' } else { b'*' }, elements);
    }

    /// True or false; in RESP2 1 or 0.
    pub fn boolean(&mut self, value: bool) {
        let bytes: &[u8] = match (self.resp3, value) {
            (true, true) => b"#t\r\n",
            (true, false) => b"#f\r\n",
            (false, true) => b":1\r\n",
            (false, false) => b":0\r\n",
        };
        self.out.extend_from_slice(bytes);
    }

    /// A floating point number, in the shortest form that reads back as the same; in RESP2 a bulk string.
    pub fn double(&mut self, value: f64) {
        let text = float::text(value);
        if self.resp3 { self.line(b',', text.as_bytes()) } else { self.bulk(text.as_bytes()) }
    }

    /// A text for people; in RESP2 a bulk string. The format is three characters, such as `txt`.
    pub fn verbatim(&mut self, format: &str, text: &[u8]) {
        debug_assert_eq!(format.len(), 3, "the format of a verbatim string has three characters");
        if !self.resp3 {
            return self.bulk(text);
        }
        self.header(b'=', text.len() + 4);
        self.out.extend_from_slice(format.as_bytes());
        self.out.push(b':');
        self.out.extend_from_slice(text);
        self.out.extend_from_slice(b"\r\n");
    }

    /// Replies that were written before, as they are.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    fn header(&mut self, sigil: u8, value: impl itoa::Integer) {
        self.line(sigil, itoa::Buffer::new().format(value).as_bytes());
    }

    fn line(&mut self, sigil: u8, text: &[u8]) {
        self.out.push(sigil);
        self.out.extend_from_slice(text);
        self.out.extend_from_slice(b"\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(resp3: bool, write: impl FnOnce(&mut Reply<'_>)) -> String {
        let mut out = Vec::new();
        write(&mut Reply::new(&mut out, resp3));
        String::from_utf8(out).expect("text").replace("\r\n", "|")
    }

    #[test]
    fn every_form_in_both_protocols() {
        let all = |reply: &mut Reply<'_>| {
            reply.simple("PONG");
            reply.error(b"ERR a\r\nb");
            reply.integer(i64::MIN);
            reply.bulk(b"");
            reply.null();
            reply.null_array();
            reply.map(2);
            reply.set(3);
            reply.push(1);
            reply.boolean(true);
            reply.boolean(false);
            reply.double(1.5);
            reply.double(3.0);
            reply.double(f64::NEG_INFINITY);
            reply.verbatim("txt", b"hi");
        };
        assert_eq!(
            written(false, all),
            "+PONG|-ERR a  b|:-9223372036854775808|$0||$-1|*-1|*4|*3|*1|:1|:0|$3|1.5|$1|3|$4|-inf|$2|hi|"
        );
        assert_eq!(
            written(true, all),
            "+PONG|-ERR a  b|:-9223372036854775808|$0||_|_|%2|~3|>1|#t|#f|,1.5|,3|,-inf|=6|txt:hi|"
        );
    }

    #[test]
    fn rewinding_takes_back_only_what_follows_the_mark() {
        assert_eq!(
            written(false, |reply| {
                reply.ok();
                let mark = reply.mark();
                reply.bulk(b"half");
                reply.rewind(mark);
                reply.null();
            }),
            "+OK|$-1|"
        );
    }
}
