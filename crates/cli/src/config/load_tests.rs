//! Configurations as data: what is read, what is refused and where.

use super::*;

fn parse(name: &str, text: &str, variables: &[(&str, &str)]) -> Result<Configuration> {
    let variables: Vec<_> = variables.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    Configuration::parse(PathBuf::from(name), text, &variables)
}

const GOOD: &str = "\
database: {anything: 1}
backup:
  sources:
    data: {paths: [/var/lib/decube]}
    my-certs:
      paths: [/etc/decube/tls]
      optional: true
  sinks:
    main:
      url: fs:/srv/backup
      password: ${env:PW}
    far: {url: /mnt/far}
  pipelines:
    decube:
      sources: [data, my-certs]
      sink: main
      transforms: [zstd:3, aes-256-gcm]
      replicas: [{sink: far}]
      schedule: {full: \"0 2 * * *\", incremental: \"@hourly\"}
      retention: {keep_daily: 30, keep_weekly: 12, keep_monthly: 12, keep_yearly: 7}
      checks: {verify: \"@daily\", read_data_subset: 1/30}
  monitoring: {enabled: true, check_interval: \"1h\", alert_on_failure: true, metrics_endpoint: \"http://prometheus:9090\"}
";

#[test]
fn a_full_configuration_is_read() {
    let read = parse("c.yaml", GOOD, &[]).expect("good");
    let pipeline = &read.backup.pipelines["decube"];
    assert_eq!((pipeline.name.as_str(), pipeline.sources.len()), ("{pipeline}-{source}", 2));
    assert_eq!(check::effort(&pipeline.transforms), Ok(Some(3)));
    assert_eq!(read.origin(&["backup", "sinks", "main", "url"].map(str::to_owned)), "c.yaml:10");
    assert_eq!(read.origin(&["backup", "pipelines", "decube", "name"].map(str::to_owned)), "default");
}

#[test]
fn toml_reads_the_same() {
    let text = "[backup.sources.data]\npaths = [\"/x\"]\n[backup.sinks.main]\nurl = \"/r\"\n[backup.pipelines.p]\nsources = [\"data\"]\nsink = \"main\"\n";
    assert_eq!(parse("c.toml", text, &[]).expect("good").backup.sinks["main"].url, "/r");
    let wrong = text.replace("sink = ", "zink = ");
    assert!(
        parse("c.toml", &wrong, &[])
            .expect_err("unknown")
            .to_string()
            .starts_with("c.toml:7: backup.pipelines.p.zink: ")
    );
}

#[test]
fn variables_override_single_values() {
    let variables = [
        ("DECUBE_BACKUP__SINKS__MAIN__URL", "fs:/else"),
        ("DECUBE_BACKUP__SOURCES__MY_CERTS__OPTIONAL", "false"),
        ("DECUBE_BACKUP__SOURCES__DATA__PATHS", "[\"/a\", \"/b\"]"),
        ("DECUBE_BACKUP__PIPELINES__DECUBE__RETENTION__KEEP_DAILY", "7"),
        ("DECUBE_BACKUP__SINKS__FAR__PASSWORD", "12345"),
    ];
    let read = parse("c.yaml", GOOD, &variables).expect("good");
    assert_eq!(read.backup.sinks["main"].url, "fs:/else");
    assert!(!read.backup.sources["my-certs"].optional);
    assert_eq!(read.backup.sources["data"].paths, ["/a", "/b"]);
    assert_eq!(read.backup.pipelines["decube"].retention.as_ref().map(|r| r.keep_daily), Some(7));
    assert_eq!(read.backup.sinks["far"].password.as_deref(), Some("12345"));
    let path = ["backup", "sinks", "main", "url"].map(str::to_owned);
    assert_eq!(read.origin(&path), "variable DECUBE_BACKUP__SINKS__MAIN__URL");
}

#[test]
fn a_password_in_a_variable_is_taken_to_the_letter() {
    for password in ["12345", "1e5", "1234567890123456789012345", "null", "true", "\"quoted\"", "[1]", "{}", " x "] {
        let read = parse("c.yaml", GOOD, &[("DECUBE_BACKUP__SINKS__FAR__PASSWORD", password)]).expect("good");
        assert_eq!(read.backup.sinks["far"].password.as_deref(), Some(password));
    }
}

#[test]
fn what_is_wrong_is_named_with_its_place() {
    let changed = |from: &str, to: &str| GOOD.replace(from, to);
    let cases = [
        (changed("optional:", "optinal:"), "c.yaml:7: backup.sources.my-certs.optinal: unknown field"),
        (changed("  monitoring:", "  watching:"), "c.yaml:22: backup.watching: unknown field"),
        (
            changed("keep_daily: 30", "keep_daily: many"),
            "c.yaml:20: backup.pipelines.decube.retention.keep_daily: invalid type",
        ),
        (
            changed("sink: main", "sink: mian"),
            "c.yaml:16: backup.pipelines.decube.sink: there is no sink \"mian\"; known: far, main",
        ),
        (
            changed("[data, my-certs]", "[data, certs]"),
            "c.yaml:15: backup.pipelines.decube.sources.1: there is no source",
        ),
        (
            changed("sink: far", "sink: main"),
            "c.yaml:18: backup.pipelines.decube.replicas.0.sink: a replica must be another",
        ),
        (changed("0 2 * * *", "0 25 * * *"), "c.yaml:19: backup.pipelines.decube.schedule.full: not a cron expression"),
        (changed("1/30", "31/30"), "c.yaml:21: backup.pipelines.decube.checks.read_data_subset: "),
        (
            changed("zstd:3, aes-256-gcm", "aes-256-gcm, zstd"),
            "c.yaml:17: backup.pipelines.decube.transforms: the cipher must come last",
        ),
        (changed("\"1h\"", "soon"), "c.yaml:22: backup.monitoring.check_interval: not a time span"),
        (changed("${env:PW}", "${nev:PW}"), "c.yaml:11: backup.sinks.main.password: references are"),
        (changed("url: fs:/srv/backup", "urk: 1"), "c.yaml:10: backup.sinks.main.urk: unknown field"),
        (changed("      url: fs:/srv/backup\n", ""), "c.yaml:9: backup.sinks.main: missing field `url`"),
        ("a: 1\n".to_owned(), "the file has no `backup` section"),
        ("backup: [\n".to_owned(), "not readable as YAML"),
    ];
    for (text, expected) in cases {
        let said = parse("c.yaml", &text, &[]).expect_err(expected).to_string();
        assert!(said.starts_with(expected), "said: {said}\nexpected: {expected}");
    }
}

#[test]
fn what_stands_for_keys_and_values_is_told_in_words() {
    let schedule = "{full: \"0 2 * * *\", incremental: \"@hourly\"}";
    let full = "    decube:\n      sources: [data, my-certs]";
    let cases = [
        (
            GOOD.replace(schedule, "\"0 3 * * *\""),
            "c.yaml:19: backup.pipelines.decube.schedule: invalid type: a text, expected keys and values: `full`, ",
        ),
        (
            GOOD.replace(full, "    x: y\n    decube:\n      sources: [data, my-certs]"),
            "c.yaml:14: backup.pipelines.x: ",
        ),
        (GOOD.replace("{paths: [/var/lib/decube]}", "/var"), "c.yaml:4: backup.sources.data: "),
        (GOOD.replace("{url: /mnt/far}", "1"), "c.yaml:12: backup.sinks.far: "),
        (GOOD.replace("[{sink: far}]", "[far]"), "c.yaml:18: backup.pipelines.decube.replicas.0: "),
        (
            GOOD.replace("{verify: \"@daily\", read_data_subset: 1/30}", "true"),
            "c.yaml:21: backup.pipelines.decube.checks: ",
        ),
        (GOOD.replace("retention: {", "retention: guide # {"), "c.yaml:20: backup.pipelines.decube.retention: "),
        (GOOD.replace("monitoring: {", "monitoring: on # {"), "c.yaml:22: backup.monitoring: "),
        ("backup:\n  sinks: {m: }\n".to_owned(), "c.yaml:2: backup.sinks.m: "),
        ("backup:\n  sinks: here\n".to_owned(), "c.yaml:2: backup.sinks: "),
        ("backup: x\n".to_owned(), "c.yaml:1: backup: "),
    ];
    for (text, expected) in cases {
        let said = parse("c.yaml", &text, &[]).expect_err(expected).to_string();
        assert!(said.starts_with(expected) && said.contains("expected "), "said: {said}\nexpected: {expected}");
        assert!(!said.contains("struct"), "{said}");
    }
}

#[test]
fn what_stands_for_a_single_value_is_told_in_words() {
    let rest = |value: &str| GOOD.replace("keep_daily: 30", value);
    let sink = |value: &str| GOOD.replace("{url: /mnt/far}", &format!("{{url: /mnt/far, {value}}}"));
    let number = "expected a whole number from 0 to 4294967295";
    let cases = [
        (rest("keep_daily: many"), format!("retention.keep_daily: invalid type: a text, {number}")),
        (rest("keep_daily: -1"), format!("retention.keep_daily: invalid value: a number, {number}")),
        (rest("keep_daily: 1.5"), format!("retention.keep_daily: invalid type: a number, {number}")),
        (rest("allow_share: x"), "allow_share: invalid type: a text, expected a whole number from 0 to 100".to_owned()),
        (sink("parity: 300"), "parity: invalid value: a number, expected a whole number from 0 to 100".to_owned()),
        (sink("limit_upload: 5"), "limit_upload: invalid type: a number, expected a text".to_owned()),
        (
            GOOD.replace("optional: true", "optional: maybe"),
            "optional: invalid type: a text, expected true or false".to_owned(),
        ),
        (GOOD.replace("[data, my-certs]", "data"), "sources: invalid type: a text, expected a list".to_owned()),
        (
            GOOD.replace("[data, my-certs]", "{data: 1}"),
            "sources: invalid type: keys and values, expected a list".to_owned(),
        ),
    ];
    for (text, expected) in cases {
        let said = parse("c.yaml", &text, &[]).expect_err(&expected).to_string();
        assert!(said.ends_with(&expected), "said: {said}\nexpected: {expected}");
    }
}

#[test]
fn what_would_be_taken_for_something_else_is_refused() {
    let changed = |from: &str, to: &str| GOOD.replace(from, to);
    let named = |name: &str| changed("      sink: main\n", &format!("      sink: main\n      name: {name:?}\n"));
    let other = |at: &str, name: &str| {
        let sinks = format!("    near: {{url: {at:?}}}\n  pipelines:\n");
        let pipelines = format!("  pipelines:\n    other: {{sources: [data], sink: near, name: {name:?}}}\n");
        GOOD.replace("  pipelines:\n", &sinks).replace("  pipelines:\n", &pipelines)
    };
    let cases = [
        (changed("[/var/lib/decube]", "[/x, \"\"]"), "c.yaml:4: backup.sources.data.paths.1: the path is empty"),
        (changed("[/var/lib/decube]", "[\"  \"]"), "c.yaml:4: backup.sources.data.paths.0: the path is empty"),
        (
            changed("[data, my-certs]", "[data, my-certs, data]"),
            "c.yaml:15: backup.pipelines.decube.sources.2: \"data\" is named twice",
        ),
        (
            named("{foo}-{source}"),
            "c.yaml:17: backup.pipelines.decube.name: an unknown placeholder placeholder={foo} known={pipeline}, {source}, {host}",
        ),
        (named("{source}-{"), "c.yaml:17: backup.pipelines.decube.name: an unknown placeholder placeholder={"),
        (named("x}-{source}"), "c.yaml:17: backup.pipelines.decube.name: an unknown placeholder placeholder=}"),
        (
            changed("    decube:", "    latest:").replace("[data, my-certs]", "[data]\n      name: \"{pipeline}\""),
            "c.yaml:16: backup.pipelines.latest.name: `latest` means",
        ),
        (
            changed("backup:\n", "backup:\n  host: latest\n")
                .replace("[data, my-certs]", "[data]\n      name: \"{host}\""),
            "c.yaml:17: backup.pipelines.decube.name: `latest` means",
        ),
        (
            other("fs:/srv/backup", "decube-{source}"),
            "c.yaml:15: backup.pipelines.other.name: pipeline decube makes snapshots of the name \"decube-data\"",
        ),
    ];
    for (text, expected) in cases {
        let said = parse("c.yaml", &text, &[]).expect_err(expected).to_string();
        assert!(said.starts_with(expected), "said: {said}\nexpected: {expected}");
    }
    parse("c.yaml", &other("fs:/srv/else", "decube-{source}"), &[]).expect("another repository");
    parse("c.yaml", &named("{host}:{pipeline}.{source}"), &[]).expect("all that is known");
    let empty = ("DECUBE_BACKUP__SOURCES__DATA__PATHS", "[\"\"]");
    assert!(parse("c.yaml", GOOD, &[empty]).expect_err("empty").to_string().contains("the path is empty"));
}

#[test]
fn a_variable_that_may_mean_two_keys_is_refused() {
    let text = GOOD.replace("    my-certs:", "    my_certs: {paths: [/y]}\n    my-certs:");
    let error = parse("c.yaml", &text, &[("DECUBE_BACKUP__SOURCES__MY_CERTS__OPTIONAL", "false")]).expect_err("two");
    assert!(error.to_string().contains("may mean several keys"), "{error}");
    assert!(error.to_string().contains("my-certs, my_certs"), "{error}");
}

#[test]
fn a_variable_is_named_for_a_pipeline_only_if_it_overrides_it() {
    let text = |name: &str| GOOD.replace("    decube:", &format!("    {name}:"));
    for (name, expected) in [
        ("decube", Some("DECUBE")),
        ("Home-daily_2", Some("HOME_DAILY_2")),
        ("_home", Some("_HOME")),
        ("home--daily", None),
        ("home-_daily", None),
        ("home-", None),
        ("home.daily", None),
        ("h\u{f6}me", None),
    ] {
        let variable = parse("c.yaml", &text(name), &[]).expect("good").variable_of_pipeline(name, "SINK");
        assert_eq!(variable, expected.map(|part| format!("DECUBE_BACKUP__PIPELINES__{part}__SINK")), "{name}");
        if let Some(variable) = variable {
            let read = parse("c.yaml", &text(name).replace("sink: far", "sink: main"), &[(&variable, "far")]);
            assert_eq!(read.expect("overridden").backup.pipelines[name].sink, "far");
        }
    }
    let two = GOOD.replace("  pipelines:\n", "  pipelines:\n    DeCube: {sources: [data], sink: far}\n");
    assert_eq!(parse("c.yaml", &two, &[]).expect("good").variable_of_pipeline("decube", "SINK"), None);
}

#[test]
fn a_wrong_variable_is_named() {
    let said = |name, value| parse("c.yaml", GOOD, &[(name, value)]).expect_err("wrong").to_string();
    let cases = [
        (
            "DECUBE_BACKUP__SINKS__MAIN__URLL",
            "x",
            "variable DECUBE_BACKUP__SINKS__MAIN__URLL: backup.sinks.main.urll: unknown field",
        ),
        (
            "DECUBE_BACKUP__SOURCES__DATA__PATHS",
            "x",
            "variable DECUBE_BACKUP__SOURCES__DATA__PATHS: backup.sources.data.paths: invalid type",
        ),
        (
            "DECUBE_BACKUP__SOURCES__DATA__PATHS__0",
            "x",
            "a variable is about a part of what has no keys variable=DECUBE_BACKUP__SOURCES__DATA__PATHS__0 \
             path=backup.sources.data.paths",
        ),
        ("DECUBE_BACKUP__SINKS__MAIN__URL__X", "x", "a variable is about a part of what has no keys"),
        (
            "DECUBE_BACKUP__SOURCES__DATA__EXCLUDE__0",
            "x",
            "variable DECUBE_BACKUP__SOURCES__DATA__EXCLUDE__0: backup.sources.data.exclude: invalid type",
        ),
    ];
    for (name, value, expected) in cases {
        assert!(said(name, value).starts_with(expected), "{}", said(name, value));
    }
}

#[test]
fn no_error_tells_a_secret() {
    let sink = |rest: &str| format!("[backup.sinks.main]\nurl = \"/r\"\n{rest}\n");
    let cases = [
        ("c.toml", sink("password = \"hunter\"2\""), "not readable as TOML: ", " line=3 column=20"),
        ("c.toml", sink("password = hunter2"), "not readable as TOML: ", " line=3 column=12"),
        (
            "c.yaml",
            "backup:\n  sinks:\n    m: hunter2\n".to_owned(),
            "c.yaml:3: backup.sinks.m: invalid type: a text, ",
            "values",
        ),
        ("c.yaml", GOOD.replace("{url: /mnt/far}", "[hunter2]"), "c.yaml:12: backup.sinks.far: ", "not a list"),
        (
            "c.yaml",
            GOOD.replace("${env:PW}", "{{ hunter2 }}"),
            "not readable as YAML: it is not one document",
            "texts file=c.yaml",
        ),
        ("c.yaml", GOOD.replace("${env:PW}", "'hunter'2"), "not readable as YAML: ", "column=25"),
        (
            "c.yaml",
            GOOD.replace("${env:PW}", "x\n      {hunter2: 1}: 1\n      {hunter2: 1}: 2"),
            "not readable as YAML: a key stands twice",
            "column=21",
        ),
        ("c.yaml", "hunter2".to_owned(), "not readable as YAML: it is not one document", "texts file=c.yaml"),
    ];
    for (name, text, start, end) in cases {
        let said = parse(name, &text, &[]).expect_err(start).to_string();
        assert!(said.starts_with(start) && said.ends_with(end), "{said}");
        assert!(!said.contains("hunter"), "{said}");
    }
}
