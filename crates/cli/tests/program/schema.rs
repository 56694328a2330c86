//! The JSON Schema of the configuration says what the program takes.

use crate::world::World;
use config::{Config, File, FileFormat};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use std::path::Path;

/// A configuration with every key there is.
const FULL: &str = "\
backup:
  host: web1
  sources:
    data:
      paths: [src]
      optional: true
      exclude: ['*.tmp']
      iexclude: ['*.BAK']
      exclude_files: [rules]
      ignore_files: [.gitignore]
      exclude_caches: true
      exclude_if_present: [.nobackup]
      exclude_larger_than: 2GiB
      exclude_nodump: true
      one_file_system: true
  sinks:
    main: {url: repo, password: '${env:P}', limit_upload: 10MiB, limit_download: 20MiB, parity: 10, options: {}}
    filed: {url: other, password_file: password}
    commanded: {url: third, password_command: echo x}
    keyed: {url: fourth, key_file: key}
  pipelines:
    nightly:
      sources: [data]
      sink: main
      name: '{pipeline}-{source}'
      labels: {tier: gold}
      tags: [a]
      transforms: [zstd, aes-256-gcm]
      replicas: [{sink: filed, schedule: continuous}]
      schedule: {full: '@daily', incremental: 0 * * * *}
      retention:
        policy: guide
        keep_last: 1
        keep_hourly: 2
        keep_daily: 3
        keep_weekly: 4
        keep_monthly: 5
        keep_yearly: 6
        keep_within: 1d
        keep_within_hourly: 2d
        keep_within_daily: 3d
        keep_within_weekly: 4w
        keep_within_monthly: 5m
        keep_within_yearly: 6y
        keep_tags: [a]
        timezone: UTC
        allow_share: 50
      checks: {verify: 0 5 * * *, read_data_subset: 1/30, drill: 0 6 * * SUN}
  monitoring: {enabled: true, check_interval: 1h, alert_on_failure: true, metrics_endpoint: 'http://localhost:9090'}
";

struct Schema(Value);

impl Schema {
    fn of(world: &World) -> Self {
        Self(world.run(&["config", "schema", "--json"]).expect(0).json().remove(0))
    }

    fn resolved<'s>(&'s self, schema: &'s Value) -> &'s Value {
        match schema["$ref"].as_str() {
            Some(target) => self.0.pointer(target.trim_start_matches('#')).expect("defined"),
            None => schema,
        }
    }

    fn takes(&self, value: &Value) -> bool {
        self.fits(&self.0, value)
    }

    /// As JSON Schema 2020-12 has it, for the words that are used.
    fn fits(&self, schema: &Value, value: &Value) -> bool {
        let schema = self.resolved(schema);
        let Value::Object(rules) = schema else { return schema != &Value::Bool(false) };
        let object = value.as_object();
        let known = |name: &String| schema["properties"].get(name);
        rules.iter().all(|(word, rule)| match word.as_str() {
            "type" => match rule {
                Value::Array(types) => types.iter().any(|one| is(one, value)),
                one => is(one, value),
            },
            "properties" => {
                object.into_iter().flatten().all(|(name, value)| known(name).is_none_or(|s| self.fits(s, value)))
            }
            "additionalProperties" => {
                object.into_iter().flatten().all(|(name, value)| known(name).is_some() || self.fits(rule, value))
            }
            "required" => rule
                .as_array()
                .expect("names")
                .iter()
                .all(|name| object.is_none_or(|o| o.contains_key(name.as_str().expect("a name")))),
            "items" => value.as_array().into_iter().flatten().all(|item| self.fits(rule, item)),
            "anyOf" => rule.as_array().expect("schemas").iter().any(|one| self.fits(one, value)),
            "minItems" => value.as_array().is_none_or(|items| items.len() as u64 >= rule.as_u64().expect("a number")),
            "minimum" => value.as_i64().is_none_or(|number| number >= rule.as_i64().expect("a number")),
            "maximum" => value.as_i64().is_none_or(|number| number <= rule.as_i64().expect("a number")),
            "$schema" | "$defs" | "title" | "description" | "default" | "format" => true,
            word => unreachable!("nothing is known of {word:?}"),
        })
    }

