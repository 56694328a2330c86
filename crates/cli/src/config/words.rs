//! What parsers say of a configuration, without the values: any of them may be a secret, in the wrong place or with a quote too many.

use config::ConfigError;
use std::error::Error;
use yaml_rust2::ScanError;

/// What is wrong with a text that no value can be made of, and the line and column where that is known, both from 1.
pub(super) fn of_syntax(error: &ConfigError, text: &str) -> (String, Option<(usize, usize)>) {
    let cause: Option<&(dyn Error + 'static)> = match error {
        ConfigError::FileParse { cause, .. } => Some(&**cause),
        _ => None,
    };
    if let Some(error) = cause.and_then(|cause| cause.downcast_ref::<ScanError>()) {
        let place = (error.marker().line(), error.marker().col() + 1);
        return match error.info() {
            // It names the key, which may be a mapping of values.
            info if info.ends_with("duplicated key in mapping") => ("a key stands twice".to_owned(), Some(place)),
            info => (info.to_owned(), Some(place)),
        };
    }
    if let Some(error) = cause.and_then(|cause| cause.downcast_ref::<toml::de::Error>()) {
        let before = error.span().and_then(|span| text.get(..span.start));
        let place = before.map(|before| {
            let line = before.rsplit('\n').next().unwrap_or_default();
            (before.matches('\n').count() + 1, line.chars().count() + 1)
        });
        return (error.message().replace('\n', " "), place);
    }
    ("it is not one document of keys and values whose keys are texts".to_owned(), None)
}

/// What is said of a value that is not of the type wanted: `invalid type: string "x", expected u32`.
pub(super) fn of_type(message: &str) -> String {
    // What is expected is ours, and holds no comma before that word; what was found may be anything.
    let Some((found, expected)) = message.rsplit_once(", expected ") else { return message.to_owned() };
    let Some((what, found)) = found.split_once(": ").filter(|(what, _)| what.starts_with("invalid ")) else {
        return message.to_owned();
    };
    let found = match found.split(' ').next().unwrap_or_default() {
        "string" => "a text",
        "map" => "keys and values",
        "sequence" => "a list",
        "boolean" => "true or false",
        "null" | "unit" => "nothing",
        _ => "a number",
    };
    let expected = match expected {
        // All of this type are shares of a hundred.
        "u8" => "a whole number from 0 to 100",
        "u32" => "a whole number from 0 to 4294967295",
        "a boolean" => "true or false",
        "a string" => "a text",
        "a sequence" => "a list",
        ours => ours,
    };
    format!("{what}: {found}, expected {expected}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_told_by_its_kind() {
        let cases = [
            (
                "invalid type: string \"a, expected b\", expected keys and values",
                "invalid type: a text, expected keys and values",
            ),
            (
                "invalid value: integer `-1`, expected u32",
                "invalid value: a number, expected a whole number from 0 to 4294967295",
            ),
            ("invalid type: null, expected a string", "invalid type: nothing, expected a text"),
            ("missing field `url`", "missing field `url`"),
            ("unknown field `x`, expected one of `a`, `b`", "unknown field `x`, expected one of `a`, `b`"),
        ];
        for (message, expected) in cases {
            assert_eq!(of_type(message), expected);
        }
    }
}
