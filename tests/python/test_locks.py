"""The Python client's TLS and tokens against a real server."""

import os
import resource
import socket
import time

import pytest
from certificates import write_certificates
from puppet import Puppet, flat_png, mark
from vitower import CallError, Client, Retry, Tls, aio
from vitower.connection import Settings

TOKENS = "ci:ci-0123456789abcdef\nbob:bob-0123456789abcdef\n"


@pytest.fixture(scope="module")
def pki(tmp_path_factory):
    folder = write_certificates(tmp_path_factory.mktemp("pki"))
    (folder / "tokens").write_text(TOKENS)
    (folder / "tokens").chmod(0o600)
    return folder


@pytest.fixture(scope="module")
def locked(pki):
    """A server that asks for a certificate of its CA and for a token."""
    with Puppet("--hidden", 64, "--depth", 1, "--tls-cert", pki / "server.pem", "--tls-key", pki / "server.key",
                "--tls-client-ca", pki / "ca.pem", "--auth-tokens", pki / "tokens") as running:
        yield running


def connect(server, pki, *, ca="ca", client="client", token="ci-0123456789abcdef", **more):
    own = {"certificate": str(pki / f"{client}.pem"), "key": str(pki / f"{client}.key")} if client else {}
    return Client(server.address, token=token, timeout=more.pop("timeout", 30), **more,
                  tls=Tls(ca=str(pki / f"{ca}.pem"), **own))


def test_a_certificate_and_a_token_open_every_method(locked, pki):
    with connect(locked, pki) as client:
        assert client.health() == "SERVING" and client.info().out_hidden_size == 64
        assert [mark(embedding) for embedding in client.embed([flat_png(3), flat_png(4)])] == [3, 4]


@pytest.mark.parametrize("wrong", [{"client": None}, {"client": "client-other"}, {"client": "client-expired"},
                                   {"ca": "other-ca"}])
def test_a_wrong_certificate_gets_no_connection(locked, pki, wrong):
    with connect(locked, pki, retry=Retry(attempts=1), **wrong) as client, pytest.raises(CallError) as refused:
        client.info()
    assert refused.value.code == "UNAVAILABLE"


@pytest.mark.parametrize("token", [None, "bob-0123456789abcdeg"])
def test_a_wrong_token_is_told_at_once_and_not_tried_again(locked, pki, token):
    before = locked.metrics()
    with connect(locked, pki, token=token) as client:
        for call in (client.info, lambda: client.embed([flat_png(1)])):
            with pytest.raises(CallError) as refused:
                call()
            assert refused.value.code == "UNAUTHENTICATED"
        assert client.health() == "SERVING"
    after = locked.metrics()
    changed = {name for name in after if after[name] != before.get(name, 0) and name.startswith("vitower_")}
    assert changed - {"vitower_connections"} <= {
        f'vitower_auth_failures_total{{reason="{"unknown" if token else "missing"}"}}',
        'vitower_connections_total{outcome="taken"}'}


def test_a_client_goes_on_while_certificates_and_tokens_are_rotated(pki, tmp_path):
    live = {name: tmp_path / name for name in ("pem", "key", "tokens")}

    def install(server, tokens):
        for path, text in [(live["pem"], (pki / f"{server}.pem").read_text()),
                           (live["key"], (pki / f"{server}.key").read_text()), (live["tokens"], tokens)]:
            (tmp_path / "next").write_text(text)
            (tmp_path / "next").chmod(0o600)
            os.replace(tmp_path / "next", path)

    install("server", "ci:ci-0123456789abcdef\n")
    with Puppet("--hidden", 64, "--tls-cert", live["pem"], "--tls-key", live["key"], "--auth-tokens",
                live["tokens"]) as server, connect(server, pki, client=None) as client:
        install("server-new", TOKENS)
        seen, until = [], time.monotonic() + 30
        while 'vitower_reloads_total{file="tokens",outcome="used"}' not in seen and time.monotonic() < until:
            assert [mark(embedding) for embedding in client.embed([flat_png(n) for n in range(20)])] == list(range(20))
            seen = [name for name, value in server.metrics().items() if value > 0]
        assert 'vitower_reloads_total{file="tokens",outcome="used"}' in seen
        with connect(server, pki, client=None, token="bob-0123456789abcdef") as other:
            assert other.info().out_hidden_size == 64


def test_a_server_that_ran_out_of_descriptors_takes_connections_again():
    with Puppet("--hidden", 64) as server:
        resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (64, 64))
        for connection in [socket.create_connection(("127.0.0.1", server.port)) for _ in range(200)]:
            connection.close()
        with Client(server.address, timeout=30) as client:
            assert [mark(embedding) for embedding in client.embed([flat_png(5)])] == [5]


@pytest.mark.parametrize("kind", [Client, aio.Client])
@pytest.mark.parametrize("tls", [None, False])
def test_a_token_without_tls_is_refused(kind, tls):
    with pytest.raises(ValueError, match="allow_plain_text_token=True says so"):
        kind("127.0.0.1:1", token="ci-0123456789abcdef", tls=tls)


def test_a_token_in_plain_text_opens_a_server_that_takes_such(pki):
    with Puppet("--hidden", 64, "--auth-tokens", pki / "tokens", "--plain-text-tokens") as server:
        with Client(server.address, token="ci-0123456789abcdef", allow_plain_text_token=True) as client:
            assert client.info().out_hidden_size == 64


def test_settings_do_not_show_the_token():
    assert "0123456789" not in repr(Settings("127.0.0.1:1", token="ci-0123456789abcdef", tls=True))
