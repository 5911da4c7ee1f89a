"""`vitower serve` and `healthcheck`, and what all sub-commands share: help, options, exit codes."""

import json
import pathlib
import re
import signal
import socket
import subprocess

import numpy as np
import pytest

from pictures import encoded, photo
from serving import ROOT, VITOWER, serving
from vitower_cli import COMMANDS, FAILURE, OK, REFUSED, SETTINGS, USAGE, vitower, write_photos, written

# ---- Help, version, options


@pytest.mark.parametrize("command", COMMANDS)
def test_help_teaches_every_subcommand(command):
    done = vitower(command, "--help")
    assert done.returncode == OK and done.stderr == ""
    assert "Examples:\n  vitower " + command in done.stdout
    assert "Exit codes:" in done.stdout and "VITOWER_" in done.stdout and "--print-config" in done.stdout


def test_help_lists_the_subcommands_and_version_the_libraries():
    done = vitower("--help")
    assert done.returncode == OK and all(f"\n  {command} " in done.stdout for command in COMMANDS)
    version = vitower("--version")
    assert version.returncode == OK
    assert all(re.search(rf"{name} \d", version.stdout) for name in [
        "vitower", "libtorch", "OpenCV", "gRPC", "protobuf", "absl", "libavcodec", "OpenSSL"])


@pytest.mark.parametrize("arguments, message", [
    ([], "subcommand"),
    (["bogus"], '"bogus" is no sub-command'),
    (["serve", "--bogus"], "--bogus"),
    (["serve"], "random:2b"),
    (["serve", "--model", "random:tiny", "--max-batch-patches", "many"], '"many" is not a whole number'),
    (["serve", "--model", "random:tiny", "--listen", "nowhere"], '--listen is "nowhere"'),
    (["serve", "--model", "random:tiny", "--max-queue-patches", "8"], "--max-item-patches"),
    (["serve", "--model", "random:tiny", "--max-queue-patches", "128", "--max-item-patches", "64",
      "--max-batch-patches", "256"], "--max-batch-patches"),
    (["serve", "--model", "random:tiny", "--max-inflight-bytes", "1MiB"], "--max-request-bytes"),
    (["embed", "a.jpg", "--output", "x"], "--server or --model"),
    (["embed", "a.jpg", "--output", "x", "--model", "random:tiny", "--server", "localhost:1"], "contradict"),
    (["embed", "--output", "x", "--model", "random:tiny"], "no input"),
    (["embed", "a.jpg", "--model", "random:tiny"], "--output is required"),
    (["embed", "a.jpg", "--output", "x", "--model", "random:tiny", "--outputs", "vectors"], "--outputs"),
    (["embed", "a.jpg", "--output", "x", "--model", "random:tiny", "--outputs", "deepstack_7"], "deepstack_7"),
    (["embed", "a.jpg", "--output", "x.npy", "--format", "safetensors", "--model", "random:tiny"], "contradicts"),
    (["preprocess", "a.jpg", "--output", "x", "--min-pixels", "90000000"], "--max-pixels"),
    (["make-checkpoint"], "--output is required"),
    (["make-checkpoint", "--output", "x", "--shape", "3b"], "tiny"),
    (["inspect"], "--model is required"),
    (["healthcheck", "--server", "nowhere"], "HOST:PORT"),
    (["healthcheck", "--wait", "60"], '"60" is not a time with its unit'),
    (["serve", "--model", "random:tiny", "--stream-chunk-bytes", "1KiB"], "--stream-chunk-bytes"),
    (["serve", "--model", "random:tiny", "--max-video-seconds", "0"], "--max-video-seconds"),
    (["embed", "a.mp4", "--output", "x", "--model", "random:tiny", "--video-fps", "1", "--num-frames", "4"], "contradict"),
    (["embed", "a.mp4", "--output", "x", "--model", "random:tiny", "--start", "9s", "--end", "9s"], "--end 9s is not after"),
    (["embed", "a.mp4", "--output", "x", "--model", "random:tiny", "--l2-normalize"], "needs pooled"),
    (["preprocess", "a.mp4", "--output", "x", "--video-min-pixels", "90000000"], "--video-max-pixels"),
])
def test_usage_errors_are_exit_code_2_and_say_the_way_out(arguments, message, tmp_path):
    done = vitower(*arguments, cwd=tmp_path)
    assert done.returncode == USAGE and message in done.stderr, done.stderr
    assert not list(tmp_path.iterdir())


