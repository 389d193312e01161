//! Conflicts in a key that came as state: records of both sides at one place, of which neither side had seen the other's.

use super::{KeyImage, Place, Record};
use crate::engine::conflicts::{Clip, Conflict, Content, Family, Notes, Version, Why, why_last};
use crate::engine::delta::Part;
use crate::engine::state::notes::{content_of, family_of, kind_of, place_of};
use crate::engine::vector::ReceivedSet;

/// Looks through the records of a key that was just joined.
pub(super) fn note(notes: &mut Notes, key: &[u8], image: &KeyImage, ours: &ReceivedSet, theirs: &ReceivedSet) {
    let only_ours = |place: &Place| !theirs.contains(place.3);
    let only_theirs = |place: &Place| !ours.contains(place.3);
    let records: Vec<(&Place, &Record)> = image.records.iter().collect();
    for there in records.chunk_by(|a, b| (a.0.0, &a.0.1, a.0.2) == (b.0.0, &b.0.1, b.0.2)) {
        let met = there.iter().any(|(place, _)| only_ours(place)) && there.iter().any(|(place, _)| only_theirs(place));
        if met && let Some(conflict) = at_one_place(key, there) {
            notes.push(conflict);
        }
    }
    if let (Some((first, _)), Some((last, _))) = (records.first(), records.last())
        && first.0 != last.0
    {
        note_types(notes, key, &records, &only_ours, &only_theirs);
    }
}

/// Several values, or expiries, that are not the same.
fn at_one_place(key: &[u8], there: &[(&Place, &Record)]) -> Option<Conflict> {
    let side = |(place, record): &(&Place, &Record)| {
        let (clock, content) = match record {
            Record::Value { clock, value } => (*clock, content_of(place.0, value)),
            Record::Expiry { clock, at_ms } => (*clock, Content::Expires(*at_ms)),
            Record::Count { .. } => return None,
        };
        Some(Version { dot: place.3, clock, content, won: false })
    };
    let mut versions: Vec<Version> = there.iter().filter_map(side).collect();
    let place = there.first()?.0;
    if versions.iter().all(|side| side.content == versions[0].content) {
        return None;
    }
    if let Some(last) = versions.iter_mut().max_by_key(|side| (side.clock, side.dot)) {
        last.won = true;
    }
    let why = why_last(versions.iter().map(|side| side.clock).collect());
    let family = if place.2 == 2 { Family::Expiry } else { family_of(place.0) };
    Some(Conflict { key: Clip::of(key), place: place_of(place.0, &place.1), family, why, versions, more: 0 })
}

fn note_types(
    notes: &mut Notes,
    key: &[u8],
    records: &[(&Place, &Record)],
    only_ours: &dyn Fn(&Place) -> bool,
    only_theirs: &dyn Fn(&Place) -> bool,
) {
    let mut versions: Vec<Version> = Vec::new();
    let (mut ours, mut theirs) = (false, false);
    let data = || records.iter().filter(|(_, record)| !matches!(record, Record::Expiry { .. }));
    for part in [Part::Value, Part::Hash, Part::Set, Part::SortedSet, Part::List] {
        let of_part = || data().filter(|(place, _)| place.0 == part);
        let new = of_part().find(|(place, _)| only_ours(place) || only_theirs(place)).or_else(|| of_part().next());
        let Some((place, record)) = new else { continue };
        ours |= only_ours(place);
        theirs |= only_theirs(place);
        let clock = if let Record::Value { clock, .. } = record { *clock } else { 0 };
        versions.push(Version { dot: place.3, clock, content: Content::Kind(kind_of(part)), won: versions.is_empty() });
    }
    if ours && theirs && versions.len() > 1 {
        let (key, family, why) = (Clip::of(key), Family::Type, Why::TypeOrder);
        notes.push(Conflict { key, place: None, family, why, versions, more: 0 });
    }
}
