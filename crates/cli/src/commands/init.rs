//! `init`.

use crate::args::{CipherArg, InitArgs};
use crate::credentials::Asking;
use crate::exit::{Exit, Failure, Outcome};
use crate::local;
use crate::output::Format;
use crate::session::Session;
use decube_backup_core::Error;
use decube_backup_engine::Credentials;
use decube_backup_engine::options::InitOptions;
use decube_backup_engine::repository::Repository;
use decube_backup_format::chunker::ChunkerParams;
use decube_backup_format::seal::Cipher;
use serde_json::json;

/// Creates a repository.
///
/// # Errors
/// There is one already, whole or damaged, another process just made it, other files are there, or the place refuses.
pub(super) fn run(session: &Session, args: &InitArgs) -> Outcome {
    let defaults = InitOptions::default();
    let options = InitOptions {
        cipher: match args.cipher {
            CipherArg::Aes256Gcm => Cipher::Aes256Gcm,
            CipherArg::ChaCha20Poly1305 => Cipher::ChaCha20Poly1305,
        },
        chunker: args.chunk_size.map_or(defaults.chunker, ChunkerParams::around),
        pack_bytes: args.pack_size.unwrap_or(defaults.pack_bytes),
        segment_bytes: args.segment_size.unwrap_or(defaults.segment_bytes),
        key_label: args.key_label.clone(),
    };
    options.chunker.validate()?;
    let place = session.place()?;
    let environment = session.environment(&place)?;
    // Before anybody is asked for a password, twice.
    let refused = |error: Error| Failure::opening(error.with("repository", place.shown()));
    Repository::refuse_existing(&environment).map_err(refused)?;
    place.directory().map_or(Ok(()), local::refuse_foreign)?;
    let credentials = session.credentials(&place, Asking::Twice)?.credentials;
    let created = Repository::init(environment, &credentials, &options);
    let repository = created.map_err(|e| e.with("repository", place.shown()))?;
    let id = repository.id().to_hex();
    let console = &session.console;
    if console.format() == Format::Json {
        console.json(&json!({"message_type": "initialized", "id": id, "repository": place.shown()}))?;
        return Ok(Exit::Done);
    }
    console.summary(format_args!("created repository {id} at {}", place.shown()))?;
    console.summary(match credentials {
        Credentials::Password(_) => {
            "Without the password the data is gone for good: nobody can recover it. Write it down, and keep it elsewhere: \
             `key recovery export` prints a sheet for that."
        }
        Credentials::KeyFile(_) | Credentials::Recovery(_) | Credentials::Identities(_) => {
            "Without the key file the data is gone for good: nobody can recover it. Keep a copy elsewhere."
        }
    })?;
    Ok(Exit::Done)
}
