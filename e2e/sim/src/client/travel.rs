//! Clients that take their session from replica to replica, and from region to region, by its token.
//!
//! What they carry is handed on: one client's session is gone on with by the next one that connects anywhere. Where a connection is lost, it is the last token
//! that counts. What a session may be shown is [`trireme_sessions`]' business.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
};

use fastrand::Rng;
use trireme_sessions::{Key, Session, Value};

use super::{Client, Expected};
use crate::resp::Reply;

/// Most commands at one replica.
const VISIT_MAX: u32 = 6;

/// A session between two connections.
#[derive(Clone, Debug)]
pub struct Luggage {
    session: Session,
    /// The last token, and what the session had done and seen then.
    token: Option<(Vec<u8>, Session)>,
    sessions: usize,
    /// Writes that were acknowledged after it: what goes on from it has not seen them, and writes beside them.
    loose: Vec<(Key, u64)>,
    doubtful: Doubtful,
}

/// Writes whose outcome no session knows: they may happen late, and be shown after newer ones.
#[derive(Clone, Debug, Default)]
struct Doubtful(Arc<Mutex<BTreeSet<(Key, u64)>>>);

impl Doubtful {
    fn add(&self, keys: &[Key], number: u64) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend(keys.iter().map(|key| (*key, number)));
    }

    fn has(&self, key: Key, value: &Value) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(&(key, value.number))
    }
}

impl Luggage {
    /// Sessions that have done nothing yet.
    pub fn new(sessions: usize) -> impl Iterator<Item = Luggage> {
        let doubtful = Doubtful::default();
        (0..sessions).map(move |number| Luggage {
            session: Session::new(number),
            token: None,
            sessions,
            loose: Vec::new(),
            doubtful: doubtful.clone(),
        })
    }
}

/// A session at a replica.
#[derive(Clone, Debug)]
pub(super) struct Visit {
    luggage: Luggage,
    left: u32,
}

/// A reply that such a client waits for.
#[derive(Clone, Debug)]
pub(super) enum Step {
    Resumed,
    Wrote(Vec<Key>, u64),
    Read(Vec<Key>),
    Token,
}

impl Client {
    /// It travels: so many replies it has asked for, as a number that says whether it still waits for the same ones.
    pub fn asked(&self) -> Option<usize> {
        self.travels.then_some(self.asked)
    }

    /// It goes on with a session where it connects next.
    pub fn pick_up(&mut self, luggage: Luggage, rng: &mut Rng) {
        self.readonly = rng.bool();
        self.visit = Some(Visit { luggage, left: rng.u32(1..=VISIT_MAX) });
    }

    /// It is done here, or its connection is gone.
    pub fn put_down(&mut self) -> Option<Luggage> {
        let mut luggage = self.visit.take()?.luggage;
        luggage.loose.drain(..).for_each(|(key, number)| luggage.doubtful.add(&[key], number));
        match &luggage.token {
            Some((_, then)) => luggage.session.back_to(then),
            None => luggage.session.forget(),
        }
        Some(luggage)
    }

    /// Whether it has done here what it wanted to.
    pub fn has_looked(&self) -> bool {
        self.visit.as_ref().is_some_and(|visit| visit.left == 0)
    }

    /// The answer to a command is lost.
    pub(super) fn doubt(&mut self, step: &Step) {
        if let (Some(visit), Step::Wrote(keys, number)) = (&self.visit, step) {
            visit.luggage.doubtful.add(keys, *number);
        }
    }

    pub(super) fn arrive(&mut self, out: &mut Vec<Vec<Vec<u8>>>) {
        let Some(visit) = &self.visit else { return };
        if let Some((token, _)) = &visit.luggage.token {
            out.push(vec![b"SESSION".to_vec(), b"RESUME".to_vec(), token.clone()]);
            self.expected.push_back(Expected::Visit(Step::Resumed));
        }
    }

    /// One command, and what is known after it.
    pub fn look(&mut self, rng: &mut Rng) -> Vec<Vec<Vec<u8>>> {
        let Some(visit) = &mut self.visit else { return Vec::new() };
        visit.left = visit.left.saturating_sub(1);
        let (session, all) = (&mut visit.luggage.session, Key::all(visit.luggage.sessions));
        let name = |key: &Key| key.to_string().into_bytes();
        let (command, step) = if rng.u8(0..3) == 0 {
            let keys: Vec<Key> =
                if rng.bool() { vec![session.key(rng.usize(0..2))] } else { vec![session.key(0), session.key(1)] };
            let value = session.next_value(&keys);
            let text = value.text().into_bytes();
            let pairs = keys.iter().flat_map(|key| [name(key), text.clone()]);
            (std::iter::once(b"MSET".to_vec()).chain(pairs).collect(), Step::Wrote(keys, value.number))
        } else {
            let keys = if rng.u8(0..3) == 0 { all } else { vec![all[rng.usize(0..all.len())]] };
            (std::iter::once(b"MGET".to_vec()).chain(keys.iter().map(name)).collect(), Step::Read(keys))
        };
        self.asked += 1;
        self.expected.extend([Expected::Visit(step), Expected::Visit(Step::Token)]);
        vec![command, vec![b"SESSION".to_vec(), b"TOKEN".to_vec()]]
    }

    /// What was answered; what of it may not be, as a message for a person. Nobody is told of a loss where there are leaders, as nothing can be lost where such clients are.
    pub(super) fn seen(&mut self, step: Step, reply: Reply) -> Result<(), String> {
        let id = self.id;
        let Some(visit) = &mut self.visit else { return Ok(()) };
        let Luggage { session, token, loose, doubtful, .. } = &mut visit.luggage;
        if let Some(code) = reply.error_code() {
            if let ("INDOUBT", Step::Wrote(keys, number)) = (code, &step) {
                doubtful.add(keys, *number);
            }
            return match code {
                // What was shown where nobody leads, and never acknowledged, may be lost with its writer.
                "LOSTWRITE" if self.leaderless.is_some() => {
                    session.forget();
                    Ok(())
                }
                "LOSTWRITE" | "BADTOKEN" => Err(format!("client {id}: {reply}")),
                _ => Ok(()),
            };
        }
        match (step, reply) {
            (Step::Wrote(keys, number), _) => {
                keys.iter().for_each(|key| session.wrote(*key, number));
                loose.extend(keys.into_iter().map(|key| (key, number)));
            }
            (Step::Read(keys), Reply::Array(values)) => {
                let value = |reply: Reply| match reply {
                    Reply::Bulk(text) => Value::read(&String::from_utf8_lossy(&text)).unwrap_or_default(),
                    _ => Value::default(),
                };
                let shown: Vec<(Key, Value)> = keys
                    .into_iter()
                    .zip(values.into_iter().map(value))
                    .filter(|(key, value)| !doubtful.has(*key, value))
                    .collect();
                session.saw(&shown).map_err(|violation| format!("client {id}: {violation}"))?;
            }
            (Step::Token, Reply::Bulk(text)) => {
                loose.clear();
                *token = Some((text, session.clone()));
            }
            _ => {}
        }
        Ok(())
    }
}
