//! The elements of a sorted set or list in order, counted: a B-tree whose nodes know how much is below them. By rank, and by whatever the
//! order is by, in O(log n). It is made from the elements, private to the state, and kept true by [`State::place`] and [`State::unplace`]
//! wherever an element comes, goes or changes what it is worth, undoing included.

use std::collections::{BTreeSet, VecDeque};
use std::ops::Range;

use super::State;
use super::cells::Handle;
use super::key::{Collection, Reset};
use crate::engine::delta::Part;
use crate::engine::slot::slot_of;

/// Entries of a node, at most; with fewer than a quarter, it is put together with the one beside it.
const MOST: usize = 64;
const FEW: usize = MOST / 4;

/// One element: what it is ordered by before its name, and where it is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Item {
    /// A number that is in the order of the elements as far as it tells them apart: of a sorted set its score, of a list how the position begins. So
    /// nearly all comparisons are made without a look at the element.
    major: u64,
    pub(crate) handle: Handle,
}

impl Item {
    /// The score, in a sorted set.
    pub(crate) fn score(&self) -> f64 {
        let sign = 1 << 63;
        f64::from_bits(if self.major & sign != 0 { self.major ^ sign } else { !self.major })
    }
}

/// A score as a number in the order of scores.
fn major_of_score(score: f64) -> u64 {
    let bits = score.to_bits();
    if bits >> 63 == 0 { bits | 1 << 63 } else { !bits }
}

/// A name's first bytes as a number in the order of names.
fn first_bytes(name: &[u8]) -> u64 {
    let mut first = [0; 8];
    let count = name.len().min(first.len());
    first[..count].copy_from_slice(&name[..count]);
    u64::from_be_bytes(first)
}

enum Node {
    /// A list grows at its ends: what comes first moves nothing.
    Leaf(VecDeque<Item>),
    Inner(Vec<Child>),
}

struct Child {
    /// Its first item.
    first: Item,
    count: usize,
    node: Node,
}

impl Child {
    fn new(first: Item, node: Node) -> Child {
        Child { first, count: node.count(), node }
    }
}

impl Node {
    fn count(&self) -> usize {
        match self {
            Node::Leaf(items) => items.len(),
            Node::Inner(children) => children.iter().map(|c| c.count).sum(),
        }
    }

    fn entries(&self) -> usize {
        match self {
            Node::Leaf(items) => items.len(),
            Node::Inner(children) => children.len(),
        }
    }

    fn first(&self) -> Option<Item> {
        match self {
            Node::Leaf(items) => items.front().copied(),
            Node::Inner(children) => children.first().map(|child| child.first),
        }
    }

    /// The first item, or the last, as its leaf has it.
    fn end(&self, last: bool) -> Option<Item> {
        match self {
            Node::Leaf(items) => if last { items.back() } else { items.front() }.copied(),
            Node::Inner(children) => if last { children.last() } else { children.first() }?.node.end(last),
        }
    }

    /// Adds an item; what no longer fits comes back, to stand behind.
    fn insert(&mut self, at: usize, item: Item) -> Option<Child> {
        match self {
            Node::Leaf(items) => insert_into_leaf(items, at, item),
            Node::Inner(children) => {
                let (mut place, mut at) = (0, at);
                while place + 1 < children.len() && at > children[place].count {
                    at -= children[place].count;
                    place += 1;
                }
                let child = children.get_mut(place)?;
                child.count += 1;
                if at == 0 {
                    child.first = item;
                }
                if let Some(behind) = child.node.insert(at, item) {
                    child.count -= behind.count;
                    children.insert(place + 1, behind);
                }
                if children.len() <= MOST {
                    return None;
                }
                // What grows at its end leaves full nodes behind.
                let cut = if place + 2 >= children.len() { MOST } else { MOST / 2 };
                let behind = children.split_off(cut);
                Some(Child::new(behind.first()?.first, Node::Inner(behind)))
            }
        }
    }

