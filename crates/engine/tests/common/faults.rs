//! Every sink call of an operation fails once.

use super::Harness;
use decube_backup_core::Result;
use decube_backup_testkit::{Fault, FaultySink, When};
use std::sync::Arc;

/// Runs `operation` on copies of `start`, one for every call it makes and each side of the effect;
/// `check` says what holds afterwards, whether it was said to succeed or not.
pub fn sweep(start: &Harness, operation: impl Fn(&Harness) -> Result<()>, check: impl Fn(&Harness, Result<()>, &str)) {
    let counting = Arc::new(FaultySink::new(copy_of(start).sink, None));
    operation(&start.somebody_else().through(counting.clone())).expect("no fault, no failure");
    let calls = counting.calls();
    assert!(calls > 0);
    for when in [When::BeforeEffect, When::AfterEffect] {
        // A little beyond: a failure may cause more calls, never fewer that matter.
        for call in 0..calls {
            let copy = copy_of(start);
            let faulty = Arc::new(FaultySink::new(copy.sink.clone(), Some(Fault::at(call, when))));
            let outcome = operation(&copy.through(faulty));
            let context = format!("call {call} of {calls} failing {when:?}");
            assert_eq!(half_made(&copy), Vec::<String>::new(), "{context}");
            check(&copy, outcome, &context);
        }
    }
}

/// Temporary files left in the cache.
fn half_made(harness: &Harness) -> Vec<String> {
    let cache = harness.cache.as_ref().expect("a cache").path();
    let folders = std::fs::read_dir(cache).expect("cache").flatten();
    let files = folders.flat_map(|folder| std::fs::read_dir(folder.path()).expect("folder").flatten());
    files.map(|file| file.file_name().to_string_lossy().into_owned()).filter(|name| name.contains(".tmp")).collect()
}

/// Another user on a copy of the store.
pub fn copy_of(harness: &Harness) -> Harness {
    harness.on_image(harness.memory.objects())
}
