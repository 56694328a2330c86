//! A store in which something happens right after an object was stored, before its author knows.

use decube_backup_core::{Key, Sink};
use decube_backup_testkit::{HookedSink, Moment, Op};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

/// Calls `act` once, after the first put of a key that starts with `prefix`; the flag says whether it happened.
pub fn after_put(
    inner: Arc<dyn Sink>,
    prefix: &'static str,
    act: impl FnOnce(&Key) + Send + 'static,
) -> (Arc<dyn Sink>, Arc<AtomicBool>) {
    let (act, done) = (Mutex::new(Some(act)), Arc::new(AtomicBool::new(false)));
    let told = done.clone();
    let hook = move |moment, op, key: &Key| {
        if (moment, op) == (Moment::After, Op::Put)
            && key.as_str().starts_with(prefix)
            && let Some(act) = act.lock().expect("lock").take()
        {
            // It may block on a runtime of its own, which a task must not.
            std::thread::scope(|scope| scope.spawn(|| act(key)).join()).expect("no panic");
            told.store(true, Ordering::SeqCst);
        }
        Ok(())
    };
    (Arc::new(HookedSink::new(inner, hook)), done)
}
