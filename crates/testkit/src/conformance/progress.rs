//! What others see while a call is under way, and what a call that is dropped leaves behind.

use super::context::{CheckContext, Findings, noise};
use bytes::Bytes;
use decube_backup_core::sink::{ByteRange, PutMode};
use decube_backup_core::{Key, Result};
use futures::future::{join, join_all};
use futures::{FutureExt, TryStreamExt};
use pin_project::pin_project;
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

/// Reads `key` until `work` is done and once more; notes every answer `fits` does not accept.
async fn read_during<T>(
    c: &CheckContext,
    f: &mut Findings,
    key: &Key,
    fits: impl Fn(Option<&Bytes>) -> bool,
    work: impl Future<Output = T>,
) -> Result<T> {
    let done = AtomicBool::new(false);
    let work = work.inspect(|_| done.store(true, Ordering::SeqCst));
    let read = async {
        loop {
            let last = done.load(Ordering::SeqCst);
            let got = c.get(key).await?;
            if !fits(got.as_ref()) {
                f.add(format!("a reader saw {:?} bytes of {key}", got.map(|bytes| bytes.len())));
                return Ok(());
            }
            if last {
                return Ok(());
            }
            tokio::task::yield_now().await;
        }
    };
    let (ended, read): (T, Result<()>) = join(work, read).await;
    read.map(|()| ended)
}

pub(super) async fn no_reader_sees_part_of_an_object(c: &CheckContext, f: &mut Findings) -> Result<()> {
    let bytes = noise(4, 2 << 20);
    for round in 0..c.options().race_rounds {
        let key = c.key(&format!("reader/{round}"))?;
        let mut put_findings = Findings::default();
        let put = c.create(&mut put_findings, &key, bytes.clone());
        read_during(c, f, &key, |got| got.is_none_or(|got| *got == bytes), put).await??;
    }
    Ok(())
}

pub(super) async fn an_overwrite_is_never_seen_half_done(c: &CheckContext, f: &mut Findings) -> Result<()> {
    let key = c.key("turning")?;
    let (old, new) = (noise(5, 700_000), noise(6, 2 << 20));
    c.create(f, &key, old.clone()).await?;
    for round in 0..c.options().race_rounds {
        let bytes = if round % 2 == 0 { &new } else { &old };
        let put = c.sink().put(&key, bytes.clone().into(), PutMode::Overwrite);
        let fits = |got: Option<&Bytes>| got.is_some_and(|got| *got == old || *got == new);
        read_during(c, f, &key, fits, put).await??;
    }
    Ok(())
}

pub(super) async fn concurrent_puts_into_new_folders_all_land(c: &CheckContext, f: &mut Findings) -> Result<()> {
    for round in 0..c.options().race_rounds {
        let name = |n: usize| format!("folder-{round}/{}/deep/{n}", n % 3);
        let keys: Vec<Key> = (0..12).map(|n| c.key(&name(n))).collect::<Result<_>>()?;
        let puts = keys.iter().map(|key| async move {
            let mut f = Findings::default();
            c.create(&mut f, key, key.to_string()).await
        });
        for put in join_all(puts).await {
            put?;
        }
        for key in &keys {
            f.same_bytes(key, c.get(key).await?.as_deref(), key.as_str().as_bytes());
        }
    }
    Ok(())
}

pub(super) async fn a_dropped_put_leaves_nothing_torn(c: &CheckContext, f: &mut Findings) -> Result<()> {
    let bytes = noise(7, 1 << 20);
    let mut keys = Vec::new();
    for polls in [1, 2, 3, 5, 8, 13, 50, 200, 1000] {
        let key = c.key(&format!("dropped/{polls}"))?;
        let mut put_findings = Findings::default();
        {
            let mut put = pin!(c.create(&mut put_findings, &key, bytes.clone()));
            for _ in 0..polls {
                if futures::poll!(put.as_mut()).is_ready() {
                    break;
                }
                tokio::task::yield_now().await;
            }
        }
        keys.push(key);
    }
    // A backend may finish what it began; what counts is that it is whole then. Whether it will is not
    // known, hence the patience: an object that lands later would also escape the cleaning up.
    const SETTLES_MAX: u32 = 100;
    for _ in 0..SETTLES_MAX {
        tokio::time::sleep(c.options().settle).await;
        let mut absent = 0;
        for key in &keys {
            let got = c.get(key).await?;
            if got.as_ref().is_some_and(|got| *got != bytes) {
                f.add(format!("{key} holds {:?} of {} bytes", got.map(|got| got.len()), bytes.len()));
                return Ok(());
            }
            absent += usize::from(got.is_none());
        }
        if absent == 0 {
            break;
        }
    }
    Ok(())
}

/// Counts how often the polling thread was put to sleep inside a poll.
#[pin_project]
struct Watched<F> {
    #[pin]
    inner: F,
    sleeps: u64,
}

impl<F: Future> Future for Watched<F> {
    type Output = (F::Output, u64);

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let before = sleeps_of_this_thread();
        let answer = this.inner.poll(cx);
        *this.sleeps += sleeps_of_this_thread().unwrap_or(0).saturating_sub(before.unwrap_or(0));
        answer.map(|answer| (answer, *this.sleeps))
    }
}

/// Voluntary context switches of this thread so far; `None` where the kernel does not tell.
pub(super) fn sleeps_of_this_thread() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/thread-self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))?;
    line.trim().parse().ok()
}

pub(super) async fn no_call_puts_the_executor_to_sleep(c: &CheckContext, f: &mut Findings) -> Result<()> {
    // A lock held for an instant may put one call to sleep; a blocking call sleeps every time.
    const ROUNDS: usize = 12;
    let bytes = noise(8, 300_000);
    let mut least: BTreeMap<&'static str, u64> = BTreeMap::new();
    for round in 0..ROUNDS {
        let key = c.key(&format!("sleep/{round}"))?;
        let mut put_findings = Findings::default();
        let mut note = |call, sleeps: u64| {
            let entry = least.entry(call).or_insert(sleeps);
            *entry = sleeps.min(*entry);
        };
        let (ended, sleeps) =
            Watched { inner: c.create(&mut put_findings, &key, bytes.clone()).boxed(), sleeps: 0 }.await;
        ended?;
        note("put", sleeps);
        let (ended, sleeps) = Watched { inner: c.sink().get(&key, ByteRange::Full), sleeps: 0 }.await;
        ended?;
        note("get", sleeps);
        let (ended, sleeps) = Watched { inner: c.sink().stat(&key), sleeps: 0 }.await;
        ended?;
        note("stat", sleeps);
        let (ended, sleeps) =
            Watched { inner: c.sink().list(c.prefix()).try_for_each(async |_| Ok(())).boxed(), sleeps: 0 }.await;
        ended?;
        note("list", sleeps);
    }
    for (call, sleeps) in least {
        if sleeps > 0 {
            f.add(format!("{call} blocked the executor's thread in each of {ROUNDS} calls, {sleeps} times or more"));
        }
    }
    Ok(())
}
