//! The protocol of committing and collecting: every interleaving within bounds, decided by the engine's own rules.
//!
//! `cargo test -p decube-backup-engine --test protocol -- --nocapture` prints how many states there are;
//! `cargo xtask prove` checks larger worlds too. What is modelled, and why so: `docs/protocol.md`.
//!
//! | module | holds |
//! |---|---|
//! | [`world`] | a state: log, store, actors |
//! | [`model`] | what is checked, and the steps by name |
//! | [`offers`] | which steps there are in a state |
//! | [`steps`] | what comes of a step |
//! | [`verdicts`] | the engine's rules, or all but one of them |
//! | [`properties`] | what must hold, and what must come about |
//! | [`scenarios`] | the worlds that are checked, and the mutants |

#[allow(dead_code)] // shared
#[path = "../common/effort.rs"]
mod effort;
mod model;
mod offers;
mod properties;
mod scenarios;
mod steps;
mod verdicts;
mod world;

use model::Protocol;
use properties::NOTHING_LOST;
use scenarios::{Fate, LARGE, MUTANTS, Row, SMALL, Scenario};
use stateright::{Checker, HasDiscoveries, Model};
use verdicts::Verdicts;

/// Every state of each world, and each thing that must come about does.
fn check_all(scenarios: &[Scenario], threads: usize) -> Vec<String> {
    let mut rows = Vec::new();
    for scenario in scenarios {
        let checker = scenario.model(Verdicts::default()).checker().threads(threads).spawn_bfs().join();
        checker.assert_properties();
        rows.push(format!("| {} | {} |", scenario.name, checker.unique_state_count()));
    }
    rows
}

#[test]
fn the_shipped_rules_lose_nothing() {
    let rows = check_all(SMALL, 1);
    println!("{}", rows.join("\n"));
    assert_documented(&rows);
}

#[test]
fn each_rule_taken_away_loses_data() {
    let (mut rows, mut wrong) = (Vec::new(), Vec::new());
    for Row { mutant, scenario, fate } in MUTANTS {
        let world = SMALL.iter().find(|s| s.name == *scenario).expect("a scenario of that name");
        let model: Protocol = world.model(Verdicts { mutant: Some(*mutant) });
        let checker = model.checker().finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
        let states = checker.unique_state_count();
        let lost = checker.discovery(NOTHING_LOST).map(|path| path.into_actions());
        match (&lost, fate) {
            (Some(steps), Fate::Loses) => {
                println!("{mutant:?}: {steps:?}");
                rows.push(format!("| {scenario} | {states} | {} |", steps.len()));
            }
            (None, Fate::Harmless) => rows.push(format!("{states} states, all sound")),
            _ => wrong.push(format!("{mutant:?} in {scenario:?}: {fate:?}, but {lost:?}")),
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    println!("{}", rows.join("\n"));
    assert_documented(&rows);
}

/// What was counted is what the documentation says.
fn assert_documented(rows: &[String]) {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/protocol.md"));
    let text = text.expect("docs/protocol.md");
    let missing: Vec<_> = rows.iter().filter(|row| !text.contains(row.as_str())).collect();
    assert!(missing.is_empty(), "not in docs/protocol.md: {missing:#?}");
}

#[test]
fn larger_worlds_lose_nothing_either() {
    if long_run() {
        let rows = check_all(LARGE, 2);
        println!("{}", rows.join("\n"));
        assert_documented(&rows);
    }
}

/// Whether `cargo xtask prove` asks for more than fits into continuous integration.
fn long_run() -> bool {
    effort::times(1) > 1
}
