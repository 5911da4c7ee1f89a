"""The load scripts whose verdict does not depend on how fast the machine is, for a few seconds each."""

import chaos
import rolling


def test_each_item_is_answered_once_or_fails_with_a_status_whatever_happens_to_the_connection():
    assert chaos.main(["--seconds", "2"]) == 0


def test_replicas_can_be_restarted_in_turn_without_a_failed_item():
    assert rolling.main(["--seconds", "2"]) == 0
