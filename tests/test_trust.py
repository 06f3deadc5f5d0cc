"""What hostile use once broke, kind by kind, and the tests that hold each mended.

A line names a kind and the tests that fail where it is not mended; `A` could lose or run something,
`B` ended in a traceback or a hang, `C` misled.
"""

# ruff: noqa: E501 - a line each

from __future__ import annotations

import ast
from pathlib import Path

import pytest

HERE = Path(__file__).parent
TAMPERED = (
    "hostile/test_directories.py::test_nothing_that_was_tampered_with_is_run_and_all_of_it_is_told"
)
OPTIONS = "hostile/test_options.py::test_every_option_is_answered"
TABLES = "hostile/test_tables_and_paths.py::test_every_table_trains_or_gets_a_sentence"
PREDICTED = "hostile/test_tables_and_paths.py::test_every_table_is_predicted_for_or_gets_a_sentence"
PLACES = "hostile/test_tables_and_paths.py::test_every_odd_place_works_or_gets_a_sentence"
CRASHED = "crash/test_crash.py::test_disturbed_commands_lose_nothing"
KILLED = "crash/test_crash.py::test_whatever_process_is_killed_nothing_is_lost_or_left"

KINDS = {
    "A1 a run directory runs code": (TAMPERED, "files/test_bounded.py::test_what_a_config_of_ours_never_holds_is_refused_by_place"),
    "A2 sweep_dir= deletes what it did not make": ("test_ending.py::test_a_sweep_clears_no_directory_with_files_of_others", "files/test_atomic.py::test_only_a_directory_of_known_files_is_cleared"),
    "A3 code of the user's ends the sweep": ("test_ending.py::test_what_a_model_does_to_its_process_costs_its_job_alone", "test_ending.py::test_what_a_source_of_data_does_to_its_process_costs_its_job_alone", "config/test_located.py::test_a_module_that_ends_its_process_is_refused"),
    "A4 a full or read-only disk": ("test_ending.py::test_a_full_disk_is_one_sentence_and_nothing_is_lost", "test_ending.py::test_a_full_disk_ends_a_sweep_in_one_sentence_and_it_can_be_gone_on_with", "test_ending.py::test_a_read_only_disk_is_one_sentence", "test_ending.py::test_a_limit_of_file_sizes_is_one_sentence_and_the_run_can_be_gone_on_with", "files/test_atomic.py::test_a_full_disk_is_one_sentence_whatever_the_library", CRASHED),
    "A5 a row recorded twice": ("test_ending.py::test_a_row_is_recorded_once_though_the_run_is_stopped_before_its_first_step", CRASHED),
    "A6 two launches in one directory": ("test_ending.py::test_of_two_commands_for_one_directory_one_has_it", "files/test_atomic.py::test_of_many_that_claim_at_once_one_has_it"),
    "A7 tables read wrongly without a word": ("hostile/test_tables.py::test_a_table_trains_or_one_sentence_says_what_settles_it", "hostile/test_tables.py::test_an_unknown_target_costs_the_metrics_and_not_the_predictions", "data/test_reading.py::test_names_of_files_are_no_patterns", TABLES, PREDICTED),
    "A8 workers outlive their sweep": ("test_ending.py::test_no_child_of_a_sweep_outlives_it", "test_ending.py::test_no_child_of_a_refused_sweep_outlives_it"),
    "B1 Ctrl-C while it starts": ("test_ending.py::test_a_signal_while_torch_is_imported_is_one_sentence_and_leaves_nothing", "test_ending.py::test_a_signal_at_any_time_ends_with_its_code_and_without_a_traceback"),
    "B2 options that can only be wrong": (OPTIONS,),
    "B3 tables and names that end in tracebacks": (TABLES, PLACES, "data/test_reading.py::test_only_a_regular_file_is_read_and_none_is_waited_for"),
    "B4 damaged run directories": (TAMPERED, "files/test_bounded.py::test_only_a_regular_file_of_some_size_is_read", "files/test_bounded.py::test_a_checkpoint_holds_tensors_and_plain_values"),
    "B5 odd directories": (PLACES,),
    "B6 the server of workers killed": ("test_ending.py::test_a_sweep_whose_server_of_workers_is_killed_says_so_and_ends_well", KILLED),
    "B7 low memory": (OPTIONS, "test_ending.py::test_a_limit_of_memory_is_one_sentence_and_leaves_no_directory"),
    "C1 the wrong row blamed": ("data/test_reading.py::test_what_is_decided_about_a_table_is_told",),
    "C2 numbers written as people write them": ("data/test_reading.py::test_numbers_are_read_however_they_are_written", "data/test_reading.py::test_every_dialect_reads_to_the_same_frame"),
    "C3 headers twice, mangled or packed": ("data/test_reading.py::test_every_dialect_reads_to_the_same_frame", "data/test_reading.py::test_what_is_decided_about_a_table_is_told"),
    "C4 sentences that mislead": (OPTIONS,),
    "C5 empty folders after a mistake": (OPTIONS, "files/test_atomic.py::test_a_claim_that_is_undone_leaves_what_was_there_before"),
    "C6 a run ended before it began": ("test_ending.py::test_a_run_ended_before_it_began_is_begun_again_and_resume_says_so",),
    "C7 an empty paths.outputs": (PLACES,),
    "C8 a killed dashboard": ("test_ending.py::test_a_killed_dashboard_takes_its_server_along_and_the_next_one_clears_up",),
    "C9 a stack whose worker died has other bits": (KILLED, "engine/test_killed.py::test_a_stack_killed_at_twenty_moments_goes_on_bitwise"),
    "C10 last.ckpt by whether a timer saved": ("test_resume.py::test_the_last_checkpoint_is_the_same_whenever_others_were_saved",),
    "C11 writing where a run directory says": (TAMPERED, "files/test_atomic.py::test_what_grows_is_a_file_of_ours_alone", "files/test_atomic.py::test_a_whole_file_takes_the_place_of_a_link_and_leaves_what_it_points_to", "files/test_atomic.py::test_a_lock_that_is_a_link_is_refused"),
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_its_tests(kind: str) -> None:
    for test in KINDS[kind]:
        file, _, name = test.partition("::")
        tree = ast.parse((HERE / file).read_text())
        assert name in {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def test_no_kind_is_left_out() -> None:
    found = [kind.split()[0] for kind in KINDS]
    assert found == [
        f"{row}{n}" for row, most in (("A", 8), ("B", 7), ("C", 11)) for n in range(1, most + 1)
    ]
