"""Channels to a server: their options, TLS and token, and the calls that are not streams. For one event loop."""

import asyncio
import json
import pathlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import grpc
import grpc.aio

from vitower import info, wire
from vitower.errors import CallError
from vitower.messages import SERVICE
from vitower.messages import ModelInfo as ModelInfoMessage
from vitower.retry import DEFAULT_RETRY, Retry

T = TypeVar("T")

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
    token: str | None = None
    tls: Tls | bool | None = None
    timeout: float = 300.0
    max_in_flight: int = 64
    retry: Retry = DEFAULT_RETRY

    def __post_init__(self) -> None:
        for name in ("channels", "timeout", "max_in_flight"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} is {getattr(self, name)}: it must be above 0")

    def metadata(self) -> list[tuple[str, str]]:
        return [("authorization", f"Bearer {self.token}")] if self.token else []


def _is_unavailable(error: grpc.aio.AioRpcError) -> bool:
    # grpc.aio reports INTERNAL with these words, whatever the status, where a write finds the connection broken.
    broken = error.code() == grpc.StatusCode.INTERNAL and error.details() == "Internal error from Core"
    return bool(broken or error.code() == grpc.StatusCode.UNAVAILABLE)


def call_error(error: grpc.aio.AioRpcError) -> CallError:
    code = "UNAVAILABLE" if _is_unavailable(error) else error.code().name
    return CallError(code, error.details() or "no details")


def _pushback_seconds(error: grpc.aio.AioRpcError) -> float | None:
    """How long a full server asks to wait before the call is tried again; None where it never can succeed."""
    for name, value in error.trailing_metadata() or ():
        if name == "grpc-retry-pushback-ms":
            wait_ms = int(value) if str(value).isdigit() else -1
            return wait_ms / 1000 if wait_ms >= 0 else None
    return None


def pause_after(error: grpc.aio.AioRpcError, failures: int, retry: Retry) -> float | None:
    """Seconds until a call is tried again that failed for the `failures`-th time in a row; None: it is final."""
    if error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED:
        wait = _pushback_seconds(error)
        return None if wait is None else retry.spread(wait)
    if _is_unavailable(error) and failures < retry.attempts:
        return retry.spread(retry.pause(failures))
    return None


class Connection:
    """Some channels to one target. Made and used on one event loop. Errors are CallErrors."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.channels = [self._open() for _ in range(settings.channels)]
        self._info: info.ModelInfo | None = None

    def _open(self) -> grpc.aio.Channel:
        tls = Tls() if self.settings.tls is True else self.settings.tls
        if not tls:
            return grpc.aio.insecure_channel(self.settings.target, options=_OPTIONS)
        name = [("grpc.ssl_target_name_override", tls.server_name)] if tls.server_name else []
        return grpc.aio.secure_channel(self.settings.target, tls.credentials(), options=[*_OPTIONS, *name])

    def open_stream(self, channel: grpc.aio.Channel, timeout: float | None) -> Any:
        """A new EmbedStream call, of raw messages in both directions."""
        return channel.stream_stream(SERVICE + "EmbedStream")(timeout=timeout, metadata=self.settings.metadata())

    async def fetch_info(self, channel: grpc.aio.Channel | None = None) -> info.ModelInfo:
        """GetModelInfo, anew, tried again as the policy says."""
        call = (channel or self.channels[0]).unary_unary(SERVICE + "GetModelInfo",
                                                         response_deserializer=ModelInfoMessage.FromString)
        self._info = info.from_message(await self._retried(call))
        return self._info

    async def info(self) -> info.ModelInfo:
        """What was fetched last."""
        return self._info or await self.fetch_info()

    async def health(self) -> str:
        """The server's grpc.health.v1 status by name. Not tried again: a server that is not there is the answer."""
        check = self.channels[0].unary_unary("/grpc.health.v1.Health/Check")
        try:
            reply = await check(b"", timeout=self.settings.timeout, metadata=self.settings.metadata())
        except grpc.aio.AioRpcError as error:
            raise call_error(error) from None
        status = next((value for number, value, _, _ in wire.fields(memoryview(reply)) if number == 1), 0)
        return _HEALTH[status] if isinstance(status, int) and status < len(_HEALTH) else _HEALTH[0]

    async def _retried(self, call: Callable[..., Awaitable[T]]) -> T:
        retry, loop = self.settings.retry, asyncio.get_running_loop()
        end, failures = loop.time() + self.settings.timeout, 0
        while True:
            try:
                return await call(b"", timeout=max(end - loop.time(), 0.001), metadata=self.settings.metadata())
            except grpc.aio.AioRpcError as error:
                failures += 1
                wait = pause_after(error, failures, retry)
                if wait is None or loop.time() + wait > end:
                    raise call_error(error) from None
                await asyncio.sleep(wait)

    async def close(self) -> None:
        for channel in self.channels:
            await channel.close()
