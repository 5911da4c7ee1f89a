"""The load scripts for a few seconds each: what they print about speed is not judged, what may never be wrong is."""

import chaos
import overload
import rolling
import saturate
import soak


def test_each_item_is_answered_once_or_fails_with_a_status_whatever_happens_to_the_connection():
    assert chaos.main(["--smoke", "--seconds", "2"]) == 0


def test_replicas_can_be_restarted_in_turn_without_a_failed_item():
    assert rolling.main(["--seconds", "2"]) == 0


def test_while_a_batch_is_computed_others_are_decoded_sent_and_staged():
    few = ["--mixes", "JPEG mix", "--concurrency", "1", "32"]
    assert saturate.main(["--smoke", "--seconds", "0.5", *few]) == 0


def test_a_load_above_the_capacity_is_refused_and_nothing_else_fails():
    assert overload.main(["--smoke", "--seconds", "1", "--mixes", "small", "giants"]) == 0


def test_a_steady_load_of_every_kind_fails_nowhere(tmp_path):
    assert soak.main(["--smoke", "--seconds", "2", "--plot", str(tmp_path / "soak.svg")]) == 0
