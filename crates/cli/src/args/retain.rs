//! Arguments of the commands that hide snapshots and show them again.

use clap::{Args, ValueEnum};
use decube_backup_core::Result;
use decube_backup_engine::retention::{GroupBy, GuardLimits, Limit, Period, Policy, Span, guard, zone_named};

/// Policies known by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum NamedPolicy {
    /// 30 days, 12 weeks, 12 months, 7 years
    Guide,
}

/// The rules of a policy.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Policy (what any rule keeps stays)")]
pub struct PolicyArgs {
    /// A policy by name; further rules add to it
    #[arg(long, value_enum, value_name = "NAME")]
    pub policy: Option<NamedPolicy>,
    /// Keep the newest N (or `unlimited`)
    #[arg(short = 'l', long, value_name = "N", value_parser = limit, allow_negative_numbers = true)]
    pub keep_last: Option<Limit>,
    /// Keep the newest of each of the newest N hours that have a snapshot
    #[arg(long, value_name = "N", value_parser = limit, allow_negative_numbers = true)]
    pub keep_hourly: Option<Limit>,
    /// The same for days
    #[arg(short = 'd', long, value_name = "N", value_parser = limit, allow_negative_numbers = true)]
    pub keep_daily: Option<Limit>,
    /// The same for ISO weeks
    #[arg(short = 'w', long, value_name = "N", value_parser = limit, allow_negative_numbers = true)]
    pub keep_weekly: Option<Limit>,
    /// The same for months
    #[arg(short = 'm', long, value_name = "N", value_parser = limit, allow_negative_numbers = true)]
    pub keep_monthly: Option<Limit>,
    /// The same for years
    #[arg(short = 'y', long, value_name = "N", value_parser = limit, allow_negative_numbers = true)]
    pub keep_yearly: Option<Limit>,
    /// Keep everything this much younger than the newest: 14d, 8w, 6m (months), 1y6m
    #[arg(long, value_name = "SPAN", value_parser = span)]
    pub keep_within: Option<Span>,
    /// Keep the newest of each hour in that span
    #[arg(long, value_name = "SPAN", value_parser = span)]
    pub keep_within_hourly: Option<Span>,
    /// The same for days
    #[arg(long, value_name = "SPAN", value_parser = span)]
    pub keep_within_daily: Option<Span>,
    /// The same for ISO weeks
    #[arg(long, value_name = "SPAN", value_parser = span)]
    pub keep_within_weekly: Option<Span>,
    /// The same for months
    #[arg(long, value_name = "SPAN", value_parser = span)]
    pub keep_within_monthly: Option<Span>,
    /// The same for years
    #[arg(long, value_name = "SPAN", value_parser = span)]
    pub keep_within_yearly: Option<Span>,
    /// Keep what has this tag, or all tags of a list joined by commas; may be given again
    #[arg(long, value_name = "TAG[,TAG]")]
    pub keep_tag: Vec<String>,
    /// Whose calendar days, weeks and months are counted by: UTC, local or Area/City
    #[arg(long, value_name = "ZONE", default_value = "UTC")]
    pub timezone: String,
}

fn limit(text: &str) -> Result<Limit, String> {
    Limit::parse(text).map_err(|e| e.chain())
}

fn span(text: &str) -> Result<Span, String> {
    Span::parse(text).map_err(|_| format!("{text:?} is not a span; write 36h, 14d, 8w, 6m (months) or 1y6m"))
}

impl PolicyArgs {
    /// The policy; one without rules if none was given.
    ///
    /// # Errors
    /// There is no such time zone.
    pub fn policy(&self) -> Result<Policy> {
        let mut policy = match self.policy {
            Some(NamedPolicy::Guide) => Policy::guide(),
            None => Policy::default(),
        };
        let limits = [
            (Period::Hour, self.keep_hourly, self.keep_within_hourly),
            (Period::Day, self.keep_daily, self.keep_within_daily),
            (Period::Week, self.keep_weekly, self.keep_within_weekly),
            (Period::Month, self.keep_monthly, self.keep_within_monthly),
            (Period::Year, self.keep_yearly, self.keep_within_yearly),
        ];
        for (period, limit, span) in limits {
            if let Some(limit) = limit {
                policy = policy.keeping(period, limit);
            }
            policy = policy.keeping_within(period, span);
        }
        policy.last = self.keep_last.unwrap_or_default();
        policy.within = self.keep_within;
        policy.tags = self.keep_tag.iter().map(|tags| tags.split(',').map(str::to_owned).collect()).collect();
        policy.zone = zone_named(&self.timezone)?;
        Ok(policy)
    }
}

