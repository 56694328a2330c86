//! Floors: a crate depends only on strictly lower floors. No cycles, no sibling edges.
//!
//! The table is the law of `ARCHITECTURE.md`; a crate that is not in it does not exist yet.

use cargo_metadata::{DependencyKind, Metadata};

const PREFIX: &str = "decube-backup-";

/// Crate, without the prefix, and its floor.
const FLOORS: [(&str, u8); 15] = [
    ("core", 0),
    ("format", 1),
    ("catalog", 1),
    ("layers", 1),
    ("sources", 1),
    ("backend-fs", 1),
    ("cloud", 1),
    ("testkit", 1),
    ("engine", 2),
    ("server", 2),
    ("backend-s3", 2),
    ("backend-gcs", 2),
    ("backend-azure", 2),
    ("cli", 3),
    ("xtask", OUTSIDE),
];

/// Sees everything, seen by nobody.
const OUTSIDE: u8 = u8::MAX;

fn floor(name: &str) -> Option<u8> {
    let short = name.strip_prefix(PREFIX).unwrap_or(name);
    FLOORS.iter().find(|(known, _)| *known == short).map(|(_, floor)| *floor)
}

pub(super) fn check(metadata: &Metadata) -> Vec<String> {
    let mut findings = Vec::new();
    for package in metadata.workspace_packages() {
        let from = package.name.as_str();
        if floor(from).is_none() {
            findings.push(format!("{from}: no floor; add it to the table in xtask/src/tidy/floors.rs"));
        }
        let own = package.dependencies.iter().filter(|d| d.path.is_some());
        findings.extend(own.filter_map(|d| complaint(from, &d.name, d.kind == DependencyKind::Development)));
    }
    findings
}

/// What is wrong with the edge `from → to`, if anything.
///
/// Tests may reach where production code may not: to the testkit from anywhere, from floor 2 to anything on
/// floor 1 (scenarios of the engine run over real folders, too), and to their own crate with more features.
fn complaint(from: &str, to: &str, in_tests: bool) -> Option<String> {
    let (upper, lower) = (floor(from)?, floor(to));
    let Some(lower) = lower else {
        return Some(format!("{from} depends on {to}, which has no floor"));
    };
    let test_edge = in_tests && (to == "decube-backup-testkit" || to == from || (lower <= 1 && upper > 1));
    if lower < upper || test_edge {
        return None;
    }
    Some(format!("{from} (floor {upper}) depends on {to} (floor {lower}): only strictly lower floors are allowed"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_edge_goes_down_or_is_reported() {
        let cases = [
            ("cli", "engine", false, true),
            ("engine", "format", false, true),
            ("engine", "backend-fs", true, true),
            ("format", "testkit", true, true),
            ("core", "testkit", true, true),
            ("format", "format", true, true),
            ("format", "testkit", false, false),
            ("format", "layers", false, false),
            ("layers", "backend-fs", true, false),
            ("engine", "server", true, false),
            ("core", "format", false, false),
            ("engine", "cli", false, false),
            ("engine", "unheard-of", false, false),
        ];
        for (from, to, in_tests, allowed) in cases {
            let (from, to) = (format!("{PREFIX}{from}"), format!("{PREFIX}{to}"));
            assert_eq!(complaint(&from, &to, in_tests).is_none(), allowed, "{from} → {to}");
        }
        assert!(complaint("decube-backup-cli", "xtask", true).is_some());
        assert!(complaint("xtask", "decube-backup-backend-fs", false).is_none());
    }
}
