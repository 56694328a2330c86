//! Text: file length, words that do not belong, printing.

/// Longest source file. Longer means two concerns.
const LINES_MAX: usize = 400;

/// Files that may be longer: path and reason.
const LONGER: [(&str, &str); 0] = [];

/// Never in a source file. Written in two halves, so that this file passes.
const UNFINISHED: [(&str, &str); 4] = [
    (concat!("to", "do!("), "unfinished code"),
    (concat!("unimpl", "emented!("), "unfinished code"),
    (concat!("#[ig", "nore"), "a skipped test: make it run or remove it"),
    (concat!("FIX", "ME"), "fix it or open an issue"),
];

/// Never anywhere: they mean something on one machine only.
const NOT_HERE: [(&str, &str); 5] = [
    (concat!("/wo", "rk/"), "a path of one machine"),
    (concat!("/ro", "ot/."), "a path of one machine"),
    (concat!("static.", "crates.io"), "the host of a registry"),
    (concat!("index.", "crates.io"), "the host of a registry"),
    (concat!("file:", "//localhost"), "a path of one machine"),
];

pub(super) fn check(name: &str, content: &str) -> Vec<String> {
    let mut findings = Vec::new();
    words(name, content, &NOT_HERE, &mut findings);
    if !name.ends_with(".rs") {
        return findings;
    }
    words(name, content, &UNFINISHED, &mut findings);
    let lines = content.lines().count();
    if lines > LINES_MAX && !LONGER.iter().any(|(path, _)| *path == name) {
        findings.push(format!("{name}: {lines} lines, at most {LINES_MAX}"));
    }
    if !may_print(name) {
        let code = content.lines().enumerate().take_while(|(_, line)| line.trim() != "#[cfg(test)]");
        for (number, line) in code.filter(|(_, line)| !line.trim_start().starts_with("//")) {
            if ["println!(", "print!("].iter().any(|word| line.contains(word)) {
                findings.push(format!("{name}:{}: only the cli prints: return a value or trace", number + 1));
            }
        }
    }
    findings
}

fn may_print(name: &str) -> bool {
    ["crates/cli/", "xtask/", "fuzz/"].iter().any(|folder| name.starts_with(folder))
        || ["/tests/", "/benches/", "/examples/", "/tests.rs"].iter().any(|part| name.contains(part))
}

fn words(name: &str, content: &str, forbidden: &[(&str, &str)], findings: &mut Vec<String>) {
    for (number, line) in content.lines().enumerate() {
        for (word, reason) in forbidden {
            if line.contains(word) {
                findings.push(format!("{name}:{}: {word}: {reason}", number + 1));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(name: &str, content: &str, expected: usize) {
        let found = check(name, content);
        assert_eq!(found.len(), expected, "{found:?}");
    }

    #[test]
    fn only_the_cli_and_tests_print() {
        let print = "fn f() { println!(\"x\"); }\n";
        count("crates/engine/src/a.rs", print, 1);
        count("crates/engine/src/a.rs", &format!("#[cfg(test)]\n{print}"), 0);
        count("crates/engine/src/a.rs", "/// println!(\"x\")\n", 0);
        count("crates/engine/tests/a.rs", print, 0);
        count("crates/cli/src/a.rs", print, 0);
    }

    #[test]
    fn unfinished_and_long_files_are_found() {
        count("crates/core/src/a.rs", &format!("{}\n", UNFINISHED[0].0), 1);
        count("docs/a.md", &format!("{}\n", UNFINISHED[3].0), 0);
        count("docs/a.md", &format!("see {}x\n", NOT_HERE[0].0), 1);
        count("crates/core/src/a.rs", &"x\n".repeat(LINES_MAX + 1), 1);
        count("docs/a.md", &"x\n".repeat(LINES_MAX + 1), 0);
    }
}
