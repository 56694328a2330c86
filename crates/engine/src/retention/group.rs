//! Grouping: a policy is applied to each group of snapshots on its own.

use decube_backup_core::{Error, ErrorKind, Result};
use decube_backup_format::manifest::SnapshotManifest;
use std::fmt;

/// By what snapshots are grouped; by nothing: all of them are one group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupBy {
    /// By host.
    pub host: bool,
    /// By series name.
    pub name: bool,
    /// By all labels together.
    pub labels: bool,
    /// By the set of recorded paths.
    pub paths: bool,
}

impl Default for GroupBy {
    /// Host and name.
    fn default() -> Self {
        Self { host: true, name: true, labels: false, paths: false }
    }
}

impl GroupBy {
    /// Parses `host,name,labels,paths` or a part of it; an empty text is one group of all.
    ///
    /// # Errors
    /// `Invalid` for another word.
    pub fn parse(text: &str) -> Result<Self> {
        let mut by = Self { host: false, name: false, labels: false, paths: false };
        for word in text.split(',').map(str::trim).filter(|word| !word.is_empty()) {
            match word {
                "host" | "hosts" => by.host = true,
                "name" | "names" => by.name = true,
                "label" | "labels" => by.labels = true,
                "path" | "paths" => by.paths = true,
                _ => {
                    return Err(Error::new(ErrorKind::Invalid, "retention", "snapshots cannot be grouped by this")
                        .with("word", format!("{word:?}"))
                        .with_hint(
                            "give host, name, labels, paths, joined by commas; or an empty text for one group",
                        ));
                }
            }
        }
        Ok(by)
    }

    /// The group `manifest` belongs to.
    pub fn key(&self, manifest: &SnapshotManifest) -> GroupKey {
        let mut paths = if self.paths { manifest.paths.clone() } else { Vec::new() };
        paths.sort();
        paths.dedup();
        GroupKey {
            host: self.host.then(|| manifest.host.clone()),
            name: self.name.then(|| manifest.name.clone()),
            labels: self.labels.then(|| manifest.labels.clone().into_iter().collect()),
            paths: self.paths.then_some(paths),
        }
    }
}

/// What the snapshots of a group have in common; `None` for what they are not grouped by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct GroupKey {
    /// Host.
    pub host: Option<String>,
    /// Series name.
    pub name: Option<String>,
    /// Labels, by key.
    pub labels: Option<Vec<(String, String)>>,
    /// Paths, sorted.
    pub paths: Option<Vec<String>>,
}

impl fmt::Display for GroupKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let labels = |labels: &Vec<(String, String)>| {
            let each: Vec<String> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
            format!("labels {}", if each.is_empty() { "none".to_owned() } else { each.join(",") })
        };
        let parts: Vec<String> = [
            self.name.as_ref().map(|name| format!("name \"{name}\"")),
            self.host.as_ref().map(|host| format!("host \"{host}\"")),
            self.labels.as_ref().map(labels),
            self.paths.as_ref().map(|paths| format!("paths {}", paths.join(" "))),
        ]
        .into_iter()
        .flatten()
        .collect();
        if parts.is_empty() { f.write_str("all snapshots") } else { f.write_str(&parts.join(", ")) }
    }
}
