//! Diagnostics of the libraries, on stderr.

use crate::output::{Console, Format, Volume};
use crate::surroundings;
use serde_json::{Map, Value, json};
use std::fmt::Debug;
use std::io::Write;
use std::sync::Arc;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id};
use tracing::{Event, Subscriber};
use tracing_subscriber::filter::{EnvFilter, LevelFilter};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;

/// Lets warnings of the libraries, and more with `-v`, reach stderr, as lines of text or of JSON. `DECUBE_BACKUP_LOG` takes
/// filter directives such as `debug` or `decube_backup_engine=trace`; one that cannot be read counts for nothing.
pub(crate) fn listen(console: &Arc<Console>, verbosity: u8) {
    let given = surroundings::variable("DECUBE_BACKUP_LOG");
    let given = given.and_then(|directives| {
        let read = EnvFilter::try_new(directives.to_string_lossy());
        let warn = |e| console.warn(format_args!("DECUBE_BACKUP_LOG is taken for not set: {e}"));
        read.map_err(warn).ok()
    });
    let usual = || EnvFilter::default().add_directive(level(console.volume(), verbosity).into());
    let filter = given.unwrap_or_else(usual);
    let with_target = verbosity > 1;
    // Set once for a process; a second run in the same one keeps the first.
    let _ = match console.format() {
        Format::Text => tracing_subscriber::fmt()
            .with_writer(Lines(console.clone()))
            .without_time()
            .with_target(with_target)
            .with_ansi(false)
            .with_env_filter(filter)
            .try_init(),
        Format::Json => {
            let objects = Objects { console: console.clone(), with_target };
            tracing_subscriber::registry().with(filter).with(objects).try_init().map_err(Into::into)
        }
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

/// Each diagnostic as one object; what its spans say is among its fields.
struct Objects {
    console: Arc<Console>,
    with_target: bool,
}

#[derive(Clone, Default)]
struct Fields(Map<String, Value>);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.insert(field.name().to_owned(), format!("{value:?}").into());
    }
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name().to_owned(), value.into());
    }
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.0.insert(field.name().to_owned(), value.into());
    }
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.0.insert(field.name().to_owned(), value.into());
    }
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.0.insert(field.name().to_owned(), value.into());
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Objects {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        if let Some(span) = context.span(id) {
            span.extensions_mut().insert(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut fields = Fields::default();
        for span in context.event_scope(event).into_iter().flat_map(|scope| scope.from_root()) {
            if let Some(Fields(more)) = span.extensions().get::<Fields>().cloned() {
                fields.0.extend(more);
            }
        }
        event.record(&mut fields);
        let message = fields.0.remove("message").unwrap_or_default();
        let metadata = event.metadata();
        let mut line = json!({
            "message_type": "log",
            "level": metadata.level().as_str().to_ascii_lowercase(),
            "message": message,
            "fields": fields.0,
        });
        if self.with_target {
            line["target"] = metadata.target().into();
        }
        self.console.json_stderr(&line);
    }
}
