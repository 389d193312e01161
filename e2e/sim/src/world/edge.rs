//! An edge's world: one machine, on which nobody decides but what runs there.

use super::World;
use crate::{
    clock::Micros,
    history::Outcome,
    invariants::{Decided, Watch},
};

impl World {
    /// The machine loses its disk, with the record that was there. Of what clients were told OK that is known to be held elsewhere up to `held`; what came later
    /// may be lost.
    pub(crate) fn lose_edge(&mut self, held: Micros) {
        for at in 0..self.clients.len() {
            // Replies that are under way do not arrive.
            let (client, session) = (self.clients[at].id, self.clients[at].session);
            self.hang_up(client, session);
            self.clients[at].forget();
        }
        for entry in self.history.entries.iter_mut().filter(|entry| !entry.reads) {
            if matches!(&entry.outcome, Outcome::Answered(time, _) if *time > held) {
                entry.outcome = Outcome::Unknown;
            }
        }
        let workers: Vec<u32> = self.workers.keys().copied().collect();
        workers.into_iter().for_each(|number| self.end_worker(number));
        let ids: Vec<_> = self.scenario.replicas().collect();
        ids.into_iter().for_each(|id| self.lose_disk(id));
        self.authority.forget();
        // What comes now is another group as far as its own log goes.
        (self.watch, self.decided, self.forgot) = (Watch::default(), Decided::default(), true);
        self.new_worker();
    }
}