    fn remove(&mut self, at: usize) -> Option<Item> {
        let children = match self {
            Node::Leaf(items) => return items.remove(at),
            Node::Inner(children) => children,
        };
        let (place, at) = child_at(children, at)?;
        let child = &mut children[place];
        let item = child.node.remove(at)?;
        child.count -= 1;
        match child.node.first() {
            // A node beside it may be too full to be put together with it before.
            None => drop(children.remove(place)),
            Some(first) => {
                child.first = first;
                if child.node.entries() < FEW {
                    merge(children, place);
                }
            }
        }
        Some(item)
    }

    fn get(&self, at: usize) -> Option<Item> {
        match self {
            Node::Leaf(items) => items.get(at).copied(),
            Node::Inner(children) => {
                let (place, at) = child_at(children, at)?;
                children[place].node.get(at)
            }
        }
    }

    fn before(&self, is_before: &impl Fn(&Item) -> bool) -> usize {
        match self {
            Node::Leaf(items) => items.partition_point(is_before),
            Node::Inner(children) => {
                let begun = children.partition_point(|child| is_before(&child.first));
                let Some(last) = begun.checked_sub(1) else { return 0 };
                children[..last].iter().map(|c| c.count).sum::<usize>() + children[last].node.before(is_before)
            }
        }
    }

    fn range(&self, range: Range<usize>, out: &mut Vec<Item>) {
        match self {
            Node::Leaf(items) => out.extend(items.range(range)),
            Node::Inner(children) => {
                let mut begin = 0;
                for child in children {
                    let end = begin + child.count;
                    if range.start < end && begin < range.end {
                        let (from, to) = (range.start.max(begin) - begin, range.end.min(end) - begin);
                        child.node.range(from..to, out);
                    }
                    begin = end;
                }
            }
        }
    }
}

/// Adds an item to a leaf. Of a full one the items from this place on come back, or half of them: what grows at an end leaves full leaves behind.
fn insert_into_leaf(items: &mut VecDeque<Item>, at: usize, item: Item) -> Option<Child> {
    let at = at.min(items.len());
    if items.len() < MOST {
        items.insert(at, item);
        return None;
    }
    let cut = if at == 0 || at == MOST { at } else { MOST / 2 };
    let mut behind = items.split_off(cut);
    if at < cut || at == 0 {
        items.insert(at, item);
    } else {
        behind.insert(at - cut, item);
    }
    Some(Child::new(*behind.front()?, Node::Leaf(behind)))
}

/// Which child has the item at this rank, and its rank there.
fn child_at(children: &[Child], at: usize) -> Option<(usize, usize)> {
    let mut at = at;
    for (place, child) in children.iter().enumerate() {
        if at < child.count {
            return Some((place, at));
        }
        at -= child.count;
    }
    None
}

/// Puts a small child together with the one beside it, if one node holds both.
fn merge(children: &mut Vec<Child>, place: usize) {
    let left = place.saturating_sub(usize::from(place + 1 == children.len()));
    if left + 1 >= children.len() || children[left].node.entries() + children[left + 1].node.entries() > MOST {
        return;
    }
    let right = children.remove(left + 1);
    children[left].count += right.count;
    match (&mut children[left].node, right.node) {
        (Node::Leaf(items), Node::Leaf(more)) => items.extend(more),
        (Node::Inner(nodes), Node::Inner(more)) => nodes.extend(more),
        // All leaves are equally deep.
        _ => {}
    }
}

/// All visible elements of one collection, in order.
pub(crate) struct Order {
    root: Node,
}

impl Default for Order {
    fn default() -> Order {
        Order { root: Node::Leaf(VecDeque::new()) }
    }
}

impl Order {
    pub(crate) fn len(&self) -> usize {
        self.root.count()
    }

