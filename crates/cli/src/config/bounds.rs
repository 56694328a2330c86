//! How much a configuration file may ask for, whoever wrote it: bytes read, what its aliases stand for, how deep it goes.
//!
//! The parser builds every alias as a copy: ten lines, each of ten aliases of the line before, are 10¹⁰ values. And it goes into
//! a value within a value by calling itself. So the events, which are as many as the text is long, are counted before.

use crate::secret_bytes;
use decube_backup_core::{Error, ErrorKind, Result};
use std::collections::HashMap;
use std::fs::File;
use std::path::Path;
use yaml_rust2::parser::{Event, Parser};

/// Values that all aliases of a file may stand for.
const ALIASED_VALUES_MAX: u64 = 100_000;
/// Bytes of text that all aliases of a file may stand for.
const ALIASED_BYTES_MAX: u64 = 1 << 20;
/// Mappings and lists within each other, aliases written out. The deepest of ours are eight.
const DEPTH_MAX: usize = 100;

/// The text of `file`, which may be a pipe.
///
/// # Errors
/// It cannot be read; `Invalid` if it is larger than 1 MiB or not UTF-8.
pub(super) fn read(file: &Path) -> Result<String> {
    let unreadable = "cannot read the configuration file";
    let text = File::open(file).and_then(secret_bytes::text).map_err(|e| match e.kind() {
        std::io::ErrorKind::InvalidData => Error::new(ErrorKind::Invalid, "config", unreadable)
            .with_source(e)
            .with_hint("a configuration is a text in YAML or TOML, of less than 1 MiB"),
        _ => Error::io("config", unreadable, e),
    });
    text.map(|text| text.to_string()).map_err(|e| e.with("file", file.display()))
}

/// What a value stands for when its aliases are written out.
#[derive(Clone, Copy, Default)]
struct Size {
    values: u64,
    bytes: u64,
    /// Mappings and lists within each other, this one too.
    depth: usize,
}

impl Size {
    /// A mapping or list with nothing in it.
    const EMPTY: Self = Self { values: 1, bytes: 0, depth: 1 };

    fn of_text(text: &str) -> Self {
        Self { values: 1, bytes: text.len() as u64, depth: 0 }
    }

    fn with(self, inner: Self) -> Self {
        Self {
            values: self.values.saturating_add(inner.values),
            bytes: self.bytes.saturating_add(inner.bytes),
            depth: self.depth.max(inner.depth.saturating_add(1)),
        }
    }
}

/// Refuses a YAML text whose aliases stand for too much, or that is too deep. One that is no YAML is the parser's to refuse.
///
/// # Errors
/// `Invalid`, naming the line.
pub(super) fn check_yaml(text: &str) -> Result<()> {
    let mut parser = Parser::new_from_str(text);
    let mut known: HashMap<usize, Size> = HashMap::new();
    let mut open: Vec<(usize, Size)> = Vec::new();
    let mut aliased = Size::default();
    while let Ok((event, mark)) = parser.next_token() {
        let (anchor, size) = match event {
            Event::StreamEnd => break,
            Event::MappingStart(anchor, _) | Event::SequenceStart(anchor, _) => {
                open.push((anchor, Size::EMPTY));
                check_depth(open.len(), mark.line())?;
                continue;
            }
            Event::MappingEnd | Event::SequenceEnd => match open.pop() {
                Some(ended) => ended,
                None => continue,
            },
            Event::Scalar(text, _, anchor, _) => (anchor, Size::of_text(&text)),
            Event::Alias(anchor) => {
                // Of a value that is still open the parser makes nothing.
                let size = known.get(&anchor).copied().unwrap_or_default();
                check_depth(open.len().saturating_add(size.depth), mark.line())?;
                aliased = aliased.with(size);
                if aliased.values > ALIASED_VALUES_MAX || aliased.bytes > ALIASED_BYTES_MAX {
                    return Err(refused("the aliases of the file stand for too much", mark.line()).with_hint(format!(
                        "together they may stand for {ALIASED_VALUES_MAX} values and 1 MiB of text; an alias of aliases counts \
                         as often as it is written out"
                    )));
                }
                (0, size)
            }
            _ => continue,
        };
        if anchor > 0 {
            known.insert(anchor, size);
        }
        if let Some((_, around)) = open.last_mut() {
            *around = around.with(size);
        }
    }
    Ok(())
}

fn check_depth(depth: usize, line: usize) -> Result<()> {
    if depth > DEPTH_MAX {
        return Err(refused("values stand too deep within each other", line)
            .with_hint(format!("a configuration is at most {DEPTH_MAX} deep, what aliases stand for included")));
    }
    Ok(())
}

fn refused(message: &'static str, line: usize) -> Error {
    Error::new(ErrorKind::Invalid, "config", message).with("line", line)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `lines` lists, each of `width` aliases of the one before.
    fn bomb(lines: usize, width: usize) -> String {
        let mut text = "l0: &l0 [x]\n".to_owned();
        for line in 1..=lines {
            let before = vec![format!("*l{}", line - 1); width].join(", ");
            text.push_str(&format!("l{line}: &l{line} [{before}]\n"));
        }
        text
    }

    /// `lines` lists within `depth` lists, each of an alias of the one before.
    fn stairs(lines: usize, depth: usize) -> String {
        let mut text = "l0: &l0 x\n".to_owned();
        for line in 1..=lines {
            let (open, close) = ("[".repeat(depth), "]".repeat(depth));
            text.push_str(&format!("l{line}: &l{line} {open}*l{}{close}\n", line - 1));
        }
        text
    }

    #[test]
    fn what_aliases_stand_for_is_counted() {
        let long = format!("a: &a {}\nb: [{}]\n", "x".repeat(1 << 16), vec!["*a"; 17].join(", "));
        let cases = [
            (bomb(3, 9), None),
            (bomb(8, 9), Some("line=6")),
            (bomb(64, 9), Some("line=6")),
            (long.replace("*a, *a]", "*a]"), None),
            (long, Some("aliases")),
            ("- ".repeat(100), None),
            ("- ".repeat(500_000), Some("too deep")),
            (format!("a: {}", "[".repeat(200)), Some("too deep")),
            // The root is one more.
            (stairs(9, 11), None),
            (stairs(10, 11), Some("too deep within each other line=11")),
            (stairs(31, 96), Some("too deep within each other line=3")),
            (format!("{}m: {{k: *l9}}\n", stairs(9, 11)), Some("too deep within each other line=11")),
            ("a: &a [*a, *a]".to_owned(), None),
            ("a: *none".to_owned(), None),
            ("a: ]".to_owned(), None),
        ];
        for (text, expected) in cases {
            let told = check_yaml(&text).err().map(|error| error.to_string());
            let as_expected = match (&told, expected) {
                (Some(told), Some(expected)) => told.contains(expected),
                (told, expected) => told.is_none() && expected.is_none(),
            };
            assert!(as_expected, "{expected:?}: {told:?} of {}", text.get(..60).unwrap_or(&text));
        }
    }
}
