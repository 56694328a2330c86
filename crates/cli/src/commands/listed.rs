//! A source that says of each file that it is being read: what a dry run is asked for with `-v`.

use crate::output::{Console, Format};
use decube_backup_core::monitor::Problem;
use decube_backup_core::source::{Content, Scan, Scanned, SourceInfo};
use decube_backup_core::{Entry, Result, Source};
use serde_json::json;
use std::sync::Arc;

/// `source`, telling `console`. Only files that are new, changed, or too young to tell are opened.
pub(super) fn listed(source: Box<dyn Source>, console: Arc<Console>) -> Box<dyn Source> {
    Box::new(Listed { source, console })
}

struct Listed {
    source: Box<dyn Source>,
    console: Arc<Console>,
}

impl Source for Listed {
    fn describe(&self) -> SourceInfo {
        self.source.describe()
    }

    fn scan(&self) -> Result<Box<dyn Scan>> {
        self.source.scan()
    }

    fn is_read_once(&self) -> bool {
        self.source.is_read_once()
    }

    fn detail(&self, entry: &mut Entry) -> Vec<Problem> {
        self.source.detail(entry)
    }

    fn open(&self, scanned: &Scanned) -> Result<Box<dyn Content>> {
        let line = format!("would back up /{}", scanned.entry.path);
        match self.console.format() {
            Format::Text => self.console.talk(line),
            Format::Json => self.console.json_stderr(&json!({"message_type": "note", "message": line})),
        }
        self.source.open(scanned)
    }
}
