//! Commands whose keys are at home in another group, and reads that only another one can answer ([`super::session::fetch`]): asked of that group's leader,
//! wherever this replica's client is connected.
//!
//! Who leads there says so with each heartbeat, to every replica of other groups. A request is asked again of each new leader like one of the own group; a
//! leader whose group is not the home any more answers where it belongs, having made sure that its group has not executed it, and it is asked there. So a
//! command is executed once, whatever moves.
//!
//! All that is under way for a connection is under way in one group and, once there is a command of a home among it, for one epoch of that home: what belongs
//! elsewhere, and so does not move with it, waits for what is before it. So commands of one connection are executed in their order. With a request goes what its client
//! may have been shown, and with its reply what it has been shown by that: nobody who has both sees less afterwards, in either group.
//!
//! A home whose leader has not been heard for twice the suspicion time is silent: then its commands are refused, or executed here, as the record says. Until
//! then they wait, as a failover takes less.

use trireme_proto::{
    Epoch, Message, ReplicaId,
    ids::Peer,
    message::{Leads, Moved, Reply, Request, Seen},
};

use crate::{engine::ReceivedSet, feeds::sets, group::Role, io::ClientId, replica::Replica};

use super::{
    Flow,
    blocked::left_us,
    client::Place,
    execute::Work,
    homes::{AtHome, Where},
    serve::with_work,
};

/// Who leads another group.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Abroad {
    /// The leader that is connected; none while there is none.
    leader: Option<ReplicaId>,
    epoch: Epoch,
    /// When it last said so.
    heard_us: u64,
}

impl Replica {
    /// With each heartbeat: here is who executes.
    pub(crate) fn say_who_leads(&mut self) {
        let Role::Leader(leader) = &self.role else { return };
        if !leader.serving {
            return;
        }
        let leads = Message::Leads(Leads { epoch: leader.epoch });
        let away = |id: &&ReplicaId| !self.is_of_this_group(**id) && self.group_of(**id).is_some();
        let others: Vec<ReplicaId> = self.peers.keys().filter(away).copied().collect();
        self.output.send.extend(others.into_iter().map(|id| (Peer::Replica(id), leads.clone())));
    }

    /// Another group's leader is there.
    pub(crate) fn on_leads(&mut self, from: ReplicaId, leads: Leads) {
        let Some(group) = self.group_of(from).filter(|group| *group != self.identity.group) else { return };
        let before = self.clients.abroad.get(&group).copied();
        if before.is_some_and(|before| before.epoch > leads.epoch) {
            return;
        }
        self.clients
            .abroad
            .insert(group, Abroad { leader: Some(from), epoch: leads.epoch, heard_us: self.now.mono_us });
        if before.is_none_or(|before| (before.leader, before.epoch) != (Some(from), leads.epoch)) {
            self.resend_requests(group);
        }
    }

    /// A connection to a replica of another group is gone.
    pub(crate) fn leader_abroad_closed(&mut self, id: ReplicaId) {
        let led = self.clients.abroad.iter_mut().filter(|(_, abroad)| abroad.leader == Some(id));
        let without: Vec<u32> = led.map(|(group, abroad)| (abroad.leader = None, *group).1).collect();
        self.forget_forwarder(id);
        without.into_iter().for_each(|group| self.fetch_again(group));
    }

    /// The leader of another group to whom requests can be sent.
    pub(super) fn leader_abroad(&self, group: u32) -> Option<(ReplicaId, Epoch)> {
        let abroad = self.clients.abroad.get(&group)?;
        let leader = abroad.leader.filter(|leader| self.group_of(*leader).is_some())?;
        Some((leader, abroad.epoch))
    }

    /// For how long no leader of another group has been heard, in microseconds.
    fn silence_us(&self, group: u32) -> u64 {
        let heard_us = self.clients.abroad.get(&group).map_or(0, |abroad| abroad.heard_us).max(self.started_us);
        self.now.mono_us.saturating_sub(heard_us)
    }

    /// A group has had time enough to find another leader, and none was heard.
    pub(super) fn is_silent(&self, group: u32) -> bool {
        self.silence_us(group) >= u64::from(self.settings().suspicion_ms) * 2_000
    }

    /// Where a client's work goes that may belong elsewhere; none where this group executes it, by this epoch of a home or as if there were none.
    pub(super) fn place_by_home(&mut self, id: ClientId, work: &Work<'_>) -> Result<u64, Flow> {
        let own = self.identity.group;
        let to = self.where_is(work);
        let Some(client) = self.clients.get_mut(id) else { return Err(Flow::Done) };
        let held = client.held > 0;
        let home = match to {
            Where::Here(epoch) if !client.may_follow(own, epoch) => return Err(Flow::NotNow),
            Where::Here(epoch) => {
                let seen = &mut client.elsewhere.seen;
                if !self.engine.received().covers(seen) {
                    return Err(Flow::NotNow);
                }
                // What has come may still be undone, and come again.
                if self.feeds.as_ref().is_none_or(|feeds| feeds.held.covers(seen)) {
                    *seen = ReceivedSet::default();
                }
                return Ok(epoch);
            }
            Where::Soon(_) => return Err(Flow::NotNow),
            Where::Nowhere(why) => {
                self.answer(id, |reply| reply.error(why.as_bytes()));
                return Err(Flow::Done);
            }
            Where::There(home) => home,
        };
        if !client.may_follow(home.group, home.epoch) || held {
            return Err(Flow::NotNow);
        }
        if self.leader_abroad(home.group).is_some() {
            return Err(self.forward(id, work, (home.group, home.epoch)));
        }
        if !self.is_silent(home.group) {
            return Err(Flow::NotNow);
        }
        let why = self.why_silent(home);
        self.counters.no_replicas += 1;
        self.answer(id, |reply| reply.error(why.as_bytes()));
        Err(Flow::Done)
    }

