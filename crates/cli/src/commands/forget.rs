//! `forget`.

use crate::args::{ForgetArgs, PruneArgs};
use crate::commands::report::short;
use crate::exit::{Exit, Outcome};
use crate::output::{Format, Table, Volume};
use crate::session::Session;
use crate::{surroundings, units};
use decube_backup_core::{Error, ErrorKind, Result};
use decube_backup_engine::forget::{self, ForgetOptions, ForgetReport, Wanted};
use decube_backup_engine::options::{Effect, SnapshotFilter};
use decube_backup_engine::repository::Repository;
use decube_backup_engine::retention::{ClockTrust, Decision, Fate, GroupKey, Policy, Sources};
use serde_json::json;

/// Forgets snapshots.
///
/// # Errors
/// Nothing is asked for, no such snapshot, the guard refuses, or the log cannot be written.
pub(super) fn run(session: &Session, args: &ForgetArgs) -> Outcome {
    let filter = SnapshotFilter {
        name: args.name.clone(),
        host: args.host.clone(),
        tags: args.tag.clone(),
        labels: args.label.iter().cloned().collect(),
        path: args.path.clone(),
        ..SnapshotFilter::default()
    };
    let policy = args.policy.policy()?;
    let filtered = args.name.is_some() || args.host.is_some() || args.path.is_some();
    let filtered = filtered || !args.tag.is_empty() || !args.label.is_empty();
    if args.snapshots.is_empty() && policy.is_empty() && !filtered {
        return Err(Error::new(ErrorKind::Invalid, "forget", "nothing says what to forget")
            .with_hint("name snapshots, give a filter such as --tag, or a policy such as --policy guide")
            .into());
    }
    let zone = zone_shown(&policy, Some(&args.policy.timezone));
    let by_policy = !policy.is_empty();
    let repository = session.open()?;
    let wanted = match (args.snapshots.is_empty(), by_policy) {
        (false, _) => Wanted::Named(named(&repository, &args.snapshots)?),
        (true, true) => Wanted::Policy(filter, Box::new(policy)),
        (true, false) => Wanted::Matching(filter),
    };
    let options = ForgetOptions {
        group_by: args.group_by,
        limits: args.guard.limits(),
        effect: if args.dry_run { Effect::DryRun } else { Effect::Real },
        ..options(wanted, surroundings::host())
    };
    let report = forget::forget(&repository, &options)?;
    show(session, &report, &options, by_policy.then_some(zone.as_str()), Listing::All)?;
    report.check()?;
    match args.prune {
        true if args.dry_run => {
            session.console.summary("--prune would follow; `stats --freed` says what that would free")?;
            Ok(Exit::Done)
        }
        true => super::prune::free(session, &repository, &PruneArgs::default()),
        false => Ok(Exit::Done),
    }
}

/// Which decisions are listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Listing {
    /// Every one.
    All,
    /// Those of snapshots that go.
    Dropped,
}

/// Options of a run by this user.
pub(super) fn options(wanted: Wanted, host: String) -> ForgetOptions {
    ForgetOptions { host, username: surroundings::user(), ..ForgetOptions::new(wanted) }
}

/// The zone of `policy` for people: its name, or how it was `given`.
pub(super) fn zone_shown(policy: &Policy, given: Option<&str>) -> String {
    policy.zone.iana_name().or(given).unwrap_or("UTC").to_owned()
}

/// The snapshots `selectors` name, none with a path: all are looked up before any goes.
fn named(repository: &Repository, selectors: &[String]) -> Result<Vec<decube_backup_format::ids::SnapshotId>> {
    selectors.iter().map(|selector| Ok(repository.select_whole(selector)?.id)).collect()
}

