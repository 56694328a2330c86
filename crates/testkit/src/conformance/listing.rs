//! Listings: complete, by plain string prefix, inside the repository.

use super::context::{CheckContext, Findings};
use decube_backup_core::{Key, Result, SinkExt};
use futures::{StreamExt, TryStreamExt, stream};
use std::collections::BTreeMap;

/// Objects put or deleted at once.
const CONCURRENCY: usize = 32;
/// How often a listing that is not yet complete is asked again: listings may be stale.
const ATTEMPTS: u32 = 6;

async fn put_all(c: &CheckContext, names: &[String]) -> Result<()> {
    let puts = stream::iter(names.iter().cloned()).map(|name| async move {
        let mut f = Findings::default();
        c.create(&mut f, &c.key(&name)?, name.clone()).await
    });
    puts.buffer_unordered(CONCURRENCY).try_collect().await
}

/// Compares the listing of `prefix` with the objects `want`, waiting for a stale one to catch up.
async fn listed(c: &CheckContext, f: &mut Findings, prefix: &str, want: &[String]) -> Result<()> {
    let want: Vec<Key> = want.iter().map(|name| c.key(name)).collect::<Result<_>>()?;
    let want: BTreeMap<Key, usize> = want.into_iter().map(|key| (key, 1)).collect();
    for attempt in 1..=ATTEMPTS {
        let mut got = BTreeMap::new();
        for meta in c.sink().list_sorted(prefix).await? {
            *got.entry(meta.key).or_insert(0usize) += 1;
        }
        if got == want {
            return Ok(());
        }
        if attempt == ATTEMPTS {
            let missing = want.keys().filter(|key| !got.contains_key(key));
            let surplus = got.iter().filter(|(key, n)| want.get(key) != Some(n)).map(|(key, _)| key);
            f.add(format!(
                "list {prefix:?}: {} objects, want {}; missing {:?}, surplus or repeated {:?}",
                got.len(),
                want.len(),
                missing.take(3).collect::<Vec<_>>(),
                surplus.take(3).collect::<Vec<_>>(),
            ));
        }
        tokio::time::sleep(c.options().settle * 2u32.pow(attempt)).await;
    }
    Ok(())
}

pub(super) async fn list_is_complete_however_many_objects(c: &CheckContext, f: &mut Findings) -> Result<()> {
    let count = c.options().list_objects;
    let names: Vec<String> = (0..count).map(|n| format!("{:02x}/{n:06}", n % 7)).collect();
    put_all(c, &names).await?;
    listed(c, f, c.prefix(), &names).await?;
    let some: Vec<String> = names.iter().filter(|name| name.starts_with("03/")).cloned().collect();
    listed(c, f, &format!("{}03/", c.prefix()), &some).await
}

pub(super) async fn list_tells_the_length(c: &CheckContext, f: &mut Findings) -> Result<()> {
    let names: Vec<String> = [1usize, 10, 100].iter().map(|n| "n".repeat(*n)).collect();
    put_all(c, &names).await?;
    listed(c, f, c.prefix(), &names).await?;
    for meta in c.sink().list_sorted(c.prefix()).await? {
        let want = meta.key.as_str().len().saturating_sub(c.prefix().len()) as u64;
        f.equal(format!("length of {}", meta.key), meta.len, want);
    }
    Ok(())
}

pub(super) async fn list_prefix_is_a_plain_string(c: &CheckContext, f: &mut Findings) -> Result<()> {
    let names = ["a/x", "ab-c", "ab/x", "ab/y/z", "abx", "ac", "b/ab/x"].map(str::to_owned);
    put_all(c, &names).await?;
    for prefix in ["", "a", "a/", "ab", "ab/", "ab/y", "ab/y/z", "ab/y/z/", "abx", "abxy", "b", "b/a", "c"] {
        let want: Vec<String> = names.iter().filter(|name| name.starts_with(prefix)).cloned().collect();
        listed(c, f, &format!("{}{prefix}", c.prefix()), &want).await?;
    }
    Ok(())
}

pub(super) async fn list_of_nothing_is_empty(c: &CheckContext, f: &mut Findings) -> Result<()> {
    for prefix in ["", "nothing", "no/such/folder/"] {
        listed(c, f, &format!("{}{prefix}", c.prefix()), &[]).await?;
    }
    Ok(())
}

pub(super) async fn a_prefix_no_key_can_have_lists_nothing(c: &CheckContext, f: &mut Findings) -> Result<()> {
    // A store that resolves these as paths would show what is outside the repository.
    c.create(f, &c.key("a/b")?, "x").await?;
    for bad in ["..", "../", "/", "a/../", "a//", "./", ".", "A", "a\\", "a/\0"] {
        listed(c, f, &format!("{}{bad}", c.prefix()), &[]).await?;
    }
    for bad in ["/", "../", "..", "./"] {
        listed(c, f, bad, &[]).await?;
    }
    Ok(())
}
