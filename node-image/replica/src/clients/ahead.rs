//! What clients will ask next.

use crate::replica::Replica;

impl Replica {
    /// Commands that follow name these keys, at most [`KEYS_AHEAD`](crate::KEYS_AHEAD) of them: searches for them go quicker afterwards than they would one
    /// by one. Nothing else comes of it, whether or not they are asked for.
    pub fn warm(&self, keys: &[&[u8]]) {
        self.engine.warm(keys);
    }
}
