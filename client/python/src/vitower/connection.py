"""Channels to a server: their options, TLS and token, and the calls that are not streams. For one event loop."""

import asyncio
import contextlib
import json
import pathlib
from dataclasses import dataclass, field
from typing import Any

import grpc

from vitower import info, wire
from vitower.errors import CallStatus
from vitower.messages import SERVICE
from vitower.messages import ModelInfo as ModelInfoMessage
from vitower.retry import DEFAULT_RETRY, Retry
from vitower.stream_call import StreamCall, open_call

_HEALTH = ("UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN")
_OPTIONS = [
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.use_local_subchannel_pool", 1),  # or all channels of a process share one connection
    ("grpc.max_reconnect_backoff_ms", 5000),
    ("grpc.service_config", json.dumps({"loadBalancingConfig": [{"round_robin": {}}]})),
]


@dataclass(frozen=True)
class Tls:
    """How the connection is encrypted; each is a PEM file's path or its bytes.

    `ca` verifies the server (unset: the roots gRPC ships), `certificate` and `key` are the client's own, where the
    server wants one. `server_name` replaces the target's host name when the certificate is checked.
    """

    ca: str | bytes | None = None
    certificate: str | bytes | None = None
    key: str | bytes | None = None
    server_name: str | None = None

    def credentials(self) -> grpc.ChannelCredentials:
        ca, certificate, key = (pathlib.Path(pem).read_bytes() if isinstance(pem, str) else pem
                                for pem in (self.ca, self.certificate, self.key))
        return grpc.ssl_channel_credentials(ca, key, certificate)


@dataclass(frozen=True)
class Settings:
    """What both clients are made with; ValueError for values out of range."""

    target: str
    channels: int = 1
    token: str | None = field(default=None, repr=False)
    tls: Tls | bool | None = None
    timeout: float = 300.0
    max_in_flight: int = 64
    retry: Retry = DEFAULT_RETRY
    allow_plain_text_token: bool = False

    def __post_init__(self) -> None:
        for name in ("channels", "timeout", "max_in_flight"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} is {getattr(self, name)}: it must be above 0")
        if self.token and not self.tls and not self.allow_plain_text_token:
            raise ValueError("token without tls: it would travel unencrypted. Where that is meant, "
                             "allow_plain_text_token=True says so")

    def metadata(self) -> list[tuple[str, str]]:
        return [("authorization", f"Bearer {self.token}")] if self.token else []


def pause_after(status: CallStatus, failures: int, retry: Retry) -> float | None:
    """Seconds until a call is tried again that failed for the `failures`-th time in a row; None: it is final."""
    if status.code == "RESOURCE_EXHAUSTED":
        return None if status.pushback is None else retry.spread(status.pushback)
    if status.code == "UNAVAILABLE" and failures < retry.attempts:
        return retry.spread(retry.pause(failures))
    return None


class Connection:
    """Some channels to one target. Made and used on one event loop. Errors are CallErrors."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.channels = [self._open() for _ in range(settings.channels)]
        self._info: info.ModelInfo | None = None

    def _open(self) -> grpc.Channel:
        tls = Tls() if self.settings.tls is True else self.settings.tls
        if not tls:
            return grpc.insecure_channel(self.settings.target, options=_OPTIONS)
        name = [("grpc.ssl_target_name_override", tls.server_name)] if tls.server_name else []
        return grpc.secure_channel(self.settings.target, tls.credentials(), options=[*_OPTIONS, *name])

    def open_stream(self, channel: grpc.Channel, timeout: float | None) -> StreamCall:
        """A new EmbedStream call, of raw messages in both directions."""
        return open_call(channel, SERVICE + "EmbedStream", timeout, self.settings.metadata())

    async def fetch_info(self, channel: grpc.Channel | None = None) -> info.ModelInfo:
        """GetModelInfo, anew, tried again as the policy says."""
        reply = await self._retried(channel or self.channels[0], SERVICE + "GetModelInfo")
        self._info = info.from_message(ModelInfoMessage.FromString(reply))
        return self._info

    async def info(self) -> info.ModelInfo:
        """What was fetched last."""
        return self._info or await self.fetch_info()

    async def health(self) -> str:
        """The server's grpc.health.v1 status by name. Not tried again: a server that is not there is the answer."""
        reply = await self._unary(self.channels[0], "/grpc.health.v1.Health/Check", self.settings.timeout)
        if isinstance(reply, CallStatus):
            raise reply.error()
        status = next((value for number, value, _, _ in wire.fields(memoryview(reply)) if number == 1), 0)
        return _HEALTH[status] if isinstance(status, int) and status < len(_HEALTH) else _HEALTH[0]

    async def _retried(self, channel: grpc.Channel, method: str) -> bytes:
        retry, loop = self.settings.retry, asyncio.get_running_loop()
        end, failures = loop.time() + self.settings.timeout, 0
        while True:
            reply = await self._unary(channel, method, max(end - loop.time(), 0.001))
            if not isinstance(reply, CallStatus):
                return reply
            failures += 1
            wait = pause_after(reply, failures, retry)
            if wait is None or loop.time() + wait > end:
                raise reply.error()
            await asyncio.sleep(wait)

    async def _unary(self, channel: grpc.Channel, method: str, timeout: float) -> bytes | CallStatus:
        """The reply to an empty request, or why there is none."""
        call = channel.unary_unary(method).future(b"", timeout=timeout, metadata=self.settings.metadata())
        loop, ended = asyncio.get_running_loop(), asyncio.Event()

        def tell(_: Any) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
                loop.call_soon_threadsafe(ended.set)

        call.add_done_callback(tell)
        try:
            await ended.wait()
        finally:
            call.cancel()
        if call.code() is grpc.StatusCode.OK:
            return bytes(call.result())
        return CallStatus.of(call.code().value[0], call.details(), call.trailing_metadata())

    async def close(self) -> None:
        for channel in self.channels:
            channel.close()
