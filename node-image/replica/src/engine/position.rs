//! Positions of list elements: names whose order as bytes is the order of the list, so that an element is put between two others without
//! touching them, and two that are put at the same place at once have an order that is the same everywhere.
//!
//! A position is a fractional index, the dot of the delta that put the element there, and a last byte that is not 0. The index is a whole
//! number where an element is put at an end, and digits to the base 256 more where it is put between two.

use trireme_proto::ids::Dot;

/// The byte that means 0; above it so many bytes of a positive number follow, below it of a negative one.
const ZERO: u8 = 0x80;
/// What a position ends with.
const END: u8 = 0x80;

/// A position between two others, or at an end where there is none.
pub(crate) fn between(before: Option<&[u8]>, after: Option<&[u8]>, dot: Dot) -> Vec<u8> {
    let mut name = Vec::with_capacity(24);
    match (before, after) {
        (None, None) => put_ordered(&mut name, 0),
        (Some(before), None) => next_to(&mut name, before, 1),
        (None, Some(after)) => next_to(&mut name, after, -1),
        (Some(before), Some(after)) => middle(&mut name, before, after),
    }
    put_ordered(&mut name, dot.origin.group.into());
    put_ordered(&mut name, dot.origin.generation.into());
    put_ordered(&mut name, i64::try_from(dot.seq).unwrap_or(i64::MAX));
    name.push(END);
    name
}

/// A whole number such that numbers are in order as bytes are.
fn put_ordered(out: &mut Vec<u8>, number: i64) {
    let bytes = number.unsigned_abs().to_be_bytes();
    let size = 8 - number.unsigned_abs().leading_zeros() as usize / 8;
    if number >= 0 {
        out.push(ZERO + size as u8);
        out.extend_from_slice(&bytes[8 - size..]);
    } else {
        out.push(ZERO - size as u8);
        out.extend(bytes[8 - size..].iter().map(|byte| !byte));
    }
}

/// The whole number that a position begins with.
fn read_ordered(name: &[u8]) -> Option<i64> {
    let (first, rest) = name.split_first()?;
    let size = usize::from(first.abs_diff(ZERO));
    if size > 8 {
        return None;
    }
    let negative = *first < ZERO;
    // A position between two others may end within the number.
    let digit = |at| rest.get(at).copied().map_or(0, |byte: u8| if negative { !byte } else { byte });
    let number = (0..size).fold(0u64, |number, at| number << 8 | u64::from(digit(at)));
    let number = i64::try_from(number).ok()?;
    Some(if negative { -number } else { number })
}

/// An index beside an end: the next whole number; next to what begins with none, something beyond it.
fn next_to(out: &mut Vec<u8>, end: &[u8], step: i64) {
    match read_ordered(end).and_then(|number| number.checked_add(step)) {
        Some(number) => put_ordered(out, number),
        None if step > 0 => above(out, end, 0),
        None => middle(out, &[], end),
    }
}

/// The digits of `before`, from this one on, made larger.
fn above(out: &mut Vec<u8>, before: &[u8], from: usize) {
    let mut at = from;
    while before.get(at) == Some(&u8::MAX) {
        out.push(u8::MAX);
        at += 1;
    }
    let digit = before.get(at).map_or(-1, |digit| i32::from(*digit));
    out.push(((digit + 257) / 2) as u8);
}

/// An index that is larger than `before`, smaller than `after` whatever follows it, and no beginning of it.
fn middle(out: &mut Vec<u8>, before: &[u8], after: &[u8]) {
    let mut at = 0;
    loop {
        let low = before.get(at).map_or(-1, |digit| i32::from(*digit));
        let Some(high) = after.get(at).map(|digit| i32::from(*digit)) else {
            // Not in order: no position of this engine's making.
            return above(out, before, at);
        };
        if high - low > 1 {
            return out.push(((low + high + 1) / 2) as u8);
        }
        if low >= 0 && high > low {
            out.push(low as u8);
            return above(out, before, at + 1);
        }
        out.push(high as u8);
        if low < 0 || high < low {
            // Below `before` there is nothing more to stay above.
            return below(out, after, at + 1);
        }
        at += 1;
    }
}

/// The digits of `after`, from this one on, made smaller.
fn below(out: &mut Vec<u8>, after: &[u8], from: usize) {
    let mut at = from;
    while after.get(at) == Some(&0) {
        out.push(0);
        at += 1;
    }
    out.push(after.get(at).map_or(ZERO, |digit| digit / 2));
}

#[cfg(test)]
mod tests {
    use super::*;
    use trireme_proto::ids::Origin;

    fn dot(seq: u64) -> Dot {
        Dot { origin: Origin { group: 1, generation: 0 }, seq }
    }

    #[test]
    fn whole_numbers_are_in_order_and_read_back() {
        let numbers = [i64::MIN + 1, -70_000, -256, -255, -1, 0, 1, 255, 256, 65_535, 65_536, i64::MAX];
        let mut last: Option<Vec<u8>> = None;
        for number in numbers {
            let mut name = Vec::new();
            put_ordered(&mut name, number);
            assert_eq!(read_ordered(&name), Some(number));
            assert!(last.is_none_or(|last| last < name), "{number}");
            last = Some(name);
        }
    }

    #[test]
    fn any_sequence_of_insertions_is_in_order() {
        for seed in 0..60 {
            let mut rng = fastrand::Rng::with_seed(seed);
            let mut list: Vec<Vec<u8>> = Vec::new();
            for seq in 1..400 {
                let at = match seed % 6 {
                    0 => list.len(),
                    1 => 0,
                    2 => list.len() / 2,
                    3 => 1.min(list.len()),
                    4 => list.len().saturating_sub(1),
                    _ => rng.usize(..=list.len()),
                };
                let before = at.checked_sub(1).and_then(|at| list.get(at)).map(|n| &n[..]);
                let name = between(before, list.get(at).map(|n| &n[..]), dot(seq * 251));
                list.insert(at, name);
                if seed > 30 && rng.u8(..3) == 0 {
                    list.remove(rng.usize(..list.len()));
                }
            }
            assert!(list.windows(2).all(|two| two[0] < two[1]), "seed {seed}");
            let longest = list.iter().map(Vec::len).max().unwrap_or(0);
            assert!(longest < if seed % 6 < 2 { 12 } else { 90 }, "seed {seed}: {longest} bytes");
        }
    }

    #[test]
    fn two_at_the_same_place_are_both_between_and_in_order_of_their_dots() {
        let (first, last) = (between(None, None, dot(1)), between(Some(&between(None, None, dot(1))), None, dot(2)));
        let both = [7, 300].map(|seq| between(Some(&first), Some(&last), dot(seq)));
        assert!(first < both[0] && both[0] < both[1] && both[1] < last);
        let between_them = between(Some(&both[0]), Some(&both[1]), dot(9));
        assert!(both[0] < between_them && between_them < both[1]);
    }

    #[test]
    fn strange_names_do_no_harm() {
        let names: [&[u8]; 8] = [b"", b"\0", b"\0\0", b"\xff", b"\xff\xff", b"a", b"a\0", b"b"];
        for before in names {
            for after in names {
                between(Some(before), Some(after), dot(1));
            }
            between(Some(before), None, dot(1));
            between(None, Some(before), dot(1));
        }
    }
}
