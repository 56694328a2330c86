//! What opens a repository, and where it comes from.
//!
//! First what the command line says, then the configured sink, then the environment, then a person at
//! a terminal. Whoever names a way gets that way or an error, never another one.

use crate::args::{GlobalArgs, NewKeyArgs};
use crate::config::model::SinkConfig;
use crate::config::{first_line_of_command, first_line_of_file, resolve};
use crate::prompt;
use crate::signals::StopFlag;
use crate::{secret_bytes, surroundings};
use decube_backup_core::{Error, ErrorKind, Result, Secret};
use decube_backup_engine::Credentials;
use decube_backup_engine::keys::{Identities, Recipient};
use decube_backup_format::keyslot::{KeyFile, RECOVERY_LINES, RecoveryKey};
use std::fs::File;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// What a password that is being set is called.
const NEW_PASSWORD: &str = "new password";

/// Whether a password typed by a person is new and typed twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asking {
    /// It opens what exists.
    Once,
    /// It is being set.
    Twice,
}

/// What opens or shall open a repository.
pub(crate) struct Found {
    pub credentials: Credentials,
    /// By a person, who may have mistyped it.
    pub typed: bool,
}

impl Found {
    /// By a file, a command or a variable: the same whenever it is asked for.
    pub(crate) fn given(credentials: Credentials) -> Self {
        Self { credentials, typed: false }
    }

    fn typed(credentials: Credentials) -> Self {
        Self { credentials, typed: true }
    }
}

/// A configured sink and the directory its relative paths count from.
pub(crate) type Configured<'a> = (&'a SinkConfig, &'a Path);

/// Credentials for a repository.
///
/// # Errors
/// No way is given and nobody can be asked; or the way that is given fails; `Interrupted` if `stop` is raised meanwhile.
pub(crate) fn find(
    global: &GlobalArgs,
    configured: Option<Configured<'_>>,
    asking: Asking,
    stop: &StopFlag,
) -> Result<Found> {
    let found = found(global, configured, asking, stop)?;
    match asking {
        Asking::Once => Ok(found),
        Asking::Twice => Ok(Found { credentials: worth_setting(found.credentials)?, ..found }),
    }
}

fn found(global: &GlobalArgs, configured: Option<Configured<'_>>, asking: Asking, stop: &StopFlag) -> Result<Found> {
    if let Some(found) = from_arguments(global)? {
        return Ok(Found::given(found));
    }
    if let Some((sink, directory)) = configured
        && let Some(found) = from_configuration(sink, directory)?
    {
        return Ok(Found::given(found));
    }
    match from_environment()? {
        Some(found) => Ok(Found::given(found)),
        None => ask("repository password", asking, stop).map(Found::typed),
    }
}

/// Credentials for a new key.
///
/// # Errors
/// As [`find`].
pub(crate) fn find_new(args: &NewKeyArgs, stop: &StopFlag) -> Result<Credentials> {
    worth_setting(match (&args.new_key_file, &args.new_password_command, &args.new_password_file) {
        (Some(file), ..) => key_file(file)?,
        (_, Some(command), _) => password(first_line_of_command(command)?)?,
        (.., Some(file)) => password(first_line_of_file(file)?)?,
        _ => ask(NEW_PASSWORD, Asking::Twice, stop)?,
    })
}

/// `new`, unless it is a password nobody means. One that is in force still opens.
fn worth_setting(new: Credentials) -> Result<Credentials> {
    match &new {
        Credentials::Password(text) if text.expose().trim().is_empty() => {
            Err(Error::new(ErrorKind::Invalid, "password", "the new password consists only of blanks"))
        }
        _ => Ok(new),
    }
}

/// The recovery sheet that is given, or what a person or standard input says of one.
///
/// # Errors
/// It cannot be read, or is mistyped.
pub(crate) fn recovery(global: &GlobalArgs, stop: &StopFlag) -> Result<Credentials> {
    if let Some(file) = &global.recovery_key_file {
        return recovery_sheet(file);
    }
    if let Some(file) = surroundings::variable("DECUBE_BACKUP_RECOVERY_KEY_FILE") {
        return recovery_sheet(&PathBuf::from(file));
    }
    let unreadable = |e| Error::io("recovery", "cannot read the recovery key", e);
    if !std::io::stdin().is_terminal() {
        let text = secret_bytes::text(std::io::stdin()).map_err(unreadable)?;
        return RecoveryKey::parse(&text).map(Credentials::Recovery);
    }
    let mut lines = Zeroizing::new(String::new());
    for number in 0..RECOVERY_LINES {
        loop {
            let typed = prompt::hidden(&format!("recovery key, line {}: ", number + 1), stop)?;
            match RecoveryKey::check(number, &typed) {
                Ok(()) => {
                    lines.push_str(&typed);
                    lines.push('\n');
                    break;
                }
                // Nothing on the line ends the asking: Ctrl-D, or a person who gives up.
                Err(error) if typed.trim().is_empty() => return Err(error),
                Err(error) => _ = writeln!(std::io::stderr(), "{error}; type it again"),
            }
        }
    }
    RecoveryKey::parse(&lines).map(Credentials::Recovery)
}

