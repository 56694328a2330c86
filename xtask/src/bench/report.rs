//! Medians, ratios and JSON.

use super::measure::Cost;
use super::tools::{Operation, Tool};
use crate::Result;
use serde_json::json;
use std::path::Path;

/// One measurement.
pub(super) struct Row {
    pub(super) corpus: String,
    pub(super) tool: String,
    pub(super) operation: Operation,
    pub(super) run: usize,
    pub(super) cost: Cost,
    pub(super) repository_bytes: u64,
}

/// A column group of the table: heading, unit, decimals, how to read it from a row.
type Measure = (&'static str, usize, fn(&Row) -> f64);

const MEASURES: [Measure; 4] = [
    ("wall seconds", 2, |row| row.cost.wall_s),
    ("CPU seconds (user + system)", 2, |row| row.cost.cpu_s),
    ("peak RSS, MiB", 0, |row| row.cost.rss_mib),
    ("repository afterwards, MiB", 1, |row| row.repository_bytes as f64 / f64::from(1 << 20)),
];

/// Prints the tables of one corpus: medians; in parentheses the ratio to the first tool, ours. Over 1 it
/// is slower or larger than we are.
pub(super) fn print(corpus: &str, rows: &[Row], tools: &[Tool]) {
    println!("\n## {corpus}");
    for (heading, decimals, read) in MEASURES {
        println!("\n{heading}\n");
        let names: Vec<&str> = tools.iter().map(|tool| tool.name.as_str()).collect();
        println!("| operation | {} |\n|---|{}", names.join(" | "), "---:|".repeat(names.len()));
        for operation in Operation::FIRST.into_iter().chain(Operation::SECOND) {
            let values: Vec<Option<f64>> =
                names.iter().map(|tool| median(corpus, tool, operation, rows, read)).collect();
            let cells = values.iter().enumerate().map(|(column, value)| cell(column, *value, values[0], decimals));
            println!("| {} | {} |", operation.name(), cells.collect::<Vec<_>>().join(" | "));
        }
    }
}

fn cell(column: usize, value: Option<f64>, ours: Option<f64>, decimals: usize) -> String {
    match (value, ours) {
        (None, _) => "-".to_owned(),
        (Some(value), Some(ours)) if column > 0 && ours > 0.0 => format!("{value:.decimals$} ({:.2}x)", value / ours),
        (Some(value), _) => format!("{value:.decimals$}"),
    }
}

fn median(corpus: &str, tool: &str, operation: Operation, rows: &[Row], read: fn(&Row) -> f64) -> Option<f64> {
    let wanted = |row: &&Row| row.corpus == corpus && row.tool == tool && row.operation == operation;
    let mut values: Vec<f64> = rows.iter().filter(wanted).map(read).collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        len if len % 2 == 1 => Some(values[middle]),
        _ => Some((values[middle - 1] + values[middle]) / 2.0),
    }
}

/// Writes every row to `path`.
pub(super) fn write(path: &Path, scale: f64, rows: &[Row]) -> Result {
    let rows: Vec<_> = rows
        .iter()
        .map(|row| {
            json!({
                "corpus": row.corpus, "tool": row.tool, "operation": row.operation.name(), "run": row.run,
                "wall_s": row.cost.wall_s, "cpu_s": row.cost.cpu_s, "rss_mib": row.cost.rss_mib,
                "repository_bytes": row.repository_bytes,
            })
        })
        .collect();
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let text = serde_json::to_string_pretty(&json!({ "scale": scale, "rows": rows }))?;
    std::fs::write(path, text + "\n").map_err(|e| format!("cannot write {}: {e}", path.display()).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_are_of_one_corpus_tool_and_operation() {
        let row = |tool: &str, run, wall_s| Row {
            corpus: "text".to_owned(),
            tool: tool.to_owned(),
            operation: Operation::Init,
            run,
            cost: Cost { wall_s, ..Cost::default() },
            repository_bytes: 0,
        };
        let rows = [row("a", 0, 3.0), row("a", 1, 1.0), row("b", 0, 9.0), row("a", 2, 2.0)];
        let wall = MEASURES[0].2;
        assert_eq!(median("text", "a", Operation::Init, &rows, wall), Some(2.0));
        assert_eq!(median("text", "a", Operation::Verify, &rows, wall), None);
        assert_eq!(cell(1, Some(9.0), Some(2.0), 1), "9.0 (4.50x)");
    }
}
