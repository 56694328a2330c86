//! `bench`: measures the release binary on generated data, side by side with a baseline and with peers.
//!
//! | module | holds |
//! |---|---|
//! | [`corpora`] | the data and how it changes |
//! | [`history`] | many generations, then a prune |
//! | [`random`] | seeded bytes and text |
//! | [`tools`] | who is measured, and their command lines |
//! | [`measure`] | wall and processor time, peak memory of one process |
//! | [`report`] | medians, ratios, JSON |
//!
//! Each operation runs for every tool before the next one starts, in an order that rotates from run to run:
//! drift of the machine hits all alike. `sync` runs before each, outside the time. Every restore is compared
//! with its source, outside the time: a fast wrong answer is no result.

mod corpora;
mod history;
mod measure;
mod random;
mod report;
mod tools;

use crate::compare::{self, Depth};
use crate::flags::Flags;
use crate::{Result, host};
use corpora::Corpus;
use report::Row;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use tools::{Operation, Place, Tool};

pub(crate) fn run(arguments: Vec<String>) -> Result {
    let mut arguments = arguments;
    if arguments.first().is_some_and(|first| first == "history") {
        arguments.remove(0);
        return history::run(Flags::new(arguments));
    }
    let mut flags = Flags::new(arguments);
    let extra = flags.after_dashes();
    let root = host::workspace_root()?;
    let harness = flags.value("--harness")?.map(PathBuf::from);
    let harness = harness.or_else(|| host::env("DECUBE_BENCH_HARNESS").map(PathBuf::from));
    if let Some(folder) = harness {
        flags.end()?;
        return run_harness(&root, &folder, &extra);
    }
    let names = flags.value("--corpus")?.map_or_else(|| corpora::NAMES.map(str::to_owned).to_vec(), |s| split(&s));
    let scale: f64 = flags.parsed("--scale", 0.25)?;
    let runs: usize = flags.parsed("--runs", 3)?;
    let baseline = flags.value("--baseline")?;
    let peers = flags.value("--peers")?;
    let below = flags.value("--dir")?.map_or_else(std::env::temp_dir, PathBuf::from);
    let json = flags.value("--json")?.map_or_else(|| root.join("target/bench.json"), PathBuf::from);
    flags.end()?;

    let mut all = vec![Tool::ours("decube", host::release_binary(&root)?)];
    if let Some(path) = baseline {
        let path = Path::new(&path).canonicalize().map_err(|e| format!("baseline {path}: {e}"))?;
        all.push(Tool::ours("baseline", path));
    }
    all.extend(choose_peers(peers.as_deref())?);

    let scratch = tempfile::Builder::new().prefix("decube-bench-").tempdir_in(below)?;
    let mut rows = Vec::new();
    for name in &names {
        for run in 0..runs.max(1) {
            let folder = scratch.path().join(name);
            rows.extend(measure_corpus(&folder, name, scale, run, &all)?);
            fs::remove_dir_all(&folder)?;
        }
        report::print(name, &rows, &all);
    }
    report::write(&json, scale, &rows)?;
    println!("\nevery measurement: {}", json.display());
    Ok(())
}

fn split(list: &str) -> Vec<String> {
    list.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

/// Those named, which must be there; without names, those that are there.
fn choose_peers(named: Option<&str>) -> Result<Vec<Tool>> {
    match named {
        Some("none") => Ok(Vec::new()),
        Some(list) => split(list).iter().map(|name| Tool::peer(name)).collect(),
        None => Ok(tools::PEERS.iter().filter_map(|name| Tool::peer(name).ok()).collect()),
    }
}

fn measure_corpus(folder: &Path, name: &str, scale: f64, run: usize, all: &[Tool]) -> Result<Vec<Row>> {
    eprintln!("bench: {name}, run {}", run + 1);
    let mut corpus = Corpus::generate(name, &folder.join("source"), scale)?;
    let mut contestants = Vec::new();
    for tool in all {
        let place = Place::new(&folder.join(&tool.name))?;
        tool.prepare(&place)?;
        contestants.push((tool, place));
    }
    contestants.rotate_left(run % all.len());

    let mut rows = Vec::new();
    for operation in Operation::FIRST {
        rows.extend(measure_operation(operation, &corpus.folder, name, run, &contestants)?);
    }
    corpus.mutate()?;
    for operation in Operation::SECOND {
        rows.extend(measure_operation(operation, &corpus.folder, name, run, &contestants)?);
    }
    Ok(rows)
}

fn measure_operation(
    operation: Operation,
    source: &Path,
    corpus: &str,
    run: usize,
    contestants: &[(&Tool, Place)],
) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (tool, place) in contestants {
        host::run_quietly(&mut Command::new("sync"))?;
        let cost = measure::run(&tool.command(operation, source, place), &place.log(operation.name()))
            .map_err(|e| format!("{} on {corpus}, {}: {e}", tool.name, operation.name()))?;
        if operation == Operation::Restore {
            let found = compare::differences(source, &tool.restored(source, place), Depth::Content, &[])?;
            if let Some(first) = found.first() {
                return Err(format!("{} on {corpus} restored something else: {first}", tool.name).into());
            }
        }
        rows.push(Row {
            corpus: corpus.to_owned(),
            tool: tool.name.clone(),
            operation,
            run,
            cost,
            repository_bytes: host::tree_size(&place.repository, &[])?.1,
        });
    }
    Ok(rows)
}

/// Runs an outside harness: `FOLDER/peers.py` with our binary, by its adapter `FOLDER/decube_adapter.py`.
fn run_harness(root: &Path, folder: &Path, extra: &[String]) -> Result {
    let script = folder.join("peers.py");
    if !script.is_file() {
        return Err(format!("no harness: {} is missing", script.display()).into());
    }
    let binary = host::release_binary(root)?;
    let mut python = Command::new("python3");
    python.arg(&script).arg("--adapter").arg(folder.join("decube_adapter.py"));
    python.arg("--exe").arg(format!("decube={}", binary.display()));
    if extra.iter().any(|argument| argument == "--tool") {
        python.args(extra);
    } else {
        let peers = tools::PEERS.iter().filter(|name| host::find_program(name).is_some());
        let list = std::iter::once(&"decube").chain(peers).copied().collect::<Vec<_>>().join(",");
        python.args(["--tool", &list, "--base", "decube"]).args(extra);
    }
    println!("{}", host::show(&python));
    host::run_loudly(&mut python)
}