/// The files that any of the ways to credentials names.
///
/// # Errors
/// As [`resolve`].
pub(crate) fn files(global: &GlobalArgs, configured: Option<Configured<'_>>) -> Result<Vec<PathBuf>> {
    let given = [&global.key_file, &global.password_file, &global.identity_file, &global.recovery_key_file];
    let mut files: Vec<PathBuf> = given.into_iter().flatten().cloned().collect();
    if let Some((sink, directory)) = configured {
        for file in [&sink.key_file, &sink.password_file].into_iter().flatten() {
            files.push(directory.join(resolve(file, directory)?));
        }
    }
    let named = ["KEY_FILE", "IDENTITY_FILE", "RECOVERY_KEY_FILE", "PASSWORD_FILE"];
    files.extend(
        named.iter().filter_map(|name| surroundings::variable(&format!("DECUBE_BACKUP_{name}"))).map(Into::into),
    );
    Ok(files)
}

fn from_arguments(global: &GlobalArgs) -> Result<Option<Credentials>> {
    if let Some(file) = &global.identity_file {
        return identities(file).map(Some);
    }
    if let Some(file) = &global.recovery_key_file {
        return recovery_sheet(file).map(Some);
    }
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
    if let Some(file) = surroundings::variable("DECUBE_BACKUP_IDENTITY_FILE") {
        return identities(&PathBuf::from(file)).map(Some);
    }
    if let Some(file) = surroundings::variable("DECUBE_BACKUP_RECOVERY_KEY_FILE") {
        return recovery_sheet(&PathBuf::from(file)).map(Some);
    }
    if let Some(command) = surroundings::text("DECUBE_BACKUP_PASSWORD_COMMAND")? {
        return password(first_line_of_command(&command)?).map(Some);
    }
    if let Some(file) = surroundings::variable("DECUBE_BACKUP_PASSWORD_FILE") {
        return password(first_line_of_file(&PathBuf::from(file))?).map(Some);
    }
    surroundings::text("DECUBE_BACKUP_PASSWORD")?.map(password).transpose()
}

fn ask(what: &str, asking: Asking, stop: &StopFlag) -> Result<Credentials> {
    if !std::io::stdin().is_terminal() {
        let error = Error::new(ErrorKind::Invalid, "password", format!("no {what} is given, and nobody can be asked"));
        return Err(match what {
            NEW_PASSWORD => error.with_hint("give --new-password-file, --new-password-command or --new-key-file"),
            _ => error.with_hint(
                "give --password-file, --password-command, --key-file or --identity-file, or set DECUBE_BACKUP_PASSWORD, \
                 DECUBE_BACKUP_PASSWORD_FILE, DECUBE_BACKUP_PASSWORD_COMMAND, DECUBE_BACKUP_KEY_FILE or \
                 DECUBE_BACKUP_IDENTITY_FILE",
            ),
        });
    }
    let first = prompt::hidden(&format!("{what}: "), stop)?;
    if asking == Asking::Twice && *prompt::hidden(&format!("{what} again: "), stop)? != *first {
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
    let text = read(file, "cannot read the key file")?;
    KeyFile::parse(&text).map(Credentials::KeyFile).map_err(|e| e.with("file", file.display()))
}

fn identities(file: &Path) -> Result<Credentials> {
    let text = read(file, "cannot read the identity file")?;
    let text = Zeroizing::new(String::from_utf8_lossy(&text).into_owned());
    Identities::parse(&text).map(Credentials::Identities).map_err(|e| e.with("file", file.display()))
}

fn recovery_sheet(file: &Path) -> Result<Credentials> {
    let text = read(file, "cannot read the recovery sheet")?;
    let text = Zeroizing::new(String::from_utf8_lossy(&text).into_owned());
    RecoveryKey::parse(&text).map(Credentials::Recovery).map_err(|e| e.with("file", file.display()))
}

fn read(file: &Path, what: &'static str) -> Result<Zeroizing<Vec<u8>>> {
    let failed = |e| Error::io("key", what, e).with("file", file.display());
    File::open(file).and_then(secret_bytes::read).map_err(failed)
}

/// A public key as it is given, or the one in the file that is named.
///
/// # Errors
/// It is neither.
pub(crate) fn recipient(given: &str) -> Result<Recipient> {
    let looks_like_a_key = ["age1", "ssh-", "AGE-SECRET-KEY-"].iter().any(|start| given.trim().starts_with(start));
    if looks_like_a_key {
        return Recipient::parse(given);
    }
    let text = read(Path::new(given), "cannot read the public key")?;
    let text = Zeroizing::new(String::from_utf8_lossy(&text).into_owned());
    if text.contains("PRIVATE KEY") {
        return Recipient::parse(&text).map_err(|e| e.with("file", given));
    }
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    match (lines.next(), lines.next()) {
        (Some(line), None) => Recipient::parse(line).map_err(|e| e.with("file", given)),
        _ => Err(Error::new(ErrorKind::Invalid, "key", "the file does not hold just one public key")
            .with("file", given)
            .with_hint("add them one by one")),
    }
}
