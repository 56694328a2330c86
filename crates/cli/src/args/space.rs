//! Arguments of the commands about space: prune, stats.

use crate::units;
use clap::Args;
use decube_backup_engine::gc::MaxUnused;

/// Arguments of `prune`.
#[derive(Clone, Debug, Default, Args)]
#[command(
    after_help = "`forget` hides snapshots; `prune` frees the space that only hidden ones need, and that makes the forgetting \
    final. The plan is printed first. It runs beside backups and other prunes, can be stopped at any point, and the next \
    one goes on from there. No content is read unless packs are copied.\n\nExamples:\n  \
    decube-backup prune -n                      what would be freed, and what it costs\n  \
    decube-backup prune\n  \
    decube-backup prune --max-unused 0          free all there is, copy what that takes\n  \
    decube-backup prune --max-unused unlimited  copy nothing: only packs wholly unused go\n  \
    decube-backup prune --max-repack-size 20GiB a part each night\n  \
    decube-backup prune --grace 12h             give running backups and restores time"
)]
pub struct PruneArgs {
    /// Only say what would be done
    #[arg(short = 'n', long)]
    pub dry_run: bool,
    /// How much unused space may stay in packs that are partly in use: P% of what stays, a SIZE, or unlimited
    #[arg(long, value_name = "P%|SIZE|unlimited", default_value = "5%", value_parser = max_unused)]
    pub max_unused: MaxUnused,
    /// Copy at most this much
    #[arg(long, value_name = "SIZE", value_parser = units::parse_size)]
    pub max_repack_size: Option<u64>,
    /// Free packs only when they were marked as going for this long
    #[arg(long, value_name = "DURATION", default_value = "0", value_parser = units::parse_span_or_none)]
    pub grace: u64,
    /// Take uploads that no record names for leftovers of dead runs after this long; a run that is alive stores them again
    /// [default: 1d]
    #[arg(long, value_name = "DURATION", value_parser = units::parse_span_or_none)]
    pub leftovers_older_than: Option<u64>,
}

/// Arguments of `stats`.
#[derive(Clone, Debug, Default, Args)]
#[command(
    after_help = "No content is read. What is shared by snapshots belongs to none of them: forgetting two may free more than both \
    sizes under --unique together; --freed says what.\n\nExamples:\n  decube-backup stats\n  \
    decube-backup stats --unique                     each snapshot, with what only it needs\n  \
    decube-backup stats --freed home~3 home~4        what a prune would free after forgetting both\n  \
    decube-backup stats --freed home:/home/ann/vm    what that directory keeps that nothing else needs"
)]
pub struct StatsArgs {
    /// Snapshots to measure, with an optional :PATH for --freed
    #[arg(value_name = "SNAPSHOT[:PATH]")]
    pub snapshots: Vec<String>,
    /// What each snapshot needs that no other one does [default: of all snapshots]
    #[arg(long, conflicts_with = "freed")]
    pub unique: bool,
    /// What would be freed if all of these were forgotten, or never had these paths
    #[arg(long, requires = "snapshots")]
    pub freed: bool,
}

fn max_unused(text: &str) -> Result<MaxUnused, String> {
    let wrong = || format!("{text:?} is no amount; write 5%, 10GiB or unlimited");
    if text == "unlimited" {
        return Ok(MaxUnused::Unlimited);
    }
    if let Some(percent) = text.strip_suffix('%') {
        return match percent.trim().parse::<f64>() {
            Ok(percent) if (0.0..=100.0).contains(&percent) => Ok(MaxUnused::Percent(percent)),
            _ => Err(wrong()),
        };
    }
    units::parse_size(text).map(MaxUnused::Bytes).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_of_unused_space_are_read() {
        let cases = [
            ("5%", MaxUnused::Percent(5.0)),
            ("0%", MaxUnused::Percent(0.0)),
            ("0", MaxUnused::Bytes(0)),
            ("10GiB", MaxUnused::Bytes(10 << 30)),
            ("unlimited", MaxUnused::Unlimited),
        ];
        for (text, expected) in cases {
            assert_eq!(max_unused(text), Ok(expected), "{text}");
        }
        for bad in ["", "101%", "-1%", "NaN%", "x", "%"] {
            assert!(max_unused(bad).is_err(), "{bad}");
        }
    }
}