    pub(crate) fn insert(&mut self, at: usize, item: Item) {
        let Some(right) = self.root.insert(at, item) else { return };
        let left = std::mem::replace(&mut self.root, Node::Leaf(VecDeque::new()));
        let first = left.first().unwrap_or(item);
        self.root = Node::Inner(vec![Child::new(first, left), right]);
    }

    pub(crate) fn remove(&mut self, at: usize) -> Option<Item> {
        let item = self.root.remove(at);
        while let Node::Inner(children) = &mut self.root {
            if children.len() > 1 {
                break;
            }
            self.root = children.pop().map_or_else(|| Node::Leaf(VecDeque::new()), |c| c.node);
        }
        item
    }

    pub(crate) fn get(&self, at: usize) -> Option<Item> {
        self.root.get(at)
    }

    /// How many items stand before a place in the order.
    pub(crate) fn before(&self, is_before: &impl Fn(&Item) -> bool) -> usize {
        self.root.before(is_before)
    }

    /// The same, of a place that is most likely at an end.
    pub(crate) fn before_or_behind(&self, is_before: &impl Fn(&Item) -> bool) -> usize {
        match self.ends() {
            Some([first, _]) if !is_before(&first) => 0,
            Some([_, last]) if is_before(&last) => self.len(),
            _ => self.before(is_before),
        }
    }

    /// The first item and the last.
    pub(crate) fn ends(&self) -> Option<[Item; 2]> {
        Some([self.root.end(false)?, self.root.end(true)?])
    }

    /// The items of these ranks, as far as they are there.
    pub(crate) fn range(&self, range: Range<usize>) -> Vec<Item> {
        let range = range.start..range.end.min(self.len());
        if range.is_empty() {
            return Vec::new();
        }
        let mut items = Vec::with_capacity(range.len());
        self.root.range(range, &mut items);
        items
    }
}

/// Whether the elements of a part have an order.
pub(crate) fn has_order(part: Part) -> bool {
    matches!(part, Part::SortedSet | Part::List)
}

/// A score as a record has it.
pub(crate) fn score_bytes(score: f64) -> [u8; 8] {
    // There is one zero.
    (score + 0.0).to_le_bytes()
}

/// The same read; what is no number counts as 0.
pub(crate) fn score_of(bytes: &[u8]) -> f64 {
    let score = bytes.try_into().map_or(0.0, f64::from_le_bytes);
    if score.is_nan() { 0.0 } else { score + 0.0 }
}

impl State {
    /// What a visible element is worth in its order.
    pub(crate) fn score(&self, slot: u16, key: &[u8], part: Part, handle: Handle) -> Option<f64> {
        let score = |bytes: &[u8]| if part == Part::SortedSet { score_of(bytes) } else { 0.0 };
        if let Some(p) = self.cells.plain(handle) {
            return Some(score(p.value));
        }
        let register = self.cells.register(handle)?;
        let reset = |o| self.reset(slot, key, part, &register.name, o);
        if !register.visible(&reset) {
            return None;
        }
        let base = register.winner().map_or(0.0, |s| score(&s.value));
        let sum = if part == Part::SortedSet { register.sum(&reset).unwrap_or(0) } else { 0 };
        Some(base + sum as f64)
    }

    /// The elements of a collection in the order of their names, whatever their own is.
    pub(crate) fn by_name(&self, part: Part, collection: &Collection) -> Vec<(&[u8], Handle)> {
        if part == Part::List && collection.order.len() == collection.table.len() {
            // All are visible, and ordered by nothing else.
            let items = collection.order.range(0..collection.table.len());
            return items.iter().map(|item| (self.cells.name(item.handle), item.handle)).collect();
        }
        let named = collection.table.iter().map(|element| (self.cells.name(element), element));
        let mut elements: Vec<(&[u8], Handle)> = named.collect();
        elements.sort_by_cached_key(|(name, _)| (first_bytes(name), *name));
        elements
    }

