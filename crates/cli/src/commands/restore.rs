//! `restore`.

use crate::args::{OverwriteArg, OwnerArg, RestoreArgs, SparseArg};
use crate::commands::report::{failing, rate, short, warn_of_problems};
use crate::exit::{Exit, Outcome};
use crate::globs::{Globs, Letters};
use crate::local::{self, Owners, Top};
use crate::output::{Bar, Format, problem_counts_json, problem_json};
use crate::session::Session;
use crate::units;
use decube_backup_core::{Entry, EntryKind, EntryPath, Error, ErrorKind, Result, Target};
use decube_backup_engine::options::{
    Effect, EntryFilter, Extraneous, Overwrite, RestoreOptions, RestoreReport, Snapshot, Sparse,
};
use decube_backup_engine::restore::absent::Absent;
use decube_backup_engine::{Repository, browse, restore};
use serde_json::json;
use std::collections::HashSet;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

/// Restores a snapshot or part of it.
///
/// # Errors
/// No such snapshot or path, or the target cannot be written at all.
pub(super) fn run(session: &Session, args: &RestoreArgs) -> Outcome {
    let wanted = wanted(args)?;
    let repository = session.open()?;
    let (snapshot, subtree) = repository.select(args.snapshot.as_encoded_bytes(), args.time.timestamp)?;
    let top = match browse::entry(&repository, &snapshot, &subtree) {
        // Of the root a snapshot has no entry.
        _ if subtree.is_root() => Top::Entries,
        // Said before a target is made for it. Damage is for the restore to say, which goes on.
        Err(error) if error.kind() == ErrorKind::NotFound => return Err(error.into()),
        Ok(entry) if entry.entry.kind != EntryKind::Directory => Top::Entries,
        Ok(_) | Err(_) => Top::Directory,
    };
    warn_of_problems(session, &snapshot);
    let filter = match wanted {
        None => None,
        Some(wanted) => {
            let (filter, matched) = with_directories_above(&repository, &snapshot, &subtree, wanted)?;
            if !matched {
                session.console.warn(
                    "nothing in the snapshot matches --include and --exclude, so nothing is restored; a pattern with a slash \
                     is anchored at the snapshot's root, where paths are absolute",
                );
            }
            Some(filter)
        }
    };
    let filter = sparing(own_places(session, args, &subtree)?, filter);
    let options = RestoreOptions {
        subtree,
        filter,
        overwrite: match args.overwrite {
            OverwriteArg::IfChanged => Overwrite::IfChanged,
            OverwriteArg::IfNewer => Overwrite::IfNewer,
            OverwriteArg::Always => Overwrite::Always,
            OverwriteArg::Never => Overwrite::Never,
        },
        extraneous: if args.delete { Extraneous::Delete } else { Extraneous::Keep },
        sparse: match args.sparse {
            SparseArg::Recorded => Sparse::AsRecorded,
            SparseArg::Zeros => Sparse::Zeros,
        },
        effect: if args.dry_run { Effect::DryRun } else { Effect::Real },
    };
    let target: Box<dyn Target> = match args.target.symlink_metadata() {
        Err(missing) if args.dry_run && missing.kind() == std::io::ErrorKind::NotFound => Box::new(Absent),
        _ => local::target(&args.target, owners(args), top)?,
    };
    let reporter = session.reporter("restore", Bar::Shown)?;
    let report = restore::restore(&repository, &snapshot, &options, &*target, &reporter)?;
    reporter.finish();
    match session.console.format() {
        Format::Json => session.console.json(&summary_json(args, &snapshot, &report))?,
        Format::Text => summary_text(session, args, &snapshot, &report)?,
    }
    Ok(Exit::of_problems(&report.problems))
}

/// What this command itself lives on, as far as it lies in the target, as paths in the snapshot.
///
/// # Errors
/// `Invalid` if the target lies in the repository.
fn own_places(session: &Session, args: &RestoreArgs, subtree: &EntryPath) -> Result<Vec<EntryPath>> {
    let from = session.place()?;
    let repository = from.directory();
    let nearest = std::path::absolute(&args.target).unwrap_or_else(|_| args.target.clone());
    let nearest = nearest.ancestors().find(|above| above.exists());
    if let Some((repository, nearest)) = repository.zip(nearest)
        && local::place_in(nearest, repository).is_some()
    {
        return Err(Error::new(
            ErrorKind::Invalid,
            "restore",
            "the target lies in the repository it would be restored from",
        )
        .with("repository", repository.display())
        .with("target", args.target.display())
        .with_hint("nothing was changed; restore to a directory outside of it"));
    }
    let place = |own: &Path| -> Option<EntryPath> {
        let inside = local::place_in(own, &args.target).filter(|inside| inside.as_os_str() != "")?;
        EntryPath::new(inside.as_os_str().as_bytes()).and_then(|inside| inside.below(subtree)).ok()
    };
    let place_of_repository = repository.and_then(place);
    if place_of_repository.is_some() {
        session
            .console
            .warn("the repository lies in the target: it is left as it is, nothing in it is restored or deleted");
    }
    let directories = [session.cache_directory(), session.witness_directory()].into_iter().flatten();
    let others = directories.chain(session.files_used(&from)?);
    Ok(others.filter_map(|own| place(&own)).chain(place_of_repository).collect())
}

