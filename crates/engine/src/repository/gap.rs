//! Whether the log ends where it seems to.
//!
//! A record that is missing looks like the end of the log. Going on there would hide every later snapshot, and appending
//! would fork the log: so names behind the end are looked for.

use super::Repository;
use decube_backup_core::{Error, ErrorKind, Result};
use decube_backup_format::ids::{log_key, parse_seq_key};

/// Hexadecimal digits of a record's number in which the names of one listing differ.
const BLOCK_DIGITS: usize = 2;
/// Numbers there are of as many digits.
const BLOCK: u64 = 1 << (4 * BLOCK_DIGITS);
/// A log that ends closer than this to the end of its block has the next one looked at as well: so many records lost in a
/// row are seen at least.
const REACH: u64 = BLOCK / 4;

/// Which records' names are looked at for one beyond the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Names {
    /// Those of the block of 256 that the log ends in, and of the next one if that is near: one request mostly, two at most,
    /// however long the log is.
    NearTheEnd,
    All,
}

impl Names {
    /// What to list, for a log whose end is before record `next`.
    fn prefixes(self, next: u64) -> Result<Vec<String>> {
        if self == Self::All {
            return Ok(vec!["log/".to_owned()]);
        }
        let block = |seq: u64| {
            let mut prefix = log_key(seq)?.as_str().to_owned();
            prefix.truncate(prefix.len() - BLOCK_DIGITS);
            Ok(prefix)
        };
        let mut prefixes = vec![block(next)?];
        let reached = block(next.saturating_add(REACH))?;
        if !prefixes.contains(&reached) {
            prefixes.push(reached);
        }
        Ok(prefixes)
    }
}

impl Repository {
    /// Refuses a log that goes on behind its end; among `names` it is looked whether it does.
    ///
    /// # Errors
    /// `Corrupt` if a record is missing; what listing and reading yield.
    pub(super) fn check_no_gap(&self, names: Names) -> Result<()> {
        let next = self.state().next_seq();
        let mut last = None;
        if self.store.stat(&log_key(next.saturating_add(1))?)?.is_some() {
            last = Some(next.saturating_add(1));
        }
        for prefix in names.prefixes(next)? {
            last = last.max(self.store.list(&prefix)?.iter().filter_map(|object| parse_seq_key(&object.key)).max());
        }
        let goes_on = |next: u64| last.is_some_and(|last| last > next);
        if !goes_on(next) {
            return Ok(());
        }
        // Others may have appended; what was there before they did is still to be reached.
        self.fold_new()?;
        let next = self.state().next_seq();
        if !goes_on(next) {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Corrupt, "open", "a log record is missing from the repository")
            .with("key", log_key(next)?)
            .with_hint("put it back from a replica; `decube-backup verify --scrub` lists everything that is damaged"))
    }

    /// As opening does it for who knows no log yet: looks at all names, for who is about to delete by what the log says.
    ///
    /// # Errors
    /// `Corrupt` if a record is missing; what listing and reading yield.
    pub(crate) fn check_log_ends(&self) -> Result<()> {
        self.check_no_gap(Names::All)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_that_ends_near_the_end_of_a_block_has_the_next_one_looked_at_too() {
        let near = |next| Names::NearTheEnd.prefixes(next).expect("numbers");
        for (next, expected) in [
            (0, vec!["log/00000000000000"]),
            (0xbf, vec!["log/00000000000000"]),
            (0xc0, vec!["log/00000000000000", "log/00000000000001"]),
            (0xff, vec!["log/00000000000000", "log/00000000000001"]),
            (0x100, vec!["log/00000000000001"]),
            (0xffff, vec!["log/000000000000ff", "log/00000000000100"]),
            (u64::MAX, vec!["log/ffffffffffffff"]),
        ] {
            assert_eq!(near(next), expected, "{next:#x}");
        }
        // Whatever the end, a record that many numbers behind it is among those listed.
        for next in 0..3 * BLOCK {
            for lost in 1..=REACH {
                let there = log_key(next + lost).expect("a number");
                assert!(near(next).iter().any(|prefix| there.as_str().starts_with(prefix)), "{next:#x} {lost}");
            }
        }
        assert_eq!(Names::All.prefixes(0xff).expect("numbers"), ["log/"]);
    }
}
