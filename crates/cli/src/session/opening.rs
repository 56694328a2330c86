//! Opening a repository with what opens it.

use super::{Place, Session};
use crate::credentials::{self, Asking, Found};
use crate::exit::{Exit, Failure, Outcome};
use decube_backup_core::{ErrorKind, Result};
use decube_backup_engine::repository::Repository;
use decube_backup_engine::{Credentials, Environment};
use std::path::PathBuf;

/// Times a person may type the password of a repository.
const TRIES: u32 = 3;

impl Session {
    /// What opens the repository at `place`.
    ///
    /// # Errors
    /// Nothing does.
    pub(crate) fn credentials(&self, place: &Place, asking: Asking) -> Result<Found> {
        credentials::find(&self.global, place.configured(), asking, &self.stop)
    }

    /// The files that open the repository at `place`, or say where it is.
    ///
    /// # Errors
    /// The configuration is wrong.
    pub(crate) fn files_used(&self, place: &Place) -> Result<Vec<PathBuf>> {
        let mut files = credentials::files(&self.global, place.configured())?;
        files.extend(self.configuration()?.map(|configuration| configuration.file.clone()));
        Ok(files)
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
        self.opening(
            place,
            || self.credentials(place, Asking::Once),
            |credentials| Repository::open_to_write(environment.clone(), credentials),
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
        credentials: impl Fn() -> Result<Found>,
    ) -> Outcome<Repository> {
        let open = |credentials: &mut dyn FnMut() -> Result<Credentials>| {
            Repository::open_with(environment.clone(), credentials)
        };
        self.opened(self.opening(place, credentials, open)?)
    }

    /// As [`Session::open_by`] with what the command line names; a write-only key does too.
    ///
    /// # Errors
    /// As [`Session::open`].
    pub(crate) fn open_with_any_key(&self, place: &Place, environment: Environment) -> Outcome<Repository> {
        let open = |credentials: &mut dyn FnMut() -> Result<Credentials>| {
            Repository::open_to_write(environment.clone(), credentials)
        };
        self.opened(self.opening(place, || self.credentials(place, Asking::Once), open)?)
    }

    fn opened(&self, opened: Repository) -> Outcome<Repository> {
        let is_damaged = opened.lacks_records() || !opened.damaged_records().is_empty();
        self.log_is_damaged.set(self.log_is_damaged.get() || is_damaged);
        Ok(opened)
    }

    /// Counts the log for whole that was met damaged: somebody accepted it as it is.
    pub(crate) fn log_is_accepted(&self) {
        self.log_is_damaged.set(false);
    }

    /// How a command ends at best: what it did it may have done with an older snapshot than there is.
    pub(crate) fn exit_at_best(&self) -> Exit {
        if self.log_is_damaged.get() { Exit::Problems } else { Exit::Done }
    }

    /// What `open` makes of what `credentials` yields; who mistypes a password is asked again.
    fn opening(
        &self,
        place: &Place,
        credentials: impl Fn() -> Result<Found>,
        open: impl Fn(&mut dyn FnMut() -> Result<Credentials>) -> Result<Repository>,
    ) -> Outcome<Repository> {
        let mut tries = 1;
        loop {
            let (mut refused, mut typed) = (false, false);
            let opened = open(&mut || {
                let found = credentials().inspect_err(|_| refused = true)?;
                typed = found.typed;
                Ok(found.credentials)
            });
            match opened {
                Ok(repository) => return Ok(repository),
                // A key file that is not there is no missing repository.
                Err(error) if refused => return Err(error.into()),
                Err(error) if typed && tries < TRIES && error.kind() == ErrorKind::WrongKey => {
                    self.console.warn(format_args!("{error}; type it again"));
                    tries += 1;
                }
                Err(error) => return Err(Failure::opening(error.with("repository", place.shown()))),
            }
        }
    }
}
