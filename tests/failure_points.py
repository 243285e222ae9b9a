"""The 48 failure points of an update, and the tests that inject each.

The list is what the field's updaters promise and were broken by: network, storage, trust, boot, time, commands, and the
collector itself. A test is named by its file and function, a file alone stands for all that it holds; pytest marks
those tests `failure_point`, so that `pytest -m failure_point` runs them, and a report has the points in its properties.

A change violates this when a point has no test that makes it happen, or a test named here does not exist.
"""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
MARK: Final = "failure_point"


@dataclass(frozen=True, slots=True)
class FailurePoint:
    """What goes wrong, and where it is made to."""

    name: str
    says: str
    tests: tuple[str, ...]

    def covers(self, node_id: str) -> bool:
        """Whether one of its tests is this one, whatever its parameters."""
        test, _, _ = node_id.partition("[")
        return test in self.tests or test.partition("::")[0] in self.tests


def points_of(node_id: str) -> tuple[str, ...]:
    """Return the points that a test injects."""
    return tuple(point.name for point in FAILURE_POINTS if point.covers(node_id))


def missing() -> Iterator[str]:
    """Say which named tests do not exist."""
    for point in FAILURE_POINTS:
        for test in point.tests:
            path, _, function = test.partition("::")
            if function not in _tests_in(ROOT / path) | {""}:
                yield f"{point.name}: {test}"


