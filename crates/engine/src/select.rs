//! Naming snapshots: `latest`, `latest~2`, `NAME`, `NAME~1`, `NAME@TIME`, `HOST:NAME`, `HOST:latest`, an id's prefix, each
//! with `:PATH`.

use crate::clocks::beginnings;
use crate::options::{Snapshot, SnapshotFilter};
use crate::repository::Repository;
use crate::twins::Twins;
use decube_backup_core::entry::EntryPath;
use decube_backup_core::{Error, ErrorKind, Result, Timestamp};
use decube_backup_format::checkpoint::{SnapshotEntry, State};
use decube_backup_format::header::Access;
use decube_backup_format::manifest::SnapshotManifest;
use std::collections::BTreeSet;

const LATEST: &str = "latest";
/// Characters of an id that stand for it, at least: shorter ones are more likely names.
const ID_PREFIX_MIN: usize = 4;

fn listed(entry: &SnapshotEntry) -> Snapshot {
    Snapshot {
        id: entry.id,
        seq: entry.seq,
        manifest: entry.manifest.clone(),
        pin: entry.pin,
        visibility: entry.visibility,
    }
}

fn not_found(what: &str, selector: &str) -> Error {
    Error::new(ErrorKind::NotFound, "select", what)
        .with("snapshot", format!("\"{selector}\""))
        .with_hint("`decube-backup snapshots` lists what there is")
}

/// Refuses names of new snapshots that no selector means: empty ones, `latest`, those that end in `:latest`, `~1` or
/// `@` and a time.
///
/// # Errors
/// `Invalid`.
pub fn check_name(name: &str) -> Result<()> {
    let number = |(_, n): (&str, &str)| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit());
    let what = if name.trim().is_empty() {
        "the name is empty"
    } else if name == LATEST || name.ends_with(":latest") {
        "`latest` means the newest snapshot of all, or of a host: it cannot be a name"
    } else if name.rsplit_once('~').is_some_and(number) {
        "a name and `~1` means the snapshot before its newest: a name cannot end so"
    } else if name.rsplit_once('@').is_some_and(|(_, time)| parse_time(time).is_ok()) {
        "a name and `@TIME` means its snapshot of that time: a name cannot end so"
    } else {
        return Ok(());
    };
    Err(Error::new(ErrorKind::Invalid, "name", what).with("name", format!("\"{name}\"")))
}

/// Parses a time up to which versions count: RFC 3339 with zone, or a date and time in UTC, or a date. The end of the day or
/// second that is written: what is shown without fractions names what it was shown for.
///
/// # Errors
/// `Invalid`.
pub fn parse_time(text: &str) -> Result<Timestamp> {
    let instant = text.parse::<jiff::Timestamp>().ok().or_else(|| {
        // Each of the two would also read the other's text.
        let civil = if text.contains(['T', 't', ' ']) {
            text.parse::<jiff::civil::DateTime>()
        } else {
            text.parse::<jiff::civil::Date>().map(|d| d.at(23, 59, 59, 999_999_999))
        };
        civil.ok()?.to_zoned(jiff::tz::TimeZone::UTC).ok().map(|z| z.timestamp())
    });
    match instant.map(Timestamp::from) {
        Some(time) if text.contains(['.', ',']) => Ok(time),
        Some(time) => Ok(Timestamp { nanoseconds: 999_999_999, ..time }),
        None => Err(Error::new(ErrorKind::Invalid, "select", "not a time")
            .with("time", format!("\"{text}\""))
            .with_hint("write it like 2024-01-15T10:30:00Z; a date alone means the end of that day, UTC")),
    }
}

/// Removes a leading `/` and repeated or trailing slashes: how a person's path is named in a tree.
///
/// # Errors
/// `Invalid` for `.` and `..` components.
pub fn parse_path(text: &[u8]) -> Result<EntryPath> {
    let parts: Vec<&[u8]> = text.split(|b| *b == b'/').filter(|p| !p.is_empty()).collect();
    EntryPath::new(parts.join(&b'/'))
}

