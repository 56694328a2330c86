//! Lines of a `.gitignore` as patterns for the crate `ignore`, with git's meaning.
//!
//! That crate reads braces as alternatives, knows no classes such as `[:alpha:]`, no escapes inside brackets, takes an
//! unclosed bracket or a lone backslash for a mistake, and lets a bracket match `/`. Git does none of that. A line is written
//! anew so that the crate says what `git ls-files --exclude-standard` says; text only, nothing is matched here.
//!
//! Source: git's `wildmatch.c` and `dir.c` (`trim_trailing_spaces`, `parse_path_pattern`), and gitignore(5).

use std::iter::Peekable;
use std::str::Chars;

/// What a line means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    /// This, for the crate.
    Pattern(String),
    /// The same, but a range in it runs backwards, such as `[z-a]`: git takes it for its first character.
    Backwards(String),
    /// It matches nothing: empty, a comment, an unclosed bracket, a lone backslash at the end.
    Nothing,
}

/// Reads one line, without its line feed.
pub fn line(text: &str) -> Line {
    let text = without_trailing_spaces(text);
    if text.starts_with('#') {
        return Line::Nothing;
    }
    let (not, body) = text.strip_prefix('!').map_or(("", text), |body| ("!", body));
    let (body, directory) = body.strip_suffix('/').map_or((body, ""), |body| (body, "/"));
    // No path begins or ends with a slash.
    if body.ends_with('/') || body.starts_with("\\/") {
        return Line::Nothing;
    }
    let mut backwards = false;
    match translated(body, &mut backwards) {
        Some(glob) if !glob.is_empty() => {
            // Without a slash in it a pattern matches names at any depth, with one even inside brackets only where it
            // stands. Said outright, since slashes in brackets come and go.
            let depth = match (body.contains('/'), glob.contains('/')) {
                (true, true) => "",
                (true, false) => "/",
                (false, _) if glob == "**" => "",
                (false, _) => "**/",
            };
            let pattern = format!("{not}{depth}{glob}{directory}");
            if backwards { Line::Backwards(pattern) } else { Line::Pattern(pattern) }
        }
        _ => Line::Nothing,
    }
}

fn without_trailing_spaces(text: &str) -> &str {
    let (mut end, mut escaped) = (0, false);
    for (at, c) in text.char_indices() {
        if c != ' ' || escaped {
            end = at + c.len_utf8();
        }
        escaped = c == '\\' && !escaped;
    }
    text.get(..end).unwrap_or(text)
}

/// `None` if it can match nothing.
fn translated(body: &str, backwards: &mut bool) -> Option<String> {
    let mut glob = String::with_capacity(body.len());
    let mut chars = body.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\\' => literal(chars.next()?, &mut glob),
            '[' => glob.push_str(&Class::read(&mut chars, backwards)?.written()?),
            '*' => {
                // Of more than two git makes two.
                let many = chars.next_if_eq(&'*').is_some();
                while chars.next_if_eq(&'*').is_some() {}
                glob.push_str(if many { "**" } else { "*" });
            }
            '?' | '/' => glob.push(c),
            c => literal(c, &mut glob),
        }
    }
    Some(glob)
}

fn literal(c: char, glob: &mut String) {
    match c {
        // At the end of a line the crate would take it off.
        c if c.is_whitespace() => glob.extend(['{', c, '}']),
        // Before a slash at the end the crate would take a backslash off.
        '\\' => glob.push_str("[\\]"),
        '*' | '?' | '[' | ']' | '{' | '}' | '!' | '#' => glob.extend(['\\', c]),
        c => glob.push(c),
    }
}

/// What stands in brackets.
struct Class {
    negated: bool,
    ascii: [bool; 128],
    /// Characters and ranges beyond ASCII: the crate matches their bytes, as git does.
    others: Vec<(char, char)>,
}

impl Class {
    /// Reads on behind `[`; `None` where git gives up.
    fn read(chars: &mut Peekable<Chars>, backwards: &mut bool) -> Option<Self> {
        let mut class = Self { negated: false, ascii: [false; 128], others: Vec::new() };
        class.negated = chars.next_if(|c| matches!(c, '!' | '^')).is_some();
        let mut before = None;
        let mut first = true;
        loop {
            let c = chars.next()?;
            match c {
                ']' if !first => return Some(class),
                '\\' => {
                    let c = chars.next()?;
                    class.add(c, c);
                    before = Some(c);
                }
                '-' if before.is_some() && chars.peek().is_some_and(|next| *next != ']') => {
                    let last = match chars.next()? {
                        '\\' => chars.next()?,
                        last => last,
                    };
                    if let Some(from) = before.take() {
                        *backwards |= last < from;
                        class.add(from, last);
                    }
                }
                '[' if chars.peek() == Some(&':') => match name(chars) {
                    Some(name) => {
                        class.add_named(&name)?;
                        before = None;
                    }
                    None => {
                        class.add('[', '[');
                        before = Some('[');
                    }
                },
                c => {
                    class.add(c, c);
                    before = Some(c);
                }
            }
            first = false;
        }
    }

    fn add(&mut self, from: char, to: char) {
        let last = if to.is_ascii() { to } else { '\x7f' };
        for (at, member) in self.ascii.iter_mut().enumerate() {
            *member |= (from as usize..=last as usize).contains(&at);
        }
        if !to.is_ascii() && from <= to {
            self.others.push((from.max('\x7f'), to));
        }
    }

