//! Ctrl-C and SIGTERM: the first asks to stop, the second ends the process at once.

use crate::exit::Exit;
use decube_backup_core::{Error, Result};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether a stop was asked for.
#[derive(Clone, Debug, Default)]
pub struct StopFlag {
    raised: Arc<AtomicBool>,
    listening: Arc<AtomicBool>,
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
        let failed = |e| Error::io("signal", "cannot watch for signals", e);
        for signal in [SIGINT, SIGTERM] {
            // In this order: a raised flag exits before it would be raised again.
            flag::register_conditional_shutdown(signal, i32::from(Exit::Interrupted.code()), self.raised.clone())
                .map_err(failed)?;
            flag::register(signal, self.raised.clone()).map_err(failed)?;
        }
        Ok(())
    }

    /// Whether a stop was asked for.
    pub fn is_raised(&self) -> bool {
        self.raised.load(Ordering::Relaxed)
    }
}