impl SnapshotFilter {
    /// Whether `manifest` is of this set; [`Self::latest`] aside, which no snapshot alone answers.
    pub fn matches(&self, manifest: &SnapshotManifest) -> bool {
        self.name.as_ref().is_none_or(|name| *name == manifest.name)
            && self.host.as_ref().is_none_or(|host| *host == manifest.host)
            && self.tags.iter().all(|tag| manifest.tags.contains(tag))
            && self.labels.iter().all(|(key, value)| manifest.labels.get(key) == Some(value))
            && self.path.as_ref().is_none_or(|path| manifest.paths.contains(path))
            && !manifest.component.as_ref().is_some_and(|component| self.not_components.contains(component))
            && self.pipeline.as_ref().is_none_or(|pipeline| manifest.pipeline.as_ref() == Some(pipeline))
    }
}

impl Repository {
    /// Live snapshots that match `filter`, oldest first: in log order, twins right before their originals.
    pub fn snapshots(&self, filter: &SnapshotFilter) -> Vec<Snapshot> {
        let state = self.state();
        filtered(&state, state.live_snapshots(), filter)
    }

    /// Forgotten snapshots that match `filter`, oldest first; whether they can be given back `crate::undelete` says.
    pub fn forgotten(&self, filter: &SnapshotFilter) -> Vec<Snapshot> {
        let state = self.state();
        filtered(&state, state.forgotten_snapshots(), filter)
    }

    /// The same with the time each counts as begun, in the order of these times, equal ones as there: what `latest` and
    /// `NAME~1` go by. A clock that is years ahead counts as no later than the next one in the log that is
    /// believed, each host by its own.
    pub fn dated_snapshots(&self, filter: &SnapshotFilter) -> Vec<(Timestamp, Snapshot)> {
        self.dated(self.snapshots(filter))
    }

    fn dated(&self, snapshots: Vec<Snapshot>) -> Vec<(Timestamp, Snapshot)> {
        let state = self.state();
        let (begun, twins) = (beginnings(&state), Twins::of(&state));
        let time = |s: &Snapshot| begun.get(&s.id).copied().unwrap_or(s.manifest.begun);
        let mut dated: Vec<(Timestamp, Snapshot)> = snapshots.into_iter().map(|s| (time(&s), s)).collect();
        dated.sort_by_key(|(time, s)| (*time, twins.place(&s.id, s.seq)));
        dated
    }

    /// The forgotten snapshot `selector` names.
    ///
    /// # Errors
    /// As [`Self::select`].
    pub fn select_forgotten(&self, selector: &str) -> Result<Snapshot> {
        pick(&self.dated(self.forgotten(&SnapshotFilter::default())), selector, None).map_err(|error| {
            match error.kind() {
                ErrorKind::NotFound => not_found("no such forgotten snapshot", selector)
                    .with_hint("`decube-backup snapshots --forgotten` lists what there is"),
                _ => error,
            }
        })
    }

    /// The snapshot `selector` names, for what is done with snapshots as a whole.
    ///
    /// # Errors
    /// As [`Self::select`]; `Invalid` if it names a path in it.
    pub fn select_whole(&self, selector: &str) -> Result<Snapshot> {
        let (snapshot, path) = self.select(selector, None)?;
        if path.is_root() {
            return Ok(snapshot);
        }
        Err(Error::new(ErrorKind::Invalid, "select", "a snapshot is meant here as a whole, not a path in it")
            .with("snapshot", format!("\"{selector}\""))
            .with_hint("leave out what follows the colon"))
    }

