//! The line of every key, found by the parsers themselves.

use std::collections::BTreeMap;
use toml::Spanned;
use toml::de::{DeTable, DeValue};
use yaml_rust2::parser::{Event, MarkedEventReceiver, Parser};
use yaml_rust2::scanner::Marker;

/// Path of a value: keys and list positions from the root.
pub(super) type Path = Vec<String>;

/// Line of each key and list item, from 1, by the key or position. What was not found is simply not there.
///
/// As the values are within each other, so are the lines: a path for each would be the text times its depth.
#[derive(Clone, Debug, Default)]
pub(super) struct Lines(BTreeMap<String, Place>);

#[derive(Clone, Debug)]
struct Place {
    line: usize,
    within: Lines,
}

impl Lines {
    /// Of a YAML text. Documents after the first are ignored.
    pub(super) fn of_yaml(text: &str) -> Self {
        let mut walk = YamlWalk::default();
        // The text was parsed before: an error cannot happen, and lines are only for messages.
        let _ = Parser::new_from_str(text).load(&mut walk, false);
        walk.lines
    }

    /// Of a TOML text.
    pub(super) fn of_toml(text: &str) -> Self {
        let Ok(table) = DeTable::parse(text) else { return Self::default() };
        // Looked up, not counted for each key from the beginning: a file of many keys is read in no time too.
        let ends: Vec<usize> = text.match_indices('\n').map(|(at, _)| at).collect();
        toml_table(&ends, table.get_ref())
    }

    /// The line of `path` itself.
    pub(super) fn exact(&self, path: &[String]) -> Option<usize> {
        self.along(path).nth(path.len().checked_sub(1)?)
    }

    /// The line of `path`, or of the nearest value around it.
    pub(super) fn nearest(&self, path: &[String]) -> Option<usize> {
        self.along(path).last()
    }

    /// The lines on the way to `path`, as far as there are any.
    fn along(&self, path: &[String]) -> impl Iterator<Item = usize> {
        path.iter().scan(self, |lines, key| {
            let place = lines.0.get(key)?;
            *lines = &place.within;
            Some(place.line)
        })
    }
}

fn toml_table(ends: &[usize], table: &DeTable<'_>) -> Lines {
    let places =
        table.iter().map(|(key, value)| (key.get_ref().to_string(), toml_place(ends, key.span().start, value)));
    Lines(places.collect())
}

fn toml_place(ends: &[usize], at: usize, value: &Spanned<DeValue<'_>>) -> Place {
    let within = match value.get_ref() {
        DeValue::Table(table) => toml_table(ends, table),
        DeValue::Array(items) => {
            let places = items.iter().map(|item| toml_place(ends, item.span().start, item));
            Lines(places.enumerate().map(|(index, place)| (index.to_string(), place)).collect())
        }
        _ => Lines::default(),
    };
    Place { line: line_of(ends, at), within }
}

fn line_of(ends: &[usize], offset: usize) -> usize {
    1 + ends.partition_point(|end| *end < offset)
}

/// Follows the events of one document.
#[derive(Default)]
struct YamlWalk {
    lines: Lines,
    open: Vec<Open>,
    /// The values that did not end yet, each within the one before, by key or position.
    path: Vec<(String, Place)>,
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
            let key = next.to_string();
            *next += 1;
            self.enter(key, line);
        }
    }

    fn enter(&mut self, key: String, line: usize) {
        self.path.push((key, Place { line, within: Lines::default() }));
    }

    /// A value ended.
    fn end(&mut self) {
        if let Some(open) = self.open.last_mut() {
            if let Some((key, place)) = self.path.pop() {
                let around = self.path.last_mut().map_or(&mut self.lines, |(_, around)| &mut around.within);
                around.0.insert(key, place);
            }
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
                    self.enter(text, mark.line());
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