def test_print_config_tells_where_every_value_came_from(tmp_path):
    config = tmp_path / "vitower.toml"
    config.write_text('max-reply-bytes = 1MiB\n[serve]\nmax-batch-patches = 64\ndrain-timeout = "5s"\n[embed]\nquiet = true\n')
    done = vitower("serve", "--config", config, "--print-config", "--dtype", "fp32", "--drain-timeout", "7s",
                   env={"VITOWER_MODEL": "random:tiny", "VITOWER_MAX_BATCH_PATCHES": "32"})
    assert done.returncode == OK and done.stderr == ""
    lines = {line.split(" = ")[0]: line.split(" = ")[1].split("#") for line in done.stdout.splitlines() if " = " in line}
    got = {name: (value.strip(), source.strip()) for name, (value, source) in lines.items()}
    assert got["model"] == ("random:tiny", "environment VITOWER_MODEL")
    assert got["max-batch-patches"] == ("32", "environment VITOWER_MAX_BATCH_PATCHES")
    assert got["max-reply-bytes"] == ("1MiB", f"config file {config}")
    assert got["dtype"] == ("fp32", "command line")
    assert got["drain-timeout"] == ("7s", "command line")
    assert got["max-request-bytes"] == ("256MiB", "default")
    help_text = vitower("serve", "--help").stdout
    flags = {word[2:] for word in help_text.split("Exit codes")[0].split() if word.startswith("--") and word[2:].islower()}
    assert all(f"{flag} " in done.stdout for flag in flags - {"config", "print-config", "flag"} if flag in help_text)


def test_a_typo_in_the_config_file_is_refused_by_name(tmp_path):
    (tmp_path / "v.toml").write_text("[serve]\nmax-batch-patch = 64\n")
    done = vitower("serve", "--config", tmp_path / "v.toml", "--model", "random:tiny")
    assert done.returncode == USAGE and 'no option "max-batch-patch"' in done.stderr


@pytest.mark.parametrize("command", ["serve", "embed", "healthcheck"])
def test_a_variable_of_no_option_is_refused_with_the_nearest_one(command):
    done = vitower(command, "--print-config", env={"VITOWER_MAX_BATCH_PACHES": "64"})
    assert done.returncode == USAGE and done.stdout == ""
    assert "VITOWER_MAX_BATCH_PACHES" in done.stderr and "VITOWER_MAX_BATCH_PATCHES?" in done.stderr


def test_variables_of_other_subcommands_scripts_and_kubernetes_are_passed_over():
    done = vitower("healthcheck", "--print-config", env={
        "VITOWER_MODEL": "random:tiny", "VITOWER_TORCH_INDEX": "x", "VITOWER_BIN_DIR": "x", "VITOWER_SERVICE_HOST": "10.0.0.1",
        "VITOWER_PORT_50051_TCP_ADDR": "10.0.0.1", "VITOWER_MAX_BATCH_PACHES": ""})
    assert done.returncode == OK, done.stderr


def test_every_variable_that_tests_and_scripts_read_is_passed_over():
    files = [path for folder in ["scripts", "tests", "deploy"] for path in (ROOT / folder).rglob("*")
             if path.suffix in {".py", ".sh", ".cc", ".yml"} and path.name != pathlib.Path(__file__).name]
    read = re.compile(r'environ\S*?["\'](VITOWER_\w+)|getenv\("(VITOWER_\w+)|\$\{(VITOWER_\w+)')
    names = {name for path in files for found in read.findall(path.read_text()) for name in found if name}
    assert "VITOWER_BIN_DIR" in names
    done = vitower("healthcheck", "--print-config", env={name: "1" for name in names})
    assert done.returncode == OK, done.stderr


def test_help_lists_every_limit_of_the_server():
    text = vitower("serve", "--help").stdout
    for flag in ["--max-video-frames", "--max-video-seconds", "--max-stream-items", "--stream-chunk-bytes"]:
        assert flag in text
    assert "IPv4 only" in text and "4194304" in text and "64 times" in text.replace("\n", " ")


# ---- serve and healthcheck


def test_healthcheck_tells_serving_from_not(server):
    done = vitower("healthcheck", "--server", server.address)
    assert done.returncode == OK and "SERVING" in done.stdout
    assert vitower("healthcheck", env={"VITOWER_SERVER": server.address}).returncode == OK
    gone = vitower("healthcheck", "--server", "127.0.0.1:1", "--wait", "300ms")
    assert gone.returncode == FAILURE and "127.0.0.1:1" in gone.stderr


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "dns:///localhost"])
def test_a_server_on_this_machine_is_not_asked_through_a_proxy(server, host):
    proxy = {"http_proxy": "http://127.0.0.1:1", "https_proxy": "http://127.0.0.1:1"}
    asked = vitower("healthcheck", "--server", f"{host}:{server.address.split(':')[1]}", env=proxy)
    assert asked.returncode == OK, asked.stderr


