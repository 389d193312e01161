//! Sorted sets: members with scores, in order of score, then member.

use std::ops::Range;

use super::{Access, Kind, WrongType};
use crate::engine::delta::Part;
use crate::engine::state::cells::Handle;
use crate::engine::state::order::{Order, score_bytes};

/// Up to here every whole number is a score of its own.
const EXACT: f64 = 9_007_199_254_740_992.0;

fn is_exact(number: f64) -> bool {
    number.abs() <= EXACT && number.fract() == 0.0
}

impl Access<'_> {
    /// The order of a collection.
    pub(super) fn order(&mut self, key: &[u8], kind: Kind, part: Part) -> Result<Option<&Order>, WrongType> {
        let found = self.of_kind(key, kind)?;
        Ok(self.order_of(found, part))
    }

    fn order_of(&self, found: Option<(u16, Handle)>, part: Part) -> Option<&Order> {
        let collection = found.and_then(|(_, h)| self.state().key(h.as_key()?)?.part(part));
        collection.map(|c| &c.order)
    }

    fn scored(&mut self, key: &[u8], member: &[u8]) -> Result<Option<(Handle, f64)>, WrongType> {
        let found = self.element(key, Kind::SortedSet, Part::SortedSet, member)?;
        Ok(found.and_then(|(slot, h)| Some((h, self.state().score(slot, key, Part::SortedSet, h)?))))
    }

    /// ZSCORE.
    ///
    /// # Errors
    /// The key holds another type.
    pub fn score(&mut self, key: &[u8], member: &[u8]) -> Result<Option<f64>, WrongType> {
        Ok(self.scored(key, member)?.map(|(_, score)| score))
    }

    /// ZADD. True: the member is new.
    ///
    /// # Errors
    /// The key holds another type.
    pub fn put_score(&mut self, key: &[u8], member: &[u8], score: f64) -> Result<bool, WrongType> {
        let same = self.scored(key, member)?.is_some_and(|(_, old)| old == score);
        if same && self.engine.alone && !self.engine.shared {
            return Ok(false);
        }
        self.put_element(key, Kind::SortedSet, (Part::SortedSet, member), &score_bytes(score))
    }

    /// ZINCRBY: the score afterwards. It is counted, so that what others add at the same time adds up, as long as all numbers are whole ones
    /// and exact; otherwise the sum is put in the place of the score.
    ///
    /// # Errors
    /// The key holds another type.
    pub fn increment_score(&mut self, key: &[u8], member: &[u8], by: f64) -> Result<f64, WrongType> {
        let old = self.scored(key, member)?;
        let sum = old.map_or(0.0, |o| o.1) + by + 0.0;
        let base = old.is_none_or(|(h, score)| is_exact(score) && is_exact(self.base_score(h)));
        if base && is_exact(by) && is_exact(sum) {
            self.clean(key);
            self.count(key, (Part::SortedSet, member), by as i64);
        } else {
            self.put_score(key, member, sum)?;
        }
        Ok(sum)
    }

    /// A score without what was counted.
    fn base_score(&self, handle: Handle) -> f64 {
        let cells = &self.state().cells;
        let register = cells.register(handle);
        let value = match register {
            Some(register) => register.winner().map(|s| &*s.value),
            None => cells.plain(handle).map(|p| p.value),
        };
        value.map_or(0.0, crate::engine::state::order::score_of)
    }

    /// ZREM. True: the member was there. With its last member the key goes.
    ///
    /// # Errors
    /// The key holds another type.
    pub fn remove_scored(&mut self, key: &[u8], member: &[u8]) -> Result<bool, WrongType> {
        self.remove_element(key, Kind::SortedSet, (Part::SortedSet, member))
    }

    /// ZCARD.
    ///
    /// # Errors
    /// The key holds another type.
    pub fn scored_count(&mut self, key: &[u8]) -> Result<usize, WrongType> {
        self.element_count(key, Kind::SortedSet, Part::SortedSet)
    }

    /// The members of these ranks with their scores, in order.
    ///
    /// # Errors
    /// The key holds another type.
    pub fn scored_range(&mut self, key: &[u8], ranks: Range<usize>) -> Result<Vec<(&[u8], f64)>, WrongType> {
        let items = self.order(key, Kind::SortedSet, Part::SortedSet)?.map_or_else(Vec::new, |o| o.range(ranks));
        let cells = &self.state().cells;
        Ok(items.into_iter().map(|item| (cells.name(item.handle), item.score())).collect())
    }

    /// ZRANK.
    ///
    /// # Errors
    /// The key holds another type.
    pub fn rank(&mut self, key: &[u8], member: &[u8]) -> Result<Option<(usize, f64)>, WrongType> {
        let Some((_, score)) = self.scored(key, member)? else { return Ok(None) };
        let found = self.of_kind(key, Kind::SortedSet)?;
        let order = self.order_of(found, Part::SortedSet);
        Ok(order.map(|o| (o.before(&|item| self.state().is_before(item, score, member)), score)))
    }

    /// How many members come before a place in the order.
    ///
    /// # Errors
    /// The key holds another type.
    pub fn scored_before(&mut self, key: &[u8], is_before: &dyn Fn(&[u8], f64) -> bool) -> Result<usize, WrongType> {
        let found = self.of_kind(key, Kind::SortedSet)?;
        let (order, cells) = (self.order_of(found, Part::SortedSet), &self.state().cells);
        Ok(order.map_or(0, |o| o.before(&|item| is_before(cells.name(item.handle), item.score()))))
    }
}
