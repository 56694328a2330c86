//! Against an oracle written another way, and laws that hold for any policy.

use super::*;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

/// Hours since 2023-12-25 of up to sixty snapshots, a few of them flagged, of a missing source, pinned, tagged or twins.
fn histories() -> impl Strategy<Value = Vec<Subject>> {
    let one = (0i64..20_000, 0u8..100, 0u8..3);
    prop::collection::vec(one, 0..60).prop_map(|mut all| {
        all.sort_by_key(|(hour, ..)| *hour);
        let start = at("2023-12-25T00:20:00Z");
        all.into_iter()
            .enumerate()
            .map(|(n, (hour, dice, group))| Subject {
                time: Timestamp { seconds: start.seconds + hour * 3600, ..start },
                clock: if dice < 20 { ClockTrust::Flagged } else { ClockTrust::Believed },
                sources: if (15..30).contains(&dice) { Sources::Missing } else { Sources::Read },
                place: if dice % 5 == 4 { Place::of_twin(n as u64, n as u64) } else { Place::of_backup(n as u64) },
                pinned: dice % 10 == 7,
                tags: if dice % 10 == 3 { vec!["t".to_owned()] } else { Vec::new() },
                group: GroupKey { name: Some(group.to_string()), ..GroupKey::default() },
                ..subject(n, "2023-12-25T00:00:00Z")
            })
            .collect()
    })
}

fn limits() -> impl Strategy<Value = Limit> {
    prop_oneof![3 => Just(Limit::Off), 5 => (1u32..8).prop_map(Limit::Newest), 1 => Just(Limit::Unlimited)]
}

fn spans() -> impl Strategy<Value = Option<Span>> {
    prop_oneof![3 => Just(None), 1 => (1u32..400).prop_map(|days| Span::parse(&format!("{days}d")).ok())]
}

fn policies() -> impl Strategy<Value = Policy> {
    let counts = (limits(), prop::array::uniform5(limits()));
    (counts, spans(), prop::array::uniform5(spans()), any::<bool>()).prop_map(
        |((last, counts), within, spans, tagged)| {
            let mut policy = Policy { last, within, ..Policy::default() };
            for ((period, count), span) in Period::ALL.into_iter().zip(counts).zip(spans) {
                policy = policy.keeping(period, count).keeping_within(period, span);
            }
            policy.tags = if tagged { vec![vec!["t".to_owned()]] } else { Vec::new() };
            policy
        },
    )
}

/// The name of a period as a text, by another way than the code's.
fn named(period: Period, time: Timestamp) -> String {
    let format = ["%Y-%m-%d %H", "%Y-%m-%d", "%G-W%V", "%Y-%m", "%Y"][period as usize];
    jiff::Timestamp::new(time.seconds, 0).expect("in range").strftime(format).to_string()
}

/// Whether it takes a place from others.
fn is_sound(subject: &Subject) -> bool {
    subject.clock == ClockTrust::Believed && subject.sources == Sources::Read
}

/// What of `members`, oldest first, one count keeps: group by name of the period, take the newest of the newest groups.
fn counted(members: &[&Subject], period: Period, limit: Limit) -> BTreeSet<Place> {
    let wanted = match limit {
        Limit::Off => return BTreeSet::new(),
        Limit::Newest(n) => n as usize,
        Limit::Unlimited => usize::MAX,
    };
    let mut newest: BTreeMap<String, Place> = BTreeMap::new();
    for member in members {
        newest.insert(named(period, member.time), member.place);
    }
    let mut kept: BTreeSet<Place> = newest.values().rev().take(wanted).copied().collect();
    if newest.len() < wanted {
        kept.extend(members.first().map(|oldest| oldest.place));
    }
    kept
}

fn kept_naively(members: &[&Subject], policy: &Policy) -> BTreeSet<Place> {
    let Some(newest) = members.last() else { return BTreeSet::new() };
    let young = |span: Span, member: &&&Subject| {
        let days: i64 = span.to_string().trim_end_matches('d').parse().expect("days");
        member.time > Timestamp { seconds: newest.time.seconds - days * 86_400, ..newest.time }
    };
    let mut kept = BTreeSet::new();
    match policy.last {
        Limit::Off => {}
        Limit::Newest(n) => kept.extend(members.iter().rev().take(n as usize).map(|m| m.place)),
        Limit::Unlimited => kept.extend(members.iter().map(|m| m.place)),
    }
    for period in Period::ALL {
        kept.extend(counted(members, period, policy.limit(period)));
        if let Some(span) = policy.span(period) {
            let inside: Vec<&Subject> = members.iter().filter(|m| young(span, m)).copied().collect();
            let oldest_is_inside = inside.len() == members.len();
            let mut of_span = counted(&inside, period, Limit::Unlimited);
            if !oldest_is_inside {
                let only_as_oldest = inside.first().filter(|first| {
                    inside.iter().any(|other| {
                        other.place != first.place && named(period, other.time) == named(period, first.time)
                    })
                });
                if let Some(first) = only_as_oldest {
                    of_span.remove(&first.place);
                }
            }
            kept.extend(of_span);
        }
    }
    if let Some(span) = policy.within {
        kept.extend(members.iter().filter(|m| young(span, m)).map(|m| m.place));
    }
    kept.extend(
        members
            .iter()
            .filter(|m| policy.tags.iter().any(|tags| tags.iter().all(|t| m.tags.contains(t))))
            .map(|m| m.place),
    );
    kept
}

