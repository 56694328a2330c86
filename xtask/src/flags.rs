//! Command line of a task: `--name value`, `--name` and positional arguments.

use crate::Result;

/// The arguments of one task; taken out one after the other, so that what is left over is an error.
pub(crate) struct Flags(Vec<String>);

impl Flags {
    pub(crate) fn new(arguments: Vec<String>) -> Self {
        Self(arguments)
    }

    /// Takes `--name value` or `--name=value`.
    pub(crate) fn value(&mut self, name: &str) -> Result<Option<String>> {
        let prefix = format!("{name}=");
        if let Some(at) = self.0.iter().position(|a| a.starts_with(&prefix)) {
            return Ok(Some(self.0.remove(at).split_off(prefix.len())));
        }
        match self.0.iter().position(|a| a == name) {
            None => Ok(None),
            Some(at) if at + 1 < self.0.len() => {
                self.0.remove(at);
                Ok(Some(self.0.remove(at)))
            }
            Some(_) => Err(format!("{name} needs a value").into()),
        }
    }

    /// Takes `--name value` and parses the value, or gives `default`.
    pub(crate) fn parsed<T: std::str::FromStr>(&mut self, name: &str, default: T) -> Result<T> {
        match self.value(name)? {
            None => Ok(default),
            Some(text) => text.parse().map_err(|_| format!("{name}: cannot read {text:?}").into()),
        }
    }

    /// Takes `--name`.
    pub(crate) fn is_set(&mut self, name: &str) -> bool {
        let found = self.0.iter().position(|a| a == name);
        if let Some(at) = found {
            self.0.remove(at);
        }
        found.is_some()
    }

    /// Takes everything after `--`.
    pub(crate) fn after_dashes(&mut self) -> Vec<String> {
        match self.0.iter().position(|a| a == "--") {
            None => Vec::new(),
            Some(at) => self.0.split_off(at).split_off(1),
        }
    }

    /// The positional arguments; call last.
    ///
    /// # Errors
    /// A flag nobody took.
    pub(crate) fn rest(self) -> Result<Vec<String>> {
        match self.0.iter().find(|a| a.starts_with('-')) {
            Some(unknown) => Err(format!("unknown flag {unknown}").into()),
            None => Ok(self.0),
        }
    }

    /// Nothing may be left.
    pub(crate) fn end(self) -> Result {
        match self.rest()?.first() {
            Some(extra) => Err(format!("unexpected argument {extra}").into()),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Flags;

    fn flags(text: &str) -> Flags {
        Flags::new(text.split_whitespace().map(str::to_owned).collect())
    }

    #[test]
    fn flags_and_folders_may_be_mixed() {
        let mut given = flags("a --runs 5 --scale=0.5 b --keep -- -x y");
        assert_eq!(given.after_dashes(), ["-x", "y"]);
        assert_eq!(given.parsed("--runs", 1).expect("a number"), 5);
        assert_eq!(given.value("--scale").expect("a value").as_deref(), Some("0.5"));
        assert!(given.is_set("--keep"));
        assert_eq!(given.rest().expect("no flags left"), ["a", "b"]);
    }

    #[test]
    fn a_flag_nobody_knows_is_an_error() {
        assert!(flags("--what").end().is_err());
        assert!(flags("extra").end().is_err());
        assert!(flags("--runs").parsed("--runs", 1).is_err());
    }
}
