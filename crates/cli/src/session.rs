//! One run of the program: what commands share, made when first needed.

use crate::args::GlobalArgs;
use crate::config::model::SinkConfig;
use crate::config::{self, Configuration};
use crate::credentials::{self, Asking};
use crate::exit::{Exit, Failure, Outcome};
use crate::local;
use crate::output::{Bar, Console, Reporter};
use crate::signals::StopFlag;
use crate::{surroundings, units};
use decube_backup_core::registry::split_url;
use decube_backup_core::section::Section;
use decube_backup_core::world::{Clock, Entropy, SystemClock, SystemEntropy};
use decube_backup_core::{Error, ErrorKind, Registry, Result, Sink};
use decube_backup_engine::repository::Repository;
use decube_backup_engine::{Author, Credentials, Environment};
use decube_backup_format::parity::Overhead;
use decube_backup_layers::{ObserveSink, RetryPolicy, RetrySink, ThrottleLimits, ThrottleSink};
use std::cell::{Cell, OnceCell};
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::runtime::{Builder, Runtime};

/// What commands share.
pub(crate) struct Session {
    pub(crate) console: Arc<Console>,
    pub(crate) global: GlobalArgs,
    pub(crate) stop: StopFlag,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Arc<dyn Entropy>,
    registry: Registry,
    runtime: OnceCell<Runtime>,
    configuration: OnceCell<Option<Configuration>>,
    told_of_no_cache: OnceCell<()>,
    /// A repository was opened whose log cannot be read to the last record.
    log_is_damaged: Cell<bool>,
}

/// Where a repository is and how it is opened.
pub(crate) struct Place {
    url: String,
    section: Section,
    sink: Option<(SinkConfig, PathBuf)>,
}

