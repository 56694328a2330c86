//! The line of every key, found by the parsers themselves.

use std::collections::BTreeMap;
use toml::de::{DeTable, DeValue};
use yaml_rust2::parser::{Event, MarkedEventReceiver, Parser};
use yaml_rust2::scanner::Marker;

/// Path of a value: keys and list positions from the root.
pub(super) type Path = Vec<String>;

/// Line of each key and list item, from 1. What was not found is simply not there.
#[derive(Clone, Debug, Default)]
pub(super) struct Lines(BTreeMap<Path, usize>);

impl Lines {
    /// Of a YAML text. Documents after the first are ignored.
    pub(super) fn of_yaml(text: &str) -> Self {
        let mut walk = YamlWalk::default();
        // The text was parsed before: an error cannot happen, and lines are only for messages.
        let _ = Parser::new_from_str(text).load(&mut walk, false);
        Self(walk.lines)
    }

    /// Of a TOML text.
    pub(super) fn of_toml(text: &str) -> Self {
        let mut lines = BTreeMap::new();
        if let Ok(table) = DeTable::parse(text) {
            // Looked up, not counted for each key from the beginning: a file of many keys is read in no time too.
            let ends: Vec<usize> = text.match_indices('\n').map(|(at, _)| at).collect();
            walk_toml(&ends, table.get_ref(), &mut Vec::new(), &mut lines);
        }
        Self(lines)
    }

    /// The line of `path` itself.
    pub(super) fn exact(&self, path: &[String]) -> Option<usize> {
        self.0.get(path).copied()
    }

    /// The line of `path`, or of the nearest value around it.
    pub(super) fn nearest(&self, path: &[String]) -> Option<usize> {
        (0..=path.len()).rev().find_map(|len| self.exact(path.get(..len)?))
    }
}

fn walk_toml(ends: &[usize], table: &DeTable<'_>, path: &mut Path, lines: &mut BTreeMap<Path, usize>) {
    for (key, value) in table {
        path.push(key.get_ref().to_string());
        let line = line_of(ends, key.span().start);
        // A table written in parts is where its first part is.
        lines.entry(path.clone()).or_insert(line);
        walk_toml_value(ends, value.get_ref(), path, lines);
        path.pop();
    }
}

fn walk_toml_value(ends: &[usize], value: &DeValue<'_>, path: &mut Path, lines: &mut BTreeMap<Path, usize>) {
    match value {
        DeValue::Table(table) => walk_toml(ends, table, path, lines),
        DeValue::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                path.push(index.to_string());
                lines.insert(path.clone(), line_of(ends, item.span().start));
                walk_toml_value(ends, item.get_ref(), path, lines);
                path.pop();
            }
        }
        _ => {}
    }
}

fn line_of(ends: &[usize], offset: usize) -> usize {
    1 + ends.partition_point(|end| *end < offset)
}

/// Follows the events of one document.
#[derive(Default)]
struct YamlWalk {
    lines: BTreeMap<Path, usize>,
    open: Vec<Open>,
    path: Path,
}

enum Open {
    /// A mapping; whether the next scalar is a key.
    Mapping { key_next: bool },
    /// A sequence and the position of its next item.
    Sequence { next: usize },
}

impl YamlWalk {
    /// A value begins: in a sequence it gets its position as key.
    fn begin(&mut self, line: usize) {
        if let Some(Open::Sequence { next }) = self.open.last_mut() {
            self.path.push(next.to_string());
            *next += 1;
            self.lines.insert(self.path.clone(), line);
        }
    }

    /// A value ended.
    fn end(&mut self) {
        if let Some(open) = self.open.last_mut() {
            self.path.pop();
            if let Open::Mapping { key_next } = open {
                *key_next = true;
            }
        }
    }
}

impl MarkedEventReceiver for YamlWalk {
    fn on_event(&mut self, event: Event, mark: Marker) {
        match event {
            Event::Scalar(text, ..) => {
                if let Some(Open::Mapping { key_next }) = self.open.last_mut()
                    && *key_next
                {
                    *key_next = false;
                    self.path.push(text);
                    self.lines.insert(self.path.clone(), mark.line());
                    return;
                }
                self.begin(mark.line());
                self.end();
            }
            Event::Alias(_) => {
                self.begin(mark.line());
                self.end();
            }
            Event::MappingStart(..) => {
                self.begin(mark.line());
                self.open.push(Open::Mapping { key_next: true });
            }
            Event::SequenceStart(..) => {
                self.begin(mark.line());
                self.open.push(Open::Sequence { next: 0 });
            }
            Event::MappingEnd | Event::SequenceEnd => {
                self.open.pop();
                self.end();
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(lines: &Lines, path: &str) -> Option<usize> {
        lines.exact(&path.split('.').map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn every_key_of_yaml_has_its_line() {
        let text = "# c\nother: 1\nbackup:\n  sinks:\n    main: {url: x,\n      password: y}\n  list:\n  - a\n  - k: v\n    l: w\n  end: |\n    text\n  last: 1\n";
        let lines = Lines::of_yaml(text);
        let cases = [
            ("other", 2),
            ("backup", 3),
            ("backup.sinks.main", 5),
            ("backup.sinks.main.password", 6),
            ("backup.list.0", 8),
            ("backup.list.1.l", 10),
            ("backup.end", 11),
            ("backup.last", 13),
        ];
        for (path, expected) in cases {
            assert_eq!(line(&lines, path), Some(expected), "{path}");
        }
        assert_eq!(lines.nearest(&["backup".into(), "sinks".into(), "none".into()]), Some(4));
    }

    #[test]
    fn every_key_of_toml_has_its_line() {
        let text =
            "other = 1\n[backup.sinks.main]\nurl = \"x\"\n\n[backup.pipelines.p]\nsources = [\n  \"a\",\n  \"b\",\n]\n";
        let lines = Lines::of_toml(text);
        for (path, expected) in [
            ("backup.sinks.main", 2),
            ("backup.sinks.main.url", 3),
            ("backup.pipelines.p", 5),
            ("backup.pipelines.p.sources.1", 8),
        ] {
            assert_eq!(line(&lines, path), Some(expected), "{path}");
        }
    }
}
