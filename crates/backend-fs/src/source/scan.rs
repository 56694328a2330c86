//! The consumer's end of a scan: listings put together in path order.

use crate::source::read::Reader;
use crate::source::schedule::{Part, Schedule, Slice, Taken};
use crate::source::{Shared, describe};
use async_trait::async_trait;
use decube_backup_core::limits::BATCH_ENTRIES_MAX;
use decube_backup_core::source::{Scan, ScanItem};
use decube_backup_core::{Error, ErrorKind, Result};
use std::iter::Peekable;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::thread::JoinHandle;
use std::vec::IntoIter;

/// With this many items a batch goes out although the next listing is still being read.
const BATCH_ENTRIES_MIN: usize = 256;

/// A running scan.
pub(crate) struct FsScan {
    schedule: Arc<Schedule>,
    workers: Vec<JoinHandle<()>>,
    frames: Vec<Frame>,
    batch: Vec<ScanItem>,
}

/// A directory the consumer is in.
struct Frame {
    /// `None` for the roots, whose single part is complete.
    id: Option<u64>,
    items: IntoIter<ScanItem>,
    taken: usize,
    children: Peekable<IntoIter<(usize, u64)>>,
}

impl Frame {
    fn new(id: Option<u64>, part: Part) -> Self {
        Self { id, items: part.items.into_iter(), taken: 0, children: part.children.into_iter().peekable() }
    }
}

impl FsScan {
    /// Starts the workers; `roots` is the first slice.
    pub(crate) fn start(shared: &Arc<Shared>, roots: Slice) -> Result<Self> {
        let options = &shared.options;
        let schedule = Arc::new(Schedule::new(options.entries_ahead_max.max(1)));
        let frames = vec![Frame::new(None, schedule.begin(roots))];
        let mut scan = Self { schedule, workers: Vec::new(), frames, batch: Vec::new() };
        for _ in 0..options.scan_threads.max(1) {
            let (shared, schedule) = (shared.clone(), scan.schedule.clone());
            let worker = std::thread::Builder::new().name("scan".into()).spawn(move || work(&shared, &schedule));
            let worker = worker.map_err(|e| Error::io("scan", "cannot start a scan thread", e))?;
            scan.workers.push(worker);
        }
        Ok(scan)
    }

    fn poll_batch(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Vec<ScanItem>>>> {
        if self.batch.capacity() == 0 {
            self.batch.reserve(BATCH_ENTRIES_MAX);
        }
        while let Some(frame) = self.frames.last_mut() {
            let room = BATCH_ENTRIES_MAX.saturating_sub(self.batch.len());
            if room == 0 {
                return Poll::Ready(Ok(Some(std::mem::take(&mut self.batch))));
            }
            let until = frame.children.peek().map_or(usize::MAX, |(index, _)| index + 1 - frame.taken);
            let before = self.batch.len();
            self.batch.extend(frame.items.by_ref().take(room.min(until)));
            let moved = self.batch.len() - before;
            frame.taken += moved;
            if moved == until
                && let Some((_, id)) = frame.children.next()
            {
                self.frames.push(Frame::new(Some(id), Part::default()));
                continue;
            }
            if frame.items.len() > 0 {
                continue;
            }
            let Some(id) = frame.id else {
                self.frames.pop();
                continue;
            };
            match self.schedule.take(id, cx.waker()) {
                Taken::Part(part) => *frame = Frame::new(Some(id), part),
                Taken::End => {
                    self.frames.pop();
                }
                Taken::Pending if self.batch.len() >= BATCH_ENTRIES_MIN => {
                    return Poll::Ready(Ok(Some(std::mem::take(&mut self.batch))));
                }
                Taken::Pending => return Poll::Pending,
                Taken::Failed => {
                    return Poll::Ready(Err(Error::new(ErrorKind::Internal, "scan", "a scan thread died")));
                }
            }
        }
        let last = std::mem::take(&mut self.batch);
        Poll::Ready(Ok(if last.is_empty() { None } else { Some(last) }))
    }
}

#[async_trait]
impl Scan for FsScan {
    async fn next(&mut self) -> Result<Option<Vec<ScanItem>>> {
        std::future::poll_fn(|cx| self.poll_batch(cx)).await
    }
}

impl Drop for FsScan {
    fn drop(&mut self) {
        self.schedule.stop();
        for worker in self.workers.drain(..) {
            // A worker that died has been reported.
            let _ = worker.join();
        }
    }
}

fn work(shared: &Shared, schedule: &Schedule) {
    /// Tells the consumer when the thread ends by a panic.
    struct Watch<'a>(&'a Schedule);
    impl Drop for Watch<'_> {
        fn drop(&mut self) {
            if std::thread::panicking() {
                self.0.fail();
            }
        }
    }
    let _watch = Watch(schedule);
    let mut reader = Reader::new(shared, describe::Names::default());
    while let Some(mut job) = schedule.next_job() {
        let slice = reader.read(&job.directory, job.rest.take(), &|| schedule.is_stopped());
        schedule.publish(job.id(), job.directory, slice);
    }
}
