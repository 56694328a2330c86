//! How much may go in one run.

use super::super::guard::{SHARE_PERCENT_DEFAULT, check};
use super::*;

fn group(name: &str) -> GroupKey {
    GroupKey { name: Some(name.to_owned()), ..GroupKey::default() }
}

fn refused(kept: &[&str], dropped: &[&str], limits: GuardLimits) -> Option<Refusal> {
    let [kept, dropped] = [kept, dropped].map(|names| names.iter().map(|name| group(name)).collect::<Vec<_>>());
    check(&kept.iter().collect::<Vec<_>>(), &dropped.iter().collect::<Vec<_>>(), &limits)
}

#[test]
fn no_group_is_emptied_unless_told() {
    let limits = GuardLimits::default();
    assert_eq!(refused(&["a"], &["a", "a"], limits), None);
    assert_eq!(refused(&["a", "a"], &["b"], limits), Some(Refusal::EmptyGroups(vec![group("b")])));
    assert_eq!(refused(&[], &["b", "b"], limits), Some(Refusal::EmptyGroups(vec![group("b")])));
    assert_eq!(refused(&[], &["b", "b"], GuardLimits { allow_empty_group: true, ..limits }), None);
    // Without any group: the last snapshot of the repository.
    assert!(check(&[], &[&GroupKey::default()], &limits).is_some());
}

#[test]
fn no_more_than_the_share_goes_unless_told() {
    let share = |percent| GuardLimits { share_percent_max: percent, ..GuardLimits::default() };
    let default = Some(SHARE_PERCENT_DEFAULT);
    for (kept, dropped, percent, is_refused) in [
        (1, 2, default, false),
        (1, 3, default, true),
        (3, 3, default, false),
        (3, 4, default, true),
        (10, 90, Some(90), false),
        (10, 91, Some(90), true),
        (1, 99, Some(100), false),
        (1, 99, None, false),
        (9, 2, Some(0), false),
        (9, 3, Some(0), true),
        (9, 0, Some(0), false),
    ] {
        let refusal = refused(&vec!["a"; kept], &vec!["a"; dropped], share(percent));
        assert_eq!(refusal.is_some(), is_refused, "{dropped} of {} at {percent:?}", kept + dropped);
    }
}

#[test]
fn the_hint_names_what_would_be_enough() {
    let refusal = refused(&["a"; 10], &["a"; 20], GuardLimits::default()).expect("refused");
    assert!(refusal.to_string().contains("20 of 30 snapshots (67 %)"), "{refusal}");
    assert!(refusal.hint().contains("--allow-share 67"), "{}", refusal.hint());
    let told = GuardLimits { share_percent_max: Some(67), ..GuardLimits::default() };
    assert_eq!(refused(&["a"; 10], &["a"; 20], told), None);
}
