//! `completions`, `man`, `version`: the program about itself.

use crate::args::{self, CompletionsArgs, ProgramArg, SmallSnapshotArgs, SmallVerifyArgs};
use crate::exit::{Exit, Outcome, table_text};
use crate::output::Format;
use crate::session::Session;
use clap::CommandFactory;
use clap_complete::Shell;
use clap_mangen::Man;
use decube_backup_core::{Error, Result};
use serde_json::{Value, json};

/// Environment variables, for the manual page.
const VARIABLES: [(&str, &str); 15] = [
    ("DECUBE_BACKUP_REPOSITORY", "as --repo"),
    ("DECUBE_BACKUP_KEY_FILE", "as --key-file"),
    ("DECUBE_BACKUP_IDENTITY_FILE", "as --identity-file"),
    ("DECUBE_BACKUP_RECOVERY_KEY_FILE", "as --recovery-key-file"),
    ("DECUBE_BACKUP_PASSWORD_COMMAND", "as --password-command"),
    ("DECUBE_BACKUP_PASSWORD_FILE", "as --password-file"),
    ("DECUBE_BACKUP_PASSWORD", "the password itself"),
    ("DECUBE_BACKUP_CONFIG", "as --config"),
    ("DECUBE_BACKUP_CACHE_DIR", "as --cache-dir"),
    ("DECUBE_BACKUP_STATE_DIR", "as --state-dir"),
    ("DECUBE_BACKUP_PARITY", "as --parity"),
    ("DECUBE_BACKUP_THREADS", "as --threads"),
    ("DECUBE_BACKUP_HOST", "host name recorded in snapshots"),
    ("DECUBE_BACKUP_LOG", "diagnostics on standard error: error, warn, info, debug, trace, or filter directives"),
    ("DECUBE_BACKUP__SECTION__NAME__KEY", "overrides one value of the configuration file"),
];

/// Prints a completion script.
///
/// # Errors
/// stdout cannot be written.
pub(super) fn completions(session: &Session, args: &CompletionsArgs) -> Outcome {
    let mut command = match args.program {
        ProgramArg::DecubeBackup => args::command(),
        ProgramArg::DecubSnapshot => SmallSnapshotArgs::command(),
        ProgramArg::DecubeVerify => SmallVerifyArgs::command(),
    };
    let program = command.get_name().to_owned();
    let told = program.clone();
    let mut script = Vec::new();
    match args.shell {
        Shell::Bash => {
            // A dash in the name makes clap write cases that are never reached: it has another name inside the script.
            let inner = program.replace('-', "_");
            clap_complete::generate(args.shell, &mut command, &inner, &mut script);
            let text = String::from_utf8_lossy(&script);
            script = text.replace(&format!("default {inner}\n"), &format!("default {program}\n")).into_bytes();
        }
        shell => clap_complete::generate(shell, &mut command, program, &mut script),
    }
    tell(session, &script, json!({"message_type": "completions", "shell": args.shell.to_string(), "program": told}))
}

/// Prints the manual page: the program, then every command.
///
/// # Errors
/// stdout cannot be written.
pub(super) fn man(session: &Session) -> Outcome {
    let mut command = args::command().after_long_help("");
    command.build();
    tell(session, &manual(&command)?, json!({"message_type": "man"}))
}

/// Prints `text`, for programs as the `text` of `object`.
fn tell(session: &Session, text: &[u8], mut object: Value) -> Outcome {
    match session.console.format() {
        Format::Text => session.console.bytes(text)?,
        Format::Json => {
            object["text"] = String::from_utf8_lossy(text).into();
            session.console.json(&object)?;
        }
    }
    Ok(Exit::Done)
}

