//! Whether the state is one that causality allows to be shown.
//!
//! Deltas of other groups that have a leader come in after everything that their origin had seen. State does not: an image of a slot shows what its sender
//! had seen when it was made, and what that depends on may be in other slots, or in deltas that have not come yet. Until all of what images show has been
//! received, somebody who reads two keys could find an effect without its cause.

use trireme_proto::ids::Origin;

use super::state::SlotSide;
use super::vector::{ReceivedSet, Seen};
use super::{DeltaError, Engine, image};

/// What images have shown beyond what had been received then.
#[derive(Debug, Default)]
pub(super) struct Ahead {
    pub(super) shown: ReceivedSet,
    /// What deltas depend on that came before it, which is only where nobody leads.
    pub(super) causes: ReceivedSet,
    /// Something was undone: what is left is beside the slots.
    stale: bool,
}

impl Engine {
    /// Whether everything has been received that the state shows something of. What origins wrote that are not `awaited` any more will not come, and counts
    /// for nothing.
    pub fn is_whole(&mut self, awaited: impl Fn(Origin) -> bool) -> bool {
        self.look_again();
        if self.ahead.shown.is_empty() {
            return true;
        }
        let lacks = |seen: &Seen| awaited(seen.origin) && !self.received.covers_part(seen);
        let whole = !self.ahead.shown.origins().iter().any(lacks);
        if whole {
            self.ahead.shown = ReceivedSet::default();
        }
        whole
    }

    /// After something was undone what images have shown is what is left beside the slots.
    fn look_again(&mut self) {
        if std::mem::take(&mut self.ahead.stale) {
            self.ahead.shown = self.shown_beside_slots();
        }
    }

    /// Whether that may not be so: a look at one field.
    #[must_use]
    pub fn is_ahead(&self) -> bool {
        self.ahead.stale || !self.ahead.shown.is_empty()
    }

    /// Whether everything may have been received that a delta in the state depends on, or an image shows something of; where it has not, what is missing.
    pub(crate) fn missing_causes(&mut self) -> Option<ReceivedSet> {
        self.look_again();
        if self.ahead.shown.is_empty() && self.ahead.causes.is_empty() {
            return None;
        }
        let mut missing = self.ahead.causes.without(&self.received);
        missing.merge(&self.ahead.shown.without(&self.received));
        if missing.is_empty() {
            (self.ahead.causes, self.ahead.shown) = Default::default();
            return None;
        }
        Some(missing)
    }

    /// What images have shown, which may not all have been received.
    pub(crate) fn shown_ahead(&self) -> &ReceivedSet {
        &self.ahead.shown
    }

    /// How many deltas are to come until [`Engine::is_whole`].
    #[must_use]
    pub fn lacking(&self) -> u64 {
        self.ahead.shown.without(&self.received).count()
    }

    /// Something was undone.
    pub(super) fn shows_less(&mut self) {
        self.ahead.stale = true;
    }

    fn shown_beside_slots(&self) -> ReceivedSet {
        let mut shown = ReceivedSet::default();
        for slot in &self.state.sided {
            let sides: Option<&SlotSide> = self.state.slot(*slot).side.as_deref();
            for seen in sides.into_iter().flat_map(|all| all.keys.values().map(|side| &side.seen).chain([&all.seen])) {
                shown.merge(seen);
            }
        }
        shown
    }

    /// What an image shows something of.
    ///
    /// # Errors
    /// The bytes are no image.
    pub(crate) fn shown_by(image: &[u8]) -> Result<ReceivedSet, DeltaError> {
        let image = image::parse(image)?;
        let mut shown = image.seen;
        image.sides.iter().for_each(|(_, side)| shown.merge(&side.seen));
        Ok(shown)
    }
}