    /// The paths of all keys, names that are free as `*`, items of lists too.
    fn keys(&self, schema: &Value, path: &str, found: &mut BTreeSet<String>) {
        let schema = self.resolved(schema);
        for (key, inner) in schema["properties"].as_object().into_iter().flatten() {
            let path = format!("{path}.{key}");
            found.insert(path.clone());
            self.keys(inner, &path, found);
        }
        let alternatives = schema["anyOf"].as_array().into_iter().flatten();
        alternatives.for_each(|one| self.keys(one, path, found));
        for inner in [&schema["items"], &schema["additionalProperties"]].into_iter().filter(|inner| inner.is_object()) {
            self.keys(inner, &format!("{path}.*"), found);
        }
    }
}

fn is(name: &Value, value: &Value) -> bool {
    match name.as_str().expect("a type") {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "null" => value.is_null(),
        name => unreachable!("nothing is known of {name:?}"),
    }
}

/// Every place in `value`, as a JSON pointer.
fn places(value: &Value, at: &str, found: &mut Vec<String>) {
    found.push(at.to_owned());
    match value {
        Value::Object(map) => map.iter().for_each(|(key, inner)| places(inner, &format!("{at}/{key}"), found)),
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(n, inner)| places(inner, &format!("{at}/{n}"), found))
        }
        _ => {}
    }
}

fn full() -> Value {
    let read = Config::builder().add_source(File::from_str(FULL, FileFormat::Yaml)).build();
    read.and_then(Config::try_deserialize).expect("readable")
}

/// What the program says to `configuration`: `None` if it takes it.
fn refusal(world: &World, configuration: &Value) -> Option<String> {
    // YAML is more than JSON.
    world.write("conf.yaml", &configuration.to_string());
    let answer = world.run(&["--config", "conf.yaml", "config", "check"]);
    (answer.code != 0).then_some(answer.err)
}

#[test]
fn the_schema_takes_what_is_shipped() {
    let world = World::new();
    let schema = Schema::of(&world);
    world.write("rules", "*.o\n");
    assert_eq!((refusal(&world, &full()), schema.takes(&full())), (None, true));
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let manual = include_str!("../../../../docs/operators/config.md");
    let in_manual = manual.split("```yaml\n").skip(1).map(|rest| rest.split("```").next().expect("closed").to_owned());
    let mut shipped: Vec<(String, FileFormat)> = in_manual.map(|text| (text, FileFormat::Yaml)).collect();
    for file in std::fs::read_dir(examples).expect("examples").flatten() {
        let format =
            if file.path().extension().is_some_and(|e| e == "toml") { FileFormat::Toml } else { FileFormat::Yaml };
        shipped.push((std::fs::read_to_string(file.path()).expect("read"), format));
    }
    assert!(shipped.len() >= 3);
    for (text, format) in shipped {
        let read = Config::builder().add_source(File::from_str(&text, format)).build();
        let value: Value = read.and_then(Config::try_deserialize).expect("readable");
        assert_eq!((refusal(&world, &value), schema.takes(&value)), (None, true), "{text}");
    }
}

#[test]
fn every_key_of_the_schema_is_one_of_the_program() {
    let world = World::new();
    let schema = Schema::of(&world);
    let mut by_schema = BTreeSet::new();
    schema.keys(&schema.0, "", &mut by_schema);
    // The test's own configuration has each of them, and the program takes all of that.
    let mut places_there = Vec::new();
    places(&full(), "", &mut places_there);
    let free = |parents: &[&str]| {
        matches!(parents, ["backup", "sources" | "sinks" | "pipelines"]) || parents.ends_with(&["replicas"])
    };
    let by_program: BTreeSet<String> = places_there
        .iter()
        .map(|place| {
            let keys: Vec<&str> = place.split('/').skip(1).collect();
            let named = keys.iter().enumerate().map(|(n, key)| if free(&keys[..n]) { "*" } else { key });
            named.map(|key| format!(".{key}")).collect()
        })
        .filter(|path: &String| !path.ends_with('*') && !path.is_empty() && !path.contains(".labels."))
        .filter(|path: &String| path.rsplit('.').next().is_none_or(|last| last.parse::<u32>().is_err()))
        .collect();
    assert_eq!(by_schema, by_program);
}

