//! Asking a person at the terminal for what nobody else shall see.
//!
//! However the asking ends, by a line, by Ctrl-C, SIGTERM or SIGHUP, the terminal is left as it was found: a signal only wakes who
//! waits for the line. Ctrl-Z and Ctrl-\ mean nothing meanwhile: whoever stops or ends a program so finds a terminal without echo.

use crate::output::takes_output;
use crate::signals::{StopFlag, Watch};
use decube_backup_core::{Error, ErrorKind, Result};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::termios::{
    LocalModes, OptionalActions, QueueSelector, SpecialCodeIndex, Termios, tcflush, tcgetattr, tcsetattr,
};
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use zeroize::Zeroizing;

/// Bytes of a line; terminals take no longer ones.
const LINE_BYTES_MAX: usize = 4096;
/// What a special character is set to that shall not be special.
const NO_CHARACTER: u8 = 0;

/// How often a line that cannot be meant is asked for.
const TRIES_MAX: usize = 3;

/// The line a person types at the terminal after seeing `text`, without echo. One with a control character, which nobody sees and
/// a completing shell would have taken for itself, is asked for again: left out, another password would be set than the one typed.
///
/// # Errors
/// `Interrupted` if `stop` is raised; there is no terminal, the input ends, or the line is no UTF-8; `Invalid` if each has such
/// a character.
pub(crate) fn hidden(text: &str, stop: &StopFlag) -> Result<Zeroizing<String>> {
    let control =
        || Error::new(ErrorKind::Invalid, "prompt", "what was typed holds a control character, such as a tab");
    for left in (0..TRIES_MAX).rev() {
        let typed = once(text, stop)?;
        if !typed.chars().any(char::is_control) {
            return Ok(typed);
        }
        if left > 0 {
            let _ = writeln!(io::stderr(), "{}; type it again", control());
        }
    }
    Err(control().with_hint("a password that holds one is given by a file or a command"))
}

/// The line, whatever is in it, without its end.
fn once(text: &str, stop: &StopFlag) -> Result<Zeroizing<String>> {
    let failed = |e| Error::io("prompt", "cannot ask at the terminal", e);
    let terminal = OpenOptions::new().read(true).write(true).open("/dev/tty").map_err(failed)?;
    let watch = stop.watch()?;
    let silenced = Silenced::new(&terminal).map_err(failed)?;
    // A terminal whose output is held (Ctrl-S) would keep the writer, whatever signal comes.
    if ready(&terminal, PollFlags::OUT, &watch).map_err(failed)? {
        (&terminal).write_all(text.as_bytes()).map_err(failed)?;
    }
    let line = line(&terminal, &watch);
    if stop.is_raised() {
        // What was typed is for no other program either.
        let _ = tcflush(&terminal, QueueSelector::IFlush);
    }
    // In this order: once nothing watches, the next signal ends the program.
    drop(silenced);
    drop(watch);
    if (line.is_err() || stop.is_raised()) && takes_output(&terminal) {
        // What is said next does not stand behind the question.
        let _ = (&terminal).write_all(b"\n");
    }
    if stop.is_raised() {
        return Err(
            Error::new(ErrorKind::Interrupted, "prompt", "interrupted while asking").with_hint("nothing was changed")
        );
    }
    let line = line.map_err(failed)?;
    let line = std::str::from_utf8(&line).map_err(|e| failed(io::Error::new(io::ErrorKind::InvalidData, e)))?;
    let line = line.strip_suffix('\n').unwrap_or(line);
    Ok(Zeroizing::new(line.strip_suffix('\r').unwrap_or(line).to_owned()))
}

/// A line and its end; less if a signal comes.
fn line(mut terminal: &File, watch: &Watch<'_>) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut line = Zeroizing::new(Vec::with_capacity(LINE_BYTES_MAX));
    let mut piece = Zeroizing::new([0; LINE_BYTES_MAX]);
    while !line.ends_with(b"\n") && ready(terminal, PollFlags::IN, watch)? {
        let read = terminal.read(piece.as_mut_slice())?;
        let read = piece.get(..read).unwrap_or_default();
        if read.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if line.len() + read.len() > LINE_BYTES_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the line is too long"));
        }
        line.extend_from_slice(read);
    }
    Ok(line)
}

/// Waits until `terminal` is ready for `wanted`; not if a signal comes before.
fn ready(terminal: &File, wanted: PollFlags, watch: &Watch<'_>) -> io::Result<bool> {
    while !watch.is_raised() {
        let mut awaited = [PollFd::new(terminal, wanted), PollFd::from_borrowed_fd(watch.as_fd(), PollFlags::IN)];
        match poll(&mut awaited, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let [ready, _] = awaited.map(|awaited| !awaited.revents().is_empty());
        if ready {
            return Ok(true);
        }
    }
    Ok(false)
}

/// A terminal that shows nothing of what is typed, until this is dropped.
struct Silenced<'t> {
    terminal: &'t File,
    found: Termios,
}

impl<'t> Silenced<'t> {
    fn new(terminal: &'t File) -> io::Result<Self> {
        let found = tcgetattr(terminal)?;
        let mut silent = found.clone();
        silent.local_modes.remove(LocalModes::ECHO);
        silent.local_modes.insert(LocalModes::ECHONL | LocalModes::ICANON | LocalModes::ISIG);
        for special in [SpecialCodeIndex::VSUSP, SpecialCodeIndex::VQUIT] {
            silent.special_codes[special] = NO_CHARACTER;
        }
        let silenced = Self { terminal, found };
        // What was typed ahead stays.
        tcsetattr(terminal, OptionalActions::Now, &silent)?;
        Ok(silenced)
    }
}

impl Drop for Silenced<'_> {
    fn drop(&mut self) {
        // A terminal that is gone needs nothing back.
        let _ = tcsetattr(self.terminal, OptionalActions::Now, &self.found);
    }
}
