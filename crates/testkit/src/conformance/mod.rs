//! The contract of [`decube_backup_core::sink`] as data: named checks that run against any store.
//!
//! | module | holds |
//! |---|---|
//! | [`run`](self::run_all) | running checks, each below its own random prefix, and cleaning up |
//! | `context` | what a check is given and how it says what it found |
//! | `objects` `absent` `ranges` `create` `listing` `progress` | the checks, by what they are about |
//!
//! *Invariant*: no check can write or delete outside its own random prefix; the sink it is handed
//! refuses. So the suite may run on a store in use, below any repository.
//!
//! *Deliberately absent*: contract 6 (no retries inside) cannot be seen from outside; neither can
//! survival of a power cut (part of contract 2). Each backend tests these with its own means.

mod absent;
mod context;
mod create;
mod listing;
mod objects;
mod progress;
mod ranges;
mod run;

pub use context::{CheckContext, Finding, Findings, Options};
pub use run::{CheckReport, Outcome, SuiteReport, run_all, run_check, skip_reason};

use futures::FutureExt;
use futures::future::BoxFuture;

/// What a check needs of the store or the host; without it the check is skipped, with the reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// `Capabilities::conditional_create`.
    ConditionalCreate,
    /// `Capabilities::mutable`.
    Mutable,
    /// The kernel counts how often a thread went to sleep (Linux).
    SleepCounts,
}

/// One fact that must hold of every sink.
#[derive(Clone, Copy)]
pub struct Check {
    /// The fact, in words.
    pub name: &'static str,
    /// Number of the contract clause in [`decube_backup_core::sink`].
    pub contract: u8,
    /// Without these it is skipped.
    pub needs: &'static [Need],
    /// Looks, and says what is wrong; nothing found is a pass.
    pub run: fn(CheckContext) -> BoxFuture<'static, Vec<Finding>>,
}

macro_rules! check {
    ($contract:literal, $module:ident :: $name:ident, $needs:expr) => {
        Check {
            name: stringify!($name),
            contract: $contract,
            needs: $needs,
            run: |context| {
                async move {
                    let mut findings = Findings::default();
                    let ended = $module::$name(&context, &mut findings).await;
                    findings.finish(ended)
                }
                .boxed()
            },
        }
    };
}

/// Every check, cheap and basic ones first.
pub fn checks() -> Vec<Check> {
    use Need::{ConditionalCreate, Mutable, SleepCounts};
    vec![
        check!(2, objects::a_put_object_comes_back_whole, &[]),
        check!(2, objects::an_empty_object_is_an_object, &[]),
        check!(1, objects::a_rope_of_many_pieces_keeps_its_order, &[]),
        check!(1, objects::every_legal_key_names_its_own_object, &[]),
        check!(2, objects::stat_tells_the_length, &[]),
        check!(2, objects::overwrite_replaces_the_whole_object, &[Mutable]),
        check!(1, objects::the_largest_object_comes_back_whole, &[]),
        check!(4, absent::get_of_an_absent_key_is_none, &[]),
        check!(4, absent::stat_of_an_absent_key_is_none, &[]),
        check!(4, absent::a_range_of_an_absent_key_is_none, &[]),
        check!(4, absent::an_object_is_no_folder_and_a_folder_no_object, &[]),
        check!(4, absent::a_deleted_object_is_gone, &[Mutable]),
        check!(4, absent::delete_of_an_absent_key_is_ok, &[Mutable]),
        check!(2, ranges::a_range_is_exactly_the_bytes_asked_for, &[]),
        check!(2, ranges::a_range_past_the_end_is_short_or_empty, &[]),
        check!(3, create::create_new_loses_to_an_existing_object, &[ConditionalCreate]),
        check!(3, create::create_new_succeeds_after_a_delete, &[ConditionalCreate, Mutable]),
        check!(3, create::of_racing_creates_exactly_one_wins, &[ConditionalCreate]),
        check!(5, listing::list_is_complete_however_many_objects, &[]),
        check!(5, listing::list_tells_the_length, &[]),
        check!(5, listing::list_prefix_is_a_plain_string, &[]),
        check!(5, listing::list_of_nothing_is_empty, &[]),
        check!(5, listing::a_prefix_no_key_can_have_lists_nothing, &[]),
        check!(2, progress::no_reader_sees_part_of_an_object, &[]),
        check!(2, progress::an_overwrite_is_never_seen_half_done, &[Mutable]),
        check!(2, progress::concurrent_puts_into_new_folders_all_land, &[]),
        check!(7, progress::a_dropped_put_leaves_nothing_torn, &[]),
        check!(8, progress::no_call_puts_the_executor_to_sleep, &[SleepCounts]),
    ]
}
