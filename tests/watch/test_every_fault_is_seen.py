"""Each long loop of faults of the lane, and the doctor's observation that names what it plants."""

import ast
from collections.abc import Iterator
from pathlib import Path

from tests.watch.test_faults import FAULTS
from watch.conditions import read_conditions

TESTS = Path(__file__).parents[1] / "stream_shim"
NONE = ""  # it plants nothing that lasts: what it does is over by itself, or costs one record
KAFKA, LOG, LAG = "server does not run: kafka", "log cannot be read on", "lag: realtime market_tick"
# By test: how the observation's title begins; tests/watch/test_faults.py plants each of them.
SEEN = {
    # test_faults.py
    "test_kill_9_of_the_processor_at_random_moments": LAG,
    "test_kill_9_of_the_broker_and_restart": KAFKA,
    "test_postgres_stopped_and_killed_while_rows_come": "server does not run: postgres",
    "test_a_paused_processor_that_wakes_up_does_not_write": "reports no more: realtime",
    "test_a_second_processor_shares_the_partitions_and_nothing_is_lost_or_doubled": NONE,
    "test_a_database_that_cannot_grow_its_files_stops_the_processor_and_it_resumes": "stopped processor: realtime",
    "test_a_processor_ends_within_five_seconds_of_sigterm_whatever_the_backlog": LAG,
    "test_a_processor_that_hangs_while_it_sends_rows_is_ended_by_who_waits_for_it": "reports no more: realtime",
    # test_endings.py
    "test_a_signal_ends_the_lane_within_five_seconds": "the lane does not run: supervisor",
    "test_a_signal_ends_a_process_within_five_seconds": NONE,
    "test_a_lane_starts_beside_a_database_that_takes_nothing": "database takes no writes: warehouse",
    "test_a_full_disk_stops_nobody_and_is_over_when_there_is_room": "state not written: realtime",
    "test_a_source_that_a_person_runs_is_taken_over_when_he_ends_it": NONE,
    "test_a_lane_starts_where_the_one_before_left_a_process_that_hangs": "orphan process: realtime",
    # the others
    "test_with_kafka_down_every_command_that_needs_it_names_the_broker_and_what_starts_it": KAFKA,
    "test_a_feed_that_keeps_its_parser_busy_is_an_error_that_says_so": "failing source",
    "test_of_more_observations_than_were_once_kept_each_is_sent_once_and_a_new_one_costs_little": NONE,
    "test_a_tail_that_was_seen_and_lost_before_anybody_read_it_ends_the_epoch_and_is_counted": LOG,
    "test_a_log_cut_and_filled_beyond_the_old_end_ends_the_epoch_and_every_new_record_is_a_row": LOG,
    "test_a_processor_that_runs_meanwhile_stops_and_takes_nothing_of_the_new_log": LOG,
    "test_a_processor_that_has_read_a_log_to_its_end_goes_on_after_the_broker_was_killed": KAFKA,
    "test_many_of_the_largest_rows_take_a_bounded_memory": NONE,
    "test_a_record_larger_than_memory_costs_itself_alone": "growing quarantine: realtime",
    "test_a_record_of_120_mb_leaves_the_local_broker_running": NONE,
    "test_a_killed_processor_leaves_nothing_out_and_nothing_twice": LAG,
    "test_a_rebalance_that_a_silent_member_holds_up_is_shown_and_ends_within_a_minute": LAG,
    "test_records_behind_a_transaction_that_nobody_ends_are_shown_and_come_once_it_is_over": LAG,
    "test_a_lane_that_lags_starts_a_second_processor_and_both_bring_every_row_once": NONE,
    "test_a_processor_that_is_stopped_is_ended_and_another_goes_on": "reports no more: realtime",
}
MARK = "pytest.mark.faults"


def marked(path: Path) -> Iterator[str]:
    """The tests of a file that have the mark: all of its cases, or one."""
    module = ast.parse(path.read_text())
    assigned = [node for node in module.body if isinstance(node, ast.Assign) and ast.unparse(node.value) == MARK]
    names = {ast.unparse(node.targets[0]) for node in assigned}
    for node in module.body:
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            words = {ast.unparse(each) for one in node.decorator_list for each in ast.walk(one)}
            if "pytestmark" in names or words & {MARK, *names}:
                yield node.name


def test_every_long_loop_of_the_lane_has_its_observation() -> None:
    assert {name for path in sorted(TESTS.glob("test_*.py")) for name in marked(path)} == SEEN.keys()


def test_every_observation_that_a_long_loop_has_is_planted() -> None:
    planted = [str(fault.id) for fault in FAULTS]
    lacking = [title for title in SEEN.values() if not any(one.startswith(title) for one in planted)]
    assert lacking == []


def test_every_fault_that_is_planted_raises_an_alert() -> None:
    conditions = read_conditions()
    assert [str(fault.id) for fault in FAULTS if str(fault.id).partition(":")[0] not in conditions] == []
