//! Exit codes: the one table, printed in `--help` and in the manual page.

use decube_backup_core::monitor::ProblemKind;
use decube_backup_core::{Error, ErrorKind};
use std::collections::BTreeMap;
use std::process::ExitCode;

/// How a command ended. Ordered by what a run of several shall report: the worst wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Exit {
    /// All of it was done.
    Done,
    /// It was done, but something could not be read, restored, set or told.
    Problems,
    /// Others won every race for the log.
    Contended,
    /// There is no repository.
    NoRepository,
    /// No key slot opens with this password or key file.
    WrongKey,
    /// A guard forbade it.
    Refused,
    /// Damage was found.
    Damaged,
    /// It failed.
    Failed,
    /// It was asked to stop.
    Interrupted,
}

/// Code and meaning, by code.
pub const TABLE: [(Exit, u8, &str); 9] = [
    (Exit::Done, 0, "done"),
    (Exit::Failed, 1, "failed, wrong usage included; nothing was published"),
    (Exit::Problems, 3, "done, but something could not be read, restored or set, or the result could not be written"),
    (Exit::NoRepository, 10, "there is no repository at this place"),
    (Exit::Contended, 11, "gave up: others wrote to the repository all the time"),
    (Exit::WrongKey, 12, "wrong password or key file"),
    (
        Exit::Damaged,
        13,
        "damage: verification found it, or nothing can be opened; or the log was rolled back or forked",
    ),
    (Exit::Refused, 15, "the retention guard refused; nothing was forgotten"),
    (Exit::Interrupted, 130, "interrupted"),
];

impl Exit {
    /// The process exit code.
    pub fn code(self) -> u8 {
        TABLE.iter().find(|(exit, ..)| *exit == self).map_or(1, |(_, code, _)| *code)
    }

    /// The exit that tells of `problems`; notes do not count.
    pub fn of_problems(problems: &BTreeMap<ProblemKind, u64>) -> Self {
        let counts = problems.iter().any(|(kind, count)| kind.counts() && *count > 0);
        if counts { Self::Problems } else { Self::Done }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit.code())
    }
}

/// A command that did not get to its end.
#[derive(Debug)]
pub struct Failure {
    /// What happened.
    pub error: Error,
    /// How the process ends.
    pub exit: Exit,
}

/// Result of a command and its parts.
pub type Outcome<T = Exit> = Result<T, Failure>;

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let exit = match error.kind() {
            ErrorKind::WrongKey => Exit::WrongKey,
            ErrorKind::Diverged => Exit::Damaged,
            ErrorKind::Contended => Exit::Contended,
            ErrorKind::Refused => Exit::Refused,
            ErrorKind::Interrupted => Exit::Interrupted,
            _ => Exit::Failed,
        };
        Self { error, exit }
    }
}

impl Failure {
    /// A failure to open a repository: what is not there is the repository itself, and what is damaged keeps all of it shut.
    pub fn opening(error: Error) -> Self {
        match error.kind() {
            ErrorKind::NotFound => Self { error, exit: Exit::NoRepository },
            ErrorKind::Corrupt => Self { error, exit: Exit::Damaged },
            _ => error.into(),
        }
    }
}

/// The table as text, one line a code.
pub fn table_text() -> String {
    let mut text = String::from("Exit codes:\n");
    for (_, code, meaning) in TABLE {
        text.push_str(&format!("  {code:>3}  {meaning}\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_of_errors_have_their_codes() {
        let cases = [
            (ErrorKind::WrongKey, 12),
            (ErrorKind::Diverged, 13),
            (ErrorKind::Contended, 11),
            (ErrorKind::Refused, 15),
            (ErrorKind::Interrupted, 130),
            (ErrorKind::NotFound, 1),
            (ErrorKind::Corrupt, 1),
        ];
        for (kind, code) in cases {
            assert_eq!(Failure::from(Error::new(kind, "test", "x")).exit.code(), code, "{kind:?}");
        }
        assert_eq!(Failure::opening(Error::new(ErrorKind::NotFound, "open", "x")).exit.code(), 10);
        assert_eq!(Failure::opening(Error::new(ErrorKind::WrongKey, "open", "x")).exit.code(), 12);
        assert_eq!(Failure::opening(Error::new(ErrorKind::Corrupt, "open", "x")).exit.code(), 13);
    }

    #[test]
    fn notes_do_not_make_an_exit_code() {
        assert_eq!(Exit::of_problems(&BTreeMap::from([(ProblemKind::Skipped, 3)])), Exit::Done);
        assert_eq!(Exit::of_problems(&BTreeMap::from([(ProblemKind::Changed, 1)])), Exit::Problems);
    }

    #[test]
    fn the_worst_exit_of_several_wins() {
        assert_eq!([Exit::Done, Exit::Damaged, Exit::Problems].iter().max(), Some(&Exit::Damaged));
    }
}
