//! The suite's own test: the memory sink passes every check, and each flawed sink is caught by
//! exactly the check meant for its flaw.

mod flawed;

use decube_backup_core::sink::Sink;
use decube_backup_testkit::conformance::{Finding, Options, Outcome, SuiteReport, checks, run_all};
use decube_backup_testkit::{MemorySink, RecordingSink, SeededEntropy};
use flawed::{FLAWS, Flaw, FlawedSink};
use libtest_mimic::{Arguments, Failed, Trial};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

fn main() {
    let args = Arguments::from_args();
    let mut trials = vec![
        Trial::test("the_memory_sink_passes_every_check", memory_sink_passes),
        Trial::test("the_suite_leaves_the_store_as_it_was", leaves_the_store_as_it_was),
        Trial::test("every_check_has_a_flaw_it_catches", every_check_has_a_flaw),
    ];
    trials.extend(FLAWS.iter().map(|(flaw, check)| {
        Trial::test(format!("{flaw:?}_is_caught_by_{check}"), move || caught_by_exactly(*flaw, check))
    }));
    libtest_mimic::run(&args, trials).exit();
}

fn run(sink: Arc<dyn Sink>) -> Result<SuiteReport, Failed> {
    let options =
        Options { entropy: Arc::new(SeededEntropy::new(1)), settle: Duration::from_millis(1), ..Options::default() };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    Ok(runtime.block_on(run_all(sink, options)))
}

fn failures(report: &SuiteReport) -> Vec<(&'static str, &[Finding])> {
    let failed = report.checks.iter().filter_map(|check| match &check.outcome {
        Outcome::Failed(findings) => Some((check.name, findings.as_slice())),
        _ => None,
    });
    failed.collect()
}

fn memory_sink_passes() -> Result<(), Failed> {
    let report = run(Arc::new(MemorySink::new()))?;
    assert!(report.checks.iter().all(|check| check.outcome == Outcome::Passed), "{:#?}", report.checks);
    Ok(())
}

fn leaves_the_store_as_it_was() -> Result<(), Failed> {
    let objects = ["format", "conformance/other", "log/0"];
    let objects = objects.map(|name| (decube_backup_core::Key::new(name).expect("legal"), "x".into()));
    let memory = Arc::new(MemorySink::from_objects(objects.into()));
    let before = memory.objects();
    let recording = Arc::new(RecordingSink::new(memory.clone()));
    let report = run(recording.clone())?;
    assert_eq!(memory.objects(), before);
    assert_eq!(report.leftovers().count(), 0);
    Ok(())
}

fn every_check_has_a_flaw() -> Result<(), Failed> {
    let names: BTreeSet<_> = checks().iter().map(|check| check.name).collect();
    let caught: BTreeSet<_> = FLAWS.iter().map(|(_, check)| *check).collect();
    assert_eq!(names, caught);
    Ok(())
}

fn caught_by_exactly(flaw: Flaw, check: &str) -> Result<(), Failed> {
    let report = run(Arc::new(FlawedSink::new(flaw)))?;
    let failures = failures(&report);
    let names: Vec<_> = failures.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, [check], "{failures:#?}");
    Ok(())
}
