//! Sources that count, interfere or are made up.

use decube_backup_core::Result;
use decube_backup_core::entry::Entry;
use decube_backup_core::monitor::Problem;
use decube_backup_core::source::{Content, Scan, Scanned, Source, SourceInfo};
use std::sync::Mutex;

/// Passes everything on and remembers which contents were opened.
pub struct Counting<S> {
    inner: S,
    opened: Mutex<Vec<String>>,
}

impl<S: Source> Counting<S> {
    pub fn new(inner: S) -> Self {
        Self { inner, opened: Mutex::default() }
    }

    /// Paths whose content was opened since the last call, sorted.
    pub fn take_opened(&self) -> Vec<String> {
        let mut opened = std::mem::take(&mut *self.opened.lock().expect("lock"));
        opened.sort();
        opened
    }
}

impl<S: Source> Source for Counting<S> {
    fn describe(&self) -> SourceInfo {
        self.inner.describe()
    }
    fn scan(&self) -> Result<Box<dyn Scan>> {
        self.inner.scan()
    }
    fn detail(&self, entry: &mut Entry) -> Vec<Problem> {
        self.inner.detail(entry)
    }
    fn open(&self, scanned: &Scanned) -> Result<Box<dyn Content>> {
        self.opened.lock().expect("lock").push(scanned.entry.path.to_string());
        self.inner.open(scanned)
    }
}

/// Calls `act` once, when the content of the file named `at` is opened.
pub struct Interrupting<S, F> {
    inner: S,
    at: String,
    act: Mutex<Option<F>>,
}

impl<S: Source, F: FnOnce() + Send + 'static> Interrupting<S, F> {
    pub fn new(inner: S, at: &str, act: F) -> Self {
        Self { inner, at: at.to_owned(), act: Mutex::new(Some(act)) }
    }

    /// Whether it happened.
    pub fn done(&self) -> bool {
        self.act.lock().expect("lock").is_none()
    }
}

impl<S: Source, F: FnOnce() + Send + 'static> Source for Interrupting<S, F> {
    fn describe(&self) -> SourceInfo {
        self.inner.describe()
    }
    fn scan(&self) -> Result<Box<dyn Scan>> {
        self.inner.scan()
    }
    fn detail(&self, entry: &mut Entry) -> Vec<Problem> {
        self.inner.detail(entry)
    }
    fn open(&self, scanned: &Scanned) -> Result<Box<dyn Content>> {
        if scanned.entry.path.name() == self.at.as_bytes()
            && let Some(act) = self.act.lock().expect("lock").take()
        {
            act();
        }
        self.inner.open(scanned)
    }
}
