//! Diagnostics of the libraries, on stderr.

use crate::output::{Console, Volume};
use crate::surroundings;
use std::io::Write;
use std::sync::Arc;
use tracing_subscriber::filter::{EnvFilter, LevelFilter};
use tracing_subscriber::fmt::MakeWriter;

/// Lets warnings of the libraries, and more with `-v`, reach stderr. `DECUBE_BACKUP_LOG` takes
/// filter directives such as `debug` or `decube_backup_engine=trace`.
pub(crate) fn listen(console: &Arc<Console>, verbosity: u8) {
    let builder =
        tracing_subscriber::fmt().with_writer(Lines(console.clone())).without_time().with_target(verbosity > 1);
    let ansi = builder.with_ansi(false);
    // Set once for a process; a second run in the same one keeps the first.
    let _ = match surroundings::variable("DECUBE_BACKUP_LOG") {
        Some(filter) => ansi.with_env_filter(EnvFilter::new(filter.to_string_lossy())).try_init(),
        None => ansi.with_max_level(level(console.volume(), verbosity)).try_init(),
    };
}

fn level(volume: Volume, verbosity: u8) -> LevelFilter {
    match (volume, verbosity) {
        (Volume::Quiet, _) => LevelFilter::ERROR,
        (_, 0) => LevelFilter::WARN,
        (_, 1) => LevelFilter::INFO,
        (_, 2) => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    }
}

struct Lines(Arc<Console>);

struct Line<'a>(&'a Console);

impl Write for Line<'_> {
    fn write(&mut self, buf: &[u8]) -> std::io::Result<usize> {
        self.0.stderr(String::from_utf8_lossy(buf).trim_end());
        Ok(buf.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Line<'a>;
    fn make_writer(&'a self) -> Line<'a> {
        Line(&self.0)
    }
}
