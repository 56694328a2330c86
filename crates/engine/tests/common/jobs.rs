//! Commands that change a repository, as jobs for a process that may end at any moment: started again as a child of
//! the test, on a file system store in a folder of its own.

use super::{ALL_DATA, Harness, key_file, noise, series, small_packs, source_of};
use decube_backup_backend_fs::sink::FsSink;
use decube_backup_core::Result;
use decube_backup_core::monitor::Silent;
use decube_backup_engine::forget::{ForgetOptions, Wanted};
use decube_backup_engine::gc::{self, MaxUnused, PruneOptions};
use decube_backup_engine::keys::{self, Others};
use decube_backup_engine::options::{BackupOptions, Effect, Snapshot, SnapshotFilter, TagChange, VerifyDepth};
use decube_backup_engine::repair::{self, RepairOptions, SnapshotsOptions};
use decube_backup_engine::retention::GuardLimits;
use decube_backup_engine::verify::{Recording, VerifyOptions, verify_and_record};
use decube_backup_engine::{Environment, Repository, backup, tags};
use decube_backup_format::ids::SnapshotId;
use std::collections::BTreeSet;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::sync::Arc;

/// The host whose snapshots a write-only key adds: that of the tests' series.
const HOST: &str = "host";

/// What the child is told.
pub const ORDER: &str = "DECUBE_BACKUP_TEST_ORDER";

