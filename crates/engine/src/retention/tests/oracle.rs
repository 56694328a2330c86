//! Against an oracle written another way, and laws that hold for any policy.

use super::*;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

/// Hours since 2023-12-25 of up to sixty snapshots, a few of them flagged, pinned or tagged.
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

/// What of `members`, oldest first, one count keeps: group by name of the period, take the newest of the newest groups.
fn counted(members: &[&Subject], period: Period, limit: Limit) -> BTreeSet<u64> {
    let wanted = match limit {
        Limit::Off => return BTreeSet::new(),
        Limit::Newest(n) => n as usize,
        Limit::Unlimited => usize::MAX,
    };
    let mut newest: BTreeMap<String, u64> = BTreeMap::new();
    for member in members {
        newest.insert(named(period, member.time), member.seq);
    }
    let mut kept: BTreeSet<u64> = newest.values().rev().take(wanted).copied().collect();
    if newest.len() < wanted {
        kept.extend(members.first().map(|oldest| oldest.seq));
    }
    kept
}

fn kept_naively(members: &[&Subject], policy: &Policy) -> BTreeSet<u64> {
    let Some(newest) = members.last() else { return BTreeSet::new() };
    let young = |span: Span, member: &&&Subject| {
        let days: i64 = span.to_string().trim_end_matches('d').parse().expect("days");
        member.time > Timestamp { seconds: newest.time.seconds - days * 86_400, ..newest.time }
    };
    let mut kept = BTreeSet::new();
    match policy.last {
        Limit::Off => {}
        Limit::Newest(n) => kept.extend(members.iter().rev().take(n as usize).map(|m| m.seq)),
        Limit::Unlimited => kept.extend(members.iter().map(|m| m.seq)),
    }
    for period in Period::ALL {
        kept.extend(counted(members, period, policy.limit(period)));
        if let Some(span) = policy.span(period) {
            let inside: Vec<&Subject> = members.iter().filter(|m| young(span, m)).copied().collect();
            let oldest_is_inside = inside.len() == members.len();
            let mut of_span = counted(&inside, period, Limit::Unlimited);
            if !oldest_is_inside {
                let only_as_oldest = inside.first().filter(|first| {
                    inside
                        .iter()
                        .any(|other| other.seq != first.seq && named(period, other.time) == named(period, first.time))
                });
                if let Some(first) = only_as_oldest {
                    of_span.remove(&first.seq);
                }
            }
            kept.extend(of_span);
        }
    }
    if let Some(span) = policy.within {
        kept.extend(members.iter().filter(|m| young(span, m)).map(|m| m.seq));
    }
    kept.extend(
        members
            .iter()
            .filter(|m| policy.tags.iter().any(|tags| tags.iter().all(|t| m.tags.contains(t))))
            .map(|m| m.seq),
    );
    kept
}

fn oracle(subjects: &[Subject], policy: &Policy) -> BTreeSet<u64> {
    let mut kept: BTreeSet<u64> = subjects.iter().filter(|s| s.pinned).map(|s| s.seq).collect();
    let groups: BTreeSet<&GroupKey> = subjects.iter().map(|s| &s.group).collect();
    for group in groups {
        let all: Vec<&Subject> = subjects.iter().filter(|s| s.group == *group).collect();
        let sound: Vec<&Subject> = all.iter().filter(|s| s.clock == ClockTrust::Believed).copied().collect();
        let flagged: BTreeSet<u64> = all.iter().filter(|s| s.clock == ClockTrust::Flagged).map(|s| s.seq).collect();
        kept.extend(kept_naively(&sound, policy));
        kept.extend(kept_naively(&all, policy).intersection(&flagged));
    }
    kept
}

fn remaining(subjects: &[Subject], policy: &Policy) -> Vec<Subject> {
    kept(subjects, policy).into_iter().map(|at| subjects[at].clone()).collect()
}

fn seqs(subjects: &[Subject]) -> BTreeSet<u64> {
    subjects.iter().map(|s| s.seq).collect()
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
        prop_assert_eq!(seqs(&remaining(&all, &policy)), oracle(&all, &policy));
    }

    #[test]
    fn applied_to_what_it_kept_a_policy_keeps_all_of_it(all in histories(), policy in policies()) {
        let once = remaining(&all, &policy);
        prop_assert_eq!(seqs(&remaining(&once, &policy)), seqs(&once));
    }

    #[test]
    fn asking_for_more_keeps_no_less(all in histories(), policy in policies()) {
        let (few, many) = (seqs(&remaining(&all, &policy)), seqs(&remaining(&all, &larger(&policy))));
        prop_assert!(few.is_subset(&many), "{:?} {:?}", few, many);
    }

    #[test]
    fn flagged_snapshots_make_nothing_go(all in histories(), policy in policies()) {
        let sound: Vec<Subject> = all.iter().filter(|s| s.clock == ClockTrust::Believed).cloned().collect();
        let alone = seqs(&remaining(&sound, &policy));
        let among = seqs(&remaining(&all, &policy));
        prop_assert!(alone.is_subset(&among));
        prop_assert_eq!(among.intersection(&seqs(&sound)).copied().collect::<BTreeSet<_>>(), alone);
    }

    #[test]
    fn any_rule_keeps_the_newest_of_each_group(all in histories(), policy in policies()) {
        let untagged = Policy { tags: Vec::new(), ..policy };
        prop_assume!(!untagged.is_empty());
        let kept = seqs(&remaining(&all, &untagged));
        for group in all.iter().map(|s| &s.group) {
            let newest = all.iter().filter(|s| s.group == *group).map(|s| s.seq).max();
            prop_assert!(kept.contains(&newest.expect("one")));
        }
    }
}
