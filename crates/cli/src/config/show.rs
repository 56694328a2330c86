//! Printing the effective configuration, secrets masked.

use crate::config::load::Configuration;
use crate::config::model::Document;
use crate::config::secrets;
use decube_backup_core::{Error, ErrorKind, Result};
use serde_json::Value;

/// Words in a key that make its value a secret.
const SECRET_WORDS: [&str; 5] = ["password", "secret", "token", "credential", "access_key"];
/// Keys that name a place or command instead of holding the secret.
const PLACES: [&str; 3] = ["password_file", "password_command", "key_file"];

/// An effective configuration to print.
pub(crate) struct Shown {
    /// All of it, masked.
    pub(crate) document: Value,
    /// Path, value and origin of each single value.
    pub(crate) leaves: Vec<(String, Value, String)>,
}

/// The effective configuration, defaults included, with the origin of every value.
///
/// # Errors
/// `Internal` only.
pub(crate) fn shown(configuration: &Configuration) -> Result<Shown> {
    let document = Document { backup: configuration.backup.clone() };
    let mut document = serde_json::to_value(document)
        .map_err(|e| Error::new(ErrorKind::Internal, "config", "cannot print the configuration").with_source(e))?;
    mask(&mut document, "");
    let mut leaves = Vec::new();
    flatten(configuration, &document, &mut Vec::new(), &mut leaves);
    Ok(Shown { document, leaves })
}

fn mask(value: &mut Value, key: &str) {
    match value {
        Value::Object(map) => map.iter_mut().for_each(|(key, value)| mask(value, key)),
        Value::Array(items) => items.iter_mut().for_each(|value| mask(value, key)),
        Value::String(text) if is_secret(key) && !secrets::is_reference(text) => *text = "***".to_owned(),
        Value::String(text) if key == "url" || key == "metrics_endpoint" => *text = mask_url(text),
        Value::Number(_) if is_secret(key) => *value = "***".into(),
        _ => {}
    }
}

fn is_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    !PLACES.contains(&key.as_str()) && SECRET_WORDS.iter().any(|word| key.contains(word))
}

/// `scheme://user:password@host` with the password masked.
pub(crate) fn mask_url(url: &str) -> String {
    let masked = || {
        let (scheme, rest) = url.split_once("://")?;
        let (login, place) = rest.split_once('@')?;
        let (user, _) = login.split_once(':')?;
        (!login.contains('/')).then(|| format!("{scheme}://{user}:***@{place}"))
    };
    masked().unwrap_or_else(|| url.to_owned())
}

fn flatten(
    configuration: &Configuration,
    value: &Value,
    path: &mut Vec<String>,
    leaves: &mut Vec<(String, Value, String)>,
) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (key, value) in map {
                path.push(key.clone());
                flatten(configuration, value, path, leaves);
                path.pop();
            }
        }
        value => leaves.push((path.join("."), value.clone(), configuration.origin(path))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_masked_and_references_shown() {
        let mut value = serde_json::json!({"sinks": {"a": {
            "url": "s3://u:p@h/b", "password": "x", "password_file": "/f", "options": {"secret_key": "k", "token": "${env:T}"}}}});
        mask(&mut value, "");
        let expected = serde_json::json!({"sinks": {"a": {
            "url": "s3://u:***@h/b", "password": "***", "password_file": "/f", "options": {"secret_key": "***", "token": "${env:T}"}}}});
        assert_eq!(value, expected);
    }
}
