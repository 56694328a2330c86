//! Which repository is meant: a path, a URL or a configured sink.

use super::Session;
use crate::config::model::SinkConfig;
use crate::config::{self, Configuration};
use crate::credentials::Configured;
use crate::local;
use decube_backup_core::registry::split_url;
use decube_backup_core::section::Section;
use decube_backup_core::{Error, ErrorKind, Result};
use std::path::{Path, PathBuf};

/// Where a repository is and how it is opened.
pub(crate) struct Place {
    pub(super) url: String,
    pub(super) section: Section,
    pub(super) sink: Option<(SinkConfig, PathBuf)>,
}

impl Place {
    /// The directory of this machine that it is, if it is one.
    pub(crate) fn directory(&self) -> Option<&Path> {
        match split_url(&self.url) {
            ("fs", path) => Some(Path::new(path)),
            _ => None,
        }
    }

    /// The sink it is configured by, if it is.
    pub(super) fn configured(&self) -> Option<Configured<'_>> {
        self.sink.as_ref().map(|(sink, directory)| (sink, directory.as_path()))
    }

    /// The place for people, a password in its URL masked.
    pub(crate) fn shown(&self) -> String {
        config::mask_url(&self.url)
    }

    /// The directories that using it would make, deepest first; none if it is no place of this machine.
    pub(crate) fn missing_directories(&self) -> Vec<PathBuf> {
        self.directory().map(local::missing_directories).unwrap_or_default()
    }
}

impl Session {
    /// The place the command line names; without one, the configured sink if there is just one.
    ///
    /// # Errors
    /// No place is named, or the configured one does not exist.
    pub(crate) fn place(&self) -> Result<Place> {
        match &self.global.repo {
            Some(repo) => self.place_named(repo),
            None => {
                let none = |message| {
                    Error::new(ErrorKind::Invalid, "repository", message).with_hint(
                        "give -r PLACE, set DECUBE_BACKUP_REPOSITORY, or name a configured sink with -r @NAME",
                    )
                };
                let configuration = self.configuration()?.ok_or_else(|| none("no repository is given"))?;
                let mut sinks = configuration.backup.sinks.values();
                match (sinks.next(), sinks.next()) {
                    (Some(sink), None) => Self::place_of(sink, configuration),
                    _ => Err(none("no repository is given, and the configuration has not just one")),
                }
            }
        }
    }

    /// The place `text` names: a path, a URL or `@` and the name of a configured sink.
    ///
    /// # Errors
    /// There is no such sink.
    pub(crate) fn place_named(&self, text: &str) -> Result<Place> {
        match text.strip_prefix('@') {
            Some(name) => self.place_configured(name),
            None => Ok(Place { url: text.to_owned(), section: Section::default(), sink: None }),
        }
    }

    /// The place of the configured sink `name`.
    ///
    /// # Errors
    /// There is no such sink.
    pub(crate) fn place_configured(&self, name: &str) -> Result<Place> {
        let configuration = self.required_configuration()?;
        let sink = configuration.backup.sinks.get(name).ok_or_else(|| {
            Error::new(ErrorKind::Invalid, "repository", "no such sink is configured")
                .with("sink", name)
                .with("file", configuration.file.display())
        })?;
        Self::place_of(sink, configuration)
    }

    fn place_of(sink: &SinkConfig, configuration: &Configuration) -> Result<Place> {
        let directory = configuration.directory();
        let mut url = config::resolve(&sink.url, &directory)?;
        if split_url(&url).1.trim().is_empty() {
            // It would stand for the directory of the configuration.
            return Err(Error::new(ErrorKind::Invalid, "repository", "the configured place is empty")
                .with("url", &sink.url)
                .with("file", configuration.file.display()));
        }
        if let ("fs", path) = split_url(&url)
            && Path::new(path).is_relative()
        {
            url = format!("fs:{}", directory.join(path).display());
        }
        let mut options = serde_json::Value::Object(sink.options.clone());
        resolve_all(&mut options, &directory)?;
        let section = Section::new(format!("{}: options of {}", configuration.file.display(), sink.url), options);
        Ok(Place { url, section, sink: Some((sink.clone(), directory)) })
    }
}

fn resolve_all(value: &mut serde_json::Value, directory: &Path) -> Result<()> {
    match value {
        serde_json::Value::String(text) => *text = config::resolve(text, directory)?,
        serde_json::Value::Array(items) => items.iter_mut().try_for_each(|item| resolve_all(item, directory))?,
        serde_json::Value::Object(map) => map.values_mut().try_for_each(|item| resolve_all(item, directory))?,
        _ => {}
    }
    Ok(())
}
