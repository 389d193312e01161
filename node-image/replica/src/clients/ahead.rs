//! What clients will ask next.

use crate::{engine::warm::Place, replica::Replica};

impl Replica {
    /// Commands that follow are about these, at most [`PLACES_AHEAD`](crate::PLACES_AHEAD) of them: searches for them go quicker afterwards than they would
    /// one by one. Nothing else comes of it, whether or not they are asked for.
    pub fn warm(&self, places: &[Place<'_>]) {
        self.engine.warm(places);
    }
}