fn manual(command: &clap::Command) -> Result<Vec<u8>> {
    let mut page = Vec::new();
    let failed = |e| Error::io("man", "cannot write the manual page", e);
    let man = Man::new(command.clone());
    man.render_title(&mut page).map_err(failed)?;
    man.render_name_section(&mut page).map_err(failed)?;
    man.render_synopsis_section(&mut page).map_err(failed)?;
    man.render_description_section(&mut page).map_err(failed)?;
    man.render_options_section(&mut page).map_err(failed)?;
    page.extend_from_slice(b".SH COMMANDS\n");
    for inner in command.get_subcommands().filter(|inner| inner.get_name() != "help") {
        command_section(inner, inner.get_name(), &mut page).map_err(failed)?;
    }
    page.extend_from_slice(b".SH ENVIRONMENT\n");
    for (variable, meaning) in VARIABLES {
        page.extend_from_slice(format!(".TP\n{variable}\n{}\n", escaped(meaning)).as_bytes());
    }
    page.extend_from_slice(b".SH \"EXIT CODES\"\n.nf\n");
    page.extend_from_slice(table_text().trim_start_matches("Exit codes:\n").as_bytes());
    page.extend_from_slice(b".fi\n");
    Ok(page)
}

/// A command with its own options and examples, and the commands below it.
fn command_section(command: &clap::Command, path: &str, page: &mut Vec<u8>) -> std::io::Result<()> {
    let own = command
        .clone()
        .mut_args(|arg| if arg.is_global_set() || arg.get_id() == "help" { arg.hide(true) } else { arg });
    let about = command.get_long_about().or_else(|| command.get_about()).map(ToString::to_string);
    page.extend_from_slice(format!(".SS \"{path}\"\n{}\n", escaped(&about.unwrap_or_default())).as_bytes());
    let mut options = Vec::new();
    Man::new(own).render_options_section(&mut options)?;
    for line in String::from_utf8_lossy(&options).lines() {
        // Headings of options are paragraphs of the command's section, not sections of the page.
        let line = match line.strip_prefix(".SH ") {
            Some("OPTIONS") => continue,
            Some(heading) => format!(".PP\n\\fI{}\\fR", heading.trim_matches('"')),
            None => line.to_owned(),
        };
        page.extend_from_slice(line.as_bytes());
        page.push(b'\n');
    }
    if let Some(examples) = command.get_after_help() {
        page.extend_from_slice(notes(&examples.to_string()).as_bytes());
    }
    for inner in command.get_subcommands().filter(|inner| inner.get_name() != "help") {
        command_section(inner, &format!("{path} {}", inner.get_name()), page)?;
    }
    Ok(())
}

/// Paragraphs, which roff fills, and indented examples, which it leaves as they are.
fn notes(text: &str) -> String {
    let mut notes = String::from(".PP\n");
    for line in text.lines() {
        notes += &match (line.is_empty(), line.starts_with(' ')) {
            (true, _) => ".PP\n".to_owned(),
            (_, true) => format!(".nf\n{}\n.fi\n", escaped(line)),
            (_, false) => format!("{}\n", escaped(line)),
        };
    }
    notes
}

/// Text as roff takes it: no escapes, no line that looks like a request.
fn escaped(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-");
    let line = |line: &str| if line.starts_with(['.', '\'']) { format!("\\&{line}") } else { line.to_owned() };
    text.lines().map(line).collect::<Vec<_>>().join("\n")
}

/// Prints version, storage schemes and format version.
///
/// # Errors
/// stdout cannot be written.
pub(super) fn version(session: &Session) -> Outcome {
    let (version, schemes) = (env!("CARGO_PKG_VERSION"), session.schemes());
    match session.console.format() {
        Format::Json => session.console.json(&json!({
            "message_type": "version",
            "version": version,
            "repository_format": 1,
            "schemes": schemes,
            "os": std::env::consts::OS,
            "arch": std::env::consts::ARCH,
        }))?,
        Format::Text => {
            session.console.line(format_args!("decube-backup {version}"))?;
            session.console.line("repository format 1")?;
            let storage = if schemes.is_empty() { "none".to_owned() } else { schemes.join(", ") };
            session.console.line(format_args!("storage: {storage}"))?;
            session.console.line(format_args!("{} {}", std::env::consts::OS, std::env::consts::ARCH))?;
        }
    }
    Ok(Exit::Done)
}