/// What can be ended. A new command that changes a repository is one more line here, in [`Job::run`] and, if it needs
/// more than a snapshot, in [`Start::new`].
pub const JOBS: [Job; 20] = [
    Job::Init,
    Job::Backup,
    Job::LongBackup,
    Job::Tag,
    Job::AddKey,
    Job::Forget,
    Job::Undelete,
    Job::Prune,
    Job::Rotate,
    Job::Revoke,
    Job::RepairIndex,
    Job::RepairCheckpoints,
    Job::RepairPacks,
    Job::RepairSnapshots,
    Job::Heal,
    Job::ParityBackup,
    Job::RepairParity,
    Job::VerifyRepair,
    Job::AddHostKey,
    Job::HostBackup,
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Job {
    Init,
    Backup,
    /// Records its progress now and then.
    LongBackup,
    Tag,
    AddKey,
    /// Hides the snapshots named `gone`.
    Forget,
    /// Shows them again.
    Undelete,
    /// Frees what those needed that are forgotten.
    Prune,
    Rotate,
    /// Every key but the one in use.
    Revoke,
    RepairIndex,
    RepairCheckpoints,
    RepairPacks,
    RepairSnapshots,
    /// Records the damage, and backs the source up that still has what was lost.
    Heal,
    /// Each pack gets parity.
    ParityBackup,
    RepairParity,
    /// Records the damage, and stores again what parity brings back.
    VerifyRepair,
    /// A write-only key.
    AddHostKey,
    /// By a write-only key.
    HostBackup,
}

/// Of packs that get any, percent.
const PARITY: u8 = 10;

fn with_parity(harness: &Harness) -> Harness {
    harness.through(harness.sink.clone()).with_parity(PARITY)
}

/// By the write-only key in the key file of that number.
fn open_host(harness: &Harness, number: u64) -> Result<Repository> {
    Repository::open_to_write(harness.environment(), || Ok(key_file(number)))
}

impl Job {
    /// Does the job as the user of `harness`; done already, it does nothing.
    pub fn run(self, harness: &Harness, folder: &Path) -> Result<()> {
        let tree = source_of(&folder.join("tree"));
        let repairs =
            RepairOptions { effect: Effect::Real, content: repair::Content::Read, ..RepairOptions::default() };
        match self {
            Self::Init => harness.init(&small_packs()).map(drop),
            Self::Backup => backup::backup(&harness.open()?, &tree, &series("tree"), &Silent).map(drop),
            Self::LongBackup => {
                let options = BackupOptions { progress_bytes: Some(250_000), ..series("tree") };
                backup::backup(&harness.open()?, &tree, &options, &Silent).map(drop)
            }
            Self::Tag => {
                let repo = harness.open()?;
                let ids: Vec<_> = live(harness).iter().map(|s| s.id).collect();
                tags::change(&repo, &ids, &TagChange { add: vec!["kept".into()], ..TagChange::default() })
            }
            Self::AddKey => keys::add(&harness.open()?, &key_file(7), "second").map(drop),
            Self::Forget => forget_gone(&harness.open()?),
            Self::Undelete => {
                let repo = harness.open()?;
                let state = repo.state();
                let gone: Vec<SnapshotId> =
                    state.forgotten_snapshots().filter(|s| s.manifest.name == "gone").map(|s| s.id).collect();
                decube_backup_engine::undelete::undelete(&repo, &gone, Effect::Real, ("host", "user"), &Silent)
                    .map(drop)
            }
            Self::Prune => {
                let options = PruneOptions { max_unused: MaxUnused::Bytes(0), ..PruneOptions::default() };
                gc::plan(&harness.open()?, &options, &Silent)?.run(&Silent).map(drop)
            }
            Self::Rotate => keys::rotate(&harness.open()?).map(drop),
            Self::Revoke => {
                let mut repo = harness.open()?;
                match keys::list(&repo)?.into_iter().find(|slot| !slot.current) {
                    Some(other) => keys::revoke(&mut repo, &other.slot, Others::Drop).map(drop),
                    None => Ok(()),
                }
            }
            Self::RepairIndex => repair::index(&bare(harness)?, &repairs, &Silent).map(drop),
            Self::RepairCheckpoints => repair::checkpoints(&bare(harness)?, &repairs, &Silent).map(drop),
            Self::RepairPacks => repair::packs(&bare(harness)?, &repairs, &Silent).map(drop),
            Self::RepairSnapshots => {
                repair::snapshots(&bare(harness)?, &repairs, &SnapshotsOptions::default(), &Silent).map(drop)
            }
            Self::Heal => {
                let repo = harness.open()?;
                let options = VerifyOptions { depth: VerifyDepth::Structure, snapshots: None };
                verify_and_record(&repo, &options, &Recording::default(), &Silent)?;
                backup::backup(&repo, &tree, &series("tree"), &Silent).map(drop)
            }
            Self::ParityBackup => Self::Backup.run(&with_parity(harness), folder),
            Self::RepairParity => repair::parity(&bare(&with_parity(harness))?, &repairs, &Silent).map(drop),
            Self::VerifyRepair => {
                let repo = bare(&with_parity(harness))?;
                let options = VerifyOptions { depth: ALL_DATA, snapshots: None };
                verify_and_record(&repo, &options, &Recording::default(), &Silent)?;
                let repairs = RepairOptions { content: repair::Content::Structure, ..repairs };
                repair::packs(&repo, &repairs, &Silent).map(drop)
            }
            Self::AddHostKey => keys::add_write_only(&harness.open()?, &key_file(7), HOST, "").map(drop),
            Self::HostBackup => backup::backup(&open_host(harness, 9)?, &tree, &series("tree"), &Silent).map(drop),
        }
    }

    /// The job and its further words from what the child was told; `None` if nothing was.
    #[allow(clippy::disallowed_methods)] // the parent talks to it through the environment
    pub fn ordered() -> Option<(Self, Vec<String>)> {
        let order = std::env::var(ORDER).ok()?;
        let words: Vec<String> = order.split(' ').map(str::to_owned).collect();
        let job = JOBS.into_iter().find(|job| format!("{job:?}") == words[0]).expect("a job");
        Some((job, words))
    }
}

fn bare(harness: &Harness) -> Result<Repository> {
    let env = Environment { cache_dir: None, ..harness.environment() };
    Repository::open(env, &harness.credentials)
}

/// This very program again, to run its test `killed::child` as told: the job first, then `words`.
pub fn child(job: Job, words: &str) -> Command {
    let program = std::env::current_exe().expect("this program");
    let mut command = Command::new(program);
    command.args(["--exact", "killed::child", "--nocapture"]).env(ORDER, format!("{job:?} {words}"));
    command
}

/// Whether a child came to its end; one that failed otherwise than by being killed is a failure of the test.
pub fn is_done(status: ExitStatus, context: &str) -> bool {
    let killed = status.signal() == Some(rustix::process::Signal::KILL.as_raw());
    assert!(status.success() || killed, "{context}: the child failed: {status}");
    status.success()
}

/// Damages the byte so far from the end of `file`.
fn flip_from_end(file: &Path, back: usize) -> std::io::Result<()> {
    let mut bytes = std::fs::read(file)?;
    let at = bytes.len() - back;
    bytes[at] ^= 255;
    std::fs::write(file, bytes)
}

/// Hides the snapshots named `gone`, of which each is the only one.
fn forget_gone(repo: &Repository) -> Result<()> {
    let filter = SnapshotFilter { name: Some("gone".into()), ..SnapshotFilter::default() };
    let limits = GuardLimits { allow_empty_group: true, share_percent_max: None };
    let options = ForgetOptions { limits, ..ForgetOptions::new(Wanted::Matching(filter)) };
    decube_backup_engine::forget::forget(repo, &options).map(drop)
}

/// A new user of the store in `folder`.
pub fn on(folder: &Path) -> Harness {
    Harness::new().through(Arc::new(FsSink::open(folder.join("repo")).expect("sink")))
}

pub fn live(harness: &Harness) -> Vec<Snapshot> {
    harness.repository().snapshots(&SnapshotFilter::default())
}

/// A few files: each kill copies, verifies and restores them all.
fn plant_little(root: &Path, seed: u64) {
    std::fs::create_dir(root).expect("folder");
    for (name, len) in [("a", 300_000), ("b", 200_000), ("c", 300_000), ("d", 5_000), ("e", 40)] {
        std::fs::write(root.join(name), noise(seed + len as u64, len)).expect("file");
    }
}

/// What a job begins with: `repo`, the trees `tree` and `before`, and what must come back whatever happens.
pub struct Start {
    pub job: Job,
    folder: tempfile::TempDir,
    /// Snapshots of the tree `before`.
    kept: Vec<SnapshotId>,
    /// Objects that are damaged before the job.
    hurt: BTreeSet<String>,
    /// Whether that damage costs files of other snapshots.
    costs: bool,
}

impl Start {
    /// A repository that holds an earlier state of another tree unless `job` makes it, and what `job` is about.
    pub fn new(job: Job) -> Self {
        let folder = tempfile::tempdir().expect("temp");
        let (before, tree) = (folder.path().join("before"), folder.path().join("tree"));
        plant_little(&before, 51);
        plant_little(&tree, 52);
        let mut start = Self { job, folder, kept: Vec::new(), hurt: BTreeSet::new(), costs: false };
        if job == Job::Init {
            return start;
        }
        let mut harness = on(start.folder.path());
        if matches!(job, Job::RepairParity | Job::VerifyRepair) {
            harness = with_parity(&harness);
        }
        harness.init(&small_packs()).expect("init");
        if matches!(job, Job::Forget | Job::Undelete | Job::Prune) {
            // The kept snapshot takes some of its content over, so that a prune has to copy.
            std::fs::write(tree.join("a"), noise(51 + 300_000, 300_000)).expect("file");
            harness.backup(&tree, "gone");
        }
        start.kept.push(harness.backup(&before, "tree").snapshot.expect("a snapshot"));
        match job {
            Job::Prune | Job::Undelete => forget_gone(&harness.repository()).expect("forgotten"),
            Job::Revoke => drop(keys::add(&harness.repository(), &key_file(8), "lost laptop").expect("added")),
            Job::RepairIndex => start.damage("index/", |file| std::fs::remove_file(file)),
            Job::RepairCheckpoints => {
                let (repo, change) =
                    (harness.repository(), TagChange { add: vec!["x".into()], ..TagChange::default() });
                let id = [start.kept[0]];
                (repo.state().next_seq()..32).for_each(|_| tags::change(&repo, &id, &change).expect("tagged"));
                start.damage("ckpt/", |file| std::fs::write(file, b"nothing of use"));
            }
            // Its own table of contents is gone; the index has it too.
            Job::RepairPacks => start.damage("packs/d/", |file| flip_from_end(file, 40)),
            Job::VerifyRepair => start.damage("packs/d/", |file| flip_from_end(file, 10_000)),
            Job::RepairParity => start.damage("parity/", |file| flip_from_end(file, 10_000)),
            Job::HostBackup => {
                keys::add_write_only(&harness.repository(), &key_file(9), HOST, "the host").expect("added");
            }
            Job::RepairSnapshots | Job::Heal => {
                let before = objects(start.folder.path(), "packs/d/");
                harness.backup(&tree, "hit");
                let own = objects(start.folder.path(), "packs/d/").into_iter().find(|key| !before.contains(key));
                start.costs = true;
                start.damage(&own.expect("a pack of its own"), |file| std::fs::remove_file(file));
            }
            _ => {}
        }
        start
    }

    fn damage(&mut self, prefix: &str, how: impl Fn(&Path) -> std::io::Result<()>) {
        let key = objects(self.path(), prefix).into_iter().next().expect(prefix);
        how(&self.path().join("repo").join(&key)).expect("damaged");
        self.hurt.insert(key);
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// A folder of its own with the same in it.
    pub fn copy(&self) -> (tempfile::TempDir, PathBuf) {
        let scratch = tempfile::tempdir().expect("temp");
        let folder = scratch.path().join("copy");
        let status = Command::new("cp").arg("-a").args([self.path(), &folder]).status().expect("cp");
        assert!(status.success());
        (scratch, folder)
    }

    /// What was there is there, and verify finds nothing but what was damaged before the job.
    pub fn assert_all_there(&self, harness: &Harness, context: &str) {
        for depth in [VerifyDepth::Structure, ALL_DATA] {
            let report = harness.verify(depth);
            let hurt = |object: &str| self.hurt.contains(object);
            assert!(report.damages.iter().all(|d| hurt(&d.object)), "{context}: {depth:?}: {report:?}");
            assert!(self.costs || report.affected_count == 0, "{context}: {depth:?}: {report:?}");
        }
        let before = self.path().join("before");
        for id in &self.kept {
            harness.assert_restores(id, &before, context);
        }
    }

    /// The job ended somewhere: what was there is there, and the job can be done again, and the next backup.
    pub fn assert_goes_on(&self, harness: &Harness, folder: &Path, context: &str) {
        if self.job != Job::Init {
            self.assert_all_there(harness, context);
        }
        let again = self.job.run(harness, folder);
        let whole = self.job == Job::Init && harness.open().is_ok();
        again.map_or_else(|error| assert!(whole, "{context}: {error:?}"), |()| ());
        self.assert_all_there(harness, context);
        self.assert_achieved(harness, folder, context);
        if self.costs {
            // Until it is recorded, a backup relies on what it cannot know to be lost.
            Job::Heal.run(harness, folder).expect(context);
        }
        let report = harness.backup(&folder.join("tree"), "next");
        harness.assert_restores(&report.snapshot.expect("a snapshot"), &folder.join("tree"), context);
    }

    /// What the job is for has come about.
    pub fn assert_achieved(&self, harness: &Harness, folder: &Path, context: &str) {
        let repo = harness.repository();
        let (state, live) = (repo.state(), live(harness));
        let named = |name: &str| live.iter().filter(|s| s.manifest.name == name).count();
        let achieved = match self.job {
            Job::Init => live.is_empty(),
            Job::Backup | Job::LongBackup | Job::ParityBackup | Job::HostBackup => {
                let id = live.iter().rfind(|s| s.manifest.name == "tree").expect(context).id;
                harness.assert_restores(&id, &folder.join("tree"), context);
                self.job != Job::ParityBackup || state.parities().len() > 0
            }
            Job::Tag => live.iter().all(|s| s.manifest.tags.contains(&"kept".into())),
            Job::AddKey => Repository::open(harness.environment(), &key_file(7)).is_ok(),
            Job::Forget => named("gone") == 0,
            Job::Undelete => named("gone") == 1,
            Job::Prune => state.reclaimed_packs().len() > 0,
            Job::Rotate => state.keyring_current() > 0,
            Job::Revoke => Repository::open(harness.environment(), &key_file(8)).is_err(),
            Job::RepairIndex | Job::RepairCheckpoints | Job::RepairParity => {
                harness.verify(ALL_DATA).damages.is_empty()
            }
            Job::RepairPacks => state.damaged_packs().len() == 1 && state.condemned_packs().len() == 1,
            Job::RepairSnapshots => named("hit") == 2,
            Job::Heal => harness.verify(ALL_DATA).affected_count == 0,
            // All that the damaged pack held is elsewhere.
            Job::VerifyRepair => {
                Job::Prune.run(harness, folder).expect(context);
                harness.verify(ALL_DATA).damages.is_empty()
            }
            Job::AddHostKey => {
                open_host(harness, 7).is_ok() && Repository::open(harness.environment(), &key_file(7)).is_err()
            }
        };
        assert!(achieved, "{context}: not what the job is for");
    }
}

/// Keys of the objects in the store of `folder` that start with `prefix`, sorted.
fn objects(folder: &Path, prefix: &str) -> Vec<String> {
    let found = super::objects_in(&folder.join("repo")).into_keys().map(|key| key.to_string());
    found.filter(|key| key.starts_with(prefix)).collect()
}
