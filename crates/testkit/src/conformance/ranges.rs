//! Ranged reads.

use super::context::{CheckContext, Findings, noise};
use decube_backup_core::Result;
use decube_backup_core::sink::ByteRange;

const LEN: usize = 100_000;

async fn check(c: &CheckContext, f: &mut Findings, ranges: &[(u64, u64)]) -> Result<()> {
    let key = c.key("ranged")?;
    let bytes = noise(3, LEN);
    c.create(f, &key, bytes.clone()).await?;
    for (offset, len) in ranges.iter().copied() {
        let clamp = |n: u64| usize::try_from(n).unwrap_or(LEN).min(LEN);
        let want = bytes.slice(clamp(offset)..clamp(offset.saturating_add(len)));
        let got = c.sink().get(&key, ByteRange::From { offset, len }).await?;
        f.same_bytes(format!("bytes {offset}+{len} of {LEN}"), got.as_deref(), &want);
    }
    Ok(())
}

pub(super) async fn a_range_is_exactly_the_bytes_asked_for(c: &CheckContext, f: &mut Findings) -> Result<()> {
    let end = LEN as u64;
    check(c, f, &[(0, end), (0, 1), (1, 1), (4095, 2), (4096, 4096), (777, 50_000), (end - 1, 1), (5, 0)]).await
}

pub(super) async fn a_range_past_the_end_is_short_or_empty(c: &CheckContext, f: &mut Findings) -> Result<()> {
    let end = LEN as u64;
    check(c, f, &[(0, end + 1), (end - 10, 100), (end, 10), (end + 1, 10), (1 << 40, 1), (1, u64::MAX - 1)]).await
}