@cache
def _tests_in(path: Path) -> frozenset[str]:
    if not path.is_file():
        return frozenset()
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = {node.name for node in tree.body if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")}
    return frozenset(found) | ({""} if found else set())


def _in(path: str, *functions: str) -> tuple[str, ...]:
    return tuple(f"tests/{path}.py::test_{function}" for function in functions)


def _all_in(path: str) -> tuple[str, ...]:
    return (f"tests/{path}.py",)


ATTACKS: Final = _all_in("agent/test_fetch_attacks")

FAILURE_POINTS: Final = (
    # network
    FailurePoint(
        "F1",
        "a download is cut at its first byte, its second, in the midst, before its last",
        _in("agent/test_fetch_failures", "a_cut_at_any_byte_is_mended_from_there")
        + _in(
            "agent/test_fetch",
            "a_download_goes_on_in_the_next_start",
            "metadata_that_is_cut_is_a_matter_of_the_network",
        ),
    ),
    FailurePoint(
        "F2",
        "what is resumed has another tag, or another range comes",
        _in(
            "agent/test_fetch",
            "a_file_that_changed_in_between_begins_anew",
            "a_range_that_nobody_asked_for_begins_anew",
            "a_weak_tag_is_not_gone_by",
        ),
    ),
    FailurePoint(
        "F3",
        "bytes that come in drops",
        _in("agent/test_fetch_attacks", "a_release_in_drops_is_given_up", "a_head_in_drops_is_given_up")
        + _in("agent/test_pace", "too_little_in_a_window_ends_it"),
    ),
    FailurePoint(
        "F4",
        "a body without end, or of another length than announced",
        _in(
            "agent/test_fetch_attacks",
            "a_release_without_end_fills_no_disk",
            "metadata_without_end_is_cut_off",
            "half_a_bundle_is_none",
        ),
    ),
    FailurePoint(
        "F5",
        "a captive portal answers",
        _in("agent/test_fetch_failures", "a_portals_page_is_no_release_and_leaves_nothing")
        + _in("agent/test_fetch_attacks", "a_page_that_a_captive_portal_shows_is_no_metadata"),
    ),
    FailurePoint(
        "F6",
        "the server answers 403, 404, 429 with a time to wait, 5xx",
        _in(
            "agent/test_fetch",
            "a_server_that_cannot_now_is_asked_again",
            "a_server_may_ask_for_time_but_not_for_more_than_there_is",
            "a_signed_file_that_is_gone_is_the_repositorys_fault",
        ),
    ),
    FailurePoint(
        "F7",
        "names do not resolve",
        _in("agent/test_fetch_failures", "a_name_that_does_not_resolve_is_a_matter_of_the_network"),
    ),
    FailurePoint(
        "F8",
        "a certificate has ended: the server's, the client's",
        _in("agent/test_fetch", "tls_is_judged_by_the_time_that_was_told")
        + _in("agent/test_core_clock", "a_certificate_that_has_ended_is_refused_again_and_again_by_the_time_told")
        + _in("live/test_clock", "a_certificate_that_has_ended_is_refused_once_the_time_is_told"),
    ),
    FailurePoint(
        "F9",
        "somebody between them shows another certificate",
        _in("agent/test_fetch", "tls_is_judged_by_the_time_that_was_told")
        + _in("live/test_clock", "who_is_not_to_be_trusted_is_refused_at_once"),
    ),
    FailurePoint(
        "F10",
        "the line flaps five times",
        _in("agent/test_fetch_failures", "a_line_that_flaps_costs_as_many_requests_and_no_byte_twice"),
    ),
    # storage
    FailurePoint(
        "F11",
        "no room: at the download, at staging, at the switch, for the database",
        _in(
            "agent/test_fetch_failures",
            "a_disk_that_fails_in_the_midst_is_said_and_gone_on_with",
        )
        + _in("agent/test_fetch", "a_disk_that_is_too_full_is_not_begun_with")
        + _in("agent/test_unpack", "a_till_s_disk_is_never_filled")
        + _in("agent/test_launcher", "what_is_committed_starts_on_a_full_disk")
        + _in("agent/test_outbox", "a_full_disk_changes_nothing_and_room_heals_it")
        + _in("agent/test_power", "a_job_that_is_struck_ends_and_something_runs"),
    ),
    FailurePoint(
        "F12",
        "the disk gives errors",
        _in("agent/test_fetch_failures", "a_disk_that_fails_in_the_midst_is_said_and_gone_on_with")
        + _in("agent/test_outbox", "a_file_that_breaks_under_us_is_said")
        + _in("agent/test_unpack", "a_slot_that_cannot_be_read_is_the_disk_s_fault")
        + _in("agent/test_power", "a_job_that_is_struck_ends_and_something_runs"),
    ),
    FailurePoint(
        "F13",
        "the file system became read-only",
        _in("agent/test_fetch_failures", "a_disk_that_fails_in_the_midst_is_said_and_gone_on_with")
        + _in("agent/test_launcher", "a_trial_that_cannot_be_counted_is_not_started"),
    ),
    FailurePoint(
        "F14",
        "what was staged is changed after it was verified",
        _in(
            "agent/test_slots",
            "what_changed_since_it_was_staged_is_not_activated",
            "a_slot_that_vanished_is_not_activated",
            "staging_again_repairs_what_was_changed",
        ),
    ),
    FailurePoint(
        "F15",
        "state that cannot be read: the job's page, the slots' choice, the outbox",
        _in("agent/test_outbox", "a_file_that_cannot_be_read_is_set_aside_and_a_new_stream_begins")
        + _in("agent/test_jobs", "a_page_that_cannot_be_read_is_forgotten")
        + _in("agent/test_slots", "a_choice_that_cannot_be_read_stops_everything")
        + _in("agent/test_launcher", "where_the_choice_cannot_be_read_the_link_decides"),
    ),
    FailurePoint(
        "F16",
        "a disk that says it has what it has not",
        _in("agent/test_fetch", "a_part_that_power_was_cut_under_is_thrown_away_once")
        + _in("agent/test_slots", "what_changed_since_it_was_staged_is_not_activated")
        + _in("agent/test_power", "a_job_that_is_struck_ends_and_something_runs"),
    ),
    FailurePoint(
        "F17",
        "a quota is used up, or the inodes are",
        _in("agent/test_fetch_failures", "a_disk_that_fails_in_the_midst_is_said_and_gone_on_with")
        + _in("agent/test_unpack", "members_and_folders_are_counted"),
    ),
    FailurePoint(
        "F18",
        "an archive that reaches outside, by names or links",
        _in(
            "agent/test_unpack",
            "an_archive_that_would_reach_outside_is_refused",
            "a_zip_that_would_reach_outside_is_refused",
        )
        + _in("agent/test_fetch_attacks", "a_targets_name_leads_nowhere_else"),
    ),
    FailurePoint(
        "F19",
        "an archive that unpacks without end",
        _in(
            "agent/test_unpack",
            "no_more_is_written_than_the_release_says",
            "names_and_attributes_take_no_memory_without_limit",
        ),
    ),
    # trust
    FailurePoint("F20", "each attack on an update framework: forged, rolled back, frozen, mixed, endless", ATTACKS),
    FailurePoint(
        "F21",
        "a release that was signed for another model or machine",
        _in("agent/test_fetch_attacks", "a_release_must_be_for_this_terminal")
        + _in("protocol/test_release", "a_terminal_takes_what_is_for_it"),
    ),
    FailurePoint(
        "F22",
        "a release that was signed and taken back",
        _in("agent/test_fetch_attacks", "a_release_that_was_taken_back_says_why")
        + _in("live/test_releases", "a_release_goes_from_people_to_a_till")
        + _in("collector/test_rollout_doors", "a_release_that_was_taken_back_lets_nothing_go_on"),
    ),
    FailurePoint(
        "F23",
        "keys change while the terminal is off",
        _in("agent/test_fetch_attacks", "a_terminal_that_missed_two_roots_follows_all_of_them")
        + _in("live/test_releases", "a_release_goes_from_people_to_a_till"),
    ),
    FailurePoint(
        "F24",
        "an older version is asked for",
        _in("agent/test_fetch_attacks", "a_release_must_be_for_this_terminal")
        + _in("collector/test_signing", "versions_of_a_product_only_grow"),
    ),
    # boot
    FailurePoint(
        "F25",
        "what is new crashes at each start",
        _in("agent/test_launcher", "a_trial_is_started_three_times_and_then_gives_way")
        + _in("agent/test_update_proof", "what_its_launcher_gave_up_is_taken_back")
        + _in("live/test_rollouts", "what_does_not_do_well_is_taken_back_and_ends_in_its_first_wave"),
    ),
    FailurePoint(
        "F26",
        "it starts and never does well",
        _in("agent/test_update_proof", "what_does_not_prove_itself_is_taken_back")
        + _in("live/test_rollouts", "what_does_not_do_well_is_taken_back_and_ends_in_its_first_wave"),
    ),
    FailurePoint(
        "F27",
        "it does well for a while, and then dies",
        _in(
            "agent/test_update_proof",
            "what_stops_running_meanwhile",
            "a_product_that_is_not_well_begins_its_proof_anew",
        )
        + _in("collector/test_driving", "harm_that_no_agent_reports_halts_and_its_tickets_are_parts_of_the_halts"),
    ),
    FailurePoint(
        "F28",
        "it hangs, or its hooks do",
        _in("agent/test_launcher", "a_program_that_does_not_confirm_itself_is_ended")
        + _in("agent/test_hooks", "what_is_late_is_ended_with_all_that_it_started")
        + _in("agent/test_update_proof", "no_heartbeat_at_all_is_no_proof"),
    ),
    FailurePoint(
        "F29",
        "it says that it is well, and a device or the line is gone",
        _in(
            "agent/test_proof",
            "what_is_worse",
            "a_component_that_is_not_heard_of_any_more_is_worse_and_another_one_is_not",
        )
        + _in(
            "agent/test_update_proof",
            "what_does_not_prove_itself_is_taken_back",
            "what_no_collector_has_heard_is_taken_back",
        )
        + _in("collector/test_driving", "who_says_it_succeeded_and_runs_what_it_ran_has_failed"),
    ),
    FailurePoint(
        "F30",
        "what is gone back to does not start either",
        _in("agent/test_update_proof", "a_committed_release_that_does_not_start_either_fails_the_job")
        + _in("agent/test_worker", "a_restart_that_fails_after_a_revert_says_why"),
    ),
    FailurePoint(
        "F31",
        "neither slot can be started",
        _in(
            "agent/test_launcher",
            "a_trial_without_anything_behind_it_ends_in_nothing",
            "where_nothing_was_ever_chosen_nothing_starts",
        ),
    ),
    FailurePoint(
        "F32",
        "an older agent reads the state of a newer one",
        _in("agent/test_jobs", "a_page_of_a_newer_agent_is_read_as_far_as_it_is_understood")
        + _in("agent/test_slots", "words_of_a_later_version_are_left_out"),
    ),
    FailurePoint(
        "F33",
        "power is cut while a release is taken back",
        _in("agent/test_update_proof", "a_start_in_a_rollback_takes_back_again")
        + _in("agent/test_slots", "taking_back_twice_takes_back_once")
        + _in("agent/test_power", "a_job_that_is_struck_ends_and_something_runs"),
    ),
    # time
    FailurePoint(
        "F34",
        "the clock says 1970",
        _in(
            "agent/test_fetch",
            "a_clock_that_is_behind_takes_what_holds_by_the_floor",
            "with_a_time_that_was_told_the_own_clock_does_not_matter",
        )
        + _in("live/test_clock", "a_till_that_boots_in_1970_is_told_the_time_and_makes_a_ticket")
        + _in("live/test_releases", "a_time_that_was_told_is_enough_for_a_machine_without_one"),
    ),
    FailurePoint(
        "F35",
        "the clock is ten years ahead",
        _in("agent/test_fetch", "a_clock_that_is_ahead_is_told_apart_and_locks_nobody_out")
        + _in("live/test_releases", "a_time_that_was_told_is_enough_for_a_machine_without_one"),
    ),
    FailurePoint(
        "F36",
        "the clock jumps back in the midst",
        _in("agent/test_fetch_failures", "a_clock_that_jumps_in_the_midst_ends_no_download")
        + _in("agent/test_update", "no_wall_clock_decides_anything"),
    ),
    FailurePoint(
        "F37",
        "metadata has ended, and the clock may be wrong",
        _in(
            "agent/test_fetch",
            "metadata_that_truly_ended_is_refused_by_the_time_that_was_told",
            "a_clock_that_is_behind_does_not_take_what_ended_before_this_agent_was_built",
        ),
    ),
    FailurePoint(
        "F38",
        "clocks change for summer and winter",
        _in(
            "collector/test_window",
            "a_cut_off_is_kept_free_over_both_changes_of_the_clock",
            "margins_are_real_time_and_the_night_of_a_change_is_as_long_as_it_is",
        ),
    ),
    # commands
    FailurePoint(
        "F39",
        "a message comes twice",
        _in("agent/test_update", "an_offer_that_comes_again_changes_nothing", "a_go_that_comes_twice_switches_once"),
    ),
    FailurePoint(
        "F40",
        "a withdrawal overtakes its offer",
        _in("agent/test_update", "a_withdrawal_that_overtakes_its_offer_is_remembered"),
    ),
    FailurePoint(
        "F41",
        "a message of a job that has given way to another",
        _in(
            "agent/test_update",
            "a_job_that_is_over_gives_way_to_the_next_and_is_never_taken_again",
            "another_offer_is_left_while_a_job_runs",
        ),
    ),
    FailurePoint(
        "F42",
        "a message that was recorded is played again",
        _in(
            "agent/test_update",
            "a_go_is_for_the_newest_ask_alone",
            "a_go_that_nobody_asked_for_is_left",
            "a_go_lives_from_its_ask",
        ),
    ),
    FailurePoint(
        "F43",
        "a message is for another terminal",
        _in("agent/test_core_jobs", "a_message_for_another_terminal_is_left")
        + _in("live/test_tls", "a_terminal_hears_only_what_is_said_to_it"),
    ),
    FailurePoint(
        "F44",
        "offer, go, acknowledgement or report is lost",
        _in(
            "collector/test_driving",
            "offers_that_are_lost_are_said_again_once_an_interval",
            "a_go_that_is_lost_lapses_and_comes_again_for_another_nonce",
        )
        + _in("agent/test_core_jobs", "reports_that_find_no_room_are_left_to_the_level")
        + _in("scenarios/test_endings", "a_broker_that_loses_acknowledgements_delays_and_doubles_nothing"),
    ),
    # the collector
    FailurePoint(
        "F45",
        "the collector ends between its grant and the message",
        _in("collector/test_driving", "it_goes_on_after_every_cut_and_no_till_switches_twice"),
    ),
    FailurePoint(
        "F46",
        "the collector is restored from an old backup",
        _in("live/test_rollouts", "a_collector_restored_in_the_midst_pauses_and_commands_nothing_twice")
        + _in(
            "collector/test_driving",
            "a_restored_database_pauses_all_and_commands_nothing_twice",
            "who_puts_a_backup_back_pauses_all_before_anybody_is_heard",
            "a_job_that_is_nobodys_is_withdrawn_when_another_is_offered",
        ),
    ),
    FailurePoint(
        "F47",
        "two collectors decide at once",
        _in(
            "collector/test_judge",
            "a_judge_whose_lease_was_taken_commits_nothing",
            "another_process_cannot_judge_while_one_does",
        )
        + _in("collector/test_roles", "who_was_away_too_long_finds_the_tick_taken_and_stands_by"),
    ),
    FailurePoint(
        "F48",
        "a person pauses or aborts in the midst; the database falls",
        _in(
            "collector/test_driving",
            "what_is_paused_offers_nothing_and_lets_nothing_switch_but_hears_on",
            "what_is_aborted_withdraws_until_it_is_heard_and_what_has_its_go_finishes",
        )
        + _in("live/test_rollouts", "whatever_falls_a_good_release_reaches_every_till_once"),
    ),
)
