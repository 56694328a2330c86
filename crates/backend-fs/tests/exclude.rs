//! Exclusion means what git means by it, and says why.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

mod common;

use common::{Needs, Scratch, below, ignoring, options, scan};
use decube_backup_backend_fs::source::exclude::{CacheDirectories, Case, NoDumpFlag, Pattern, Rule, Verdict};
use decube_backup_backend_fs::source::{ExcludeOptions, FsSource};
use decube_backup_core::ErrorKind;
use decube_backup_core::monitor::ProblemKind;

fn main() {
    common::main(&[
        ("patterns_mean_what_git_means", Needs::Nothing, patterns),
        ("patterns_leave_out_what_git_leaves_out", Needs::Program("git"), like_git),
        ("a_line_git_alone_understands_costs_no_other_rule", Needs::Nothing, odd_lines),
        ("an_absolute_pattern_below_a_root_is_anchored_there", Needs::Nothing, absolute_patterns),
        ("case_can_be_ignored", Needs::Nothing, case),
        ("pattern_files_are_named_with_their_line", Needs::Nothing, pattern_files),
        ("ignore_files_in_the_tree_hold_below_them", Needs::Nothing, ignore_files),
        ("an_ignore_file_too_large_to_be_read_whole_costs_no_other_its_lines", Needs::Nothing, large_ignore_file),
        ("an_ignore_file_takes_no_more_memory_than_it_may", Needs::Nothing, bounded_ignore_files),
        ("what_is_no_file_holds_no_lines_and_is_backed_up", Needs::Nothing, special_ignore_files),
        ("a_tagged_cache_keeps_directory_and_tag", Needs::Nothing, caches),
        ("a_named_file_empties_its_directory", Needs::Nothing, if_present),
        ("large_and_no_dump_files_stay_out", Needs::Nothing, large_and_nodump),
        ("a_bad_pattern_is_refused_with_its_place", Needs::Nothing, bad_patterns),
    ]);
}

const TREE: [&str; 9] = [
    "a.log",
    "build/out.o",
    "doc/a.log",
    "doc/build",
    "doc/deep/x/y/z.tmp",
    "doc/keep.log",
    "src/build/gen.c",
    "src/main.c",
    "z.tmp",
];

/// Files of `TREE` that a scan finds, and that `explain` agrees for each of them.
fn found(scratch: &Scratch, exclude: ExcludeOptions) -> Vec<String> {
    let mut options = options(scratch.path());
    options.exclude = exclude;
    let source = FsSource::new(options).unwrap();
    let (entries, problems) = below(scratch.path(), scan(&source));
    assert_eq!(problems, []);
    let all: Vec<String> = entries.iter().map(|(path, _)| path.to_string()).collect();
    for file in TREE {
        if let Ok(explanation) = source.explain(&scratch.join(file)) {
            let included = explanation.verdict == Verdict::Included;
            assert_eq!(included, all.iter().any(|p| p == file), "{file}: {explanation}");
        }
    }
    all.into_iter().filter(|p| scratch.join(p).is_file()).collect()
}

fn tree() -> Scratch {
    let scratch = Scratch::new();
    for file in TREE {
        scratch.file(file, "content");
    }
    scratch
}

fn check(scratch: &Scratch, lines: &[&str], excluded: &[&str]) {
    let patterns = lines.iter().map(|line| Pattern::new(*line)).collect();
    let found = found(scratch, ExcludeOptions { patterns, ..ExcludeOptions::default() });
    let out: Vec<_> = TREE.iter().filter(|file| !found.iter().any(|f| f == *file)).copied().collect();
    assert_eq!(out, excluded, "{lines:?}");
}

fn patterns() {
    let tree = tree();
    check(&tree, &[], &[]);
    check(&tree, &["*.log"], &["a.log", "doc/a.log", "doc/keep.log"]);
    check(&tree, &["/*.log"], &["a.log"]);
    check(&tree, &["build"], &["build/out.o", "doc/build", "src/build/gen.c"]);
    check(&tree, &["build/"], &["build/out.o", "src/build/gen.c"]);
    check(&tree, &["/build"], &["build/out.o"]);
    check(&tree, &["doc/*.log"], &["doc/a.log", "doc/keep.log"]);
    check(&tree, &["x/y"], &[]);
    check(&tree, &["**/x/y"], &["doc/deep/x/y/z.tmp"]);
    check(&tree, &["doc/**/z.tmp"], &["doc/deep/x/y/z.tmp"]);
    check(&tree, &["doc/**"], &["doc/a.log", "doc/build", "doc/deep/x/y/z.tmp", "doc/keep.log"]);
    check(&tree, &["*.log", "!keep.log"], &["a.log", "doc/a.log"]);
    check(&tree, &["!keep.log", "*.log"], &["a.log", "doc/a.log", "doc/keep.log"]);
    // What lies below an excluded directory cannot be taken back.
    check(&tree, &["doc", "!doc/keep.log"], &["doc/a.log", "doc/build", "doc/deep/x/y/z.tmp", "doc/keep.log"]);
    check(&tree, &["doc/*", "!doc/keep.log"], &["doc/a.log", "doc/build", "doc/deep/x/y/z.tmp"]);
    check(&tree, &["# a.log", "", "\\#x", "[az].???"], &["a.log", "doc/a.log", "doc/deep/x/y/z.tmp", "z.tmp"]);
}