fn oracle(subjects: &[Subject], policy: &Policy) -> BTreeSet<Place> {
    let mut kept: BTreeSet<Place> = subjects.iter().filter(|s| s.pinned).map(|s| s.place).collect();
    let groups: BTreeSet<&GroupKey> = subjects.iter().map(|s| &s.group).collect();
    for group in groups {
        let all: Vec<&Subject> = subjects.iter().filter(|s| s.group == *group).collect();
        for sound in [true, false] {
            for is_twin in [false, true] {
                let is_such = |s: &Subject| is_sound(s) == sound && s.place.is_twin() == is_twin;
                // What takes no place from such ones is not there for them.
                let counts = |s: &Subject| (!sound || is_sound(s)) && (is_twin || !s.place.is_twin());
                let among: Vec<&Subject> = all.iter().filter(|s| counts(s)).copied().collect();
                let such = all.iter().filter(|s| is_such(s)).map(|s| s.place).collect();
                kept.extend(kept_naively(&among, policy).intersection(&such));
            }
        }
    }
    kept
}

fn remaining(subjects: &[Subject], policy: &Policy) -> Vec<Subject> {
    kept(subjects, policy).into_iter().map(|at| subjects[at].clone()).collect()
}

fn places(subjects: &[Subject]) -> BTreeSet<Place> {
    subjects.iter().map(|s| s.place).collect()
}

/// One more of everything.
fn larger(policy: &Policy) -> Policy {
    let more = |limit| match limit {
        Limit::Off => Limit::Newest(1),
        Limit::Newest(n) => Limit::Newest(n + 1),
        Limit::Unlimited => Limit::Unlimited,
    };
    let mut larger = Policy { last: more(policy.last), ..policy.clone() };
    for period in Period::ALL {
        larger = larger.keeping(period, more(policy.limit(period)));
    }
    larger
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn decisions_are_those_of_the_oracle(all in histories(), policy in policies()) {
        prop_assert_eq!(places(&remaining(&all, &policy)), oracle(&all, &policy));
    }

    #[test]
    fn applied_to_what_it_kept_a_policy_keeps_all_of_it(all in histories(), policy in policies()) {
        let once = remaining(&all, &policy);
        prop_assert_eq!(places(&remaining(&once, &policy)), places(&once));
    }

    #[test]
    fn asking_for_more_keeps_no_less(all in histories(), policy in policies()) {
        let (few, many) = (places(&remaining(&all, &policy)), places(&remaining(&all, &larger(&policy))));
        prop_assert!(few.is_subset(&many), "{:?} {:?}", few, many);
    }

    #[test]
    fn flagged_snapshots_and_twins_make_nothing_go(all in histories(), policy in policies()) {
        let among = places(&remaining(&all, &policy));
        let own = |s: &Subject| !s.place.is_twin();
        for counts in [&is_sound as &dyn Fn(&Subject) -> bool, &own, &|s: &Subject| is_sound(s) && own(s)] {
            let some: Vec<Subject> = all.iter().filter(|s| counts(s)).cloned().collect();
            let alone = places(&remaining(&some, &policy));
            prop_assert!(alone.is_subset(&among));
            prop_assert_eq!(among.intersection(&places(&some)).copied().collect::<BTreeSet<_>>(), alone);
        }
    }

    #[test]
    fn any_rule_keeps_the_newest_of_each_group(all in histories(), policy in policies()) {
        let untagged = Policy { tags: Vec::new(), ..policy };
        prop_assume!(!untagged.is_empty());
        let kept = places(&remaining(&all, &untagged));
        for group in all.iter().map(|s| &s.group) {
            let newest = all.iter().filter(|s| s.group == *group).map(|s| s.place).max();
            prop_assert!(kept.contains(&newest.expect("one")));
        }
    }
}