    /// Whether an item stands before this score and name.
    pub(crate) fn is_before(&self, item: &Item, score: f64, name: &[u8]) -> bool {
        self.is_before_major(item, major_of_score(score), name)
    }

    fn is_before_major(&self, item: &Item, major: u64, name: &[u8]) -> bool {
        item.major < major || (item.major == major && self.cells.name(item.handle) < name)
    }

    fn item(&self, index: u32, part: Part, handle: Handle) -> Option<(Item, usize)> {
        let key = self.key(index).filter(|_| has_order(part))?;
        let name = &key.value.name;
        let element = self.cells.name(handle);
        let slot = slot_of(name);
        let major = match part {
            Part::List if self.element_visible(slot, name, part, handle) => first_bytes(element),
            Part::List => return None,
            _ => major_of_score(self.score(slot, name, part, handle)?),
        };
        let is_before = |other: &Item| self.is_before_major(other, major, element);
        let at = match (part, key.part(part)) {
            (_, None) => 0,
            (Part::List, Some(c)) => c.order.before_or_behind(&is_before),
            (_, Some(c)) => c.order.before(&is_before),
        };
        Some((Item { major, handle }, at))
    }

    /// An element has come, or is worth something else now: it takes its place in the order.
    pub(crate) fn place(&mut self, index: u32, part: Part, handle: Handle) {
        let Some((item, at)) = self.item(index, part, handle) else { return };
        if let Some(key) = self.keys.get_mut(index) {
            key.part_mut(part).order.insert(at, item);
        }
    }

    /// An element goes, or will be worth something else: it leaves its place in the order.
    pub(crate) fn unplace(&mut self, index: u32, part: Part, handle: Handle) {
        let Some((item, at)) = self.item(index, part, handle) else { return };
        let Some(order) = self.keys.get_mut(index).map(|k| &mut k.part_mut(part).order) else { return };
        let is_there = order.get(at).is_some_and(|found| found.handle == item.handle);
        debug_assert!(is_there, "an element that is not in its place");
        if is_there {
            order.remove(at);
        }
    }

    /// Changes what these elements are worth, or may be: they leave their places in their orders and take their new ones.
    pub(crate) fn reordering<R>(
        &mut self,
        elements: &[(u32, Part, Handle)],
        change: impl FnOnce(&mut State) -> R,
    ) -> R {
        elements.iter().for_each(|&(index, part, element)| self.unplace(index, part, element));
        let result = change(self);
        elements.iter().for_each(|&(index, part, element)| self.place(index, part, element));
        result
    }

