//! Manifests: versions once, lints once, a description each.

use crate::Result;
use cargo_metadata::Metadata;
use std::path::Path;
use toml::{Table, Value};

pub(super) fn check(root: &Path, metadata: &Metadata) -> Result<Vec<String>> {
    let mut findings = Vec::new();
    for package in metadata.workspace_packages() {
        let path = package.manifest_path.as_std_path();
        let name = path.strip_prefix(root).unwrap_or(path).display().to_string();
        let manifest: Table = std::fs::read_to_string(path)?.parse()?;
        findings.extend(complaints(&manifest).into_iter().map(|complaint| format!("{name}: {complaint}")));
    }
    Ok(findings)
}

fn complaints(manifest: &Table) -> Vec<String> {
    let mut found = Vec::new();
    let text = |key: &str| manifest.get("package").and_then(|p| p.get(key)).and_then(Value::as_str);
    if text("description").is_none_or(str::is_empty) {
        found.push("no description".to_owned());
    }
    if manifest.get("lints").and_then(|l| l.get("workspace")) != Some(&Value::Boolean(true)) {
        found.push("lints.workspace = true is missing".to_owned());
    }
    for key in ["version", "edition", "rust-version", "license"] {
        if text(key).is_some() {
            found.push(format!("{key} is written out: use {key}.workspace = true"));
        }
    }
    let targets = manifest.get("target").and_then(Value::as_table).into_iter().flat_map(Table::values);
    for table in targets.filter_map(Value::as_table).chain(std::iter::once(manifest)) {
        for kind in ["dependencies", "dev-dependencies", "build-dependencies"] {
            let Some(dependencies) = table.get(kind).and_then(Value::as_table) else { continue };
            for (name, value) in dependencies {
                // A crate's tests may depend on the crate itself to switch a feature on: there is no version in that.
                let is_itself = value.get("path").and_then(Value::as_str) == Some(".");
                if value.get("workspace") != Some(&Value::Boolean(true)) && !is_itself {
                    found.push(format!("{name}: versions stand in the root Cargo.toml; use workspace = true"));
                }
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::complaints;

    fn check(text: &str, expected: usize) {
        let found = complaints(&text.parse().expect("TOML"));
        assert_eq!(found.len(), expected, "{found:?}");
    }

    #[test]
    fn what_is_said_in_the_root_is_not_said_again() {
        let good = "package = { description = 'x', version.workspace = true }\nlints.workspace = true\n";
        check(&format!("{good}[dependencies]\na.workspace = true\nb = {{ workspace = true, optional = true }}"), 0);
        check(&format!("{good}[dependencies]\na = '1'\n[dev-dependencies]\nb = {{ version = '1' }}"), 2);
        check(&format!("{good}[dev-dependencies]\na = {{ path = '.', features = ['x'] }}"), 0);
        check(&format!("{good}[target.'cfg(unix)'.dependencies]\na = '1'"), 1);
        check("package = { version = '1' }", 3);
    }
}
