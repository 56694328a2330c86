//! `bench history`: many generations of changing data, then most snapshots are dropped and their space is freed.
//!
//! What a prune costs is told by three numbers: its time, the bytes it wrote anew (files of the repository that were not there
//! before), and the space reached.

use super::corpora::Corpus;
use super::measure::{self, Cost};
use super::tools::{Operation, Place, Tool};
use crate::flags::Flags;
use crate::{Result, host};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// What one tool's prune did.
struct Pruned {
    /// Space that may stay unused, percent of what stays.
    unused: u32,
    tool: String,
    backups: Cost,
    prune: Cost,
    verify: Cost,
    before: u64,
    after: u64,
    rewritten: u64,
}

pub(super) fn run(mut flags: Flags) -> Result {
    let root = host::workspace_root()?;
    let names = flags
        .value("--corpus")?
        .map_or_else(|| vec!["text".into(), "large".into(), "pages".into()], |s| super::split(&s));
    let generations: usize = flags.parsed("--generations", 16)?;
    let keep: usize = flags.parsed("--keep", 4)?;
    let scale: f64 = flags.parsed("--scale", 0.25)?;
    let unused = flags.value("--max-unused")?.map_or_else(|| vec!["5".into()], |s| super::split(&s));
    let unused = unused.iter().map(|percent| percent.parse()).collect::<std::result::Result<Vec<u32>, _>>();
    let unused = unused.map_err(|_| "--max-unused wants percents: 0,5")?;
    let peers = flags.value("--peers")?;
    let below = flags.value("--dir")?.map_or_else(std::env::temp_dir, PathBuf::from);
    flags.end()?;

    let mut all = vec![Tool::ours("decube", host::release_binary(&root)?)];
    all.extend(super::choose_peers(peers.as_deref())?.into_iter().filter(Tool::can_prune));
    let scratch = tempfile::Builder::new().prefix("decube-bench-").tempdir_in(below)?;
    let source = scratch.path().join("source");
    let mut corpora = Vec::new();
    for name in &names {
        corpora.push(Corpus::generate(name, &source.join(name), scale)?);
    }
    let places = all.iter().map(|tool| Place::new(&scratch.path().join(&tool.name))).collect::<Result<Vec<_>>>()?;
    let mut backups = vec![Cost::default(); all.len()];
    let mut logical = 0;
    for (tool, place) in all.iter().zip(&places) {
        tool.prepare(place)?;
        measure::run(&tool.command(Operation::Init, &source, place), &place.log("init"))?;
    }
    for generation in 0..generations.max(1) {
        if generation > 0 {
            corpora.iter_mut().try_for_each(Corpus::mutate)?;
        }
        logical += host::tree_size(&source, &[])?.1;
        for ((tool, place), sum) in all.iter().zip(&places).zip(&mut backups) {
            sum.add(&measure::run(&tool.command(Operation::Backup2, &source, place), &place.log("backup"))?);
        }
        eprintln!("bench: generation {} of {generations}", generation + 1);
    }
    let mut rows = Vec::new();
    for &unused in &unused {
        for ((tool, place), backups) in all.iter().zip(&places).zip(&backups) {
            let place = place.copy(&scratch.path().join("copy"))?;
            host::run_quietly(&mut std::process::Command::new("sync"))?;
            let before = files(&place.repository)?;
            let mut prune = Cost::default();
            for command in tool.prune(keep, unused, &place) {
                prune.add(&measure::run(&command, &place.log("prune"))?);
            }
            let after = files(&place.repository)?;
            let verify = measure::run(&tool.command(Operation::Verify, &source, &place), &place.log("verify"))?;
            let rewritten = after.iter().filter(|(name, _)| !before.contains_key(*name)).map(|(_, len)| len).sum();
            let (before, after) = (before.values().sum(), after.values().sum());
            let (tool, backups) = (tool.name.clone(), *backups);
            rows.push(Pruned { unused, tool, backups, prune, verify, before, after, rewritten });
            std::fs::remove_dir_all(&place.home)?;
        }
    }
    println!(
        "\n{} snapshots of {}, {} logical; all but {keep} dropped, unused space freed but for so many percent of what stays\n",
        generations.max(1),
        names.join(" + "),
        host::mib(logical)
    );
    println!(
        "| unused | tool | prune s | CPU s | peak RSS MiB | rewritten | repository before | after | all backups s | verify s |"
    );
    println!("|---:|---|---:|---:|---:|---:|---:|---:|---:|---:|");
    for row in &rows {
        println!(
            "| {} % | {} | {:.2} | {:.2} | {:.0} | {} | {} | {} | {:.2} | {:.2} |",
            row.unused,
            row.tool,
            row.prune.wall_s,
            row.prune.cpu_s,
            row.prune.rss_mib,
            host::mib(row.rewritten),
            host::mib(row.before),
            host::mib(row.after),
            row.backups.wall_s,
            row.verify.wall_s,
        );
    }
    Ok(())
}

/// Every file below `folder` with its length.
fn files(folder: &Path) -> Result<BTreeMap<PathBuf, u64>> {
    let (mut found, mut folders) = (BTreeMap::new(), vec![folder.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            let metadata = entry.metadata()?;
            match metadata.is_dir() {
                true => folders.push(entry.path()),
                false => _ = found.insert(entry.path(), metadata.len()),
            }
        }
    }
    Ok(found)
}