    fn why_silent(&self, home: AtHome) -> String {
        format!(
            "HOMEUNREACHABLE {} is written in region {}, whose leader has not been heard for {} ms; nothing was done",
            self.homes.name(home),
            self.region_named(home.group),
            self.silence_us(home.group) / 1_000
        )
    }

    /// Why a command still waits, if that is for its home, or for what its client was shown elsewhere.
    pub(super) fn why_not_at_home(&mut self, id: ClientId, work: &Work<'_>) -> Option<String> {
        match self.where_is(work) {
            Where::There(home) => Some(self.why_silent(home)),
            Where::Soon(home) => Some(format!(
                "NOREPLICAS {} has its home in this region since a moment ago, and what was written before has not all come; nothing was done",
                self.homes.name(home)
            )),
            Where::Nowhere(_) => None,
            Where::Here(_) => {
                let seen = &self.clients.get_mut(id)?.elsewhere.seen;
                let behind = !self.engine.received().covers(seen);
                behind.then(|| {
                    "STALE what this connection was shown in another region has not come here; nothing was done"
                        .to_owned()
                })
            }
        }
    }

    /// What a client of this replica may have been shown.
    pub(super) fn shown(&self) -> Vec<Seen> {
        match &self.feeds {
            Some(feeds) => sets::to_message(&feeds.held),
            None => sets::to_message(self.engine.received()),
        }
    }

    /// The same, and what a session needs beyond it.
    pub(super) fn shown_and(&self, needs: &ReceivedSet) -> Vec<Seen> {
        if needs.is_empty() {
            return self.shown();
        }
        merged(&self.shown(), &sets::to_message(needs))
    }

    /// A request belongs elsewhere, and was not executed where it was asked: it is asked there, at once if that is news, else a little later.
    pub(super) fn moved(&mut self, id: ClientId, number: u64, moved: Moved) {
        let Some(client) = self.clients.get_mut(id) else { return };
        let place = client.places.iter_mut().find(|place| place.is_of(number));
        let Some(Place::Asked { sent, group, home_epoch, writes, .. }) = place else { return };
        *sent = false;
        let (writes, own) = (*writes, self.identity.group);
        let news = moved.epoch > *home_epoch;
        if moved.epoch >= *home_epoch {
            (*group, *home_epoch) = (moved.group, moved.epoch);
        }
        client.note_elsewhere(moved.group, own, writes);
        self.clients.moved.insert(id);
        if news {
            self.ask_moved();
        }
    }

    /// Asks what was found to belong elsewhere: of the home that is known from the highest epoch.
    pub(crate) fn ask_moved(&mut self) {
        for id in std::mem::take(&mut self.clients.moved) {
            let shows_all = self.shows_all_seen(id);
            let Some(client) = self.clients.get_mut(id) else { continue };
            let now_us = self.now.mono_us;
            let left = client.key_wait().map_or(0, |wait| left_us(wait.until_us, now_us));
            let confirmed = client.confirmed;
            let mut places = std::mem::take(&mut client.places);
            let (own, shown) = (self.identity.group, self.shown());
            let mut again = Vec::new();
            for place in &mut places {
                let Place::Asked { request, sent: sent @ false, group, home_epoch, writes, .. } = place else {
                    continue;
                };
                if let Ok(Where::There(home) | Where::Soon(home)) = with_work(request, |work| self.where_is(work))
                    && home.epoch >= *home_epoch
                {
                    (*group, *home_epoch) = (home.group, home.epoch);
                }
                if *group != own {
                    // What its session needs stays with it.
                    request.seen = merged(&request.seen, &shown);
                }
                // What is asked elsewhere says what its client has been shown here: that has to be here.
                *sent = self.may_ask(*group) && (*writes || shows_all);
                match *sent {
                    true => {
                        let wait_us = left.min(request.wait_us);
                        again.push((*group, *writes, Request { confirmed, wait_us, ..request.clone() }));
                    }
                    false => drop(self.clients.moved.insert(id)),
                }
            }
            let Some(client) = self.clients.get_mut(id) else { continue };
            client.places = places;
            for (group, writes, _) in &again {
                client.note_elsewhere(*group, own, *writes);
            }
            for (group, _, request) in again {
                self.ask(group, request);
            }
        }
    }

    /// A reply of another group has come: what it shows is not taken back here.
    pub(super) fn note_shown_elsewhere(&mut self, id: ClientId, reply: &Reply) {
        if let Some(client) = self.clients.get_mut(id) {
            client.elsewhere.seen.merge(&sets::from_message(&reply.seen));
        }
    }
}

/// Both of two sets.
fn merged(one: &[Seen], other: &[Seen]) -> Vec<Seen> {
    let mut all = sets::from_message(one);
    all.merge(&sets::from_message(other));
    sets::to_message(&all)
}
