//! Backups that end early: no snapshot pretends to be whole.

mod common;

use common::made_up::{Behaviour, MadeUp, MadeUpFile};
use common::{Harness, path, series, small_packs};
use decube_backup_core::entry::Entry;
use decube_backup_core::monitor::{Problem, Silent};
use decube_backup_core::source::{Content, Scan, ScanItem, Scanned, Source, SourceInfo};
use decube_backup_core::{Error, ErrorKind, Result};
use decube_backup_engine::backup;
use decube_backup_engine::options::SnapshotFilter;

fn files(count: u64, len: u64) -> MadeUp {
    let file = |seed| MadeUpFile { path: path(&format!("f{seed:06}")), seed, len, behaviour: Behaviour::Fine };
    MadeUp::new((0..count).map(file).collect())
}

/// At the end of the scan the source is gone.
struct Vanishing(MadeUp);

struct VanishingScan(Box<dyn Scan>);

#[async_trait::async_trait]
impl Scan for VanishingScan {
    async fn next(&mut self) -> Result<Option<Vec<ScanItem>>> {
        let batch = self.0.next().await?;
        batch.map(Some).ok_or_else(|| Error::new(ErrorKind::Io, "scan", "the disk was pulled out"))
    }
}

impl Source for Vanishing {
    fn describe(&self) -> SourceInfo {
        self.0.describe()
    }
    fn scan(&self) -> Result<Box<dyn Scan>> {
        Ok(Box::new(VanishingScan(self.0.scan()?)))
    }
    fn detail(&self, entry: &mut Entry) -> Vec<Problem> {
        self.0.detail(entry)
    }
    fn open(&self, scanned: &Scanned) -> Result<Box<dyn Content>> {
        self.0.open(scanned)
    }
}

#[test]
fn a_scan_that_fails_at_its_end_makes_no_snapshot() {
    let harness = Harness::with_repository(&small_packs());
    let source = Vanishing(files(3, 1000));
    let error = backup::backup(&harness.repository(), &source, &series("gone"), &Silent).expect_err("no snapshot");
    assert_eq!(error.kind(), ErrorKind::Io, "{error:?}");
    assert!(harness.repository().snapshots(&SnapshotFilter::default()).is_empty());
}