impl Place {
    /// The directory of this machine that it is, if it is one.
    pub(crate) fn directory(&self) -> Option<&Path> {
        match split_url(&self.url) {
            ("fs", path) => Some(Path::new(path)),
            _ => None,
        }
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
    /// A session that has done nothing yet.
    pub(crate) fn new(registry: Registry, global: GlobalArgs) -> Self {
        let console = Arc::new(Console::new(global.format(), global.volume()));
        Self {
            console,
            global,
            stop: StopFlag::new(),
            clock: Arc::new(SystemClock::new()),
            entropy: Arc::new(SystemEntropy),
            registry,
            runtime: OnceCell::new(),
            configuration: OnceCell::new(),
            told_of_no_cache: OnceCell::new(),
            log_is_damaged: Cell::new(false),
        }
    }

    /// The storage schemes this program knows.
    pub(crate) fn schemes(&self) -> Vec<&str> {
        self.registry.schemes()
    }

    /// The configuration, if one is given or found.
    ///
    /// # Errors
    /// It is wrong.
    pub(crate) fn configuration(&self) -> Result<Option<&Configuration>> {
        if let Some(known) = self.configuration.get() {
            return Ok(known.as_ref());
        }
        let loaded = config::load(self.global.config.as_deref())?;
        Ok(self.configuration.get_or_init(|| loaded).as_ref())
    }

    /// The configuration, which must be there.
    ///
    /// # Errors
    /// There is none, or it is wrong.
    pub(crate) fn required_configuration(&self) -> Result<&Configuration> {
        self.configuration()?.ok_or_else(|| {
            Error::new(ErrorKind::Invalid, "config", "no configuration file is given")
                .with_hint("give --config FILE, set DECUBE_BACKUP_CONFIG, or write /etc/decube-backup/config.yaml")
        })
    }

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

    /// The storage of `place`, retried, limited and observed.
    ///
    /// # Errors
    /// Its backend is unknown or refuses.
    pub(crate) fn sink(&self, place: &Place) -> Result<Arc<dyn Sink>> {
        let (scheme, _) = split_url(&place.url);
        let backend = self.registry.open_sink(&place.url, &place.section)?;
        let mut sink: Arc<dyn Sink> = Arc::new(ObserveSink::new(backend, scheme, self.clock.clone()));
        let configured = |text: fn(&SinkConfig) -> &Option<String>| {
            let text = place.sink.as_ref().and_then(|(sink, _)| text(sink).as_deref());
            text.and_then(|text| units::parse_size(text).ok())
        };
        let rate = |given: Option<u64>, text: fn(&SinkConfig) -> &Option<String>| {
            given.or_else(|| configured(text)).and_then(NonZeroU64::new)
        };
        let limits = ThrottleLimits {
            upload_bytes_per_s: rate(self.global.limit_upload, |sink| &sink.limit_upload),
            download_bytes_per_s: rate(self.global.limit_download, |sink| &sink.limit_download),
            ..ThrottleLimits::default()
        };
        if limits.upload_bytes_per_s.is_some() || limits.download_bytes_per_s.is_some() {
            sink = Arc::new(ThrottleSink::new(sink, limits));
        }
        Ok(Arc::new(RetrySink::new(sink, RetryPolicy::default(), self.entropy.clone())))
    }

    /// The bare storage of `place`, for checking it.
    ///
    /// # Errors
    /// Its backend is unknown or refuses.
    pub(crate) fn bare_sink(&self, place: &Place) -> Result<Arc<dyn Sink>> {
        self.registry.open_sink(&place.url, &place.section)
    }

    /// The runtime of sinks.
    ///
    /// # Errors
    /// The system has no threads to give.
    pub(crate) fn runtime(&self) -> Result<&Runtime> {
        if let Some(runtime) = self.runtime.get() {
            return Ok(runtime);
        }
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_time().thread_name("sink").build();
        let runtime = runtime.map_err(|e| Error::io("start", "cannot start the worker threads", e))?;
        Ok(self.runtime.get_or_init(|| runtime))
    }

    /// The world of an engine call on `place`.
    ///
    /// # Errors
    /// As [`Session::sink`] and [`Session::runtime`].
    pub(crate) fn environment(&self, place: &Place) -> Result<Environment> {
        let cache_dir = self.cache_directory();
        Ok(Environment {
            sink: self.sink(place)?,
            runtime: self.runtime()?.handle().clone(),
            clock: self.clock.clone(),
            entropy: self.entropy.clone(),
            cache_dir,
            witness_dir: self.witness_directory(),
            author: Author { host: surroundings::host(), username: surroundings::user() },
            threads: self.global.threads,
            parity: self.parity(place)?,
        })
    }

    /// Where caches live; `None` if none are wanted, or, said once, if there is no place for them.
    pub(crate) fn cache_directory(&self) -> Option<PathBuf> {
        if self.global.no_cache {
            return None;
        }
        let directory = self.global.cache_dir.clone().or_else(surroundings::cache_directory);
        if directory.is_none() && self.told_of_no_cache.set(()).is_ok() {
            self.console.warn(
                "no cache is kept, because HOME is not set: the index is fetched again by every command, and backups read \
                 every file again. Give --cache-dir, or set DECUBE_BACKUP_CACHE_DIR; --no-cache accepts it",
            );
        }
        directory
    }

    /// Parity of new packs in the repository at `place`: as given, else as configured for it.
    fn parity(&self, place: &Place) -> Result<Overhead> {
        let configured = place.sink.as_ref().and_then(|(sink, _)| sink.parity);
        self.global.parity.or(configured).map_or(Ok(Overhead::NONE), Overhead::percent)
    }

    /// Where this host remembers what it has seen of repositories' logs; `None` without a home.
    pub(crate) fn witness_directory(&self) -> Option<PathBuf> {
        let state = self.global.state_dir.clone().or_else(surroundings::state_directory);
        state.map(|state| state.join("witness"))
    }

    /// What opens the repository at `place`.
    ///
    /// # Errors
    /// Nothing does.
    pub(crate) fn credentials(&self, place: &Place, asking: Asking) -> Result<Credentials> {
        let configured = place.sink.as_ref().map(|(sink, directory)| (sink, directory.as_path()));
        credentials::find(&self.global, configured, asking)
    }

    /// Opens the repository the command line names.
    ///
    /// # Errors
    /// `NoRepository`, `WrongKey`, or what else keeps it shut.
    pub(crate) fn open(&self) -> Outcome<Repository> {
        self.open_at(&self.place()?)
    }

    /// As [`Session::open`], for who only backs up: a write-only key does too.
    ///
    /// # Errors
    /// As [`Session::open`].
    pub(crate) fn open_to_write(&self) -> Outcome<Repository> {
        self.open_to_write_at(&self.place()?)
    }

    /// As [`Session::open_to_write`], at `place`.
    ///
    /// # Errors
    /// As [`Session::open`].
    pub(crate) fn open_to_write_at(&self, place: &Place) -> Outcome<Repository> {
        let environment = self.environment(place)?;
        Self::opening(
            place,
            || self.credentials(place, Asking::Once),
            |credentials| Repository::open_to_write(environment, credentials),
        )
    }

    /// Opens the repository the command line names, believing no local cache.
    ///
    /// # Errors
    /// As [`Session::open`].
    pub(crate) fn open_without_cache(&self) -> Outcome<Repository> {
        let place = self.place()?;
        let environment = Environment { cache_dir: None, ..self.environment(&place)? };
        self.open_in(environment, &place)
    }

    /// Opens the repository at `place`.
    ///
    /// # Errors
    /// As [`Session::open`].
    pub(crate) fn open_at(&self, place: &Place) -> Outcome<Repository> {
        self.open_in(self.environment(place)?, place)
    }

    fn open_in(&self, environment: Environment, place: &Place) -> Outcome<Repository> {
        self.open_by(place, environment, || self.credentials(place, Asking::Once))
    }

    /// Opens the repository at `place` in the world `environment` with what `credentials` yields.
    ///
    /// # Errors
    /// As [`Session::open`].
    pub(crate) fn open_by(
        &self,
        place: &Place,
        environment: Environment,
        credentials: impl FnOnce() -> Result<Credentials>,
    ) -> Outcome<Repository> {
        let opened = Self::opening(place, credentials, |credentials| Repository::open_with(environment, credentials))?;
        self.log_is_damaged.set(self.log_is_damaged.get() || !opened.damaged_records().is_empty());
        Ok(opened)
    }

    /// How a command ends at best: what it did it may have done with an older snapshot than there is.
    pub(crate) fn exit_at_best(&self) -> Exit {
        if self.log_is_damaged.get() { Exit::Problems } else { Exit::Done }
    }

    /// What `open` makes of what `credentials` yields.
    fn opening(
        place: &Place,
        credentials: impl FnOnce() -> Result<Credentials>,
        open: impl FnOnce(&mut dyn FnMut() -> Result<Credentials>) -> Result<Repository>,
    ) -> Outcome<Repository> {
        let (mut refused, mut credentials) = (false, Some(credentials));
        let opened = open(&mut || match credentials.take() {
            Some(credentials) => credentials().inspect_err(|_| refused = true),
            None => Err(Error::new(ErrorKind::Internal, "open", "credentials are asked for once")),
        });
        opened.map_err(|error| match refused {
            // A key file that is not there is no missing repository.
            true => error.into(),
            false => Failure::opening(error.with("repository", place.shown())),
        })
    }

    /// Shows progress of `during`; from now on a signal asks to stop instead of ending the process.
    ///
    /// # Errors
    /// Signals cannot be watched.
    pub(crate) fn reporter(&self, during: &'static str, bar: Bar) -> Result<Reporter> {
        self.stop.listen()?;
        Ok(Reporter::new(self.console.clone(), self.stop.clone(), self.clock.clone(), during, bar))
    }

    /// Ends the session without waiting for idle threads.
    pub(crate) fn end(self) {
        if let Some(runtime) = self.runtime.into_inner() {
            runtime.shutdown_background();
        }
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
