//! The epoch table: which epoch appended which part of a log. It answers where two logs agree, in one round (KIP-101 and KIP-279 step back epoch by
//! epoch for the same answer).

use trireme_proto::{Epoch, Position};

/// Each epoch of a log with the first seq known of it, ascending in both. Never empty: the first row is where the log begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EpochTable(Vec<Position>);

impl EpochTable {
    /// The table of a log that begins after this position.
    pub fn after(before: Position) -> EpochTable {
        EpochTable(vec![before])
    }

    /// The table of a log that begins after `before` and whose rows came from elsewhere: a snapshot. Rows out of order are left out.
    pub fn from_rows(before: Position, rows: &[Position]) -> EpochTable {
        let mut table = EpochTable(Vec::new());
        for row in rows.iter().filter(|row| row.seq <= before.seq && row.epoch <= before.epoch) {
            if table.0.last().is_none_or(|last| last.epoch < row.epoch && last.seq <= row.seq) {
                table.0.push(*row);
            }
        }
        if table.0.last().is_none_or(|last| last.epoch < before.epoch) {
            table.0.push(before);
        }
        table
    }

    /// The rows, for a message.
    pub fn rows(&self) -> &[Position] {
        &self.0
    }

    /// Notes that `seq` was appended by `epoch`.
    pub fn appended(&mut self, position: Position) {
        if self.0.last().is_none_or(|last| last.epoch < position.epoch) {
            self.0.push(position);
        }
    }

    /// Forgets everything after `seq`.
    pub fn truncate(&mut self, seq: u64) {
        while self.0.len() > 1 && self.0.last().is_some_and(|last| last.seq > seq) {
            self.0.pop();
        }
    }

    /// Forgets rows that end before `seq`.
    pub fn trim(&mut self, seq: u64) {
        let unneeded = self.0.iter().skip(1).take_while(|next| next.seq <= seq).count();
        self.0.drain(..unneeded);
    }

    /// The epoch that appended `seq`, which must be in the log or just before it.
    pub fn epoch_of(&self, seq: u64) -> Epoch {
        let row = self.0.partition_point(|row| row.seq <= seq);
        self.0[row.saturating_sub(1)].epoch
    }

    /// The last position that both logs have: the same epoch at the same seq means the same entry, and the same log before it. `None` where what is
    /// known of both does not overlap.
    pub fn agreement(&self, last: u64, other: &[Position], other_last: u64) -> Option<Position> {
        let spans = |rows: &[Position], last: u64| -> Vec<(Epoch, u64, u64)> {
            (0..rows.len())
                .map(|i| {
                    (
                        rows[i].epoch,
                        rows[i].seq,
                        rows.get(i + 1).map_or(last, |next| next.seq.saturating_sub(1).min(last)),
                    )
                })
                .collect()
        };
        let (mine, theirs) = (spans(&self.0, last), spans(other, other_last));
        let common = mine.iter().rev().filter_map(|(epoch, first, end)| {
            let (_, their_first, their_end) = theirs.iter().find(|(their_epoch, ..)| their_epoch == epoch)?;
            let end = *end.min(their_end);
            (end >= *first.max(their_first)).then_some(Position { epoch: *epoch, seq: end })
        });
        common.max_by_key(|position| position.seq)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(epoch: u64, seq: u64) -> Position {
        Position { epoch: Epoch { number: epoch, proposer: 0 }, seq }
    }

    fn table(rows: &[(u64, u64)]) -> EpochTable {
        let mut table = EpochTable::after(Position::ZERO);
        for (epoch, seq) in rows {
            table.appended(at(*epoch, *seq));
        }
        table
    }

    #[test]
    fn agreement_is_the_last_common_entry() {
        let leader = table(&[(1, 1), (3, 6)]); // epoch 1: 1-5, epoch 3: 6-9
        let cases = [
            (table(&[(1, 1)]), 8, Some(at(1, 5))),         // wrote on in epoch 1
            (table(&[(1, 1)]), 4, Some(at(1, 4))),         // is behind
            (table(&[(1, 1), (2, 4)]), 7, Some(at(1, 3))), // an epoch that the leader never had
            (table(&[(1, 1), (3, 6)]), 7, Some(at(3, 7))),
            (table(&[]), 0, Some(Position::ZERO)),
        ];
        for (follower, last, expected) in cases {
            assert_eq!(leader.agreement(9, follower.rows(), last), expected, "{follower:?} up to {last}");
        }
    }

    #[test]
    fn logs_that_do_not_overlap_do_not_agree() {
        let mut leader = table(&[(1, 1), (2, 6)]);
        leader.trim(7);
        assert_eq!(leader.agreement(9, table(&[(1, 1)]).rows(), 5), None);
    }

    #[test]
    fn truncating_and_trimming_keep_what_is_left() {
        let mut table = table(&[(1, 1), (2, 4), (3, 8)]);
        table.truncate(5);
        assert_eq!((table.epoch_of(5), table.epoch_of(3)), (at(2, 0).epoch, at(1, 0).epoch));
        table.trim(4);
        assert_eq!(table.rows(), [at(2, 4)]);
    }
}
