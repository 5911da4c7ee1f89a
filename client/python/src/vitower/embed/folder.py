"""The output folder of a job: what it was made with, what is done, shards, refused items. Made to be resumed."""

import fcntl
import json
import os
import pathlib
from types import TracebackType
from typing import Any

from vitower.embed.shards import shard_ids, shard_path, shard_paths, write_shard
from vitower.embed.sources import UsageError, import_parquet
from vitower.embedding import Embedding
from vitower.errors import ItemError

RECORD, ERRORS, LOCK = "vitower-embed.json", "errors.jsonl", ".vitower-embed.lock"

# Refusals that will be the same the next time; others are tried again when a job is resumed.
FINAL_CODES = frozenset(["INVALID_ARGUMENT", "FAILED_PRECONDITION", "NOT_FOUND", "OUT_OF_RANGE", "UNIMPLEMENTED",
                         "DATA_LOSS"])


class OutputFolder:
    """Collects embeddings into shards of at most `shard_items` items and about `shard_bytes` bytes.

    What is in a shard or in the errors file when a job dies stays done; the rest was never there. One job at a time:
    a lock is held until the folder is closed. UsageError where another job runs, or the folder was made with other
    weights, options or another format, named one by one. OSError where the disk fails. Not thread-safe.
    """

    def __init__(self, path: pathlib.Path, about: dict[str, Any], shard_items: int, shard_bytes: int,
                 retry_errors: bool = False) -> None:
        if about["format"] == "parquet":
            import_parquet()
        self.path, self._about = path, about
        self._shard_items, self._shard_bytes = shard_items, shard_bytes
        path.mkdir(parents=True, exist_ok=True)
        self._lock = _lock(path)
        _check_record(path, about)
        self.done = {id for shard in shard_paths(path) for id in shard_ids(shard)}
        self.refused = _keep_errors(path / ERRORS, drop_all=retry_errors)
        self.resumed = len(self.done) + len(self.refused)
        self.shards_written = 0
        self._errors = open(path / ERRORS, "a", encoding="utf-8") if self.refused else None
        self._number = max((int(shard.stem.removeprefix("part-")) for shard in shard_paths(path)), default=-1) + 1
        self._rows: list[Embedding] = []
        self._bytes = 0
        for leftover in path.glob(".part-*.tmp"):
            leftover.unlink()

    def __enter__(self) -> "OutputFolder":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        try:
            if not isinstance(error, OSError):
                self.flush()
        finally:
            if self._errors is not None:
                self._errors.close()
            self._lock.close()

    def holds(self, id: str) -> bool:
        """Whether the id needs no more work: it is written, or about to be, or refused for good."""
        return id in self.done or id in self.refused

    def add(self, row: Embedding) -> None:
        """Takes an embedding; writes a shard when enough have come."""
        self._rows.append(row)
        self._bytes += sum(values.nbytes for values in row.raw.values())
        self.done.add(row.id)
        if len(self._rows) >= self._shard_items or self._bytes >= self._shard_bytes:
            self.flush()

    def refuse(self, error: ItemError) -> None:
        """Writes down why an item has no embedding, at once."""
        if self._errors is None:
            self._errors = open(self.path / ERRORS, "a", encoding="utf-8")
        self.refused[error.id] = error.code
        self._errors.write(json.dumps({"id": error.id, "code": error.code, "message": error.message}) + "\n")
        self._errors.flush()

    def flush(self) -> None:
        """Writes what was taken as a shard."""
        if self._rows:
            path = shard_path(self.path, self._number, self._about["format"])
            write_shard(path, self._rows, self._about)
            self._number += 1
            self.shards_written += 1
            self._rows, self._bytes = [], 0


def _lock(path: pathlib.Path) -> Any:
    file = open(path / LOCK, "w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise UsageError(f"--output {path}: another vitower-embed is writing there") from None
    return file


def _check_record(path: pathlib.Path, about: dict[str, Any]) -> None:
    """Refuses a folder of another job; writes the record of a new one."""
    record = path / RECORD
    if not record.exists():
        if shard_paths(path):
            raise UsageError(f"--output {path} holds shards but no {RECORD}: choose another folder")
        temporary = path / f".{RECORD}.tmp"
        temporary.write_text(json.dumps(about, indent=2) + "\n")
        os.replace(temporary, record)
        return
    was = json.loads(record.read_text())
    differences = _differences(_flat(was), _flat(about))
    if differences:
        raise UsageError(f"--output {path} was made with other settings, so it cannot be resumed: "
                         f"{'; '.join(differences)}. Repeat them or choose another --output")


def _flat(about: dict[str, Any]) -> dict[str, Any]:
    named = {name: about.get(name) for name in ("fingerprint", "format")}
    return {**named, **about.get("options", {})}


def _differences(was: dict[str, Any], now: dict[str, Any]) -> list[str]:
    def say(value: Any) -> str:
        return "unset" if value is None else str(value)

    return [f"{name} was {say(was.get(name))} and is now {say(now.get(name))}"
            for name in sorted(was.keys() | now.keys()) if was.get(name) != now.get(name)]


def _keep_errors(path: pathlib.Path, drop_all: bool) -> dict[str, str]:
    """The refusals of earlier runs that stand, as id -> code; the file keeps only those. A line that was being written
    when the job died is dropped, and its item is tried again."""
    if not path.exists():
        return {}
    kept: dict[str, str] = {}
    lines: list[str] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if entry["code"] in FINAL_CODES and not drop_all and entry["id"] not in kept:
            kept[entry["id"]] = entry["code"]
            lines.append(line)
    if lines:
        temporary = path.with_name(f".{path.name}.tmp")
        temporary.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
        os.replace(temporary, path)
    else:
        path.unlink()
    return kept


