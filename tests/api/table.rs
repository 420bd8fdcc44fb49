//! Every body, by name; whoever runs them gives each a tree of its own.

use super::{atomic, batches, dict, dumps, endings, limits, past, processes, waits, watches};
use zproc::{Context, Result};

/// Where a body may run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Worlds {
    /// Real and simulated.
    Both,
    /// With real processes only, for this reason.
    RealOnly(&'static str),
}

/// One test body.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Body {
    /// `theme::function`.
    pub(crate) name: &'static str,
    /// Asserts; gives what else went wrong.
    pub(crate) run: fn(&Context) -> Result<()>,
    /// Where.
    pub(crate) worlds: Worlds,
}

macro_rules! bodies {
    ($($theme:ident::$name:ident $(only real: $reason:literal)?,)*) => {
        /// All bodies, in the order of the themes.
        pub(crate) const BODIES: &[Body] = &[
            $(Body {
                name: concat!(stringify!($theme), "::", stringify!($name)),
                run: $theme::$name,
                worlds: bodies!(@worlds $($reason)?),
            },)*
        ];
    };
    (@worlds) => { Worlds::Both };
    (@worlds $reason:literal) => { Worlds::RealOnly($reason) };
}

bodies! {
    dict::set_get_remove,
    dict::any_serde_type,
    dict::wrong_type_is_told,
    dict::namespaces_are_apart,
    dict::keys_len_clear,
    dict::get_or_insert_once,
    dict::revisions_rise,
    dict::snapshot_is_a_copy,
    dict::snapshot_of_many_pages,
    dict::snapshot_while_others_write,
    dict::keys_of_prefixes_and_ranges,
    dict::iter_reads_page_by_page,
    dict::handles_are_clones,
    past::at_reads_the_past,
    past::the_past_of_many_keys_comes_in_pages,
    past::a_past_that_is_gone_is_compacted,
    batches::extend_and_replace_all,
    batches::large_replace_all_is_a_reset,
    batches::take_gives_it_to_one,
    batches::pop_from_both_ends,
    batches::add_counts_of_many_processes,
    batches::compare_and_set_by_value_and_revision,
    batches::batch_is_whole_or_not_at_all,
    batches::batch_at_and_over_its_limits,
    batches::the_same_in_a_transaction,
    limits::key_too_long,
    limits::value_too_large,
    limits::value_too_deep,
    limits::namespace_name_too_long,
    limits::reserved_namespace_is_read_only,
    limits::what_does_not_serialise,
    limits::change_set_too_large,
    limits::writes_of_one_function_too_many,
    atomic::returns_a_value,
    atomic::plain_and_generic_functions,
    atomic::spans_namespaces,
    atomic::reads_its_own_writes,
    atomic::error_is_rolled_back,
    atomic::panic_is_rolled_back,
    atomic::refused_write_sticks,
    atomic::wrong_type_inside,
    atomic::result_does_not_serialise,
    atomic::counts_of_many_processes,
    waits::present_state_first,
    waits::woken_by_a_process,
    waits::option_gives_its_contents,
    waits::on_a_prefix,
    waits::on_a_range,
    waits::across_namespaces,
    waits::equal_by_value,
    waits::ready_made,
    waits::tested_only_when_what_it_reads_changes only real: "a fault point tests waits that nothing has touched",
    waits::change_of_some_keys,
    waits::time_limit,
    waits::error_and_panic_end_it,
    watches::by_key,
    watches::by_prefix,
    watches::all_of_a_namespace,
    watches::since_a_revision,
    watches::from_the_start,
    watches::one_update_for_one_atomic,
    watches::origin_tells_who,
    watches::time_limit_loses_nothing,
    watches::some_keys_and_all_but_some,
    watches::own_and_identical_are_left_out,
    watches::timeout_in_a_loop,
    watches::live_again,
    watches::from_a_snapshot_without_gap_or_overlap,
    watches::many_at_once,
    watches::every_update_of_other_processes,
    watches::large_clear_is_a_reset,
    processes::value_comes_back,
    processes::many_at_once,
    processes::err_is_a_value,
    processes::panic_is_told,
    processes::who_was_heard_of_has_a_number,
    processes::nested,
    processes::children_end_with_their_parent,
    processes::owned_keys_are_released,
    processes::overwritten_keys_are_not_released,
    processes::record_tells_its_life,
    processes::outcome_of_a_value,
    processes::join_with_a_time_limit,
    processes::dropped_is_detached,
    processes::large_argument_and_result,
    processes::largest_argument_and_result only real: "the simulator copies each byte many times",
    processes::argument_over_the_limit,
    processes::result_over_the_limit,
    processes::errors_are_values_too,
    processes::state_of_its_own,
    processes::one_builder_many_processes,
    processes::name_in_the_record,
    processes::setups_that_make_no_sense,
    processes::all_in_a_table,
    processes::records_are_waited_on_and_watched,
    endings::kill,
    endings::groups_give_one_answer_for_each,
    endings::groups_have_one_deadline,
    endings::kill_before_it_runs,
    endings::kill_of_one_that_has_ended,
    endings::killed_with_its_children,
    endings::stop_ends_every_kind_of_wait,
    endings::stop_before_it_runs,
    endings::killed_when_the_grace_is_over,
    endings::at_the_root_it_outlives_its_parent,
    endings::to_the_root_when_it_has_ended,
    endings::the_grace_it_was_started_with,
    endings::killed_when_its_time_limit_is_over,
    endings::a_time_limit_that_is_kept_does_nothing,
    endings::the_shortest_grace_counts,
    endings::stop_of_one_that_has_ended,
    endings::who_is_stopped_can_stop_its_children,
    dumps::who_waits_for_what,
    processes::exit_code only real: "`exit` ends the simulator's own process",
    processes::killed_by_a_signal only real: "the simulator has no signals; its crashes are faults",
}