    /// The snapshot and path `selector` names, a path being raw bytes; `as_of` limits to snapshots at or before that time.
    ///
    /// # Errors
    /// `NotFound` with the nearest times, `Invalid` for a name that several hosts use, an ambiguous id or a bad path.
    pub fn select(&self, selector: impl AsRef<[u8]>, as_of: Option<Timestamp>) -> Result<(Snapshot, EntryPath)> {
        self.check_reader(Access::Read)?;
        let selector = selector.as_ref();
        let all = self.dated_snapshots(&SnapshotFilter::default());
        // A name may hold ':', a path may too: the longest left part that names something wins.
        let mut missed = Missed::default();
        let colons = selector.iter().enumerate().rev().filter(|(_, byte)| **byte == b':').map(|(at, _)| at);
        for cut in std::iter::once(selector.len()).chain(colons) {
            let (left, path) = (selector.get(..cut).unwrap_or_default(), selector.get(cut + 1..).unwrap_or_default());
            // No snapshot has a name that is no text.
            let Ok(left) = std::str::from_utf8(left) else { continue };
            match pick(&all, left, as_of) {
                Ok(snapshot) => return Ok((snapshot, parse_path(path)?)),
                // What may mean several is not taken for something else.
                Err(error) if error.kind() == ErrorKind::Invalid => return Err(error),
                Err(error) => missed.add(&all, left, error),
            }
        }
        Err(missed.told().unwrap_or_else(|| not_found("no such snapshot", &String::from_utf8_lossy(selector))))
    }
}

/// Why no left part of a selector names a snapshot. Of parts of the same name the longest counts: the hour of
/// `home@2024-01-15T10:30` is a time too, and nobody meant it.
#[derive(Default)]
struct Missed<'s> {
    /// Of a name that is there: only its time or count is wrong.
    of_a_name: Option<Error>,
    /// Of the shortest part, with its name: the leftmost cut is what a person most likely meant.
    leftmost: Option<(&'s str, Error)>,
}

impl<'s> Missed<'s> {
    /// That `left` names nothing of `all`; from the longest part to the shortest.
    fn add(&mut self, all: &[(Timestamp, Snapshot)], left: &'s str, error: Error) {
        let name = parts(left).name;
        let there = || series(all, name).is_ok_and(|versions| !versions.is_empty());
        if self.of_a_name.is_none() && there() {
            self.of_a_name = Some(error);
        } else if self.leftmost.as_ref().is_none_or(|(before, _)| *before != name) {
            self.leftmost = Some((name, error));
        }
    }

    fn told(self) -> Option<Error> {
        self.of_a_name.or(self.leftmost.map(|(_, error)| error))
    }
}

fn filtered<'s>(
    state: &State,
    entries: impl Iterator<Item = &'s SnapshotEntry>,
    filter: &SnapshotFilter,
) -> Vec<Snapshot> {
    let twins = Twins::of(state);
    let mut all: Vec<Snapshot> = entries.filter(|s| filter.matches(&s.manifest)).map(listed).collect();
    all.sort_by_key(|s| twins.place(&s.id, s.seq));
    if let Some(latest) = filter.latest {
        let mut seen = std::collections::HashMap::new();
        all.reverse();
        all.retain(|s| {
            let count: &mut usize = seen.entry((s.manifest.host.clone(), s.manifest.name.clone())).or_default();
            *count += 1;
            *count <= latest
        });
        all.reverse();
    }
    all
}

/// What a selector asks for: `NAME`, `NAME~BACK`, `NAME@AT`, or both.
struct Parts<'s> {
    base: &'s str,
    name: &'s str,
    at: Option<Timestamp>,
    back: usize,
}

fn parts(selector: &str) -> Parts<'_> {
    let (base, back) = match selector.rsplit_once('~') {
        Some((base, n)) if !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()) => {
            (base, n.parse().unwrap_or(usize::MAX))
        }
        _ => (selector, 0),
    };
    let timed = base.rsplit_once('@').and_then(|(name, time)| Some((name, parse_time(time).ok()?)));
    let (name, at) = timed.map_or((base, None), |(name, time)| (name, Some(time)));
    Parts { base, name, at, back }
}