const ODD_NAMES: [&str; 28] = [
    "a",
    "b",
    "{a,b}",
    "{a",
    "a}",
    "x.o",
    "x.c",
    "x.{o,c}",
    "\\",
    "tail\\",
    "[",
    "[a",
    "]",
    "-",
    "!",
    "^",
    "#",
    "a ",
    "a\t",
    "Z",
    "7",
    "é",
    "ab",
    "d/a",
    "d/ab",
    "d/x.{o,c}",
    "d-a",
    "z",
];

const ODD_LINES: [&str; 60] = [
    "{a,b}",
    "*.{o,c}",
    "{a",
    "a}",
    "{a}",
    "\\",
    "tail\\",
    "\\\\",
    "[[:alpha:]]",
    "[![:alpha:]]",
    "[^[:digit:]a]",
    "[[:upper:][:digit:]]",
    "[[:nonsense:]]",
    "[",
    "[a",
    "[]",
    "[]-]",
    "[\\]-]",
    "[!^]",
    "[\\!^]",
    "[-!]",
    "[]!^-]",
    "[z-a]",
    "[a-]",
    "a\\ ",
    "a ",
    "a\t",
    "\\#",
    "#",
    "\\!",
    "!",
    "/",
    "d[/]a",
    "/d[!x]a",
    "d?a",
    "d\\",
    "d\\/",
    "[é]",
    "\\\\/",
    "d/",
    "[\\]]",
    "a[/b]",
    "x[/]y",
    "[a/]b/",
    "[a/]b",
    "a[!/]",
    "a[^/]/",
    "[/a]",
    "**/a[/b]",
    "a[/b",
    "**//",
    "/**//",
    "//**//",
    "d//",
    "\\/**.*",
    "\\/d",
    "***/a",
    "***",
    "!***",
    "d****a",
];

/// The files of `ODD_NAMES` that git does not ignore, with `line` as the only rule.
fn kept_by_git(scratch: &Scratch, line: &str) -> Vec<String> {
    std::fs::write(scratch.join("git/info/exclude"), format!("{line}\n")).unwrap();
    let mut git = std::process::Command::new("git");
    git.arg("--git-dir").arg(scratch.join("git")).arg("--work-tree").arg(scratch.join("tree"));
    git.args(["ls-files", "-z", "--others", "--exclude-standard"]).current_dir(scratch.join("tree"));
    let output = git.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1").output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let names = String::from_utf8(output.stdout).unwrap();
    names.split_terminator('\0').map(str::to_owned).collect()
}

fn like_git() {
    let scratch = Scratch::new();
    for name in ODD_NAMES {
        scratch.file(&format!("tree/{name}"), "");
    }
    let mut init = std::process::Command::new("git");
    assert!(init.args(["init", "-q", "--bare"]).arg(scratch.join("git")).status().unwrap().success());
    scratch.directory("git/info");
    for line in ODD_LINES {
        let mut by_git = kept_by_git(&scratch, line);
        // As an ignore file in the tree, for which git's meaning holds whatever the line.
        scratch.file("tree/.rules", format!("{line}\n"));
        let source = ignoring(&scratch.join("tree"), &[".rules"]);
        let (entries, problems) = below(&scratch.join("tree"), scan(&source));
        assert_eq!(problems, [], "{line:?}");
        let files = entries.iter().map(|(path, _)| String::from_utf8(path.as_bytes().to_vec()).unwrap());
        let mut ours: Vec<String> = files.filter(|p| p != ".rules" && scratch.join("tree").join(p).is_file()).collect();
        std::fs::remove_file(scratch.join("tree/.rules")).unwrap();
        by_git.sort();
        ours.sort();
        assert_eq!(ours, by_git, "{line:?}");
    }
}