/// What `filter` wants, without anything in `places`.
fn sparing(places: Vec<EntryPath>, filter: Option<EntryFilter>) -> Option<EntryFilter> {
    if places.is_empty() {
        return filter;
    }
    Some(Arc::new(move |entry: &Entry| {
        !places.iter().any(|place| entry.path.is_within(place)) && filter.as_ref().is_none_or(|wanted| wanted(entry))
    }))
}

fn owners(args: &RestoreArgs) -> Owners {
    match args.owner {
        OwnerArg::Keep => Owners::Keep,
        _ if args.no_owner => Owners::Keep,
        OwnerArg::Names => Owners::Names,
        OwnerArg::Ids => Owners::Ids,
    }
}

/// What --include covers, without what --exclude covers; `None` for everything.
fn wanted(args: &RestoreArgs) -> Result<Option<EntryFilter>> {
    if args.include.is_empty() && args.exclude.is_empty() {
        return Ok(None);
    }
    let include = Globs::new(&args.include, Letters::Exact)?;
    let exclude = Globs::new(&args.exclude, Letters::Exact)?;
    let everything = args.include.is_empty();
    Ok(Some(Arc::new(move |entry: &Entry| (everything || include.covers(entry)) && !exclude.covers(entry))))
}

/// `wanted` and the directories above what it wants. They come before it in path order, so the tree is looked
/// through once before. And whether anything below `subtree` is wanted, as far as can be read.
fn with_directories_above(
    repository: &Repository,
    snapshot: &Snapshot,
    subtree: &EntryPath,
    wanted: EntryFilter,
) -> Result<(EntryFilter, bool)> {
    let mut matched = false;
    let mut above: HashSet<EntryPath> = HashSet::new();
    let matcher = wanted.clone();
    let looked = browse::find(repository, snapshot, &move |entry: &Entry| matcher(entry), &mut |found| {
        matched |= found.entry.path.is_within(subtree);
        let mut path = found.entry.path.parent();
        while let Some(directory) = path.filter(|directory| !above.contains(directory)) {
            path = directory.parent();
            above.insert(directory);
        }
        Ok(())
    });
    match looked {
        // Everything else comes back; the restore itself says what is lost.
        Err(error) if !browse::costs_a_part(&error) => return Err(error),
        Err(_) => matched = true,
        Ok(()) => {}
    }
    Ok((Arc::new(move |entry: &Entry| wanted(entry) || above.contains(&entry.path)), matched))
}

fn summary_json(args: &RestoreArgs, snapshot: &Snapshot, report: &RestoreReport) -> serde_json::Value {
    json!({
        "message_type": "summary",
        "dry_run": args.dry_run,
        "snapshot_id": snapshot.id.to_hex(),
        "name": snapshot.manifest.name,
        "target": args.target.to_string_lossy(),
        "files_restored": report.files_restored,
        "files_unchanged": report.files_unchanged,
        "files_skipped": report.files_skipped,
        "files_deleted": report.deleted,
        "dirs": report.directories,
        "others": report.others,
        "bytes_restored": report.bytes_written,
        "total_duration": report.seconds,
        "error_count": report.problems.iter().filter(|(kind, _)| kind.counts()).map(|(_, n)| n).sum::<u64>(),
        "problems": problem_counts_json(&report.problems),
        "snapshot_problems": problem_counts_json(&snapshot.manifest.problems_total),
        "problem_list": report.problem_list.iter().map(problem_json).collect::<Vec<_>>(),
    })
}

fn summary_text(session: &Session, args: &RestoreArgs, snapshot: &Snapshot, report: &RestoreReport) -> Result<()> {
    let console = &session.console;
    console.summary(format_args!(
        "files:    {} restored, {} the same already, {} kept, {} deleted; {}, {}",
        report.files_restored,
        report.files_unchanged,
        report.files_skipped,
        report.deleted,
        units::count(report.directories, "directory"),
        units::count(report.others, "other"),
    ))?;
    if let Some(problems) = failing(&report.problems) {
        console.warn(format_args!("problems: {problems}; everything else was restored"));
    }
    let (id, name) = (snapshot.id.to_hex(), &snapshot.manifest.name);
    console.summary(format_args!(
        "{} {} of \"{name}\" to {}: {} in {} ({})",
        if args.dry_run { "dry run: nothing was written; restoring" } else { "restored" },
        short(&id),
        args.target.display(),
        units::size(report.bytes_written),
        units::duration(report.seconds),
        rate(report.bytes_written, report.seconds),
    ))
}
