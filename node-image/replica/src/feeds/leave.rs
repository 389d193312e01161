//! A group whose region is taken away from the store: it takes no more writes, and says when all that it has written is held for good.
//!
//! Reads go on, and what others write still comes in: until the record says that the group is gone, this can be taken back. Who writes is told where writes
//! are taken. They are not forwarded there: they would be told OK by another region's w, and a client that stays would lose its region without a word.

use trireme_proto::{
    breakage::{Breakage, broken},
    topology::Leaving,
};

use crate::{group::Role, replica::Replica};

impl Replica {
    /// Whether this group takes no more writes, because it leaves the store.
    pub(crate) fn is_leaving(&self) -> bool {
        let leaving = self.meta.topology.as_ref().map_or(Leaving::Stays, |topology| topology.leaving());
        leaving != Leaving::Stays && !broken(Breakage::WriteWhileLeaving)
    }

    /// Why no write is taken, and where they are.
    pub(crate) fn refuses_writes(&self) -> Option<String> {
        let topology = self.meta.topology.as_ref().filter(|_| self.is_leaving())?;
        let region = topology.replicas.first().map_or("", |row| row.region.as_str());
        let place = |group: &trireme_proto::topology::Group| {
            let addresses: Vec<&str> =
                group.replicas.iter().map(|row| row.client_address.as_str()).filter(|at| !at.is_empty()).collect();
            if addresses.is_empty() {
                group.region.clone()
            } else {
                format!("{} ({})", group.region, addresses.join(", "))
            }
        };
        let places: Vec<String> =
            topology.groups.iter().filter(|group| !group.leaving && !group.is_edge()).map(place).collect();
        Some(format!(
            "REGIONLEAVES the region {region} leaves the store and takes no more writes; nothing was done. Write in {}",
            places.join(" or ")
        ))
    }

    /// Whether everything that this group has written, now and under earlier leaders, is held for good, and nothing more will be written.
    pub(super) fn is_closed(&self) -> bool {
        let (Role::Leader(leader), Some(feeds), Some(topology)) = (&self.role, &self.feeds, &self.meta.topology) else {
            return false;
        };
        let leaving = topology.leaving() != Leaving::Stays;
        leaving
            && leader.serving
            && leader.suffixes.is_empty()
            && !feeds.landing.iter().any(|(_, dot)| self.is_own(dot.origin))
    }

    /// Those who wait for keys are told that nothing will be taken out of them here.
    pub(crate) fn release_waiters_that_would_write(&mut self) {
        if !self.is_leaving() || !self.leads() {
            return;
        }
        while let Some(number) = self.clients.waiters.due(u64::MAX) {
            self.time_out_request(number);
        }
    }
}
