//! A panic ends the process at once, with one line that says so: a thread that died must leave nobody waiting for it.

use crate::exit::Exit;
use crate::output::Format;
use decube_backup_core::display::display_line;
use serde_json::json;
use std::io::Write;

const HINT: &str = "this is a mistake in the program: please report it with the command that was run. The repository is safe: \
                    what had not been recorded in it was not published";

/// From now on a panic of any thread is told as `format` has it, and ends the process with exit code 1.
pub(crate) fn end_the_process(format: Format) {
    std::panic::set_hook(Box::new(move |info| {
        let what = info.payload_as_str().unwrap_or("no message").replace('\n', " ");
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        // Nobody is left to be told that stderr is gone.
        let _ = std::io::stderr().lock().write_all(told(format, &what, &place).as_bytes());
        // Unwinding would run destructors that wait for threads, one of which may be this one.
        #[allow(clippy::disallowed_methods)]
        std::process::exit(Exit::Failed.code().into());
    }));
}

fn told(format: Format, what: &str, place: &str) -> String {
    let message = format!("internal error: {what} at={place}");
    match format {
        Format::Text => format!("error: {}\nhint: {HINT}\n", display_line(message)),
        Format::Json => {
            let exit = json!({
                "message_type": "exit_error", "code": Exit::Failed.code(), "message": message, "hint": HINT,
            });
            format!("{exit}\n")
        }
    }
}
