//! What a person or a program sees.
//!
//! stdout is data (listings, summaries, dumps, JSON), stderr is talk (progress, warnings, errors).
//! With `--json` every line is one object with a `message_type`, as restic has them: `status` and
//! `summary` on stdout, `error` and `exit_error` on stderr. All writing goes through [`Console`], so
//! that nothing tears a progress bar.
//!
//! | module | holds |
//! |---|---|
//! | `console` | the two streams and the ways to use them |
//! | `progress` | the engine's [`Monitor`](decube_backup_core::monitor::Monitor) as bars or status lines |
//! | `table` | aligned columns |
//! | `trace` | diagnostics of the libraries, on stderr |

mod console;
mod progress;
mod table;
mod trace;

pub use console::{Console, Format, Volume};
pub(crate) use console::{Data, takes_output};
pub use progress::{Bar, Reporter};
pub(crate) use table::Table;
pub(crate) use trace::listen as listen_to_traces;

use decube_backup_core::display::display_bytes;
use decube_backup_core::monitor::{Problem, ProblemKind};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// A path for JSON: `path` as text, and `path_hex` where the text does not say all.
pub(crate) fn put_path(object: &mut Map<String, Value>, path: &[u8]) {
    put_bytes(object, "path", path);
}

/// Bytes for JSON: `name` as text, and `name` with `_hex` where the text does not say all.
pub(crate) fn put_bytes(object: &mut Map<String, Value>, name: &str, bytes: &[u8]) {
    object.insert(name.into(), String::from_utf8_lossy(bytes).into_owned().into());
    if std::str::from_utf8(bytes).is_err() {
        object.insert(format!("{name}_hex"), decube_backup_format::ids::hex(bytes).into());
    }
}

/// One problem for JSON.
pub(crate) fn problem_json(problem: &Problem) -> Value {
    let mut object = Map::new();
    object.insert("kind".into(), problem.kind.word().into());
    // As nodes have it, whichever way the path came here.
    let slash: &[u8] = if problem.path.is_empty() || problem.path.starts_with(b"/") { b"" } else { b"/" };
    put_path(&mut object, &[slash, &problem.path].concat());
    object.insert("message".into(), problem.message.as_str().into());
    Value::Object(object)
}

/// Counts of problems for JSON.
pub(crate) fn problem_counts_json(problems: &BTreeMap<ProblemKind, u64>) -> Value {
    Value::Object(problems.iter().map(|(kind, count)| (kind.word().to_owned(), json!(count))).collect())
}

/// Counts of problems for people, `None` if there is none: `2 unreadable, 1 changed`.
pub(crate) fn problem_counts_text(problems: &BTreeMap<ProblemKind, u64>) -> Option<String> {
    let parts: Vec<String> = problems
        .iter()
        .filter(|(_, count)| **count > 0)
        .map(|(kind, count)| format!("{count} {}", kind.word().replace('_', " ")))
        .collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

/// One problem for people: `unreadable: /etc/shadow: permission denied`.
pub(crate) fn problem_text(problem: &Problem) -> String {
    let kind = problem.kind.word().replace('_', " ");
    match problem.path.as_slice() {
        [] => format!("{kind}: {}", problem.message),
        [b'/', ..] => format!("{kind}: {}: {}", display_bytes(&problem.path), problem.message),
        path => format!("{kind}: /{}: {}", display_bytes(path), problem.message),
    }
}
