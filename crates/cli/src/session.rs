//! One run of the program: what commands share, made when first needed.
//!
//! | module | holds |
//! |---|---|
//! | `place` | which repository is meant |
//! | `opening` | opening it |

mod opening;
mod place;

use crate::args::GlobalArgs;
use crate::config::model::SinkConfig;
use crate::config::{self, Configuration};
use crate::output::{Bar, Console, Reporter};
use crate::signals::StopFlag;
use crate::{surroundings, units};
use decube_backup_core::registry::split_url;
use decube_backup_core::world::{Clock, Entropy, SystemClock, SystemEntropy};
use decube_backup_core::{Error, ErrorKind, Registry, Result, Sink};
use decube_backup_engine::{Author, Environment};
use decube_backup_format::parity::Overhead;
use decube_backup_layers::{ObserveSink, RetryPolicy, RetrySink, ThrottleLimits, ThrottleSink};
use std::cell::{Cell, OnceCell};
use std::num::NonZeroU64;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::runtime::{Builder, Runtime};

pub(crate) use place::Place;

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
        let loaded = config::load(self.global.config.as_deref(), &|told| self.console.warn(told))?;
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
    /// As [`Session::sink`] and [`Session::runtime`]; `Invalid` if the process may open too few files.
    pub(crate) fn environment(&self, place: &Place) -> Result<Environment> {
        surroundings::check_open_files()?;
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
