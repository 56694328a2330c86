//! Links: relative links in the documents lead to a file, and to a heading where they name one.

use std::path::Path;

pub(super) fn check(root: &Path, file: &Path, name: &str, content: &str) -> Vec<String> {
    let folder = file.parent().unwrap_or(root);
    let mut findings = Vec::new();
    for (number, target) in targets(content) {
        let (path, anchor) = target.split_once('#').unwrap_or((target, ""));
        let goal = if path.is_empty() { file.to_owned() } else { folder.join(path) };
        if !goal.exists() {
            findings.push(format!("{name}:{number}: link to {path}, which does not exist"));
        } else if !anchor.is_empty() && goal.extension().is_some_and(|e| e == "md") {
            let known = std::fs::read_to_string(&goal).is_ok_and(|text| headings(&text).any(|h| h == anchor));
            if !known {
                findings.push(format!("{name}:{number}: link to {target}, which has no such heading"));
            }
        }
    }
    findings
}

/// Line number and goal of each relative link outside code.
fn targets(content: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    for (number, line) in prose(content) {
        let mut rest = line;
        while let Some((_, behind)) = rest.split_once("](") {
            let Some((inside, after)) = behind.split_once(')') else { break };
            let target = inside.split_whitespace().next().unwrap_or_default();
            if !target.is_empty() && !target.contains("://") && !target.starts_with("mailto:") {
                found.push((number, target));
            }
            rest = after;
        }
    }
    found
}

/// Lines outside fenced code, numbered from 1.
fn prose(content: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut in_code = false;
    content.lines().enumerate().filter_map(move |(index, line)| {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
            return None;
        }
        (!in_code).then_some((index + 1, line))
    })
}

/// Anchors of the headings, as forges make them: lower case, punctuation dropped, blanks as hyphens.
fn headings(content: &str) -> impl Iterator<Item = String> {
    prose(content).filter(|(_, line)| line.starts_with('#')).map(|(_, line)| {
        let kept = line.trim_start_matches('#').trim().chars().filter_map(|c| match c {
            ' ' => Some('-'),
            '-' | '_' => Some(c),
            c if c.is_alphanumeric() => Some(c),
            _ => None,
        });
        kept.flat_map(char::to_lowercase).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relative_links_outside_code_are_found() {
        let text = "[a](b.md) and [c](d/e.md#f \"title\")\n```\n[x](no.md)\n```\n[w](https://example.org)\n[h](#top)\n";
        assert_eq!(targets(text), [(1, "b.md"), (1, "d/e.md#f"), (6, "#top")]);
    }

    #[test]
    fn anchors_are_made_as_forges_make_them() {
        let text = "# What it is\n## 2. `log/<seq>`, and more\n";
        assert_eq!(headings(text).collect::<Vec<_>>(), ["what-it-is", "2-logseq-and-more"]);
    }
}