    /// The elements in order that resets speak of: they are worth something else when these change.
    pub(crate) fn reset_elements(
        &self,
        slot: u16,
        key: &[u8],
        resets: &mut dyn Iterator<Item = &Reset>,
    ) -> Vec<(u32, Part, Handle)> {
        let Some(index) = self.find(slot, key).and_then(Handle::as_key) else { return Vec::new() };
        let named: BTreeSet<(Part, &[u8])> = resets.filter(|r| has_order(r.part)).map(|r| (r.part, &*r.name)).collect();
        let found = |(part, name)| Some((index, part, self.find_element(index, part, name)?));
        named.into_iter().filter_map(found).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(number: u32) -> Item {
        Item { major: major_of_score(f64::from(number)), handle: Handle::key(number) }
    }

    fn depth(node: &Node) -> usize {
        match node {
            Node::Leaf(_) => 1,
            Node::Inner(children) => 1 + children.first().map_or(0, |c| depth(&c.node)),
        }
    }

    #[test]
    fn the_tree_is_a_vector_by_rank_and_stays_shallow() {
        for seed in 0..20 {
            let (mut rng, mut order, mut model) = (fastrand::Rng::with_seed(seed), Order::default(), Vec::new());
            for number in 0..6000u32 {
                let grows = number % 4000 < 2500;
                if rng.u8(..10) < if grows { 9 } else { 1 } {
                    let at = match seed % 4 {
                        0 => model.len(),
                        1 => 0,
                        _ => rng.usize(..=model.len()),
                    };
                    order.insert(at, item(number));
                    model.insert(at, item(number));
                } else if !model.is_empty() {
                    let at = rng.usize(..model.len());
                    assert_eq!(order.remove(at), Some(model.remove(at)));
                }
                if number % 50 == 0 {
                    let (from, to) = (rng.usize(..=model.len()), rng.usize(..=model.len() + 3));
                    let want = model.get(from..to.min(model.len())).unwrap_or_default();
                    assert_eq!(order.range(from..to.max(from)), want);
                    assert_eq!((order.len(), order.get(from)), (model.len(), model.get(from).copied()));
                    assert!(depth(&order.root) <= 4);
                }
            }
            while !model.is_empty() {
                assert_eq!(order.remove(model.len() - 1), model.pop());
            }
            assert_eq!((order.len(), order.remove(0), depth(&order.root)), (0, None, 1));
        }
    }

    /// Each node knows its first item, none is empty, and counts are right: how many items there are.
    fn check(node: &Node) -> usize {
        let Node::Inner(children) = node else { return node.entries() };
        for child in children {
            assert_eq!(Some(child.first), child.node.first());
            assert_eq!(check(&child.node), child.count);
            assert!(child.count > 0);
        }
        children.iter().map(|child| child.count).sum()
    }

    /// Items come and go by value, in the order of their numbers, as members of a sorted set do: whole ranges, so that nodes empty beside full ones.
    #[test]
    fn nodes_that_empty_beside_full_ones_leave_the_order_right() {
        let place = |order: &Order, number: u32| order.before(&|i| i.major < item(number).major);
        for seed in 0..60 {
            let (mut rng, mut order) = (fastrand::Rng::with_seed(seed), Order::default());
            let mut model = std::collections::BTreeSet::new();
            // Multiples, so that there is room between them.
            let many = if seed % 3 == 0 { 4_200 } else { 200 };
            for number in (0..many).map(|n| 16 * n) {
                let at = place(&order, number);
                order.insert(at, item(number));
                model.insert(number);
            }
            for _ in 0..60 {
                let begin = rng.u32(..16 * many + 64);
                if rng.bool() {
                    let gone: Vec<u32> = model.range(begin..begin + 16 * rng.u32(..130)).copied().collect();
                    let gone = if rng.bool() { gone } else { gone.into_iter().rev().collect() };
                    for number in gone {
                        model.remove(&number);
                        let at = place(&order, number);
                        assert_eq!(order.remove(at), Some(item(number)), "seed {seed}");
                    }
                } else {
                    for number in (begin..begin + rng.u32(1..20)).filter(|number| model.insert(*number)) {
                        let at = place(&order, number);
                        order.insert(at, item(number));
                    }
                }
                assert_eq!(check(&order.root), model.len(), "seed {seed}");
                let all: Vec<Item> = model.iter().map(|number| item(*number)).collect();
                assert_eq!(order.range(0..usize::MAX), all, "seed {seed}");
            }
        }
    }

    #[test]
    fn places_are_found_by_value() {
        let mut order = Order::default();
        (0..5000).for_each(|n| order.insert(n as usize, item(2 * n)));
        for n in [0u32, 1, 2, 777, 5000, 9998, 9999, 20_000] {
            assert_eq!(order.before(&|i| i.score() < f64::from(n)), (n.div_ceil(2) as usize).min(5000), "{n}");
        }
    }

    #[test]
    fn scores_have_one_zero_and_are_numbers() {
        assert_eq!(score_bytes(-0.0), score_bytes(0.0));
        assert_eq!(score_of(&f64::NAN.to_le_bytes()), 0.0);
        assert!(score_of(&(-0.0f64).to_le_bytes()).is_sign_positive());
        assert_eq!((score_of(b"short"), score_of(&score_bytes(-1.5))), (0.0, -1.5));
    }
}
