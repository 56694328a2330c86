//! Finding, reading and overriding.

use crate::config::locate::{Lines, Path};
use crate::config::model::{Backup, Document};
use crate::config::{bounds, check, shape, words};
use crate::surroundings;
use config::{File, FileFormat, Source};
use decube_backup_core::{Error, ErrorKind, Result, Secret};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Variables that override single values start with this.
const OVERRIDE_PREFIX: &str = "DECUBE_BACKUP__";
/// Names looked for in the configuration directories.
const NAMES: [&str; 3] = ["config.yaml", "config.yml", "config.toml"];
/// Where the configuration of this host is.
const HOST_DIRECTORY: &str = "/etc/decube-backup";

/// A configuration with the origin of every value.
#[derive(Clone, Debug)]
pub(crate) struct Configuration {
    /// The file it was read from.
    pub(crate) file: PathBuf,
    /// Its `backup` section, overrides applied.
    pub(crate) backup: Backup,
    /// Variables by the path they override.
    pub(super) overrides: BTreeMap<Path, Override>,
    pub(super) lines: Lines,
}

/// A variable that stands in for a value of the file.
#[derive(Clone, Debug)]
pub(super) struct Override {
    pub(super) variable: String,
    /// As it was written. Whatever it looks like, where text is wanted it is the text.
    pub(super) text: Secret<String>,
}

/// One thing wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) path: Path,
    pub(super) message: String,
}

impl Finding {
    pub(super) fn new(path: &[&str], message: impl Into<String>) -> Self {
        Self { path: path.iter().map(|key| (*key).to_owned()).collect(), message: message.into() }
    }
}

/// Reads the configuration: `given`, or the user's, or the host's. `None` if none is given or found; `warn` is told of links that
/// lead nowhere where one is looked for.
///
/// # Errors
/// `NotFound` if `given` is missing, `Invalid` for whatever is wrong with it.
pub(crate) fn load(given: Option<&std::path::Path>, warn: &dyn Fn(String)) -> Result<Option<Configuration>> {
    let file = match given {
        Some(file) => std::path::absolute(file).map_err(|e| Error::io("config", "cannot tell where the file is", e))?,
        None => match default_file(warn) {
            Some(file) => file,
            None => return Ok(None),
        },
    };
    let text = bounds::read(&file)?;
    Configuration::parse(file, &text, &surroundings::variables_with(OVERRIDE_PREFIX)?).map(Some)
}

fn default_file(warn: &dyn Fn(String)) -> Option<PathBuf> {
    let directories = surroundings::config_directory().into_iter().chain([PathBuf::from(HOST_DIRECTORY)]);
    directories.flat_map(|directory| NAMES.map(|name| directory.join(name))).find(|file| {
        // No error: a restore may go on without.
        let lost = || file.metadata().is_err_and(|e| e.kind() == std::io::ErrorKind::NotFound);
        if file.is_symlink() && lost() {
            warn(format!("no configuration is read at {}: it is a symbolic link that leads nowhere", file.display()));
        }
        file.is_file()
    })
}

impl Configuration {
    /// Reads `text` of `file` with `variables` overriding.
    pub(super) fn parse(file: PathBuf, text: &str, variables: &[(String, String)]) -> Result<Self> {
        let toml = file.extension().is_some_and(|extension| extension == "toml");
        if !toml {
            bounds::check_yaml(text).map_err(|e| e.with("file", file.display()))?;
        }
        let (format, lines) =
            if toml { (FileFormat::Toml, Lines::of_toml(text)) } else { (FileFormat::Yaml, Lines::of_yaml(text)) };
        // Not through a builder: it copies every value once a level, and takes a root key such as `x[4000000000]` for a place in a list.
        let read = File::from_str(text, format).collect().map(config::Value::from);
        let mut value: Value = read.and_then(config::Value::try_deserialize).map_err(|e| {
            let (message, place) = words::of_syntax(&e, text);
            let message = format!("not readable as {}: {message}", if toml { "TOML" } else { "YAML" });
            let error = Error::new(ErrorKind::Invalid, "config", message).with("file", file.display());
            match place {
                Some((line, column)) => error.with("line", line).with("column", column),
                None => error,
            }
        })?;
        if value.get("backup").is_none_or(Value::is_null) {
            return Err(Error::new(ErrorKind::Invalid, "config", "the file has no `backup` section")
                .with("file", file.display())
                .with_hint("everything about backups stands below the root key `backup:`"));
        }
        let mut this = Self { file, backup: Backup::default(), overrides: BTreeMap::new(), lines };
        // Before: a variable puts a mapping where none is.
        this.shaped(&value)?;
        let overridden = override_values(&mut value, variables).map_err(|e| e.with("file", this.file.display()));
        this.overrides = overridden?;
        this.shaped(&value)?;
        this.backup = this.typed(&mut value)?;
        let findings = check::findings(&this.backup);
        match findings.split_first() {
            None => Ok(this),
            Some((first, others)) => {
                let more = others.iter().map(|finding| this.say(finding));
                let error = Error::new(ErrorKind::Invalid, "config", this.say(first));
                let others: Vec<String> = more.collect();
                Err(if others.is_empty() {
                    error
                } else {
                    error.with_hint(format!("also wrong: {}", others.join("; ")))
                })
            }
        }
    }

