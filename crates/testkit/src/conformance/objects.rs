//! What is put comes back: sizes, ropes, keys, overwriting.

use super::context::{CheckContext, Findings, noise};
use decube_backup_core::sink::{PutMode, PutOutcome, Rope};
use decube_backup_core::{Key, Result};

pub(super) async fn a_put_object_comes_back_whole(c: &CheckContext, f: &mut Findings) -> Result<()> {
    for len in [1, 511, 4096, 65_537, 1 << 20] {
        let key = c.key(&format!("whole/{len}"))?;
        let bytes = noise(len as u64, len);
        c.create(f, &key, bytes.clone()).await?;
        f.same_bytes(&key, c.get(&key).await?.as_deref(), &bytes);
    }
    Ok(())
}

pub(super) async fn an_empty_object_is_an_object(c: &CheckContext, f: &mut Findings) -> Result<()> {
    let key = c.key("empty")?;
    c.create(f, &key, Rope::new()).await?;
    f.equal("get", c.get(&key).await?.map(|bytes| bytes.len()), Some(0));
    f.equal("stat", c.sink().stat(&key).await?.map(|meta| meta.len), Some(0));
    Ok(())
}

pub(super) async fn a_rope_of_many_pieces_keeps_its_order(c: &CheckContext, f: &mut Findings) -> Result<()> {
    // More pieces than one vectored write takes (1024 on Linux), of lengths that never align.
    let all = noise(1, 300_000);
    let mut rope = Rope::new();
    let (mut at, mut len) = (0, 1);
    while at < all.len() {
        let end = (at + len).min(all.len());
        rope.push(all.slice(at..end));
        (at, len) = (end, len % 190 + 1);
    }
    let key = c.key("rope")?;
    c.create(f, &key, rope).await?;
    f.same_bytes(&key, c.get(&key).await?.as_deref(), &all);
    Ok(())
}

pub(super) async fn the_largest_object_comes_back_whole(c: &CheckContext, f: &mut Findings) -> Result<()> {
    // Overlapping windows of one buffer: every piece is different and nothing is copied together.
    const PIECE: usize = 1 << 20;
    let len = c.options().object_bytes_max;
    let source = noise(2, PIECE + len.div_ceil(PIECE));
    let mut rope = Rope::new();
    while rope.len() < len {
        let at = rope.len() / PIECE;
        rope.push(source.slice(at..at + PIECE.min(len - rope.len())));
    }
    let key = c.key("large")?;
    c.create(f, &key, rope.clone()).await?;
    let got = c.get(&key).await?.unwrap_or_default();
    f.equal("length", got.len(), len);
    let mut rest = &got[..];
    for (n, piece) in rope.pieces().iter().enumerate() {
        let (head, tail) = rest.split_at(piece.len().min(rest.len()));
        if head != &piece[..] {
            f.add(format!("bytes differ in MiB {n}"));
            break;
        }
        rest = tail;
    }
    Ok(())
}

pub(super) async fn every_legal_key_names_its_own_object(c: &CheckContext, f: &mut Findings) -> Result<()> {
    let room = Key::LEN_MAX - c.prefix().len();
    let longest: String = "abcdefghi/".chars().cycle().take(room - 1).chain(['z']).collect();
    let neighbour: String = "abcdefghi/".chars().cycle().take(room - 1).chain(['y']).collect();
    let segment = "s".repeat(100);
    let names = [
        "a",
        "a.",
        "a..",
        "a..b",
        "a-",
        "-a",
        "-",
        "--",
        "_",
        "_a",
        "0",
        "00",
        "a.tmp",
        "a.part",
        "con",
        "nul",
        "com1.x",
        "tmp/a",
        "temp/a",
        "d/e/f/g/h/i/j",
        "d/e/f/g/h/i/k",
        "x_y",
        "x-y",
        "x.y",
        "xy",
        &segment,
        &longest,
        &neighbour,
    ];
    for name in names {
        c.create(f, &c.key(name)?, name.to_owned()).await?;
    }
    for name in names {
        f.same_bytes(format!("key {name:?}"), c.get(&c.key(name)?).await?.as_deref(), name.as_bytes());
    }
    Ok(())
}

pub(super) async fn stat_tells_the_length(c: &CheckContext, f: &mut Findings) -> Result<()> {
    for len in [1u64, 1000, 70_000] {
        let key = c.key(&format!("stat/{len}"))?;
        c.create(f, &key, noise(len, len as usize)).await?;
        let meta = c.sink().stat(&key).await?;
        f.equal(format!("stat of {key}"), meta.map(|meta| (meta.key, meta.len)), Some((key.clone(), len)));
    }
    Ok(())
}

pub(super) async fn overwrite_replaces_the_whole_object(c: &CheckContext, f: &mut Findings) -> Result<()> {
    let key = c.key("overwritten")?;
    for (round, len) in [3000, 100_000, 7, 100_001].into_iter().enumerate() {
        let bytes = noise(round as u64, len);
        let outcome = c.sink().put(&key, bytes.clone().into(), PutMode::Overwrite).await?;
        f.equal(format!("overwrite {round}"), outcome, PutOutcome::Created);
        f.same_bytes(format!("after overwrite {round}"), c.get(&key).await?.as_deref(), &bytes);
    }
    Ok(())
}