#[test]
fn schema_and_program_refuse_the_same() {
    let world = World::new();
    world.write("rules", "*.o\n");
    let schema = Schema::of(&world);
    let full = full();
    let mut all = Vec::new();
    places(&full, "", &mut all);
    let mut wrong: Vec<(String, Value)> = Vec::new();
    let mut add = |what: String, place: &str, change: &dyn Fn(&mut Value)| {
        let mut changed = full.clone();
        change(changed.pointer_mut(place).expect("a place"));
        wrong.push((what, changed));
    };
    for place in &all {
        let value = full.pointer(place).expect("a place");
        // Other root keys, labels and options are free.
        let is_free = place.is_empty() || place.ends_with("/labels") || place.ends_with("/options");
        if let Value::Object(map) = value {
            let names = ["/backup/sources", "/backup/sinks", "/backup/pipelines"].contains(&place.as_str());
            if !is_free && !names {
                let unknown = |value: &mut Value| value["unknown"] = json!(1);
                add(format!("{place}: an unknown key"), place, &unknown);
            }
            for required in ["paths", "url", "sources", "sink"].into_iter().filter(|key| map.contains_key(*key)) {
                let removed =
                    |value: &mut Value| _ = value.as_object_mut().and_then(|map: &mut Map<_, _>| map.remove(required));
                // `backup` and pipelines both have `sources`.
                if place != "/backup" {
                    add(format!("{place}: no {required}"), place, &removed);
                }
            }
        }
        let other = if value.is_boolean() { json!([1]) } else { json!(true) };
        add(format!("{place}: {other}"), place, &|value| *value = other.clone());
        if let Value::Object(map) = value
            && !place.is_empty()
        {
            // Nor by position, of all fields or of none.
            let by_position: Value = map.values().cloned().collect();
            for list in [by_position, json!([])] {
                add(format!("{place}: {list}"), place, &|value| *value = list.clone());
            }
        }
    }
    for (place, value) in [
        ("/backup/sources/data/paths", json!([])),
        ("/backup/pipelines/nightly/sources", json!([])),
        ("/backup/sinks/main/parity", json!(101)),
        ("/backup/sinks/main/parity", json!(-1)),
        ("/backup/pipelines/nightly/retention/allow_share", json!(101)),
        ("/backup/pipelines/nightly/retention/keep_daily", json!(-1)),
        ("/backup/pipelines/nightly/retention/keep_last", json!(u64::from(u32::MAX) + 1)),
        ("/backup/pipelines/nightly/retention/keep_yearly", json!(5_000_000_000_u64)),
        ("/backup/pipelines/nightly/retention", json!({})),
        ("/backup/pipelines/nightly/retention", json!({"keep_last": 0, "keep_within": null, "policy": null})),
        ("/backup/pipelines/nightly/retention", json!({"keep_tags": ["a"], "timezone": "UTC"})),
        ("/backup/sources/data", json!([["/data"], true, ["*.o"]])),
        ("/backup/sinks/main", json!(["/srv/x", "pw"])),
    ] {
        add(format!("{place}: {value}"), place, &|found| *found = value.clone());
    }
    assert!(wrong.len() > 120);
    for retention in [
        json!({"policy": "guide"}),
        json!({"keep_last": u32::MAX}),
        json!({"keep_within": "1d", "keep_last": 0}),
        json!({"keep_within_yearly": "1y"}),
    ] {
        let mut taken = full.clone();
        *taken.pointer_mut("/backup/pipelines/nightly/retention").expect("a place") = retention;
        assert_eq!((refusal(&world, &taken), schema.takes(&taken)), (None, true), "{taken}");
    }
    for place in all.iter().filter(|place| !place.is_empty()) {
        let mut absent = full.clone();
        *absent.pointer_mut(place).expect("a place") = Value::Null;
        let refused = refusal(&world, &absent);
        assert_eq!(refused.is_none(), schema.takes(&absent), "{place}: null: {refused:?}");
    }
    for (what, configuration) in wrong {
        let refused = refusal(&world, &configuration);
        assert!(refused.is_some(), "{what}: taken by the program");
        assert!(!schema.takes(&configuration), "{what}: taken by the schema, and not by the program: {refused:?}");
    }
}
