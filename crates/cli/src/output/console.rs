//! The two streams and the ways to use them.
//!
//! What is said to a person is one line, in which no terminal finds anything to obey: names, reasons and messages of others
//! may be put into it as they are. What is said to a program is exact.

use crate::exit::{Exit, Failure};
use decube_backup_core::display::display_line;
use decube_backup_core::{Error, ErrorKind, Result};
use indicatif::ProgressBar;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde::Serialize;
use serde_json::{Value, json};
use std::fmt::Display;
use std::io::{BufWriter, IsTerminal, Stdout, Write};
use std::os::fd::AsFd;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

/// For whom the output is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Format {
    /// A person.
    #[default]
    Text,
    /// A program: JSON lines.
    Json,
}

/// How much is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Volume {
    /// Data asked for, warnings and errors.
    Quiet,
    /// Summaries and progress too.
    #[default]
    Normal,
    /// Each note too.
    Verbose,
}

/// Where all output goes.
pub struct Console {
    format: Format,
    volume: Volume,
    out: Mutex<BufWriter<Stdout>>,
    bar: Mutex<Option<ProgressBar>>,
    /// There if the work of the command counts, not its output.
    work: OnceLock<Mutex<Work>>,
}

/// What was said of work that is done, for whom stdout did not reach.
#[derive(Default)]
struct Work {
    said: Vec<Value>,
    /// Why stdout did not take it.
    lost: Option<std::io::Error>,
}

impl Console {
    /// A console of the process's own streams.
    pub fn new(format: Format, volume: Volume) -> Self {
        Self {
            format,
            volume,
            out: Mutex::new(BufWriter::with_capacity(64 << 10, std::io::stdout())),
            bar: Mutex::default(),
            work: OnceLock::new(),
        }
    }

    /// For whom it writes.
    pub fn format(&self) -> Format {
        self.format
    }

    /// How much it says.
    pub fn volume(&self) -> Volume {
        self.volume
    }

    /// One line of data for a person.
    ///
    /// # Errors
    /// stdout cannot be written.
    pub fn line(&self, text: impl Display) -> Result<()> {
        self.written(writeln!(self.out(), "{}", display_line(text)))
    }

    /// Lines of data as they are: nothing of others may be in them, or it is no person who reads them.
    ///
    /// # Errors
    /// stdout cannot be written.
    pub fn document(&self, text: &str) -> Result<()> {
        self.bytes(text.as_bytes()).and_then(|()| self.bytes(b"\n"))
    }

    /// One JSON value on a line, seen at once.
    ///
    /// # Errors
    /// stdout cannot be written.
    pub fn json(&self, value: &impl Serialize) -> Result<()> {
        if let (Some(mut work), Ok(value)) = (self.work(), serde_json::to_value(value))
            && value["message_type"] != "status"
        {
            work.said.push(value);
        }
        let mut out = self.out();
        let written = serde_json::to_writer(&mut *out, value).map_err(std::io::Error::from);
        self.written(written.and_then(|()| out.write_all(b"\n")).and_then(|()| out.flush()))
    }

    /// One JSON value of many: may wait in the buffer.
    ///
    /// # Errors
    /// stdout cannot be written.
    pub fn json_item(&self, value: &impl Serialize) -> Result<()> {
        let mut out = self.out();
        let written = serde_json::to_writer(&mut *out, value).map_err(std::io::Error::from);
        self.written(written.and_then(|()| out.write_all(b"\n")))
    }

    /// What was done, for a person who did not ask for quiet; nothing with `--json`.
    ///
    /// # Errors
    /// stdout cannot be written.
    pub fn summary(&self, text: impl Display) -> Result<()> {
        if self.format == Format::Json || self.volume == Volume::Quiet {
            return Ok(());
        }
        let text = text.to_string();
        if let Some(mut work) = self.work() {
            work.said.push(text.as_str().into());
        }
        self.line(text)
    }

    /// Raw bytes of data.
    ///
    /// # Errors
    /// stdout cannot be written.
    pub fn bytes(&self, bytes: &[u8]) -> Result<()> {
        self.written(self.out().write_all(bytes))
    }

    /// Sends what waits in the buffer.
    ///
    /// # Errors
    /// stdout cannot be written.
    pub fn flush(&self) -> Result<()> {
        self.written(self.out().flush())
    }

    /// Talk for a person who did not ask for quiet.
    pub fn talk(&self, text: impl Display) {
        if self.volume > Volume::Quiet && self.format == Format::Text {
            self.stderr(text);
        }
    }

    /// A warning: said even when quiet.
    pub fn warn(&self, text: impl Display) {
        match self.format {
            Format::Text => self.stderr(format_args!("warning: {text}")),
            Format::Json => self.json_stderr(&json!({"message_type": "warning", "message": text.to_string()})),
        }
    }

    /// One line to stderr for a person, above a progress bar.
    pub fn stderr(&self, text: impl Display) {
        self.exactly(display_line(text));
    }

