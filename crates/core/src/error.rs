//! The one error type that crosses plugin borders.
//!
//! A kind exists only where someone acts differently on it. "Not there" is `Ok(None)`; an `Err`
//! means "could not tell" or "could not do".

use std::fmt;

/// Result with [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, by what the caller does about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The named thing does not exist and had to (a repository, a snapshot, a source path).
    NotFound,
    /// A create found the name taken.
    AlreadyExists,
    /// Credentials or permissions are insufficient.
    PermissionDenied,
    /// No key slot opens with the given password or key.
    WrongKey,
    /// Bytes are not what they must be: damaged, truncated or forged.
    Corrupt,
    /// A log that is not the one this client saw before: rolled back or forked.
    Diverged,
    /// A well-formed thing from a newer or different world: version, feature bit, capability.
    Unsupported,
    /// The caller's input is wrong: config, argument, selector.
    Invalid,
    /// The destination is full or over quota.
    NoSpace,
    /// The store did not answer, answered too slowly or is throttling.
    Unavailable,
    /// Gave up after losing too many races.
    Contended,
    /// A guard of ours forbids it unless it is asked for explicitly; nothing was done.
    Refused,
    /// The user or the owner of the task asked to stop.
    Interrupted,
    /// A bug or an invariant of ours that does not hold.
    Internal,
    /// Anything else the operating system reports.
    Io,
}

/// Whether the same call can be expected to succeed later. Backends say; one layer decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// The same call gives the same answer.
    Never,
    /// Try at once (with the layer's own backoff).
    Now,
    /// The store asked to wait this long.
    After(std::time::Duration),
}

/// An error with its kind, the operation that failed, `key=value` context, a hint and the source.
pub struct Error(Box<Inner>);

struct Inner {
    kind: ErrorKind,
    retry: Retry,
    operation: &'static str,
    message: String,
    context: Vec<(&'static str, String)>,
    hint: Option<String>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// An error of `kind` from `operation`; `message` in lower case, no full stop, without the source's text.
    pub fn new(kind: ErrorKind, operation: &'static str, message: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            kind,
            retry: Retry::Never,
            operation,
            message: message.into(),
            context: Vec::new(),
            hint: None,
            source: None,
        }))
    }

    /// Wraps an operating system error, whose code chooses the kind. A call that a signal broke off is no wish to stop.
    pub fn io(operation: &'static str, message: impl Into<String>, source: std::io::Error) -> Self {
        use std::io::ErrorKind as Io;
        let kind = match source.kind() {
            Io::NotFound => ErrorKind::NotFound,
            Io::AlreadyExists => ErrorKind::AlreadyExists,
            Io::PermissionDenied | Io::ReadOnlyFilesystem => ErrorKind::PermissionDenied,
            Io::StorageFull | Io::QuotaExceeded | Io::FileTooLarge => ErrorKind::NoSpace,
            Io::TimedOut | Io::ConnectionRefused | Io::ConnectionReset => ErrorKind::Unavailable,
            _ => ErrorKind::Io,
        };
        Self::new(kind, operation, message).with_source(source)
    }

    /// Sets whether trying again makes sense.
    #[must_use]
    pub fn with_retry(mut self, retry: Retry) -> Self {
        self.0.retry = retry;
        self
    }

    /// Adds `key=value` to the message.
    #[must_use]
    pub fn with(mut self, key: &'static str, value: impl fmt::Display) -> Self {
        self.0.context.push((key, value.to_string()));
        self
    }

    /// Says what the person reading this can do next.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// As [`Self::with_hint`], for errors of one kind: who knows what was kept says more than who was stopped.
    #[must_use]
    pub fn with_hint_if(self, kind: ErrorKind, hint: &str) -> Self {
        if self.kind() == kind { self.with_hint(hint) } else { self }
    }

    /// Attaches the cause.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// What the caller branches on.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }
    /// Whether the same call may succeed later.
    pub fn retry(&self) -> Retry {
        self.0.retry
    }
    /// The operation that failed, as its trait names it.
    pub fn operation(&self) -> &'static str {
        self.0.operation
    }
    /// The next step for a person, if one is known.
    pub fn hint(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }
    /// The `key=value` pairs in the order they were added.
    pub fn context(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.0.context.iter().map(|(k, v)| (*k, v.as_str()))
    }
    /// Message, context and every cause in one line.
    pub fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            text.push_str(": ");
            text.push_str(&error.to_string());
            cause = error.source();
        }
        text
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)?;
        for (key, value) in &self.0.context {
            write!(f, " {key}={value}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} in {}: {}", self.0.kind, self.0.operation, self.chain())
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_deref().map(|e| e as _)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_that_a_signal_broke_off_is_no_wish_to_stop() {
        let error = Error::io("read", "cannot read file", std::io::ErrorKind::Interrupted.into());
        assert_eq!(error.kind(), ErrorKind::Io);
    }

    #[test]
    fn chain_names_context_and_cause_once() {
        let cause = std::io::Error::from(std::io::ErrorKind::StorageFull);
        let error = Error::io("put", "cannot write object", cause).with("key", "log/1");
        assert_eq!(error.kind(), ErrorKind::NoSpace);
        assert_eq!(error.chain(), "cannot write object key=log/1: no storage space");
    }
}
