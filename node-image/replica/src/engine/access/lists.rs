//! Lists: elements by index, in the order of their positions.

use std::borrow::Cow;
use std::ops::Range;

use super::{Access, Kind, WrongType, element_value};
use crate::engine::delta::{Change, Part};
use crate::engine::position;
use crate::engine::slot::slot_of;

impl Access<'_> {
    /// LLEN.
    ///
    /// # Errors
    /// The key holds another type.
    pub fn list_length(&mut self, key: &[u8]) -> Result<usize, WrongType> {
        self.element_count(key, Kind::List, Part::List)
    }

    /// The elements of these indices, in order.
    ///
    /// # Errors
    /// The key holds another type.
    pub fn list_range(&mut self, key: &[u8], indices: Range<usize>) -> Result<Vec<Cow<'_, [u8]>>, WrongType> {
        let items = self.order(key, Kind::List, Part::List)?.map_or_else(Vec::new, |o| o.range(indices));
        let (slot, state) = (slot_of(key), self.state());
        // The key's own copy of its name lives as long as the answer.
        let Some(top) = state.find(slot, key) else { return Ok(Vec::new()) };
        let name = state.name(top);
        let value = |item: &crate::engine::state::order::Item| element_value(state, slot, name, item.handle);
        Ok(items.iter().map(|item| value(item).unwrap_or_default()).collect())
    }

    /// The position of an element; none: there is no such index.
    fn position(&mut self, key: &[u8], index: usize) -> Result<Option<Vec<u8>>, WrongType> {
        let item = self.order(key, Kind::List, Part::List)?.and_then(|o| o.get(index));
        Ok(item.map(|item| self.state().cells.name(item.handle).to_vec()))
    }

    /// Puts an element before the one of this index: at the length of the list, behind all.
    ///
    /// # Errors
    /// The key holds another type.
    pub fn list_insert(&mut self, key: &[u8], index: usize, value: &[u8]) -> Result<(), WrongType> {
        let before = match index.checked_sub(1) {
            Some(index) => self.position(key, index)?,
            None => None,
        };
        let after = self.position(key, index)?;
        let name = position::between(before.as_deref(), after.as_deref(), self.dot);
        self.clean(key);
        self.write(key, Change::Put { part: Part::List, name: &name, value });
        Ok(())
    }

    /// LSET. False: there is no such index.
    ///
    /// # Errors
    /// The key holds another type.
    pub fn list_set(&mut self, key: &[u8], index: usize, value: &[u8]) -> Result<bool, WrongType> {
        let Some(name) = self.position(key, index)? else { return Ok(false) };
        self.put_element(key, Kind::List, (Part::List, &name), value)?;
        Ok(true)
    }

    /// Removes the elements of these indices. With its last element the key goes.
    ///
    /// # Errors
    /// The key holds another type.
    pub fn list_remove(&mut self, key: &[u8], indices: Range<usize>) -> Result<(), WrongType> {
        let items = self.order(key, Kind::List, Part::List)?.map_or_else(Vec::new, |o| o.range(indices));
        let names: Vec<Vec<u8>> = items.iter().map(|item| self.state().cells.name(item.handle).to_vec()).collect();
        for name in names {
            self.remove_element(key, Kind::List, (Part::List, &name))?;
        }
        Ok(())
    }
}
