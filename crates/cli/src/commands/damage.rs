//! What a person can do about damage, by what is damaged. Only what this program and `cp` can do today.

use decube_backup_engine::options::VerifyReport;

/// Holds for every object: none ever changes.
const ANY: &str = "keep everything as it is; objects never change, so a damaged one can be put back under its name from any \
                   copy of this repository";
const LOG: &str = "the log is damaged: what its readable records say can still be restored, but nothing can be added; until the \
                   record is put back, back up into a new repository";
const FILES: &str = "what is not affected restores; `verify --read-data --record` marks the damaged packs: then the next backup of \
                     the same source stores again what they held, and older snapshots that share it are whole again";
const SALVAGE: &str = "`repair packs` keeps what is still readable in damaged packs, `repair snapshots` says which files are lost for good";
const SCRUBBED: &str = "`verify --read-data` (with the password) says which files are hit";
const INDEX: &str = "an index segment holds nothing that the packs do not say themselves: no file is lost, only time; \
                     `repair index` writes it anew";
const REPAIRABLE: &str = "`verify --read-data --repair` (or `repair packs --apply`) stores again what parity brings back; then `prune` \
                          takes the damaged packs away";
const PARITY: &str =
    "parity holds nothing that its pack does not: no file is lost; `repair parity --apply` makes it again";
const CHECKPOINT: &str = "a checkpoint follows from the log: nothing is lost; `repair checkpoints --apply` makes it again, or says why \
                          it leaves it alone";
const LOST: &str = "log records are lost, as a checkpoint or a key shows: what is there can still be restored, but nothing is added; put \
                    them back from a copy of this repository, or go on without them for good by `audit --accept`";
const KEYS: &str = "other passwords and key files still open the repository: with one of them `key add` makes a new key and \
                    `key remove` takes the damaged one away";
const UNLOCK: &str = "header and keyring are kept twice: copy the sound one over the damaged one, as said above; with both \
                      gone nothing opens";

/// The next steps after `report`, in the order of their weight; none if it found no damage.
pub(super) fn hints(report: &VerifyReport, scrubbed: bool) -> Vec<&'static str> {
    let hit = |prefix: &str| report.damages.iter().any(|damage| damage.object.starts_with(prefix));
    let files = report.affected_count > 0;
    [
        (!report.damages.is_empty(), ANY),
        (["format", "keyring/", "copy/"].iter().any(|prefix| hit(prefix)), UNLOCK),
        (hit("log/"), LOG),
        (files && !hit("log/"), FILES),
        (files && !hit("log/"), SALVAGE),
        (scrubbed && hit("packs/") && report.repairable.len() < report.damages.len(), SCRUBBED),
        (!report.repairable.is_empty(), REPAIRABLE),
        (hit("parity/"), PARITY),
        (hit("index/"), INDEX),
        (report.records_lost, LOST),
        (hit("ckpt/") && !report.records_lost, CHECKPOINT),
        (hit("keys/"), KEYS),
    ]
    .into_iter()
    .filter_map(|(holds, hint)| holds.then_some(hint))
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use decube_backup_engine::options::Damage;

    #[test]
    fn each_kind_of_damage_has_its_own_next_step() {
        let cases: [(&[&str], u64, bool, &[&str]); 11] = [
            (&[], 0, false, &[]),
            (&["packs/d/00/00"], 3, false, &[ANY, FILES, SALVAGE]),
            (&["packs/d/00/00"], 0, false, &[ANY]),
            (&["packs/m/00/00"], 0, true, &[ANY, SCRUBBED]),
            (&["log/0000000000000001", "packs/d/00/00"], 1, false, &[ANY, LOG]),
            (&["index/0/00"], 0, false, &[ANY, INDEX]),
            (&["parity/d/00/00-00"], 0, false, &[ANY, PARITY]),
            (&["ckpt/0000000000000000"], 0, false, &[ANY, CHECKPOINT]),
            (&["keys/00"], 0, false, &[ANY, KEYS]),
            (&["keyring/00000000"], 0, true, &[ANY, UNLOCK]),
            (&["copy/format"], 0, false, &[ANY, UNLOCK]),
        ];
        for (objects, affected_count, scrubbed, expected) in cases {
            let damage = |object: &&str| Damage { object: (*object).to_owned(), what: String::new() };
            let damages = objects.iter().map(damage).collect();
            let report = VerifyReport { damages, affected_count, ..VerifyReport::default() };
            assert_eq!(hints(&report, scrubbed), expected, "{objects:?}");
        }
        let damages = vec![Damage { object: "ckpt/000000000000001f".into(), what: String::new() }];
        let report = VerifyReport { damages, records_lost: true, ..VerifyReport::default() };
        assert_eq!(hints(&report, false), [ANY, LOST]);
    }
}
