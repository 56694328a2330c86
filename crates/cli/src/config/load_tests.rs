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
    ];
    for (name, value, expected) in cases {
        assert!(said(name, value).starts_with(expected), "{}", said(name, value));
    }
}
