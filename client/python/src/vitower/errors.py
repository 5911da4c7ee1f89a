"""What can go wrong, as exceptions. All carry the gRPC code by its name, such as "INVALID_ARGUMENT"."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any


class VitowerError(Exception):
    """The base of every error of a call or an item. `code` is a gRPC status name, `message` says what was wrong."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message


class CallError(VitowerError):
    """The server could not be reached, or refused the call as a whole. Nothing more comes from the call."""

    def __reduce__(self) -> tuple[type, tuple[str, str]]:
        return CallError, (self.code, self.message)


class ItemError(VitowerError):
    """One item was refused; its neighbours are not affected. `index` counts the items given, from 0."""

    def __init__(self, code: str, message: str, id: str = "", index: int = 0) -> None:
        super().__init__(code, message)
        self.id = id
        self.index = index

    def __str__(self) -> str:
        return f"item {self.id or self.index}: {self.code}: {self.message}"

    def __reduce__(self) -> tuple[type, tuple[str, str, str, int]]:
        return ItemError, (self.code, self.message, self.id, self.index)


class OutputNotSentError(KeyError):
    """An output was asked of an Embedding that does not hold it."""

    def __init__(self, name: str, held: Sequence[str] = (), not_sent: Sequence[str] = ()) -> None:
        super().__init__(name, tuple(held), tuple(not_sent))
        self.name, self.held, self.not_sent = name, tuple(held), tuple(not_sent)

    def __str__(self) -> str:
        held = ", ".join(self.held) or "nothing"
        if self.name in self.not_sent:
            return f'"{self.name}" was not asked for and so not sent; this embedding holds: {held}'
        more = f" (not sent: {', '.join(self.not_sent)})" if self.not_sent else ""
        return f'the model has no output "{self.name}"; this embedding holds: {held}{more}'


CODE_NAMES = ("OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
              "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE",
              "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED")


def code_name(code: int) -> str:
    """The name of a numeric gRPC code; UNKNOWN for one that gRPC does not have."""
    return CODE_NAMES[code] if 0 <= code < len(CODE_NAMES) else "UNKNOWN"


@dataclass(frozen=True)
class CallStatus:
    """How a call ended. `pushback`: seconds after which a server that is full takes the call."""

    code: str
    details: str
    pushback: float | None = None

    @classmethod
    def of(cls, code: int, details: str | None, trailers: Iterable[tuple[str, Any]] | None) -> "CallStatus":
        """Of a numeric code and what came with it."""
        wait_ms = str(dict(trailers or ()).get("grpc-retry-pushback-ms", ""))
        return cls(code_name(code), details or "no details", int(wait_ms) / 1000 if wait_ms.isdigit() else None)

    def error(self) -> CallError:
        return CallError(self.code, self.details)