def test_healthcheck_waits_for_a_server_that_starts_later():
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = "127.0.0.1:%d" % free.getsockname()[1]
    waiting = subprocess.Popen([VITOWER, "healthcheck", "--wait", "60s", "--server", address], env=SETTINGS)
    starting = subprocess.Popen([VITOWER, "serve", "--model", "random:tiny", "--listen", address, "--metrics-listen",
                                 "127.0.0.1:0", "--log-level", "error"], env=SETTINGS)
    try:
        assert waiting.wait(60) == OK
    finally:
        starting.send_signal(signal.SIGTERM)
        assert starting.wait(60) == OK


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_an_idle_server_with_exit_code_0(stop):
    with serving() as running:
        running.process.send_signal(stop)
        assert running.process.wait(30) == OK
    assert vitower("healthcheck", "--server", running.address).returncode == FAILURE


def test_a_signal_while_images_are_embedded_loses_none_that_was_accepted(tmp_path):
    write_photos(tmp_path / "in", 24, seed=6, size=lambda i: (300, 300))
    with serving() as running:
        client = subprocess.Popen([VITOWER, "embed", tmp_path / "in", "--server", running.address, "--output", tmp_path / "out"],
                                  env=SETTINGS, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        while running.metrics().get("vitower_inflight_bytes", 0) == 0 and client.poll() is None:
            pass
        assert running.stop() == OK, running.log  # 1 where accepted work was dropped
        errors = client.communicate(timeout=60)[1]
    results = len(written(tmp_path / "out"))
    assert results > 0 and (results == 24) == (client.returncode == OK), errors
    assert results == 24 or f"stopped after {results} of 24 files" in errors


# A batch that waits so long for company: an image that is alone is accepted and not done, however fast the tower is.
WAITING = ["--max-batch-delay", "1min"]


@pytest.fixture(scope="module")
def lone_image(tmp_path_factory):
    path = tmp_path_factory.mktemp("lone") / "lone.png"
    path.write_bytes(encoded(photo(np.random.default_rng(7), 64, 64)))
    return path


def embedding(server, image, output):
    """A client whose image was accepted by the server."""
    client = subprocess.Popen([VITOWER, "embed", image, "--server", server.address, "--output", output], env=SETTINGS,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    while server.metrics().get("vitower_inflight_bytes", 0) == 0:
        assert client.poll() is None
    return client


def test_accepted_work_that_is_dropped_is_exit_code_1(lone_image, tmp_path):
    with serving("--drain-timeout", "0", *WAITING) as running:
        client = embedding(running, lone_image, tmp_path / "x.npy")
        assert running.stop() == FAILURE and any("--drain-timeout" in line for line in running.log)
        assert client.wait(60) == FAILURE
    assert not list(tmp_path.iterdir())


def test_a_second_signal_stops_at_once(lone_image, tmp_path):
    with serving(*WAITING) as running:
        client = embedding(running, lone_image, tmp_path / "x.npy")
        running.process.send_signal(signal.SIGTERM)
        while not any("stopping" in line for line in running.log):
            assert running.process.poll() is None
        running.process.send_signal(signal.SIGTERM)
        assert running.process.wait(30) == FAILURE
        assert client.wait(60) == FAILURE


def test_environment_variables_configure_the_server():
    with serving("--log-format", "json", env={"VITOWER_MAX_REQUEST_ITEMS": "3", "VITOWER_DTYPE": "fp32"}) as running:
        from serving import stubs

        info = running.stub().GetModelInfo(stubs()[0].GetModelInfoRequest())
        assert info.limits.max_request_items == 3 and info.dtype == 3
        assert running.stop() == OK
    assert all("message" in json.loads(line) for line in running.log)


def test_a_second_server_on_the_same_port_names_the_address(server):
    done = vitower("serve", "--model", "random:tiny", "--listen", server.address, "--metrics-listen", "127.0.0.1:0")
    assert done.returncode == FAILURE and f"cannot listen on {server.address}" in done.stderr
    metrics = server.metrics_url.removeprefix("http://").removesuffix("/metrics")
    done = vitower("serve", "--model", "random:tiny", "--listen", "127.0.0.1:0", "--metrics-listen", metrics)
    assert done.returncode == FAILURE and metrics in done.stderr


def test_a_model_that_cannot_be_served_is_refused(tmp_path):
    done = vitower("serve", "--model", tmp_path, "--listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0")
    assert done.returncode == REFUSED and str(tmp_path) in done.stderr
