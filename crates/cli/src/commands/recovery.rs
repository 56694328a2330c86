//! `key recovery`.

use super::key;
use crate::args::RecoveryCommand;
use crate::credentials::{self, Found};
use crate::exit::{Exit, Failure, Outcome};
use crate::output::Format;
use crate::session::Session;
use crate::surroundings;
use crate::units;
use decube_backup_core::display::display_line;
use decube_backup_core::{Error, ErrorKind, Result};
use decube_backup_engine::options::KeySlotInfo;
use decube_backup_engine::{Credentials, keys};
use decube_backup_format::keyslot::RecoveryKey;
use qrcode::render::{svg, unicode};
use qrcode::{EcLevel, QrCode};
use serde_json::json;
use std::path::Path;
use zeroize::Zeroizing;

/// Runs a `key recovery` command.
///
/// # Errors
/// What kept it from its end.
pub(super) fn run(session: &Session, command: &RecoveryCommand) -> Outcome {
    match command {
        RecoveryCommand::Export { output, svg, label } => export(session, output.as_deref(), svg.as_deref(), label),
        RecoveryCommand::Use(new) => {
            let place = session.place()?;
            let environment = session.environment(&place)?;
            let repository = session.open_by(&place, environment, || {
                credentials::recovery(&session.global, &session.stop).map(Found::given)
            })?;
            let slot = keys::add(&repository, &credentials::find_new(new, &session.stop)?, &new.new_label)?;
            key::say(session, "added", &slot)
        }
    }
}

fn export(session: &Session, output: Option<&Path>, svg: Option<&Path>, label: &str) -> Outcome {
    for file in [output, svg].into_iter().flatten() {
        // Looked at first: a key whose sheet cannot be written helps nobody.
        if file.exists() {
            return Err(Error::new(ErrorKind::AlreadyExists, "recovery", "the file is there already")
                .with("file", file.display())
                .with_hint("no key was added; give another name")
                .into());
        }
    }
    if output.is_none() {
        surroundings::check_output()?;
    }
    let place = session.place()?;
    let repository = session.open_at(&place)?;
    let recovery = RecoveryKey::generate(&*session.entropy)?;
    let code = recovery.to_code();
    let qr = QrCode::with_error_correction_level(code.as_bytes(), EcLevel::M)
        .map_err(|e| Error::new(ErrorKind::Internal, "recovery", format!("cannot draw the QR code: {e}")))?;
    let slot = keys::add(&repository, &Credentials::Recovery(recovery.clone()), label)?;
    let sheet = sheet(&repository.id().to_hex(), &place.shown(), &slot, &recovery, &qr);
    let written = write(session, output, svg, &sheet, &qr, &slot, &recovery).and_then(|()| session.console.flush());
    written.map_err(|error| Failure {
        error: error
            .with("key", &slot.slot)
            .with_hint("the key was added, but its sheet is incomplete: `key remove` it, and export another"),
        exit: Exit::Problems,
    })?;
    Ok(Exit::Done)
}

fn write(
    session: &Session,
    output: Option<&Path>,
    svg: Option<&Path>,
    sheet: &str,
    qr: &QrCode,
    slot: &KeySlotInfo,
    recovery: &RecoveryKey,
) -> Result<()> {
    let console = &session.console;
    if let Some(file) = svg {
        let picture = Zeroizing::new(qr.render::<svg::Color>().min_dimensions(300, 300).build());
        key::write_new(file, picture.as_bytes())?;
    }
    if let Some(file) = output {
        key::write_new(file, sheet.as_bytes())?;
    }
    match (console.format(), output) {
        (Format::Json, _) => {
            let mut object = key::slot_json(slot);
            object["message_type"] = "recovery_sheet".into();
            object["action"] = "added".into();
            // Whoever asked for a file wants the secret there and nowhere else.
            if output.is_none() {
                let lines: Vec<String> = recovery.to_lines().iter().map(|line| line.to_string()).collect();
                object["lines"] = json!(lines);
                object["code"] = recovery.to_code().as_str().into();
            }
            console.json(&object)
        }
        (Format::Text, None) => console.document(sheet),
        (Format::Text, Some(file)) => console.summary(format_args!(
            "added key {} and wrote its sheet to {}. Print it, keep it in a safe, and remove the file.",
            slot.slot,
            file.display()
        )),
    }
}

fn sheet(repository: &str, place: &str, slot: &KeySlotInfo, key: &RecoveryKey, qr: &QrCode) -> Zeroizing<String> {
    let lines = key.to_lines();
    let picture = Zeroizing::new(qr.render::<unicode::Dense1x2>().build());
    let lines = Zeroizing::new(lines.iter().map(|line| format!("    {}\n", line.as_str())).collect::<String>());
    Zeroizing::new(format!(
        "DeCube Backup: recovery sheet\n\
         =============================\n\
         \n\
         Repository    {repository}\n\
         Place         {place}\n\
         This key      {slot}, made {made}, \"{label}\"\n\
         \n\
         Whoever holds this sheet can read everything in the repository.\n\
         Keep it in a safe, away from the repository.\n\
         \n\
         {lines}\
         \n\
         There is no letter I, L, O or U in the key; what looks so is 1, 1, 0 or V. The last two\n\
         characters of each line are a check: a mistyped line is named.\n\
         \n\
         When no password is known any more:\n\
         \n\
         \x20   decube-backup -r PLACE key recovery use\n\
         \n\
         asks for these lines and for a new password. To only restore, type the lines\n\
         into a file and run\n\
         \n\
         \x20   decube-backup -r PLACE --recovery-key-file FILE restore latest -t DIR\n\
         \n\
         If somebody else may have seen this sheet:\n\
         \n\
         \x20   decube-backup -r PLACE key remove {slot} --rotate\n\
         \n\
         {picture}",
        slot = slot.slot,
        made = slot.created.map(units::time).unwrap_or_default(),
        label = display_line(&slot.label),
        lines = lines.as_str(),
        picture = picture.as_str(),
    ))
}