/// Lists decisions with their reasons, and what was done. `zone` is the policy's, if there is one.
///
/// # Errors
/// stdout cannot be written.
pub(super) fn show(
    session: &Session,
    report: &ForgetReport,
    options: &ForgetOptions,
    zone: Option<&str>,
    listing: Listing,
) -> Result<()> {
    let console = &session.console;
    let listed = |decision: &&Decision| listing == Listing::All || decision.fate() == Fate::Drop;
    let decisions: Vec<&Decision> = report.decisions.iter().filter(listed).collect();
    if console.format() == Format::Json {
        decisions.iter().try_for_each(|decision| console.json(&decision_json(decision)))?;
        return console.json(&json!({
            "message_type": "summary",
            "dry_run": options.effect == Effect::DryRun,
            "timezone": zone,
            "snapshots": report.live,
            "considered": report.decisions.len(),
            "kept": report.decisions.len() - report.dropped().count(),
            "dropped": report.dropped().count(),
            "forgotten": report.forgotten.iter().map(|id| id.to_hex()).collect::<Vec<_>>(),
            "records": report.records,
            "refused": report.refusal.as_ref().map(ToString::to_string),
        }));
    }
    if console.volume() != Volume::Quiet || options.effect == Effect::DryRun {
        tables(session, &decisions)?;
    }
    let (dropped, of) = (report.dropped().count() as u64, units::count(report.live as u64, "snapshot"));
    let zone = zone.map(|zone| format!("; days and weeks are those of {zone}")).unwrap_or_default();
    console.summary(match (report.refusal.is_some(), options.effect) {
        (true, _) => format!("refused: nothing was forgotten of {of}{zone}"),
        (false, Effect::DryRun) => format!("dry run: {dropped} of {of} would be forgotten{zone}"),
        (false, Effect::Real) if report.forgotten.is_empty() => format!("nothing to forget of {of}{zone}"),
        (false, Effect::Real) => {
            format!("forgot {} of {of}{zone}; `undelete` gives them back until `prune`", report.forgotten.len())
        }
    })
}

fn tables(session: &Session, decisions: &[&Decision]) -> Result<()> {
    let mut groups: Vec<&GroupKey> = decisions.iter().map(|d| &d.subject.group).collect();
    groups.sort();
    groups.dedup();
    for group in groups {
        session.console.line(format_args!("{group}:"))?;
        let mut table = Table::new(&["", "ID", "Recorded", "Reasons", "Marks"]);
        for decision in decisions.iter().filter(|d| d.subject.group == *group) {
            let marks = [
                (decision.subject.clock == ClockTrust::Flagged, "clock"),
                (decision.subject.sources == Sources::Missing, "source missing"),
            ];
            let marks: Vec<&str> = marks.iter().filter(|(is_so, _)| *is_so).map(|(_, mark)| *mark).collect();
            table.row(vec![
                word(decision.fate()).to_owned(),
                short(&decision.subject.id.to_hex()).to_owned(),
                units::time(decision.subject.time),
                decision.told().join(", "),
                marks.join(", "),
            ]);
        }
        table.print(&session.console)?;
        session.console.line("")?;
    }
    Ok(())
}

fn word(fate: Fate) -> &'static str {
    match fate {
        Fate::Keep => "keep",
        Fate::Drop => "drop",
    }
}

fn decision_json(decision: &Decision) -> serde_json::Value {
    let (subject, group) = (&decision.subject, &decision.subject.group);
    let labels = group.labels.as_ref();
    let labels = labels.map(|labels| labels.iter().cloned().collect::<std::collections::BTreeMap<_, _>>());
    let id = subject.id.to_hex();
    json!({
        "message_type": "decision",
        "action": word(decision.fate()),
        "snapshot_id": id,
        "short_id": short(&id),
        "recorded": subject.time.to_string(),
        "clock_deviates": subject.clock == ClockTrust::Flagged,
        "source_missing": subject.sources == Sources::Missing,
        "pinned": subject.pinned,
        "reasons": decision.told(),
        "group": {"hostname": group.host, "name": group.name, "labels": labels, "paths": group.paths},
    })
}