fn odd_lines() {
    let tree = tree();
    tree.file(".gitignore", "{a\n*.log\n[\n[z-a].tmp\ntail\\\n!keep.log\n");
    let exclude = ExcludeOptions { ignore_files: vec![".gitignore".into()], ..ExcludeOptions::default() };
    let kept = found(&tree, exclude);
    let left_out: Vec<_> = TREE.iter().filter(|file| !kept.iter().any(|f| f == *file)).copied().collect();
    assert_eq!(left_out, ["a.log", "doc/a.log", "doc/deep/x/y/z.tmp", "z.tmp"]);
}

fn absolute_patterns() {
    let tree = tree();
    let line = format!("{}/doc/build", tree.path().display());
    check(&tree, &[&line], &["doc/build"]);
    check(&tree, &["doc/*", &format!("!{line}")], &["doc/a.log", "doc/deep/x/y/z.tmp", "doc/keep.log"]);
}

fn case() {
    let tree = tree();
    let pattern = |case| vec![Pattern { case, ..Pattern::new("*.LOG") }];
    let count = |case| found(&tree, ExcludeOptions { patterns: pattern(case), ..ExcludeOptions::default() }).len();
    assert_eq!((count(Case::Sensitive), count(Case::Insensitive)), (9, 6));
}

fn pattern_files() {
    let tree = tree();
    let file = tree.file("rules", "# comment\n\n*.log\r\n!keep.log\n");
    let mut options = options(tree.path());
    options.exclude.files = vec![file.clone()];
    let source = FsSource::new(options).unwrap();
    let explained = source.explain(&tree.join("doc/a.log")).unwrap();
    assert_eq!(explained.verdict, Verdict::Excluded);
    let shown = explained.to_string();
    assert!(shown.ends_with(&format!("pattern \"*.log\" in {}:3", file.display())), "{shown}");
    let kept = source.explain(&tree.join("doc/keep.log")).unwrap();
    assert_eq!(kept.verdict, Verdict::Included);
    assert!(kept.to_string().ends_with(":4"), "{kept}");
    let outside = source.explain("/somewhere/else".as_ref()).unwrap();
    assert_eq!((outside.verdict, outside.rule), (Verdict::OutsideRoots, None));
}

fn large_ignore_file() {
    let tree = tree();
    let comments = "# of no meaning\n".repeat((1 << 20) / 16);
    // Its last line goes beyond what is read.
    tree.file(".gitignore", format!("{}/doc/keep.log\n", &comments[..comments.len() - 7]));
    tree.file(".backupignore", "/a.log\n");
    let source = ignoring(tree.path(), &[".gitignore", ".backupignore"]);
    let (entries, problems) = below(tree.path(), scan(&source));
    assert!(problems.len() == 1 && problems[0].message.contains("too large"), "{problems:?}");
    assert!(problems[0].path.ends_with(b"/.gitignore"), "{problems:?}");
    let kept = |file: &str| entries.iter().any(|(path, _)| path.as_bytes() == file.as_bytes());
    assert!(TREE.iter().all(|file| kept(file) != (*file == "a.log")));
    // Who asks is told the same.
    let explained = source.explain(&tree.join("doc/keep.log")).unwrap();
    assert_eq!((explained.verdict, &explained.unusable), (Verdict::Included, &problems));
    assert!(explained.to_string().contains("/.gitignore: its lines are not applied: "), "{explained}");
}

fn bounded_ignore_files() {
    let tree = tree();
    let source = ignoring(tree.path(), &[".gitignore"]);
    for (above, content, told) in [
        ("", "a\n".repeat(50_001), "too many lines"),
        ("", format!("{}\n{}", "a\n".repeat(50_000), "b\n".repeat(9)), "too many lines"),
        ("", format!("a.log\n{}", "*b".repeat(33_000)), "wildcards are too long together"),
        ("", format!("a.log\n{}", "*b?\n".repeat(22_000)), "wildcards are too long together"),
        ("", format!("{}*.log\n", "name\n".repeat(49_999)), ""),
        ("name\n", format!("{}*.log\n", "name\n".repeat(49_999)), "too many lines"),
        ("name*\n", format!("a.log\n*{}", "b".repeat((64 << 10) - 5)), "wildcards are too long together"),
    ] {
        tree.file(".gitignore", above);
        tree.file("doc/.gitignore", content);
        let found = source.explain(&tree.join("doc/a.log")).unwrap();
        assert_eq!((found.verdict == Verdict::Excluded, found.unusable.is_empty()), (told.is_empty(), told.is_empty()));
        assert!(found.to_string().contains(told), "{found}");
    }
}

