//! `key`.

use super::recovery;
use crate::args::{AddKeyArgs, KeyCommand, NewKeyArgs, RemoveKeyArgs, RotateArgs};
use crate::credentials;
use crate::exit::{Exit, Outcome};
use crate::output::{Format, Table};
use crate::session::Session;
use crate::units;
use decube_backup_core::{Error, ErrorKind, Result};
use decube_backup_engine::Credentials;
use decube_backup_engine::keys::{self, Certainty, Exactness, Others, Revocation, Undeleted};
use decube_backup_engine::options::KeySlotInfo;
use decube_backup_engine::repository::Repository;
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
        KeyCommand::Remove(args) => remove(session, args),
        KeyCommand::Passwd(new) => change(session, new),
        KeyCommand::Generate { file } => generate(session, file),
        KeyCommand::Rotate(args) => rotate(session, *args),
        KeyCommand::Recovery(args) => recovery::run(session, &args.command),
    }
}

fn list(session: &Session) -> Outcome {
    let slots = keys::list(&session.open()?)?;
    let damaged = slots.iter().any(|slot| slot.damage.is_some());
    let exit = if damaged { Exit::Problems } else { Exit::Done };
    if session.console.format() == Format::Json {
        session.console.json(&slots.iter().map(slot_json).collect::<Vec<_>>())?;
        return Ok(exit);
    }
    let mut table = Table::new(&["Key", "Kind", "Created", "Label", "In use"]);
    for slot in &slots {
        let current = if slot.current { "now" } else { "" };
        table.row(vec![
            slot.slot.clone(),
            match &slot.host {
                Some(host) => format!("{} for {host}", slot.kind),
                None => slot.kind.to_owned(),
            },
            slot.created.map(units::time).unwrap_or_default(),
            slot.label.clone(),
            current.to_owned(),
        ]);
    }
    table.print(&session.console)?;
    for (slot, damage) in slots.iter().filter_map(|slot| Some((slot, slot.damage.as_ref()?))) {
        session.console.warn(format_args!(
            "key {} is damaged and opens nothing: {damage}. `key remove {0}`, and add it again",
            slot.slot
        ));
    }
    Ok(exit)
}

fn add(session: &Session, args: &AddKeyArgs) -> Outcome {
    let recipient = args.recipient.as_deref().map(credentials::recipient).transpose()?;
    let (repository, label) = (session.open()?, &args.new.new_label);
    if let (Some(file), Some(host)) = (&args.write_only, &args.for_host) {
        let key = KeyFile::generate(&*session.entropy)?;
        // First the file: a key that is in force and written nowhere would be of no use to anybody.
        write_new(file, key.to_text().as_bytes())?;
        let slot = keys::add_write_only(&repository, &Credentials::KeyFile(key), host, label).map_err(|e| {
            // The next attempt makes another key, and must not find the name taken.
            let _ = std::fs::remove_file(file);
            e.with("file", file.display())
        })?;
        session.console.talk(format_args!(
            "wrote {}: move it to {host}, where `decube-backup --key-file FILE backup PATH` works with it and nothing else does",
            file.display()
        ));
        return say(session, "added", &slot);
    }
    let slot = match recipient {
        Some(recipient) => keys::add_recipient(&repository, &recipient, label)?,
        None => keys::add(&repository, &credentials::find_new(&args.new, &session.stop)?, label)?,
    };
    say(session, "added", &slot)
}

fn change(session: &Session, new: &NewKeyArgs) -> Outcome {
    let mut repository = session.open()?;
    let other = |slot: &&KeySlotInfo| slot.current && slot.damage.is_none() && slot.kind != "password";
    if let Some(other) = keys::list(&repository)?.iter().find(other) {
        return Err(Error::new(
            ErrorKind::Invalid,
            "key",
            "the repository was not opened with a password, so none is replaced",
        )
        .with("key", &other.slot)
        .with("kind", other.kind)
        .with_hint("open it with the password to be replaced; or `key add` a password, then `key remove` this key")
        .into());
    }
    let label = Some(new.new_label.as_str()).filter(|label| !label.is_empty());
    let (slot, left) = keys::change_password(&mut repository, &credentials::find_new(new, &session.stop)?, label)?;
    say(session, "changed", &slot)?;
    Ok(say_undeleted(session, &left))
}

/// Names what is out of force and still there.
fn say_undeleted(session: &Session, left: &[Undeleted]) -> Exit {
    for Undeleted { key, why } in left {
        session.console.warn(format_args!(
            "{key} cannot be deleted: {why}. It is out of force and opens nothing; the next change of keys tries again"
        ));
    }
    if left.is_empty() { Exit::Done } else { Exit::Problems }
}

fn remove(session: &Session, args: &RemoveKeyArgs) -> Outcome {
    let mut repository = session.open()?;
    let slot = &args.slot;
    let (console, others) = (&session.console, if args.drop_others { Others::Drop } else { Others::Refuse });
    if args.dry_run || args.rotate {
        let done = match (args.rotate, args.dry_run) {
            (true, false) => keys::revoke(&mut repository, slot, others)?,
            (true, true) => keys::plan_revocation(&repository, slot)?,
            (false, _) => Revocation::of_one(keys::plan_removal(&repository, slot)?),
        };
        return say_revoked(session, args, &done);
    }
    let write_only = keys::plan_removal(&repository, slot)?.host.is_some();
    let left = keys::remove(&repository, slot)?;
    match console.format() {
        Format::Text if write_only => console.summary(format_args!(
            "removed key {slot}: its host adds nothing from now on. It never had keys that open anything."
        ))?,
        Format::Json => console.json(&json!({"message_type": "key", "action": "removed", "key": slot}))?,
        Format::Text => console.summary(format_args!(
            "removed key {slot}: it opens nothing from now on. Whoever opened the repository with it may have kept the \
             keys behind it: `key remove KEY --rotate` replaces those too."
        ))?,
    }
    Ok(say_undeleted(session, &left))
}

