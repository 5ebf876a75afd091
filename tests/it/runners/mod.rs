//! The contract of the port `runner`, run against every file of it; and what only one of them can do.

mod again;
mod builds;
mod docker;
mod kit;
mod local_alone;
mod own_network;
mod reach;
mod replicas;
mod servers;

use self::kit::Kind;

/// One test of each runner for each promise, so that a failure names both.
macro_rules! contract {
    ($($area:ident: $($promise:ident)*;)*) => {
        mod local {
            $($(
                #[tokio::test]
                async fn $promise() {
                    super::$area::$promise(super::Kind::Local).await;
                }
            )*)*
        }

        mod docker_engine {
            $($(
                #[tokio::test]
                async fn $promise() {
                    super::$area::$promise(super::Kind::Docker).await;
                }
            )*)*
        }
    };
}

contract! {
    builds:
        what_was_built_runs
        a_build_sees_its_own_variables_and_caches
        a_build_without_output_is_none
        a_link_out_of_the_checkout_is_never_packed
        too_much_memory_is_said
        too_much_on_disk_is_said
        what_a_build_used_is_told
        what_mastra_noted_beside_the_output_is_told
        too_large_a_heap_is_said_too
        an_overgrown_cache_is_begun_anew
        a_build_that_takes_too_long_is_ended
        a_cancelled_build_is_gone_at_once
        a_build_whose_owner_is_gone_is_ended
        a_build_asked_for_again_replaces_the_first
        a_failing_build_says_why
        a_command_that_does_not_exist_is_said
        values_of_a_build_arrive_byte_for_byte
        an_upload_is_installed_and_runs
        an_upload_that_is_gone_is_said;
    reach:
        a_build_reaches_what_was_named_and_nothing_else;
    servers:
        a_server_becomes_ready_and_stops_when_asked
        started_twice_it_runs_once
        a_server_that_never_listens_is_ended
        a_page_for_every_path_is_not_health
        a_server_is_ready_when_its_own_gate_says_so
        a_server_that_throws_says_what_it_threw
        a_crash_is_told_with_its_cause
        one_that_ignores_the_signal_is_killed
        a_start_that_nobody_waits_for_leaves_nothing
        a_start_is_cut_short_by_a_stop
        values_of_a_server_arrive_byte_for_byte
        output_comes_whole_and_in_order
        a_server_may_write_beside_itself
        a_server_that_fills_the_disk_is_ended
        several_are_ready_together_and_stop_together
        of_several_that_are_not_all_ready_none_is_left
        nobody_is_absent;
}
