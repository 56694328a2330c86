//! Scheme → factory, a value made in `main`.
//!
//! There are no globals: whoever ships a binary builds a registry with the built-in backends and
//! their own, and hands it to `decube_backup_cli::run`. Only sinks are here: a URL names them. Sources and
//! targets the program makes itself, and transforms are settled by the format.

use crate::error::{Error, ErrorKind, Result};
use crate::section::Section;
use crate::sink::Sink;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Makes a sink from the part of its URL after the scheme and its configuration section.
pub type SinkFactory = Arc<dyn Fn(&str, &Section) -> Result<Arc<dyn Sink>> + Send + Sync>;

/// The known schemes.
#[derive(Clone, Default)]
pub struct Registry {
    sinks: BTreeMap<String, SinkFactory>,
}

impl Registry {
    /// An empty registry.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a sink scheme.
    ///
    /// # Errors
    /// `Invalid` if the scheme is taken: a URL must not mean what was registered last.
    pub fn add_sink(
        &mut self,
        scheme: &str,
        factory: impl Fn(&str, &Section) -> Result<Arc<dyn Sink>> + Send + Sync + 'static,
    ) -> Result<()> {
        if self.sinks.contains_key(scheme) {
            return Err(
                Error::new(ErrorKind::Invalid, "register", "scheme is registered already").with("scheme", scheme)
            );
        }
        self.sinks.insert(scheme.to_owned(), Arc::new(factory));
        Ok(())
    }

    /// The registered schemes, sorted.
    pub fn schemes(&self) -> Vec<&str> {
        self.sinks.keys().map(String::as_str).collect()
    }

    /// Opens the sink of `url`: `scheme:rest`; a plain path is `fs:`.
    ///
    /// # Errors
    /// `Unsupported` for an unknown scheme; what the factory yields.
    pub fn open_sink(&self, url: &str, section: &Section) -> Result<Arc<dyn Sink>> {
        let (scheme, rest) = split_url(url);
        let factory = self.sinks.get(scheme).ok_or_else(|| {
            Error::new(ErrorKind::Unsupported, "open", "this program has no such storage")
                .with("scheme", scheme)
                .with_hint(format!("known schemes: {}", self.schemes().join(", ")))
        })?;
        factory(rest, section)
    }
}

/// `scheme:rest` → (scheme, rest); anything without a scheme is (`fs`, itself).
pub fn split_url(url: &str) -> (&str, &str) {
    match url.split_once(':') {
        Some((scheme, rest))
            if scheme.len() > 1
                && scheme.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-') =>
        {
            (scheme, rest)
        }
        _ => ("fs", url),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_path_is_a_file_system() {
        let cases = [
            ("/srv/x", ("fs", "/srv/x")),
            ("fs:/a:b", ("fs", "/a:b")),
            ("s3://b/p", ("s3", "//b/p")),
            ("./a:b", ("fs", "./a:b")),
        ];
        for (url, expected) in cases {
            assert_eq!(split_url(url), expected, "{url}");
        }
    }

    #[test]
    fn an_unknown_scheme_names_the_known_ones() {
        let error = Registry::new().open_sink("gopher://x", &Section::default()).err().expect("unknown");
        assert_eq!(error.kind(), ErrorKind::Unsupported);
    }

    #[test]
    fn a_scheme_means_one_thing() {
        let mut registry = Registry::new();
        let unsupported = |why| move |_: &str, _: &Section| Err(Error::new(ErrorKind::Unsupported, "open", why));
        registry.add_sink("first", unsupported("the first")).expect("free");
        let error = registry.add_sink("first", unsupported("the second")).expect_err("taken");
        assert_eq!(
            (error.kind(), error.to_string().as_str()),
            (ErrorKind::Invalid, "scheme is registered already scheme=first")
        );
        let opened = registry.open_sink("first:y", &Section::default()).err().expect("it says so");
        assert_eq!(opened.to_string(), "the first");
        registry.add_sink("second", unsupported("another")).expect("free");
        assert_eq!(registry.schemes(), ["first", "second"]);
    }
}