    /// Refuses a list where the schema has a mapping: the types would take its items for their fields, in order.
    fn shaped(&self, value: &Value) -> Result<()> {
        match shape::list_for_mapping(value) {
            None => Ok(()),
            Some(path) => {
                let finding = Finding { path, message: "keys and values are wanted here, not a list".to_owned() };
                Err(Error::new(ErrorKind::Invalid, "config", self.say(&finding)))
            }
        }
    }

    /// The typed section. What a variable says is taken as JSON where that fits, and as the text it is where text is wanted.
    fn typed(&self, value: &mut Value) -> Result<Backup> {
        for _ in 0..=self.overrides.len() {
            let error = match serde_path_to_error::deserialize::<_, Document>(&*value) {
                Ok(document) => return Ok(document.backup),
                Err(error) => error,
            };
            let path: Path = error.path().iter().filter_map(segment).collect();
            if let Some(found) = at_mut(value, &path)
                && let Some(Override { text, .. }) = self.overrides.get(&path)
                && found.as_str() != Some(text.expose())
            {
                *found = Value::String(text.expose().clone());
                continue;
            }
            let message = match path.last().map(String::as_str) {
                Some("password" | "password_command") => "a text is wanted here: write it in quotes".to_owned(),
                _ => words::of_type(&error.inner().to_string()),
            };
            let finding = Finding { path, message };
            return Err(Error::new(ErrorKind::Invalid, "config", self.say(&finding)));
        }
        Err(Error::new(ErrorKind::Internal, "config", "overrides do not settle"))
    }

    /// `file:line: path: message`.
    pub(super) fn say(&self, finding: &Finding) -> String {
        let path = finding.path.join(".");
        // What the file does not have was made by a variable about a part of it.
        let made = |at: &Path| at.starts_with(&finding.path) && self.lines.exact(&finding.path).is_none();
        let within = self.overrides.iter().find(|(at, _)| made(at)).map(|(_, within)| within);
        if let Some(Override { variable, .. }) = self.overrides.get(&finding.path).or(within) {
            return format!("variable {variable}: {path}: {}", finding.message);
        }
        match self.lines.nearest(&finding.path) {
            Some(line) => format!("{}:{line}: {path}: {}", self.file.display(), finding.message),
            None => format!("{}: {path}: {}", self.file.display(), finding.message),
        }
    }

    /// `file:line: path`, for errors of others about the value there.
    pub(crate) fn place(&self, path: &[&str]) -> String {
        let keys: Path = path.iter().map(|key| (*key).to_owned()).collect();
        match self.lines.nearest(&keys) {
            Some(line) => format!("{}:{line}: {}", self.file.display(), path.join(".")),
            None => format!("{}: {}", self.file.display(), path.join(".")),
        }
    }

    /// Where the value at `path` is from: `file:line`, a variable, or `default`.
    pub(super) fn origin(&self, path: &[String]) -> String {
        let mut prefixes = (1..=path.len()).rev().filter_map(|len| path.get(..len));
        if let Some(Override { variable, .. }) = prefixes.find_map(|prefix| self.overrides.get(prefix)) {
            return format!("variable {variable}");
        }
        match self.lines.exact(path) {
            Some(line) => format!("{}:{line}", self.file.display()),
            None => "default".to_owned(),
        }
    }