/// `all` with the time each counts for, in that order.
fn pick(all: &[(Timestamp, Snapshot)], selector: &str, as_of: Option<Timestamp>) -> Result<Snapshot> {
    let Parts { base, name, at, back } = parts(selector);
    let until = match (at, as_of) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    };
    let versions = series(all, name)?;
    if !versions.is_empty() {
        let early_enough = versions.partition_point(|(time, _)| until.is_none_or(|until| *time <= until));
        return match early_enough.checked_sub(back.saturating_add(1)).and_then(|at| versions.get(at)) {
            Some((_, snapshot)) => Ok(snapshot.clone()),
            None => Err(nearest(&versions, selector, until)),
        };
    }
    let is_hex = name.bytes().all(|b| b.is_ascii_hexdigit());
    let is_id = is_hex && (ID_PREFIX_MIN..=64).contains(&name.len());
    let prefixed: Vec<&Snapshot> = if is_id {
        let all = all.iter().map(|(_, snapshot)| snapshot);
        all.filter(|s| s.id.to_hex().starts_with(&name.to_ascii_lowercase())).collect()
    } else {
        Vec::new()
    };
    match prefixed.as_slice() {
        [] if at.is_none() && base.contains('@') => {
            Err(not_found("no snapshot is called so, and what follows its @ is not a time", selector)
                .with_hint("write it like home@2024-01-15T10:30:00Z or home@2024-01-15, the end of that day, UTC"))
        }
        [] if is_hex && name.len() < ID_PREFIX_MIN => Err(not_found("no such snapshot", selector).with_hint(format!(
            "no snapshot has that name, and an id is given by at least {ID_PREFIX_MIN} of its characters"
        ))),
        [] => Err(not_found("no such snapshot", selector)),
        [one] => Ok((*one).clone()),
        _ => Err(Error::new(ErrorKind::Invalid, "select", "several snapshots begin with this id; give more of it")
            .with("id", name)),
    }
}

/// The snapshots that `name` means: all for `latest`, those of one host and name for `NAME` and `HOST:NAME`.
fn series<'s>(all: &'s [(Timestamp, Snapshot)], name: &str) -> Result<Vec<&'s (Timestamp, Snapshot)>> {
    if name == LATEST {
        return Ok(all.iter().collect());
    }
    let is_meant = |manifest: &SnapshotManifest| {
        let of_host = name.strip_prefix(&manifest.host).and_then(|rest| rest.strip_prefix(':'));
        manifest.name == name || of_host.is_some_and(|rest| rest == LATEST || rest == manifest.name)
    };
    let versions: Vec<_> = all.iter().filter(|(_, s)| is_meant(&s.manifest)).collect();
    let hosts: BTreeSet<&str> = versions.iter().map(|(_, s)| s.manifest.host.as_str()).collect();
    if hosts.len() > 1 {
        let qualified: Vec<String> = hosts.iter().take(5).map(|host| format!("{host}:{name}")).collect();
        // One host's tree is never taken for another's.
        return Err(Error::new(ErrorKind::Invalid, "select", "several hosts have backups of this name")
            .with("name", name)
            .with("hosts", hosts.len())
            .with_hint(format!("say whose: {}", qualified.join(", "))));
    }
    Ok(versions)
}

fn nearest(versions: &[&(Timestamp, Snapshot)], selector: &str, until: Option<Timestamp>) -> Error {
    let times: Vec<String> = match until {
        Some(until) => {
            let later = versions.iter().map(|(time, _)| time).filter(|time| **time > until);
            later.take(3).map(Timestamp::to_string).collect()
        }
        None => Vec::new(),
    };
    let error = not_found("no version that old", selector).with("versions", versions.len());
    if times.is_empty() {
        error
    } else {
        error.with_hint(format!("the nearest later versions are from {}", times.join(", ")))
    }
}

#[cfg(test)]
#[path = "select_tests.rs"]
mod tests;
