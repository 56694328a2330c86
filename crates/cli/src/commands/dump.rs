//! `dump`.

use crate::args::DumpArgs;
use crate::commands::report::warn_of_problems;
use crate::exit::{Exit, Outcome};
use crate::output::{Bar, Data};
use crate::session::Session;
use decube_backup_core::{Error, ErrorKind};
use decube_backup_engine::dump;
use std::io::{IsTerminal, Write};

/// Writes a file, or a tree as tar, to stdout.
///
/// # Errors
/// No such snapshot or path, damage, or stdout cannot be written.
pub(super) fn run(session: &Session, args: &DumpArgs) -> Outcome {
    let refused = |message, hint| Error::new(ErrorKind::Invalid, "dump", message).with_hint(hint);
    if args.archive.is_some() && std::io::stdout().is_terminal() {
        return Err(refused("an archive is not for a terminal", "redirect it to a file or a pipe").into());
    }
    let repository = session.open()?;
    let (snapshot, path) = repository.select(args.snapshot.as_encoded_bytes(), args.time.timestamp)?;
    if args.archive.is_some() {
        warn_of_problems(session, &snapshot);
    }
    let mut out = Data(&session.console);
    if args.archive.is_none() {
        if path.is_root() {
            return Err(refused("no file is named", "write SNAPSHOT:PATH, or dump a tree with --archive tar").into());
        }
        dump::dump_file(&repository, &snapshot, &path, &mut out)?;
        session.console.flush()?;
        return Ok(Exit::Done);
    }
    // No bar: the other end of the pipe shows progress, if anybody does.
    let reporter = session.reporter("dump", Bar::Hidden)?;
    let problems = dump::dump_tar(&repository, &snapshot, &path, &mut out, &reporter)?;
    out.flush().map_err(|e| Error::io("output", "cannot write to standard output", e))?;
    Ok(if problems.iter().any(|problem| problem.kind.counts()) { Exit::Problems } else { Exit::Done })
}