    fn exactly(&self, text: impl Display) {
        let write = || {
            // Nobody is left to be told that stderr is gone.
            let _ = writeln!(std::io::stderr().lock(), "{text}");
        };
        match &*self.bar.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(bar) => bar.suspend(write),
            None => write(),
        }
    }

    /// One JSON value to stderr.
    pub fn json_stderr(&self, value: &impl Serialize) {
        if let Ok(text) = serde_json::to_string(value) {
            self.exactly(text);
        }
    }

    /// Whether a progress bar may be drawn.
    pub fn may_draw(&self) -> bool {
        self.format == Format::Text && self.volume > Volume::Quiet && std::io::stderr().is_terminal()
    }

    /// Lets talk pass above `bar` from now on; `None` takes it away.
    pub(super) fn set_bar(&self, bar: Option<ProgressBar>) {
        *self.bar.lock().unwrap_or_else(PoisonError::into_inner) = bar;
    }

    /// Says why the command ends: what happened, why, what to do.
    pub fn failure(&self, failure: &Failure) {
        let error = &failure.error;
        if is_closed_pipe(error) && error.hint().is_none() {
            return;
        }
        let stderr = std::io::stderr();
        if error.kind() == ErrorKind::Interrupted && stderr.is_terminal() && !takes_output(&stderr) {
            // Asked to stop, it does not wait for who holds the terminal (Ctrl-S).
            return;
        }
        if self.format == Format::Json {
            return self.json_stderr(&exit_error(error, failure.exit));
        }
        self.stderr(format_args!("error: {error}"));
        let mut cause = std::error::Error::source(error);
        while let Some(source) = cause {
            self.stderr(format_args!("cause: {source}"));
            cause = source.source();
        }
        if let Some(hint) = error.hint() {
            self.stderr(format_args!("hint: {hint}"));
        }
    }

    /// From now on it is the work that counts: what was done is done, whether stdout takes word of it or not, so failing
    /// to write there is no error any more. [`Self::end`] tells of it.
    pub(crate) fn outlive_output(&self) {
        self.work.get_or_init(Mutex::default);
    }

    /// Says on stderr what stdout did not take of the result of work that counts, and how that ends the command at best.
    pub(crate) fn end(&self) -> Exit {
        let Some(work) = self.work() else { return Exit::Done };
        let Some(lost) = &work.lost else { return Exit::Done };
        // Whoever closes a pipe wants to hear no more.
        if lost.kind() == std::io::ErrorKind::BrokenPipe {
            return Exit::Done;
        }
        let message = format!("what was done is done, but standard output cannot be written: {lost}");
        match self.format {
            Format::Text => {
                self.warn(message);
                work.said.iter().filter_map(Value::as_str).for_each(|line| self.stderr(line));
            }
            Format::Json => {
                self.json_stderr(&json!({"message_type": "warning", "message": message, "unwritten": work.said}));
            }
        }
        Exit::Problems
    }

    fn work(&self) -> Option<MutexGuard<'_, Work>> {
        Some(self.work.get()?.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// What it means how writing to stdout ended.
    ///
    /// # Errors
    /// It failed, and no work outlives it.
    pub(crate) fn written(&self, written: std::io::Result<()>) -> Result<()> {
        match (written, self.work()) {
            (Ok(()), _) => Ok(()),
            (Err(lost), Some(mut work)) => {
                work.lost.get_or_insert(lost);
                Ok(())
            }
            (Err(source), None) => Err(unwritable(source)),
        }
    }

    fn out(&self) -> MutexGuard<'_, BufWriter<Stdout>> {
        self.out.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether what is written to `stream` now keeps nobody waiting.
pub(crate) fn takes_output(stream: &impl AsFd) -> bool {
    let mut awaited = [PollFd::new(stream, PollFlags::OUT)];
    poll(&mut awaited, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).is_ok_and(|ready| ready > 0)
}

fn exit_error(error: &Error, exit: Exit) -> serde_json::Value {
    json!({
        "message_type": "exit_error",
        "code": exit.code(),
        "message": error.chain(),
        "hint": error.hint(),
    })
}

/// stdout as a writer, for dumps.
pub(crate) struct Data<'a>(pub(crate) &'a Console);

impl Write for Data<'_> {
    fn write(&mut self, buf: &[u8]) -> std::io::Result<usize> {
        self.0.out().write(buf)
    }
    fn flush(&mut self) -> std::io::Result<()> {
        self.0.out().flush()
    }
}

fn unwritable(source: std::io::Error) -> Error {
    Error::io("output", "cannot write to standard output", source)
}

/// Whether the reader of stdout went away (`| head`): nobody wants to hear of it.
fn is_closed_pipe(error: &Error) -> bool {
    let mut cause = std::error::Error::source(error);
    while let Some(source) = cause {
        if source.downcast_ref::<std::io::Error>().is_some_and(|e| e.kind() == std::io::ErrorKind::BrokenPipe) {
            return true;
        }
        cause = source.source();
    }
    false
}
