//! A monitor that lets something happen when a phase begins.

use decube_backup_core::monitor::Monitor;
use std::sync::Mutex;

/// Calls `act` once, when the phase named begins.
pub struct At<F> {
    phase: &'static str,
    act: Mutex<Option<F>>,
}

impl<F: FnOnce() + Send> At<F> {
    pub fn phase(phase: &'static str, act: F) -> Self {
        Self { phase, act: Mutex::new(Some(act)) }
    }

    /// Whether it happened.
    pub fn done(&self) -> bool {
        self.act.lock().expect("lock").is_none()
    }
}

impl<F: FnOnce() + Send> Monitor for At<F> {
    fn phase(&self, name: &str, _bytes: Option<u64>, _items: Option<u64>) {
        if name == self.phase
            && let Some(act) = self.act.lock().expect("lock").take()
        {
            act();
        }
    }
}
