//! One user of the repository: a process with a cache, a clock and a way to the store that may fail.

use crate::common::Harness;
use decube_backup_core::world::{Clock, SystemClock};
use decube_backup_core::{Error, ErrorKind, Result, Timestamp};
use decube_backup_engine::{Environment, Repository};
use decube_backup_testkit::FaultySink;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

/// The host's time, years off.
struct JumpingClock {
    system: SystemClock,
    offset: Arc<AtomicI64>,
}

impl Clock for JumpingClock {
    fn now(&self) -> Timestamp {
        let now = self.system.now();
        Timestamp { seconds: now.seconds + self.offset.load(Ordering::SeqCst), ..now }
    }
    fn monotonic(&self) -> Duration {
        self.system.monotonic()
    }
}

pub struct Client {
    pub harness: Harness,
    pub faulty: Arc<FaultySink>,
    pub clock: Arc<AtomicI64>,
    /// Kept from step to step, so that its view is old; gone with the process.
    pub handle: Option<Repository>,
    /// As repairs have it: without a cache, opened for each.
    bare: Option<Repository>,
}

impl Client {
    pub fn new(store: &Harness) -> Self {
        let faulty = Arc::new(FaultySink::new(store.memory.clone(), None));
        let harness = store.somebody_else().through(faulty.clone());
        Self { harness, faulty, clock: Arc::default(), handle: None, bare: None }
    }

    pub fn repository(&mut self) -> Result<&mut Repository> {
        if self.handle.is_none() {
            self.handle = Some(self.open(self.harness.environment().cache_dir)?);
        }
        self.handle.as_mut().ok_or_else(none)
    }

    pub fn bare(&mut self) -> Result<&Repository> {
        self.bare = Some(self.open(None)?);
        self.bare.as_ref().ok_or_else(none)
    }

    fn open(&self, cache_dir: Option<PathBuf>) -> Result<Repository> {
        let clock = Arc::new(JumpingClock { system: SystemClock::new(), offset: self.clock.clone() });
        let env = Environment { clock, cache_dir, ..self.harness.environment() };
        Repository::open(env, &self.harness.credentials)
    }
}

fn none() -> Error {
    Error::new(ErrorKind::Internal, "open", "no handle")
}
