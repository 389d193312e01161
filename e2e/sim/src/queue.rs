//! What will happen, by time; at the same time, in the order in which it was decided.

use std::{cmp::Reverse, collections::BinaryHeap};

use crate::clock::Micros;

struct Item<E> {
    time: Micros,
    order: u64,
    event: E,
}

impl<E> PartialEq for Item<E> {
    fn eq(&self, other: &Self) -> bool {
        self.order == other.order
    }
}
impl<E> Eq for Item<E> {}
impl<E> PartialOrd for Item<E> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl<E> Ord for Item<E> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.time, self.order).cmp(&(other.time, other.order))
    }
}

/// The events to come.
pub struct Queue<E> {
    heap: BinaryHeap<Reverse<Item<E>>>,
    order: u64,
    now: Micros,
}

impl<E> Default for Queue<E> {
    fn default() -> Self {
        Queue { heap: BinaryHeap::new(), order: 0, now: 0 }
    }
}

impl<E> Queue<E> {
    /// World time: that of the event taken last.
    pub fn now(&self) -> Micros {
        self.now
    }

    /// Adds an event; one in the past happens now.
    pub fn at(&mut self, time: Micros, event: E) {
        self.order += 1;
        self.heap.push(Reverse(Item { time: time.max(self.now), order: self.order, event }));
    }

    /// Adds an event `delay` microseconds from now.
    pub fn after(&mut self, delay: Micros, event: E) {
        self.at(self.now + delay, event);
    }

    /// When the next event comes.
    pub fn peek(&self) -> Option<Micros> {
        self.heap.peek().map(|Reverse(item)| item.time)
    }

    /// Takes the next event up to `end`, and moves time to it; time moves to `end` where there is none.
    pub fn next(&mut self, end: Micros) -> Option<E> {
        match self.heap.peek() {
            Some(Reverse(item)) if item.time <= end => {
                self.now = item.time;
                self.heap.pop().map(|Reverse(item)| item.event)
            }
            _ => {
                self.now = self.now.max(end);
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_by_time_and_then_by_decision() {
        let mut queue = Queue::default();
        for (time, event) in [(5, 'c'), (1, 'a'), (5, 'd'), (2, 'b')] {
            queue.at(time, event);
        }
        let mut seen = String::new();
        while let Some(event) = queue.next(4) {
            seen.push(event);
        }
        assert_eq!((seen.as_str(), queue.now()), ("ab", 4));
        queue.at(0, 'x');
        while let Some(event) = queue.next(9) {
            seen.push(event);
        }
        assert_eq!((seen.as_str(), queue.now()), ("abxcd", 9));
    }
}