fn special_ignore_files() {
    let tree = tree();
    tree.file(".gitignore/x", "a directory");
    tree.file("rules", "*.log\n");
    std::os::unix::fs::symlink("../rules", tree.join("doc/.gitignore")).unwrap();
    let (at, kind, mode) = (rustix::fs::CWD, rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR);
    rustix::fs::mknodat(at, tree.join("src/.gitignore"), kind, mode, 0).unwrap();
    let (entries, problems) = below(tree.path(), scan(&ignoring(tree.path(), &[".gitignore"])));
    let told: Vec<&str> = problems.iter().map(|problem| problem.message.as_str()).collect();
    let because =
        ["it is a symbolic link", "it is no regular file"].map(|why| format!("its lines are not applied: {why}"));
    assert_eq!(told, because);
    // Nothing is missing for it.
    assert!(problems.iter().all(|problem| problem.kind == ProblemKind::Attribute && problem.kind.counts()));
    for file in [".gitignore/x", "doc/.gitignore", "doc/a.log", "src/.gitignore"] {
        assert!(entries.iter().any(|(path, _)| path.as_bytes() == file.as_bytes()), "{file}");
    }
}

fn ignore_files() {
    let tree = tree();
    tree.file(".gitignore", "*.log\n");
    tree.file("doc/.gitignore", "!keep.log\n/deep\n");
    let exclude = ExcludeOptions { ignore_files: vec![".gitignore".into()], ..ExcludeOptions::default() };
    let expected = [
        ".gitignore",
        "build/out.o",
        "doc/.gitignore",
        "doc/build",
        "doc/keep.log",
        "src/build/gen.c",
        "src/main.c",
        "z.tmp",
    ];
    assert_eq!(found(&tree, exclude.clone()), expected);
    // Lines given by option win over those found.
    let patterns = vec![Pattern::new("keep.log"), Pattern::new("!/a.log")];
    let found = found(&tree, ExcludeOptions { patterns, ..exclude });
    assert!(found.contains(&"a.log".to_owned()) && !found.contains(&"doc/keep.log".to_owned()), "{found:?}");
}

fn caches() {
    let tree = tree();
    tree.file("doc/CACHEDIR.TAG", "Signature: 8a477f597d28d172789f06886806bc55\n# by a program");
    tree.file("src/CACHEDIR.TAG", "not a tag");
    let exclude = ExcludeOptions { caches: CacheDirectories::Exclude, ..ExcludeOptions::default() };
    let expected =
        ["a.log", "build/out.o", "doc/CACHEDIR.TAG", "src/CACHEDIR.TAG", "src/build/gen.c", "src/main.c", "z.tmp"];
    assert_eq!(found(&tree, exclude), expected);
}

fn if_present() {
    let tree = tree();
    tree.file("doc/.nobackup", "");
    let exclude = ExcludeOptions { if_present: vec![".nobackup".into()], ..ExcludeOptions::default() };
    let expected = ["a.log", "build/out.o", "doc/.nobackup", "src/build/gen.c", "src/main.c", "z.tmp"];
    assert_eq!(found(&tree, exclude.clone()), expected);
    let mut options = options(tree.path());
    options.exclude = exclude;
    let explained = FsSource::new(options).unwrap().explain(&tree.join("doc/deep/x")).unwrap();
    assert_eq!(explained.decided_at, tree.join("doc/deep"));
    assert_eq!(explained.rule, Some(Rule::Present(".nobackup".into())));
}

fn large_and_nodump() {
    let tree = tree();
    tree.file("doc/build", "larger than ten bytes");
    let flagged = std::fs::File::open(tree.join("a.log")).unwrap();
    let nodump = rustix::fs::ioctl_setflags(&flagged, rustix::fs::IFlags::NODUMP).is_ok();
    let exclude =
        ExcludeOptions { larger_than_bytes: Some(10), nodump: NoDumpFlag::Honour, ..ExcludeOptions::default() };
    let found = found(&tree, exclude);
    assert!(!found.contains(&"doc/build".to_owned()));
    assert_eq!(found.contains(&"a.log".to_owned()), !nodump);
}

fn bad_patterns() {
    let tree = tree();
    let mut options = options(tree.path());
    options.exclude.files = vec![tree.file("rules", b"fine\n\xff\n")];
    let error = FsSource::new(options.clone()).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.to_string().contains("line=2"), "{error}");
    options.exclude.files = vec![tree.file("rules", "fine\nalso\n{a,b\n")];
    let refused = FsSource::new(options.clone()).err();
    assert!(refused.is_none_or(|e| e.to_string().contains("line=3")));
    options.exclude.files = vec!["missing".into()];
    let error = FsSource::new(options.clone()).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    // Where it was looked for: a relative one counts from the configuration, not from where one stands.
    assert!(error.to_string().ends_with(&format!("file={}", options.cwd.join("missing").display())), "{error}");
}
