//! Which directory is read next, and what was read waiting for its turn.
//!
//! Workers take the earliest directory in path order; the consumer takes listings in path order. At
//! most a bounded number of read entries wait; beyond it only the listing the consumer waits for is
//! read on. *That never blocks for good*: the consumer has passed everything before the listing it
//! waits for, so if that listing is not being read just now, it is the earliest job there is. A large
//! directory is read in slices for the same reason: no worker ever holds on to one while it waits.

use crate::source::exclude::Scope;
use crate::source::names::DirectoryNames;
use decube_backup_core::EntryPath;
use decube_backup_core::entry::cmp_path_bytes;
use decube_backup_core::source::ScanItem;
use std::cmp::Ordering;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

/// A directory to read.
pub(crate) struct Directory {
    pub(crate) path: EntryPath,
    pub(crate) scope: Scope,
}

/// The rest of a directory of which a slice was read.
pub(crate) struct Rest {
    pub(crate) names: DirectoryNames,
    pub(crate) next: usize,
    /// The directory's scope with the ignore files found in it.
    pub(crate) scope: Scope,
    /// All but this name stays out.
    pub(crate) only: Option<Vec<u8>>,
}

/// A directory, or the rest of one, waiting to be read.
pub(crate) struct Job {
    key: Vec<u8>,
    id: u64,
    pub(crate) directory: Directory,
    pub(crate) rest: Option<Rest>,
}

/// What was read at once.
#[derive(Default)]
pub(crate) struct Slice {
    pub(crate) items: Vec<ScanItem>,
    /// Directories to read, each with the index of its item; ascending.
    pub(crate) children: Vec<(usize, Directory)>,
    pub(crate) rest: Option<Rest>,
}

/// A piece of a listing as the consumer takes it.
#[derive(Default)]
pub(crate) struct Part {
    pub(crate) items: Vec<ScanItem>,
    /// Index of a directory's item and the id of its listing; ascending.
    pub(crate) children: Vec<(usize, u64)>,
}

/// What the consumer gets.
pub(crate) enum Taken {
    Part(Part),
    /// The listing is complete.
    End,
    /// Not read yet; the waker is kept and called once it is.
    Pending,
    /// A worker died.
    Failed,
}

#[derive(Default)]
struct Listing {
    parts: VecDeque<Part>,
    complete: bool,
}

#[derive(Default)]
struct State {
    jobs: BinaryHeap<Job>,
    listings: HashMap<u64, Listing>,
    ids: u64,
    waiting: usize,
    wanted: Option<u64>,
    waker: Option<Waker>,
    idle: usize,
    stopped: bool,
    failed: bool,
}

/// Shared by the workers and the consumer of one scan.
pub(crate) struct Schedule {
    state: Mutex<State>,
    work: Condvar,
    entries_ahead_max: usize,
}

impl Schedule {
    pub(crate) fn new(entries_ahead_max: usize) -> Self {
        Self { state: Mutex::default(), work: Condvar::new(), entries_ahead_max }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No call leaves the state half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Registers the first slice; the consumer starts with what is returned.
    pub(crate) fn begin(&self, slice: Slice) -> Part {
        self.lock().admit(slice)
    }

    /// The next directory to read; blocks. `None` once the scan has stopped.
    pub(crate) fn next_job(&self) -> Option<Job> {
        let mut state = self.lock();
        loop {
            if state.stopped {
                return None;
            }
            let room = state.waiting < self.entries_ahead_max;
            if state.jobs.peek().is_some_and(|job| room || state.wanted == Some(job.id)) {
                return state.jobs.pop();
            }
            state.idle += 1;
            state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.idle -= 1;
        }
    }

    /// Hands over what was read for the job with `id` of `directory`.
    pub(crate) fn publish(&self, id: u64, directory: Directory, mut slice: Slice) {
        let mut state = self.lock();
        let rest = slice.rest.take();
        let complete = rest.is_none();
        if let Some(rest) = rest {
            let next = rest.names.at(rest.next).map_or(&b""[..], |(name, _)| name.to_bytes());
            let mut key = directory.path.as_bytes().to_vec();
            if !key.is_empty() {
                key.push(b'/');
            }
            key.extend_from_slice(next);
            state.jobs.push(Job { key, id, directory, rest: Some(rest) });
        }
        let part = state.admit(slice);
        state.waiting += part.items.len();
        if let Some(listing) = state.listings.get_mut(&id) {
            listing.complete = complete;
            if !part.items.is_empty() {
                listing.parts.push_back(part);
            }
        }
        let waker = if state.wanted == Some(id) { state.waker.take() } else { None };
        let more = state.idle > 0 && !state.jobs.is_empty();
        drop(state);
        if more {
            self.work.notify_all();
        }
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// The next part of listing `id`.
    pub(crate) fn take(&self, id: u64, waker: &Waker) -> Taken {
        let mut state = self.lock();
        if state.failed {
            return Taken::Failed;
        }
        let Some(listing) = state.listings.get_mut(&id) else { return Taken::Failed };
        let taken = match listing.parts.pop_front() {
            Some(part) => {
                state.waiting = state.waiting.saturating_sub(part.items.len());
                state.wanted = None;
                Taken::Part(part)
            }
            None if listing.complete => {
                state.listings.remove(&id);
                return Taken::End;
            }
            None => {
                state.wanted = Some(id);
                state.waker = Some(waker.clone());
                Taken::Pending
            }
        };
        let useful = state.idle > 0
            && !state.jobs.is_empty()
            && (state.wanted.is_some() || state.waiting < self.entries_ahead_max / 4 * 3);
        drop(state);
        if useful {
            self.work.notify_all();
        }
        taken
    }

    /// Lets the workers end.
    pub(crate) fn stop(&self) {
        self.lock().stopped = true;
        self.work.notify_all();
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.lock().stopped
    }

    /// A worker died: the consumer must not wait for it.
    pub(crate) fn fail(&self) {
        let waker = {
            let mut state = self.lock();
            state.failed = true;
            state.stopped = true;
            state.waker.take()
        };
        self.work.notify_all();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl State {
    /// Makes jobs and empty listings of the slice's directories.
    fn admit(&mut self, slice: Slice) -> Part {
        let mut children = Vec::with_capacity(slice.children.len());
        for (index, directory) in slice.children {
            self.ids += 1;
            let id = self.ids;
            children.push((index, id));
            self.listings.insert(id, Listing::default());
            self.jobs.push(Job { key: directory.path.as_bytes().to_vec(), id, directory, rest: None });
        }
        Part { items: slice.items, children }
    }
}

impl Job {
    pub(crate) fn id(&self) -> u64 {
        self.id
    }
}

// The heap's greatest is the earliest path.
impl Ord for Job {
    fn cmp(&self, other: &Self) -> Ordering {
        cmp_path_bytes(&other.key, &self.key)
    }
}
impl PartialOrd for Job {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl PartialEq for Job {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}
impl Eq for Job {}
