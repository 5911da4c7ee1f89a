"""TLS and tokens through the command line: `vitower serve` and the commands that call it; and what the log keeps to
itself."""

import pytest
from certificates import write_certificates
from pictures import encoded, photo
from serving import serving
from vitower_cli import FAILURE, OK, USAGE, vitower

import numpy as np

TOKEN = "s3cret-0123456789abcdef"


@pytest.fixture(scope="module")
def pki(tmp_path_factory):
    folder = write_certificates(tmp_path_factory.mktemp("pki"))
    for name, text in [("tokens", f"ci:{TOKEN}\n"), ("token", f"{TOKEN}\n"), ("wrong", "wr0ng-0123456789abcdef\n")]:
        (folder / name).write_text(text)
        (folder / name).chmod(0o600)
    (folder / "a.png").write_bytes(encoded(photo(np.random.default_rng(3), 64, 64)))
    (folder / "marked.png").write_bytes(b"PAYLOAD-MARK is no image")
    return folder


def locks(pki):
    return ["--tls-cert", pki / "server.pem", "--tls-key", pki / "server.key", "--tls-client-ca", pki / "ca.pem",
            "--auth-tokens", pki / "tokens"]


@pytest.fixture(scope="module")
def locked(pki):
    with serving(*locks(pki), "--log-level", "debug") as running:
        yield running


def identity(pki):
    return ["--tls-ca", pki / "ca.pem", "--tls-client-cert", pki / "client.pem", "--tls-client-key", pki / "client.key"]


def test_healthcheck_needs_a_certificate_and_no_token(locked, pki):
    assert vitower("healthcheck", "--server", locked.address, *identity(pki)).returncode == OK
    assert vitower("healthcheck", "--server", locked.address, "--tls-ca", pki / "ca.pem").returncode == FAILURE
    assert vitower("healthcheck", "--server", locked.address).returncode == FAILURE
    environment = {"VITOWER_TLS_CA": str(pki / "ca.pem"), "VITOWER_TLS_CLIENT_CERT": str(pki / "client.pem"),
                   "VITOWER_TLS_CLIENT_KEY": str(pki / "client.key")}
    assert vitower("healthcheck", "--server", locked.address, env=environment).returncode == OK


def test_embed_shows_its_certificate_and_token(locked, pki, tmp_path):
    where = ["embed", pki / "a.png", "--server", locked.address, *identity(pki), "--output"]
    done = vitower(*where, tmp_path / "good.npy", "--token-file", pki / "token")
    assert done.returncode == OK, done.stderr
    for flags, why in [([], "a token is needed"), (["--token-file", pki / "wrong"], "not known here")]:
        done = vitower(*where, tmp_path / "bad.npy", *flags)
        assert done.returncode != OK and why in done.stderr
    assert not (tmp_path / "bad.npy").exists()


def test_no_token_and_no_payload_stands_in_the_log(locked, pki, tmp_path):
    secrets = ["--token-file", pki / "token", *identity(pki)]
    vitower("embed", pki / "marked.png", "--server", locked.address, *secrets, "--output", tmp_path / "x.npy")
    vitower("embed", pki / "a.png", "--server", locked.address, *identity(pki), "--token-file", pki / "wrong",
            "--output", tmp_path / "x.npy")
    shown = vitower("serve", *locks(pki), "--print-config", "--model", "random:tiny")
    log = "".join(locked.log) + shown.stdout + shown.stderr
    assert any("debug" in line for line in locked.log)
    for secret in (TOKEN, "wr0ng-", "PAYLOAD-MARK", "Bearer", "PRIVATE KEY"):
        assert secret not in log, secret


def test_a_server_without_locks_says_so():
    with serving() as running:
        assert running.stop() == OK
    assert any("from anybody who reaches the port, in plain text" in line for line in running.log)


@pytest.mark.parametrize("flags, why", [
    (["--tls-key", "server.key"], "--tls-key is given without --tls-cert"),
    (["--tls-cert", "server.pem"], "--tls-cert is given without --tls-key"),
    (["--tls-client-ca", "ca.pem"], "--tls-client-ca is given without --tls-cert"),
    (["--auth-tokens", "tokens"], "--auth-tokens without --tls-cert"),
    (["--max-connections", "0"], "--max-connections is 0"),
])
def test_locks_that_contradict_each_other_are_usage_errors(pki, flags, why):
    done = vitower("serve", "--model", "random:tiny", *flags, cwd=pki)
    assert done.returncode == USAGE and why in done.stderr


@pytest.mark.parametrize("cert, key, why", [
    ("nowhere.pem", "server.key", "--tls-cert: cannot read nowhere.pem"),
    ("server.pem", "client.key", "client.key is not the key of the certificate --tls-cert server.pem"),
    ("server-expired.pem", "server-expired.key", "server-expired.pem expired on"),
])
def test_files_that_cannot_be_used_stop_the_start_before_a_model_is_loaded(pki, cert, key, why):
    done = vitower("serve", "--model", "nowhere", "--tls-cert", cert, "--tls-key", key, cwd=pki)
    assert done.returncode == FAILURE and why in done.stderr


@pytest.mark.parametrize("flags, why", [
    (["--token-file", "token"], "--token-file without --tls or --tls-ca"),
    (["--tls-client-cert", "client.pem"], "--tls-client-cert and --tls-client-key belong together"),
    (["--tls", "--token-file", "nowhere"], "--token-file: cannot read nowhere"),
    (["--tls", "--token-file", "."], "--token-file: cannot read ."),
    (["--tls", "--token-file", "tokens"], "must hold one token and nothing else"),
])
def test_a_clients_flags_that_cannot_be_are_usage_errors(pki, flags, why):
    done = vitower("embed", "a.png", "--server", "localhost:1", "--output", "x.npy", *flags, cwd=pki)
    assert done.returncode == USAGE and why in done.stderr


@pytest.mark.parametrize("command", [["embed", "a.png", "--output", "x.npy"], ["bench"], ["healthcheck"]])
def test_a_folder_for_a_certificate_is_a_usage_error_like_any_other(pki, command):
    done = vitower(*command, "--server", "localhost:1", "--tls-ca", ".", cwd=pki)
    assert done.returncode == USAGE and "--tls-ca: cannot read ." in done.stderr
