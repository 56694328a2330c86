//! Bytes and text of others as one line that a terminal shows and does not obey.
//!
//! Names, tags and messages come from whoever may write to a repository or to a directory. A control character among them
//! moves a cursor, renames a window or forges a line; a bidirectional one shows another name than the one that is meant.
//! Whatever reaches a person passes here; whatever reaches a program does not.

use std::fmt::{self, Display, Write};

/// Shows raw bytes as one line: what [`display_line`] escapes, `\` and invalid UTF-8 as `\xNN`.
pub fn display_bytes(bytes: &[u8]) -> impl Display + '_ {
    fmt::from_fn(move |f| {
        for chunk in bytes.utf8_chunks() {
            for c in chunk.valid().chars() {
                match c {
                    '\\' => f.write_str("\\\\")?,
                    c => show(c, f)?,
                }
            }
            for byte in chunk.invalid() {
                write!(f, "\\x{byte:02x}")?;
            }
        }
        Ok(())
    })
}

/// Shows text as one line: control characters, line and paragraph separators and what turns the direction of writing as
/// `\xNN`. What was shown so or by [`display_bytes`] is shown the same again.
pub fn display_line(text: impl Display) -> impl Display {
    fmt::from_fn(move |f| write!(Shown(f), "{text}"))
}

struct Shown<'a, 'f>(&'a mut fmt::Formatter<'f>);

impl Write for Shown<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
            return self.0.write_str(text);
        }
        text.chars().try_for_each(|c| show(c, self.0))
    }
}

fn show(c: char, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    if !is_obeyed(c) {
        return f.write_char(c);
    }
    c.encode_utf8(&mut [0; 4]).bytes().try_for_each(|byte| write!(f, "\\x{byte:02x}"))
}

/// Whether a terminal does something else with `c` than showing it where it stands.
///
/// Source: Unicode 16, UAX 9 (`Bidi_Control`); the categories Cc, Zl and Zp.
fn is_obeyed(c: char) -> bool {
    let turns = matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    turns || c.is_control() || matches!(c, '\u{2028}' | '\u{2029}')
}

#[cfg(test)]
mod tests {
    use super::*;

    const OBEYED: &str =
        "\0\t\n\r\x1b\x7f\u{80}\u{9b}\u{9f}\u{61c}\u{200e}\u{200f}\u{2028}\u{2029}\u{202a}\u{202e}\u{2066}\u{2069}";

    #[test]
    fn odd_names_are_shown_on_one_line() {
        assert_eq!(display_bytes(b"a\nb\xff\\").to_string(), "a\\x0ab\\xff\\\\");
        assert_eq!(display_bytes("a\u{202e}é".as_bytes()).to_string(), "a\\xe2\\x80\\xaeé");
    }

    #[test]
    fn nothing_that_a_terminal_obeys_is_left() {
        for shown in [display_line(OBEYED).to_string(), display_bytes(OBEYED.as_bytes()).to_string()] {
            assert!(shown.bytes().all(|byte| matches!(byte, b' '..=b'~')), "{shown:?}");
            assert_eq!(shown.matches("\\x").count(), OBEYED.len(), "{shown}");
        }
    }

    #[test]
    fn what_is_shown_already_is_shown_the_same_again() {
        for text in ["plain", "größe 日本語 👩‍🚀", "C:\\x", OBEYED] {
            let once = display_line(text).to_string();
            assert_eq!(display_line(&once).to_string(), once);
            let bytes = display_bytes(text.as_bytes()).to_string();
            assert_eq!(display_line(&bytes).to_string(), bytes);
        }
        assert_eq!(display_line("größe 日本語 👩‍🚀 \\").to_string(), "größe 日本語 👩‍🚀 \\");
    }
}
