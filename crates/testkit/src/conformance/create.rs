//! `CreateNew`: one winner.

use super::context::{CheckContext, Findings, noise};
use bytes::Bytes;
use decube_backup_core::sink::{PutMode, PutOutcome};
use decube_backup_core::{Error, ErrorKind, Result};

pub(super) async fn create_new_loses_to_an_existing_object(c: &CheckContext, f: &mut Findings) -> Result<()> {
    let key = c.key("taken")?;
    c.create(f, &key, "first").await?;
    for bytes in ["second", "first", ""] {
        let outcome = c.sink().put(&key, bytes.into(), PutMode::CreateNew).await?;
        f.equal(format!("second put of {bytes:?}"), outcome, PutOutcome::AlreadyExists);
        f.same_bytes("the object", c.get(&key).await?.as_deref(), b"first");
    }
    Ok(())
}

pub(super) async fn create_new_succeeds_after_a_delete(c: &CheckContext, f: &mut Findings) -> Result<()> {
    let key = c.key("again")?;
    for bytes in ["first", "second"] {
        let outcome = c.sink().put(&key, bytes.into(), PutMode::CreateNew).await?;
        f.equal(format!("put of {bytes:?}"), outcome, PutOutcome::Created);
        f.same_bytes("the object", c.get(&key).await?.as_deref(), bytes.as_bytes());
        c.sink().delete(&key).await?;
    }
    Ok(())
}

pub(super) async fn of_racing_creates_exactly_one_wins(c: &CheckContext, f: &mut Findings) -> Result<()> {
    const RACERS: usize = 8;
    for round in 0..c.options().race_rounds {
        // Objects of different lengths: a mixture of two would show.
        let key = c.key(&format!("race/{round}"))?;
        let objects: Vec<Bytes> = (0..RACERS).map(|n| noise(n as u64, 1000 + 3000 * n)).collect();
        let racers = objects.iter().map(|bytes| {
            let (sink, key, bytes) = (c.sink().clone(), key.clone(), bytes.clone());
            tokio::spawn(async move { sink.put(&key, bytes.into(), PutMode::CreateNew).await })
        });
        let outcomes = futures::future::join_all(racers.collect::<Vec<_>>()).await;
        let mut winners = Vec::new();
        for (outcome, bytes) in outcomes.into_iter().zip(&objects) {
            let outcome = outcome.map_err(|e| Error::new(ErrorKind::Internal, "put", "racer died").with_source(e))?;
            if outcome? == PutOutcome::Created {
                winners.push(bytes);
            }
        }
        f.equal(format!("winners in round {round}"), winners.len(), 1);
        if let [winner] = winners.as_slice() {
            f.same_bytes(format!("winner's object in round {round}"), c.get(&key).await?.as_deref(), winner);
        }
    }
    Ok(())
}
