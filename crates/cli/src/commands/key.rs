//! `key`.

use crate::args::{KeyCommand, NewKeyArgs};
use crate::credentials;
use crate::exit::{Exit, Outcome};
use crate::output::{Format, Table};
use crate::session::Session;
use crate::units;
use decube_backup_core::{Error, Result};
use decube_backup_engine::keys;
use decube_backup_engine::options::KeySlotInfo;
use decube_backup_format::keyslot::KeyFile;
use serde_json::{Value, json};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Runs a `key` command.
///
/// # Errors
/// What kept it from its end.
pub(super) fn run(session: &Session, command: &KeyCommand) -> Outcome {
    match command {
        KeyCommand::List => list(session),
        KeyCommand::Add(new) => add(session, new),
        KeyCommand::Remove { slot } => remove(session, slot),
        KeyCommand::Passwd(new) => change(session, new),
        KeyCommand::Generate { file } => generate(session, file),
    }
}

fn list(session: &Session) -> Outcome {
    let slots = keys::list(&session.open()?)?;
    if session.console.format() == Format::Json {
        session.console.json(&slots.iter().map(slot_json).collect::<Vec<_>>())?;
        return Ok(Exit::Done);
    }
    let mut table = Table::new(&["Key", "Kind", "Created", "Label", "In use"]);
    for slot in &slots {
        let current = if slot.current { "now" } else { "" };
        table.row(vec![
            slot.slot.clone(),
            slot.kind.to_owned(),
            units::local_time(slot.created),
            slot.label.clone(),
            current.to_owned(),
        ]);
    }
    table.print(&session.console)?;
    Ok(Exit::Done)
}

fn add(session: &Session, new: &NewKeyArgs) -> Outcome {
    let repository = session.open()?;
    let slot = keys::add(&repository, &credentials::find_new(new)?, &new.new_label)?;
    say(session, "added", &slot)
}

fn change(session: &Session, new: &NewKeyArgs) -> Outcome {
    let mut repository = session.open()?;
    let slot = keys::change_password(&mut repository, &credentials::find_new(new)?)?;
    say(session, "changed", &slot)
}

fn remove(session: &Session, slot: &str) -> Outcome {
    let repository = session.open()?;
    keys::remove(&repository, slot)?;
    match session.console.format() {
        Format::Json => session.console.json(&json!({"message_type": "key", "action": "removed", "key": slot}))?,
        Format::Text => session.console.summary(format_args!(
            "removed key {slot}: it opens nothing from now on. Whoever copied key and repository before can still read that copy."
        ))?,
    }
    Ok(Exit::Done)
}

fn say(session: &Session, action: &str, slot: &KeySlotInfo) -> Outcome {
    match session.console.format() {
        Format::Json => {
            let mut object = slot_json(slot);
            object["message_type"] = "key".into();
            object["action"] = action.into();
            session.console.json(&object)?;
        }
        Format::Text => session.console.summary(format_args!("{action} key {} ({})", slot.slot, slot.kind))?,
    }
    Ok(Exit::Done)
}

fn slot_json(slot: &KeySlotInfo) -> Value {
    json!({
        "key": slot.slot,
        "kind": slot.kind,
        "created": slot.created.to_string(),
        "label": slot.label,
        "current": slot.current,
    })
}

fn generate(session: &Session, file: &Path) -> Outcome {
    let key = KeyFile::generate(&*session.entropy)?;
    write_new(file, key.to_text().as_bytes())?;
    session.console.summary(format_args!(
        "wrote a new key to {}. Keep a copy elsewhere: without it, what only it opens is gone for good.",
        file.display()
    ))?;
    Ok(Exit::Done)
}

/// Writes a file nobody else may read; never over an existing one.
fn write_new(file: &Path, bytes: &[u8]) -> Result<()> {
    let failed = |e| Error::io("key", "cannot write the key file", e).with("file", file.display());
    let mut out = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(file).map_err(failed)?;
    out.write_all(bytes).and_then(|()| out.sync_all()).map_err(failed)
}
