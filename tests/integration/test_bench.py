"""`vitower bench` against puppet servers: what it reports is what the servers counted."""

import json

import pytest

from puppet import Puppet
from vitower_cli import FAILURE, OK, USAGE, vitower

SHORT = ["--duration", "300ms", "--warm-up", "0", "--distinct", "4", "--quiet"]


def bench(*arguments, expect=OK):
    """The report as JSON."""
    done = vitower("bench", *SHORT, "--output", "-", *arguments)
    assert done.returncode == expect, done.stderr
    return json.loads(done.stdout)


def answered(report):
    return sum(second["ok"] for second in report["timeline"])


@pytest.fixture(scope="module")
def puppet():
    with Puppet("--hidden", 64, "--depth", 2) as running:
        yield running


@pytest.mark.parametrize("load", [["--concurrency", 6], ["--concurrency", 6, "--stream"], ["--rate", 200],
                                  ["--rate", 200, "--stream"]], ids=["closed", "closed-stream", "open", "open-stream"])
def test_every_kind_of_item_is_sent_and_each_answer_counted_once(puppet, load):
    mix = "jpeg:96x64=2,png:64x64,raw:64x96,patches:64x32,clip:64x48x5"
    before = puppet.embedded()
    report = bench("--server", puppet.address, "--mix", mix, "--outputs", "tokens", *load)
    assert report["errors"] == {}
    assert answered(report) == puppet.embedded() - before > 30
    assert all(part["latency_seconds"]["count"] > 0 for part in report["mix"])
    assert sum(part["latency_seconds"]["count"] for part in report["mix"]) == report["latency_seconds"]["count"]
    latency = report["latency_seconds"]
    assert latency["p50"] <= latency["p90"] <= latency["p99"] <= latency["p99.9"] <= latency["max"]
    # The puppet takes 2 ms for a pass, and the stages are a part of what the client waits for.
    assert 0.002 <= report["stage_seconds_mean"]["blocks"] <= sum(report["stage_seconds_mean"].values()) <= latency["mean"]
    assert report["patches_per_second"] > report["items_per_second"] > 0


def test_several_servers_get_equal_shares(puppet):
    with Puppet("--hidden", 64, "--depth", 2) as other:
        before = puppet.embedded()
        report = bench("--server", puppet.address, "--server", other.address, "--rate", 400, "--mix", "raw:64x64")
        one, two = puppet.embedded() - before, other.embedded()
        assert one + two == answered(report) and min(one, two) > 30


def test_a_full_servers_refusals_are_counted_and_timed_apart():
    with Puppet("--hidden", 64, "--depth", 0, "--device-min-us", 100_000, "--max-batch-patches", 256, "--max-item-patches",
                256, "--max-queue-patches", 512) as slow:
        report = bench("--server", slow.address, "--rate", 200, "--mix", "raw:256x256", "--outputs", "tokens")
        assert report["errors"].keys() == {"RESOURCE_EXHAUSTED"}
        assert report["refusal_latency_seconds"]["count"] == report["errors"]["RESOURCE_EXHAUSTED"]["count"] > 10
        assert report["latency_seconds"]["count"] > 0
        assert report["refusal_latency_seconds"]["p50"] < 0.1 <= report["latency_seconds"]["p50"]


def test_the_table_says_the_same_for_people(puppet):
    done = vitower("bench", "--server", puppet.address, *SHORT, "--mix", "raw:64x64,png:64x64")
    assert done.returncode == OK, done.stderr
    for text in ("closed loop, 8 in flight, unary; raw:64x64=1, png:64x64=1", " items/s, ", "latency, ms", "p99.9",
                 "\nanswered ", "\n  png:64x64 ", "\nqueue "):
        assert text in done.stdout


@pytest.mark.parametrize("arguments, message", [
    ([], "--server is required"),
    (["--server", "localhost:1", "--mix", "tiff:8x8"], "the kind must be"),
    (["--server", "localhost:1", "--rate", "5", "--concurrency", "5"], "contradict each other"),
    (["--server", "a:1", "--server", "b:1", "--concurrency", "1"], "less than one for each of 2 servers"),
])
def test_wrong_options_are_named(arguments, message):
    done = vitower("bench", *arguments)
    assert done.returncode == USAGE and message in done.stderr


def test_no_server_is_a_failure():
    done = vitower("bench", "--server", "127.0.0.1:1", "--quiet")
    assert done.returncode == FAILURE and "--server 127.0.0.1:1" in done.stderr
