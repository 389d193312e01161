//! The rows, played on a store.

use crate::parse::{Commands, Family, Row};
use crate::{Expected, REGIONS, Reply};

/// A store with a region of each name in [`REGIONS`].
pub trait Regions {
    /// Sends commands to a region, over one connection, and gives the last one's reply.
    ///
    /// # Errors
    /// There was none.
    fn ask(&mut self, region: &str, commands: &Commands) -> Result<Reply, String>;

    /// From now on regions do not hear each other.
    ///
    /// # Errors
    /// They could not be taken apart.
    fn apart(&mut self) -> Result<(), String>;

    /// They hear each other again, and this returns when they hold the same.
    ///
    /// # Errors
    /// They did not come to hold the same.
    fn together(&mut self) -> Result<(), String>;

    /// Returns when the clock of every region is later than it was.
    ///
    /// # Errors
    /// It did not come to that.
    fn later(&mut self) -> Result<(), String>;
}

/// What was played.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Played {
    /// Rows.
    pub rows: usize,
    /// Steps.
    pub steps: usize,
    /// Answers that were compared, in any region.
    pub compared: usize,
}

/// Plays all rows at once, each with keys of its own that begin with this.
///
/// # Errors
/// What was not as expected, one line each, with the row's name; or why it could not be played.
pub fn play(families: &[Family], keys: &str, regions: &mut dyn Regions) -> Result<Played, String> {
    let rows: Vec<(usize, &Row)> = families.iter().flat_map(|family| &family.rows).enumerate().collect();
    let mut player =
        Player { regions, keys, wrong: Vec::new(), played: Played { rows: rows.len(), ..Played::default() } };
    let phases = rows.iter().map(|(_, row)| row.phases.len()).max().unwrap_or(0);
    for phase in 0..phases {
        player.phase(&rows, phase)?;
    }
    if player.wrong.is_empty() { Ok(player.played) } else { Err(player.wrong.join("\n")) }
}

struct Player<'a> {
    regions: &'a mut dyn Regions,
    keys: &'a str,
    wrong: Vec<String>,
    played: Played,
}

impl Player<'_> {
    fn phase(&mut self, rows: &[(usize, &Row)], phase: usize) -> Result<(), String> {
        let of = |row: &Row| row.phases.get(phase).cloned().unwrap_or_default();
        let steps = rows.iter().map(|(_, row)| of(row).steps.len()).max().unwrap_or(0);
        self.regions.apart()?;
        for step in 0..steps {
            self.regions.later()?;
            for (number, row) in rows {
                let Some(step) = of(row).steps.get(step).cloned() else { continue };
                self.played.steps += 1;
                self.compare(*number, row, &step.region, &step.commands, step.reply.as_ref())?;
            }
        }
        self.regions.together()?;
        for (number, row) in rows {
            for check in of(row).checks {
                for region in REGIONS {
                    self.compare(*number, row, region, &check.commands, Some(&check.reply))?;
                }
            }
        }
        Ok(())
    }

    fn compare(
        &mut self,
        number: usize,
        row: &Row,
        region: &str,
        commands: &Commands,
        expected: Option<&Expected>,
    ) -> Result<(), String> {
        // The row's number is a tag: all its keys are of one slot, whatever else there is.
        let word = |word: &String| match word.strip_prefix('@') {
            Some(key) => format!("{}{{{number}}}{key}", self.keys),
            None => word.clone(),
        };
        let sent: Commands = commands.iter().map(|command| command.iter().map(word).collect()).collect();
        let words: Vec<String> = commands.iter().map(|command| command.join(" ")).collect();
        let place = format!("row {}: {region}: {}", row.name, words.join("; "));
        let reply = self.regions.ask(region, &sent).map_err(|why| format!("{place}: {why}"))?;
        let Some(expected) = expected else {
            if let Reply::Error(why) = reply {
                self.wrong.push(format!("{place}: {why}"));
            }
            return Ok(());
        };
        self.played.compared += 1;
        if !expected.is(&reply) {
            self.wrong.push(format!("{place}: {reply} instead of {expected}"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers everything with how often it was asked; says what it was told to do.
    #[derive(Default)]
    struct Counts {
        told: Vec<String>,
    }

    impl Regions for Counts {
        fn ask(&mut self, region: &str, commands: &Commands) -> Result<Reply, String> {
            self.told.push(format!("{region} {}", commands[0].join(" ")));
            Ok(Reply::Integer(1))
        }

        fn apart(&mut self) -> Result<(), String> {
            self.told.push("apart".to_owned());
            Ok(())
        }

        fn together(&mut self) -> Result<(), String> {
            self.told.push("together".to_owned());
            Ok(())
        }

        fn later(&mut self) -> Result<(), String> {
            self.told.push("later".to_owned());
            Ok(())
        }
    }

    #[test]
    fn rows_share_one_pause_and_what_is_wrong_is_named() {
        let rows = "row: a\n eu: SET @k 1 => :1\n us: SET @k 2\n sync\n all: GET @k => :1\n\
                    row: b\n us: SET @k 1\n sync\n all: GET @k => :2\n";
        let families = crate::parse(&format!("family: f\nmerge: so\n{rows}")).unwrap();
        let mut regions = Counts::default();
        let wrong = play(&families, "p:", &mut regions).unwrap_err();
        let expected = [
            "apart",
            "later",
            "eu SET p:{0}k 1",
            "us SET p:{1}k 1",
            "later",
            "us SET p:{0}k 2",
            "together",
            "eu GET p:{0}k",
            "us GET p:{0}k",
            "asia GET p:{0}k",
            "eu GET p:{1}k",
            "us GET p:{1}k",
            "asia GET p:{1}k",
        ];
        assert_eq!(regions.told, expected);
        let one = |region: &str| format!("row b: {region}: GET @k: :1 instead of :2");
        assert_eq!(wrong, REGIONS.map(one).join("\n"));
    }
}
