//! What opens a repository, and where it comes from.
//!
//! First what the command line says, then the configured sink, then the environment, then a person at
//! a terminal. Whoever names a way gets that way or an error, never another one.

use crate::args::{GlobalArgs, NewKeyArgs};
use crate::config::model::SinkConfig;
use crate::config::{first_line_of_command, first_line_of_file, resolve};
use crate::surroundings;
use decube_backup_core::{Error, ErrorKind, Result, Secret};
use decube_backup_engine::Credentials;
use decube_backup_format::keyslot::KeyFile;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// Whether a password typed by a person is new and typed twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asking {
    /// It opens what exists.
    Once,
    /// It is being set.
    Twice,
}

/// A configured sink and the directory its relative paths count from.
pub(crate) type Configured<'a> = (&'a SinkConfig, &'a Path);

/// Credentials for a repository.
///
/// # Errors
/// No way is given and nobody can be asked; or the way that is given fails.
pub(crate) fn find(global: &GlobalArgs, configured: Option<Configured<'_>>, asking: Asking) -> Result<Credentials> {
    if let Some(found) = from_arguments(global)? {
        return Ok(found);
    }
    if let Some((sink, directory)) = configured
        && let Some(found) = from_configuration(sink, directory)?
    {
        return Ok(found);
    }
    match from_environment()? {
        Some(found) => Ok(found),
        None => ask("repository password", asking),
    }
}

/// Credentials for a new key.
///
/// # Errors
/// As [`find`].
pub(crate) fn find_new(args: &NewKeyArgs) -> Result<Credentials> {
    match (&args.new_key_file, &args.new_password_command, &args.new_password_file) {
        (Some(file), ..) => key_file(file),
        (_, Some(command), _) => password(first_line_of_command(command)?),
        (.., Some(file)) => password(first_line_of_file(file)?),
        _ => ask("new password", Asking::Twice),
    }
}

fn from_arguments(global: &GlobalArgs) -> Result<Option<Credentials>> {
    match (&global.key_file, &global.password_command, &global.password_file) {
        (Some(file), ..) => key_file(file).map(Some),
        (_, Some(command), _) => password(first_line_of_command(command)?).map(Some),
        (.., Some(file)) => password(first_line_of_file(file)?).map(Some),
        _ => Ok(None),
    }
}

fn from_configuration(sink: &SinkConfig, directory: &Path) -> Result<Option<Credentials>> {
    let path = |text: &String| resolve(text, directory).map(|path| directory.join(path));
    match (&sink.key_file, &sink.password_command, &sink.password_file, &sink.password) {
        (Some(file), ..) => key_file(&path(file)?).map(Some),
        (_, Some(command), ..) => password(first_line_of_command(&resolve(command, directory)?)?).map(Some),
        (_, _, Some(file), _) => password(first_line_of_file(&path(file)?)?).map(Some),
        (.., Some(text)) => password(resolve(text, directory)?).map(Some),
        _ => Ok(None),
    }
}

fn from_environment() -> Result<Option<Credentials>> {
    if let Some(file) = surroundings::variable("DECUBE_BACKUP_KEY_FILE") {
        return key_file(&PathBuf::from(file)).map(Some);
    }
    if let Some(command) = surroundings::text("DECUBE_BACKUP_PASSWORD_COMMAND")? {
        return password(first_line_of_command(&command)?).map(Some);
    }
    if let Some(file) = surroundings::variable("DECUBE_BACKUP_PASSWORD_FILE") {
        return password(first_line_of_file(&PathBuf::from(file))?).map(Some);
    }
    surroundings::text("DECUBE_BACKUP_PASSWORD")?.map(password).transpose()
}

fn ask(what: &str, asking: Asking) -> Result<Credentials> {
    if !std::io::stdin().is_terminal() {
        return Err(Error::new(ErrorKind::Invalid, "password", format!("no {what} is given, and nobody can be asked"))
            .with_hint(
                "give --password-file, --password-command or --key-file, or set DECUBE_BACKUP_PASSWORD, \
                 DECUBE_BACKUP_PASSWORD_FILE, DECUBE_BACKUP_PASSWORD_COMMAND or DECUBE_BACKUP_KEY_FILE",
            ));
    }
    let prompt = |text: String| {
        let typed = rpassword::prompt_password(text);
        typed.map(Zeroizing::new).map_err(|e| Error::io("password", "cannot read the password", e))
    };
    let first = prompt(format!("{what}: "))?;
    if asking == Asking::Twice && *prompt(format!("{what} again: "))? != *first {
        return Err(Error::new(ErrorKind::Invalid, "password", "the two passwords differ"));
    }
    password(first.to_string())
}

fn password(text: String) -> Result<Credentials> {
    if text.is_empty() {
        return Err(Error::new(ErrorKind::Invalid, "password", "the password is empty"));
    }
    Ok(Credentials::Password(Secret::new(text)))
}

fn key_file(file: &Path) -> Result<Credentials> {
    let failed = |e| Error::io("key", "cannot read the key file", e).with("file", file.display());
    let text = Zeroizing::new(std::fs::read(file).map_err(failed)?);
    KeyFile::parse(&text).map(Credentials::KeyFile).map_err(|e| e.with("file", file.display()))
}
