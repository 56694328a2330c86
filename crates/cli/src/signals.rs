//! Ctrl-C and SIGTERM: the first asks to stop, the second ends the process at once. A terminal that hangs up ends it too. While
//! somebody is asked at the terminal neither ends it: what was changed of the terminal is put back before.

use crate::exit::Exit;
use decube_backup_core::{Error, Result};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGXFSZ};
use signal_hook::{SigId, flag, low_level};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// The signals that ask to stop.
const SIGNALS: [i32; 2] = [SIGINT, SIGTERM];

/// Whether a stop was asked for.
#[derive(Clone, Debug, Default)]
pub struct StopFlag {
    raised: Arc<AtomicBool>,
    /// The next signal ends the process at once.
    last: Arc<AtomicBool>,
    /// What raises `last`; set aside by [`Self::watch`].
    last_actions: Arc<Mutex<Vec<SigId>>>,
    listening: Arc<AtomicBool>,
    /// Handlers were set that are never taken away: see [`Self::watch`].
    watched: Arc<AtomicBool>,
    /// What these do is what signals do without.
    by_default: Arc<AtomicBool>,
    /// The same for a terminal that hangs up, which is watched for only by [`Self::watch`].
    hang_up_by_default: Arc<AtomicBool>,
}

impl StopFlag {
    /// A flag that SIGINT and SIGTERM raise. Until [`StopFlag::listen`] signals keep their default: a
    /// command that only prints ends at once.
    pub fn new() -> Self {
        Self::default()
    }

    /// From now on the first signal raises the flag and the second one exits. Once is enough.
    ///
    /// # Errors
    /// `Io` if the handlers cannot be set.
    pub fn listen(&self) -> Result<()> {
        // Registered twice, the first signal would be taken for the second.
        if self.listening.swap(true, Ordering::SeqCst) {
            return Ok(());
        }
        for signal in SIGNALS {
            // Before what raises `last`, which the first signal does.
            flag::register_conditional_shutdown(signal, i32::from(Exit::Interrupted.code()), self.last.clone())
                .map_err(unwatchable)?;
            flag::register(signal, self.raised.clone()).map_err(unwatchable)?;
        }
        self.end_at_the_second()?;
        self.by_default.store(false, Ordering::SeqCst);
        Ok(())
    }

    /// From now on a signal ends the process if one came before.
    fn end_at_the_second(&self) -> Result<()> {
        let mut actions = self.last_actions.lock().unwrap_or_else(PoisonError::into_inner);
        for signal in SIGNALS {
            actions.push(flag::register(signal, self.last.clone()).map_err(unwatchable)?);
        }
        if self.is_raised() {
            self.last.store(true, Ordering::SeqCst);
        }
        Ok(())
    }

    /// From now on no signal ends the process, however many come.
    fn end_at_none(&self) {
        let mut actions = self.last_actions.lock().unwrap_or_else(PoisonError::into_inner);
        for action in actions.drain(..) {
            low_level::unregister(action);
        }
        self.last.store(false, Ordering::SeqCst);
    }

    /// Until what is returned is dropped, a signal raises the flag and wakes who polls that, however often it comes; afterwards
    /// it does again what it did before.
    ///
    /// # Errors
    /// `Io` if the handlers cannot be set.
    pub(crate) fn watch(&self) -> Result<Watch<'_>> {
        let hang_up = (!ignores(SIGHUP)).then_some(SIGHUP);
        if !self.watched.swap(true, Ordering::SeqCst) {
            // A signal that has had a handler never again does by itself what it does by default.
            for signal in SIGNALS {
                flag::register_conditional_default(signal, self.by_default.clone()).map_err(unwatchable)?;
            }
            if let Some(signal) = hang_up {
                flag::register_conditional_default(signal, self.hang_up_by_default.clone()).map_err(unwatchable)?;
            }
        }
        let (woken, waker) = UnixStream::pair().map_err(unwatchable)?;
        let mut watch = Watch { stop: self, woken, actions: Vec::new() };
        for signal in SIGNALS.into_iter().chain(hang_up) {
            // In this order: who is woken finds the flag raised.
            watch.actions.push(flag::register(signal, self.raised.clone()).map_err(unwatchable)?);
            let waker = waker.try_clone().map_err(unwatchable)?;
            watch.actions.push(low_level::pipe::register(signal, waker).map_err(unwatchable)?);
        }
        self.by_default.store(false, Ordering::SeqCst);
        self.hang_up_by_default.store(false, Ordering::SeqCst);
        self.end_at_none();
        Ok(watch)
    }

    /// Whether a stop was asked for.
    pub fn is_raised(&self) -> bool {
        self.raised.load(Ordering::Relaxed)
    }
}

/// A file that gets longer than the process may write (`ulimit -f`) is that file's problem, not the end of the process: with a
/// handler for the signal, writing says so.
pub(crate) fn outlive_long_files() {
    // Without it, all else is as it was.
    let _unset = flag::register(SIGXFSZ, Arc::default());
}

/// Whether whoever started the process had it ignore `signal` (`nohup`, `trap '' HUP`): it goes on so.
fn ignores(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default();
    ignored >> (signal - 1) & 1 == 1
}

/// Signals wake who polls this.
pub(crate) struct Watch<'s> {
    stop: &'s StopFlag,
    woken: UnixStream,
    actions: Vec<SigId>,
}

impl Watch<'_> {
    /// Whether a stop was asked for.
    pub(crate) fn is_raised(&self) -> bool {
        self.stop.is_raised()
    }
}

impl AsFd for Watch<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.woken.as_fd()
    }
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        let listening = self.stop.listening.load(Ordering::SeqCst);
        if listening {
            // It was registered before: there is nothing that could fail now.
            let _ = self.stop.end_at_the_second();
        }
        self.stop.by_default.store(!listening, Ordering::SeqCst);
        self.stop.hang_up_by_default.store(true, Ordering::SeqCst);
        for action in self.actions.drain(..) {
            low_level::unregister(action);
        }
    }
}

fn unwatchable(source: std::io::Error) -> Error {
    Error::io("signal", "cannot watch for signals", source)
}