    /// The variable that overrides the value at `keys` of the pipeline `name`, if one can: two underscores would go one level down,
    /// shells set no variable of other characters, and one that may mean two pipelines is refused.
    pub(crate) fn variable_of_pipeline(&self, name: &str, keys: &str) -> Option<String> {
        let plain = plain(name).to_ascii_uppercase();
        let settable = plain.bytes().all(|b| matches!(b, b'A'..=b'Z' | b'0'..=b'9' | b'_'));
        let alike = self.backup.pipelines.keys().filter(|key| same(key, name)).count();
        let meant = settable && !format!("{plain}_").contains("__") && alike == 1;
        meant.then(|| format!("{OVERRIDE_PREFIX}PIPELINES__{plain}__{keys}"))
    }

    /// The directory relative paths count from.
    pub(crate) fn directory(&self) -> PathBuf {
        self.file.parent().map(std::path::Path::to_path_buf).unwrap_or_default()
    }
}

fn segment(segment: &serde_path_to_error::Segment) -> Option<String> {
    use serde_path_to_error::Segment;
    match segment {
        Segment::Seq { index } => Some(index.to_string()),
        Segment::Map { key } => Some(key.clone()),
        Segment::Enum { variant } => Some(variant.clone()),
        Segment::Unknown => None,
    }
}

fn at_mut<'v>(value: &'v mut Value, path: &[String]) -> Option<&'v mut Value> {
    path.iter().try_fold(value, |value, key| match value {
        Value::Array(items) => items.get_mut(key.parse::<usize>().ok()?),
        value => value.get_mut(key),
    })
}

/// Applies `DECUBE_BACKUP__A__B=value`; keys match whatever their case, `-` being `_`.
///
/// # Errors
/// `Invalid` for a variable about a source, sink or pipeline that the file does not have: a typo would add one; about two; or
/// about a part of a list or text.
fn override_values(value: &mut Value, variables: &[(String, String)]) -> Result<BTreeMap<Path, Override>> {
    let mut applied = BTreeMap::new();
    for (variable, text) in variables {
        let Some(keys) = variable.strip_prefix(OVERRIDE_PREFIX) else { continue };
        let mut path = vec!["backup".to_owned()];
        let mut at = &mut value["backup"];
        for wanted in keys.split("__") {
            let alike = at.as_object().into_iter().flatten().map(|(key, _)| key).filter(|key| same(key, wanted));
            let alike: Vec<String> = alike.cloned().collect();
            if alike.len() > 1 {
                return Err(Error::new(ErrorKind::Invalid, "config", "a variable may mean several keys")
                    .with("variable", variable)
                    .with("keys", alike.join(", "))
                    .with_hint("a dash and an underscore are the same in a variable: rename one of them"));
            }
            let known = alike.into_iter().next();
            let section = path.last().map_or("", String::as_str);
            if path.len() == 2 && known.is_none() && ["sources", "sinks", "pipelines"].contains(&section) {
                let names: Vec<&str> = at.as_object().into_iter().flatten().map(|(name, _)| name.as_str()).collect();
                return Err(Error::new(
                    ErrorKind::Invalid,
                    "config",
                    "a variable is about a name that is not configured",
                )
                .with("variable", variable)
                .with_hint(format!("known {section}: {}", names.join(", "))));
            }
            let key = known.unwrap_or_else(|| wanted.to_ascii_lowercase());
            if at.is_null() {
                *at = Value::Object(serde_json::Map::new());
            }
            if !at.is_object() {
                let message = "a variable is about a part of what has no keys";
                return Err(Error::new(ErrorKind::Invalid, "config", message)
                    .with("variable", variable)
                    .with("path", path.join("."))
                    .with_hint("a list is written as a whole, in JSON"));
            }
            at = &mut at[key.as_str()];
            path.push(key);
        }
        *at = match serde_json::from_str(text) {
            // A password in quotes has them; one that says null is not absent.
            Ok(Value::String(_) | Value::Null) | Err(_) => Value::String(text.clone()),
            Ok(value) => value,
        };
        applied.insert(path, Override { variable: variable.clone(), text: Secret::new(text.clone()) });
    }
    Ok(applied)
}

fn same(key: &str, wanted: &str) -> bool {
    plain(key) == plain(wanted)
}

/// What is left of a key in a variable.
fn plain(key: &str) -> String {
    key.replace('-', "_").to_ascii_lowercase()
}

#[cfg(test)]
#[path = "load_tests.rs"]
mod tests;