fn say_revoked(session: &Session, args: &RemoveKeyArgs, done: &Revocation) -> Outcome {
    let console = &session.console;
    let (kept, dropped) = (&done.kept[..], &done.dropped[..]);
    if console.format() == Format::Json {
        let all = |slots: &[KeySlotInfo]| slots.iter().map(slot_json).collect::<Vec<_>>();
        console.json(&json!({
            "message_type": "key",
            "action": if args.dry_run { "would_remove" } else { "removed" },
            "key": done.revoked.slot,
            "rotated": args.rotate,
            "kept": all(kept),
            "dropped": all(dropped),
            "generation": done.generation,
        }))?;
        return Ok(say_undeleted(session, &done.undeleted));
    }
    let would = if args.dry_run { "would be " } else { "" };
    let name = |slot: &KeySlotInfo| format!("{} ({}, \"{}\")", slot.slot, slot.kind, slot.label);
    console.summary(format_args!("{would}removed: {}", name(&done.revoked)))?;
    for slot in kept {
        console.summary(format_args!("goes on: {}", name(slot)))?;
    }
    for slot in dropped {
        console.summary(format_args!("{would}ended, to be added again: {}", name(slot)))?;
    }
    if let Some(generation) = done.generation {
        console.summary(format_args!(
            "keyring generation {generation} is in force: nothing that the removed key ever opened reads what is stored \
             from now on. What was stored before stays readable for who kept its keys and can read the storage."
        ))?;
    }
    Ok(say_undeleted(session, &done.undeleted))
}

fn rotate(session: &Session, args: RotateArgs) -> Outcome {
    let repository = session.open()?;
    let console = &session.console;
    if args.status {
        return status(session, &repository, if args.exact { Exactness::Headers } else { Exactness::AtMost });
    }
    let rotated = if args.dry_run { None } else { Some(keys::rotate(&repository)?) };
    match (console.format(), rotated) {
        (Format::Json, Some(rotated)) => console.json(&json!({
            "message_type": "key", "action": "rotated", "generation": rotated.generation, "seq": rotated.seq,
        }))?,
        (Format::Json, None) => console.json(&json!({
            "message_type": "key", "action": "would_rotate", "generation": repository.state().keyring_current(),
        }))?,
        (Format::Text, Some(rotated)) => console.summary(format_args!(
            "keyring generation {} is in force: new packs use its keys. Those there are keep theirs until they are \
             rewritten; `key rotate --status` shows how many.",
            rotated.generation
        ))?,
        (Format::Text, None) => console.summary(format_args!(
            "new pack keys would be made; those in use are of keyring generation {}",
            repository.state().keyring_current()
        ))?,
    }
    Ok(Exit::Done)
}

fn status(session: &Session, repository: &Repository, exactness: Exactness) -> Outcome {
    let usage = keys::packs_by_key_version(repository, exactness)?;
    let console = &session.console;
    if console.format() == Format::Json {
        console.json(&json!({"message_type": "key_status", "versions": usage}))?;
        return Ok(Exit::Done);
    }
    let mut table = Table::new(&[">Version", "", ">Packs", ">Size", "How sure"]);
    for row in &usage {
        let sure = match row.certainty {
            Certainty::Exact => "exact",
            Certainty::AtMost => "this version or an earlier one; --exact looks",
        };
        table.row(vec![
            row.version.to_string(),
            if row.current { "in use" } else { "" }.to_owned(),
            row.packs.to_string(),
            units::size(row.bytes),
            sure.to_owned(),
        ]);
    }
    table.print(console)?;
    Ok(Exit::Done)
}

pub(super) fn say(session: &Session, action: &str, slot: &KeySlotInfo) -> Outcome {
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

pub(super) fn slot_json(slot: &KeySlotInfo) -> Value {
    json!({
        "key": slot.slot,
        "kind": slot.kind,
        "created": slot.created.map(|created| created.to_string()),
        "label": slot.label,
        "recipient": slot.recipient,
        "host": slot.host,
        "current": slot.current,
        "damage": slot.damage,
    })
}

fn generate(session: &Session, file: &Path) -> Outcome {
    let key = KeyFile::generate(&*session.entropy)?;
    write_new(file, key.to_text().as_bytes())?;
    if session.console.format() == Format::Json {
        let file = file.to_string_lossy();
        session.console.json(&json!({"message_type": "key", "action": "generated", "file": file}))?;
        return Ok(Exit::Done);
    }
    session.console.summary(format_args!(
        "wrote a new key to {}. Keep a copy elsewhere: without it, what only it opens is gone for good.",
        file.display()
    ))?;
    Ok(Exit::Done)
}

/// Writes a file nobody else may read; never over an existing one, and whole or not at all.
pub(super) fn write_new(file: &Path, bytes: &[u8]) -> Result<()> {
    let failed = |e| Error::io("key", "cannot write the file", e).with("file", file.display());
    let mut out = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(file).map_err(failed)?;
    out.write_all(bytes).and_then(|()| out.sync_all()).map_err(|e| {
        let _ = std::fs::remove_file(file);
        failed(e)
    })
}