    /// Adds `alpha` and the like; `None` for a name git does not know.
    fn add_named(&mut self, name: &str) -> Option<()> {
        let is_space = |c: char| matches!(c, '\t' | '\n' | '\r' | ' ');
        let is_member: &dyn Fn(char) -> bool = match name {
            "alnum" => &|c| c.is_ascii_alphanumeric(),
            "alpha" => &|c| c.is_ascii_alphabetic(),
            "blank" => &|c| matches!(c, '\t' | ' '),
            "cntrl" => &|c| c.is_ascii_control(),
            "digit" => &|c| c.is_ascii_digit(),
            "graph" => &|c| c.is_ascii_graphic(),
            "lower" => &|c| c.is_ascii_lowercase(),
            "print" => &|c| c.is_ascii_graphic() || c == ' ',
            "punct" => &|c| c.is_ascii_punctuation(),
            "space" => &is_space,
            "upper" => &|c| c.is_ascii_uppercase(),
            "xdigit" => &|c| c.is_ascii_hexdigit(),
            _ => return None,
        };
        for (member, c) in self.ascii.iter_mut().zip('\0'..) {
            *member |= is_member(c);
        }
        Some(())
    }

    /// For the crate, whose brackets know no escapes: `]` comes first, `-` last, and neither bounds a range. `None` if no
    /// character is left; none matches `/`.
    fn written(mut self) -> Option<String> {
        let mut take = |c: char| {
            let member = self.ascii.get_mut(c as usize).map(|member| std::mem::replace(member, false));
            member == Some(true)
        };
        let slash = take('/');
        let [close, bang, caret, dash] = [']', '!', '^', '-'].map(take);
        let mut inside = String::from(if close { "]" } else { "" });
        let members: Vec<char> = self.ascii.iter().zip('\0'..).filter(|(member, _)| **member).map(|(_, c)| c).collect();
        for run in members.chunk_by(|a, b| *a as u32 + 1 == *b as u32) {
            match run {
                [from, _, .., to] => inside.extend([*from, '-', *to]),
                few => inside.extend(few),
            }
        }
        for (from, to) in self.others {
            inside.push(from);
            if from != to {
                inside.extend(['-', to]);
            }
        }
        if self.negated || slash && inside.is_empty() && !(bang || caret || dash) {
            if !self.negated {
                return None;
            }
            inside.push('/');
        }
        // Neither may come first: there it would mean "not".
        let signs: String = [(bang, '!'), (caret, '^')].into_iter().filter(|(is, _)| *is).map(|(_, c)| c).collect();
        match (self.negated, inside.is_empty(), dash) {
            (true, ..) => Some(format!("[!{inside}{signs}{}]", if dash { "-" } else { "" })),
            (false, true, true) => Some(format!("[-{signs}]")),
            (false, true, false) => match signs.as_str() {
                "" => None,
                "!^" => Some("{\\!,\\^}".to_owned()),
                one => Some(format!("\\{one}")),
            },
            (false, false, _) => Some(format!("[{inside}{signs}{}]", if dash { "-" } else { "" })),
        }
    }
}

/// The name in `:name:]`, read to its end; `None`, and nothing read, if that is not what follows.
fn name(chars: &mut Peekable<Chars>) -> Option<String> {
    let mut ahead = chars.clone();
    ahead.next();
    let mut name = String::new();
    loop {
        match ahead.next()? {
            ']' => break,
            c => name.push(c),
        }
    }
    let name = name.strip_suffix(':')?.to_owned();
    *chars = ahead;
    Some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_written_for_the_crate() {
        let cases = [
            ("*.log", "**/*.log"),
            ("/a/", "/a/"),
            ("!a/b", "!a/b"),
            ("**", "**"),
            ("!***", "!**"),
            ("***/a", "**/a"),
            ("a****b", "**/a**b"),
            ("a\\/b", "a/b"),
            ("{a,b}", "**/\\{a,b\\}"),
            ("*.{o,c}", "**/*.\\{o,c\\}"),
            ("{a", "**/\\{a"),
            ("\\!a", "**/\\!a"),
            ("a  ", "**/a"),
            ("a\\ ", "**/a{ }"),
            ("a\t", "**/a{\t}"),
            ("[[:digit:]_]", "**/[0-9_]"),
            ("[!a]", "**/[!a/]"),
            ("[]-]x", "**/[]-]x"),
            ("[\\!^]", "**/{\\!,\\^}"),
            ("[a^-]", "**/[a^-]"),
            ("[.-0]", "**/[.0]"),
            ("a[/b]", "/a[b]"),
            ("a[!/]b/", "a[!/]b/"),
            ("[[:a]", "**/[:[a]"),
            ("[é]", "**/[é]"),
            ("\\\\/", "**/[\\]/"),
        ];
        for (text, expected) in cases {
            assert_eq!(line(text), Line::Pattern(expected.to_owned()), "{text:?}");
        }
        for text in [
            "",
            "#a",
            "!",
            "/",
            "a\\",
            "a\\/",
            "**//",
            "a//",
            "\\/**.*",
            "!//",
            "[a",
            "[",
            "[]",
            "[[:nonsense:]]",
            "[/]",
            "  ",
        ] {
            assert_eq!(line(text), Line::Nothing, "{text:?}");
        }
        assert_eq!(line("[z-a]"), Line::Backwards("**/[z]".to_owned()));
    }
}