/// What the guard lets pass.
#[derive(Clone, Copy, Debug, Args)]
#[command(next_help_heading = "Guard (refuses with exit code 15)")]
pub struct GuardArgs {
    /// Let the last snapshots of a group go
    #[arg(long)]
    pub allow_empty_group: bool,
    /// Let so many percent of all snapshots go in one run; three or more count
    #[arg(long, value_name = "PERCENT", default_value_t = guard::SHARE_PERCENT_DEFAULT, value_parser = clap::value_parser!(u8).range(0..=100))]
    pub allow_share: u8,
}

impl GuardArgs {
    /// As limits.
    pub fn limits(self) -> GuardLimits {
        GuardLimits { allow_empty_group: self.allow_empty_group, share_percent_max: Some(self.allow_share) }
    }
}

/// Arguments of `forget`.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Forgotten snapshots are hidden; `undelete` gives them back until `prune` reclaims their space.\n\n\
    What goes: the snapshots named, or all that match the filter, or with any --keep option those of \
    them that no rule keeps. A name means its newest snapshot (home), as in every command; --name home \
    means all of them. Rules are applied to each group on its own, newest first; days without a \
    snapshot do not count. -n lists every snapshot with the reasons.\n\n\
    Time is when the storage received a snapshot; a client's clock that is more than two hours off is \
    shown as `clock`, and such a snapshot never makes another one go. Pinned ones stay (`tag --pin`).\n\n\
    Examples:\n  decube-backup forget --policy guide -n\n  \
    decube-backup forget --keep-daily 14 --keep-weekly 8 --keep-within 2d --timezone Europe/Berlin\n  \
    decube-backup forget home~1 1a2b3c4d\n  decube-backup forget --tag scratch --host build7\n  \
    decube-backup forget --name old-laptop --allow-empty-group"
)]
pub struct ForgetArgs {
    /// Snapshots to forget: NAME, NAME~2, NAME@TIME or an id
    #[arg(value_name = "SNAPSHOT", conflicts_with_all = ["host", "name", "tag", "label", "path", "PolicyArgs"])]
    pub snapshots: Vec<String>,
    /// Say what would be forgotten and why, write nothing
    #[arg(short = 'n', long)]
    pub dry_run: bool,
    /// Then free the space that only forgotten snapshots need, as `prune` does: no undelete after that
    #[arg(long)]
    pub prune: bool,
    /// Only of this host
    #[arg(short = 'H', long)]
    pub host: Option<String>,
    /// Only of this name
    #[arg(long)]
    pub name: Option<String>,
    /// Only with all of these tags
    #[arg(long, value_delimiter = ',')]
    pub tag: Vec<String>,
    /// Only with this label
    #[arg(long, value_name = "KEY=VALUE", value_parser = crate::args::data::key_value)]
    pub label: Vec<(String, String)>,
    /// Only of this backed-up path
    #[arg(long)]
    pub path: Option<String>,
    /// What is kept.
    #[command(flatten)]
    pub policy: PolicyArgs,
    /// What a policy is applied to each of: host, name, labels, paths; an empty text for all at once
    #[arg(short, long, value_name = "WHAT", default_value = "host,name", value_parser = group_by)]
    pub group_by: GroupBy,
    /// The guard.
    #[command(flatten)]
    pub guard: GuardArgs,
}

fn group_by(text: &str) -> Result<GroupBy, String> {
    GroupBy::parse(text).map_err(|_| "give host, name, labels, paths, joined by commas".to_owned())
}

/// Arguments of `undelete`.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Works until the snapshot's space is reclaimed (`prune`): then it says what is missing, and nothing changes.\n\n\
    Examples:\n  decube-backup snapshots --forgotten\n  decube-backup undelete 1a2b3c4d\n  \
    decube-backup undelete home          the newest forgotten one of that name"
)]
pub struct UndeleteArgs {
    /// Forgotten snapshots: an id, NAME, NAME~1 or NAME@TIME among the forgotten
    #[arg(value_name = "SNAPSHOT", required = true)]
    pub snapshots: Vec<String>,
    /// Say what would be given back, write nothing
    #[arg(short = 'n', long)]
    pub dry_run: bool,
}
