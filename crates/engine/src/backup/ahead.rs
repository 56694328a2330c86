//! How much a first backup has to do: a second scan, ahead of the one that is backed up, that only adds up sizes.
//!
//! The scan that is backed up waits for the content before it; this one costs what listing costs, and is made only if
//! somebody watches. A backup with a parent takes the parent's size for its estimate.

use decube_backup_core::monitor::Monitor;
use decube_backup_core::source::{SIZE_UNKNOWN, ScanItem, Source};
use std::sync::atomic::{AtomicBool, Ordering};

/// Scans `source` and tells `monitor` the totals; ends early, telling nothing, once `over` is set or the source cannot be
/// scanned: whoever backs it up meets the same error and reports it.
pub(super) fn count(source: &dyn Source, monitor: &dyn Monitor, runtime: &tokio::runtime::Handle, over: &AtomicBool) {
    let Ok(mut scan) = source.scan() else { return };
    let (mut bytes, mut entries) = (Some(0u64), 0);
    loop {
        let batch = match runtime.block_on(scan.next()) {
            Ok(Some(batch)) => batch,
            Ok(None) => break,
            Err(_) => return,
        };
        if over.load(Ordering::Relaxed) || monitor.stop_requested() {
            return;
        }
        entries += batch.len() as u64;
        for item in batch {
            if let ScanItem::Entry(scanned) = item {
                let size = Some(scanned.entry.kind.size()).filter(|size| *size != SIZE_UNKNOWN);
                bytes = bytes.zip(size).and_then(|(bytes, size)| bytes.checked_add(size));
            }
        }
    }
    monitor.totals(bytes, Some(entries));
}
