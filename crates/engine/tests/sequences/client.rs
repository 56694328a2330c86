//! One user of the repository: a process with a cache, a clock and a way to the store that may fail.

use crate::common::Harness;
use decube_backup_core::world::{Clock, SystemClock};
use decube_backup_core::{Error, ErrorKind, Result, Timestamp};
use decube_backup_engine::{Credentials, Environment, Repository};
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

/// Whose key a client has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Of one that opens everything.
    Administrator,
    /// Of one that only writes.
    Host,
}

pub struct Client {
    role: Role,
    pub harness: Harness,
    pub faulty: Arc<FaultySink>,
    pub clock: Arc<AtomicI64>,
    /// Kept from step to step, so that its view is old; gone with the process.
    pub handle: Option<Repository>,
    /// As repairs have it: without a cache, opened for each.
    bare: Option<Repository>,
}

impl Client {
    /// Its packs get so much parity, percent.
    pub fn new(store: &Harness, role: Role, parity: u8) -> Self {
        let faulty = Arc::new(FaultySink::new(store.memory.clone(), None));
        let harness = store.somebody_else().through(faulty.clone()).with_parity(parity);
        Self { role, harness, faulty, clock: Arc::default(), handle: None, bare: None }
    }

    /// It gets another key file; a handle that is open goes.
    pub fn hand(&mut self, key_file: Credentials) {
        self.harness.credentials = key_file;
        self.handle = None;
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
        match self.role {
            Role::Administrator => Repository::open(env, &self.harness.credentials),
            Role::Host => Repository::open_to_write(env, || Ok(self.harness.credentials.clone())),
        }
    }
}

fn none() -> Error {
    Error::new(ErrorKind::Internal, "open", "no handle")
}
