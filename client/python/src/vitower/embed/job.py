"""The run of vitower-embed: from inputs through the server into the output folder."""

import signal
import sys
import threading
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from types import FrameType
from typing import Any

from vitower.client import Client
from vitower.embed.folder import ERRORS, FINAL_CODES, OutputFolder
from vitower.embed.progress import Progress
from vitower.embed.sources import Inputs
from vitower.errors import CallError, ItemError
from vitower.inputs import Item
from vitower.options import Options

OK, FAILURE, USAGE, REFUSED = 0, 1, 2, 3
COMMAND = "vitower-embed"


@dataclass
class Report:
    """What a run came to."""

    embedded: int = 0
    stopped: str = ""  # Why the run ended before its inputs did.


class StopSignals:
    """SIGINT and SIGTERM ask the job to stop taking items; the second one ends the process at once. As a context."""

    def __init__(self, say: Any) -> None:
        self.requested = threading.Event()
        self._say = say
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "StopSignals":
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._stop)
        return self

    def __exit__(self, *ignored: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        for again in self._before:
            signal.signal(again, signal.SIG_DFL)
        self.requested.set()
        self._say(f"{COMMAND}: stopping when what is in flight is done; once more to stop at once")


def about_job(client: Client, options: Options, format: str) -> dict[str, Any]:
    """What decides the values of a job's output: a folder can be resumed only with the same."""
    info = client.info()
    chosen = {name: value for name, value in asdict(options).items() if value not in (None, False)}
    chosen.pop("priority", None)
    sampling = chosen.pop("sampling", None)
    if sampling:
        chosen |= {f"sampling.{name}": value for name, value in sampling.items() if value is not None}
    plain = {name: list(value) if isinstance(value, tuple) else value for name, value in chosen.items()}
    return {"fingerprint": info.fingerprint, "model": info.name, "format": format, "options": plain}


def run(client: Client, inputs: Inputs, folder: OutputFolder, options: Options, quiet: bool) -> int:
    """Embeds what is not done yet; the exit code. Progress, refusals and a summary go to stderr."""
    progress = Progress(inputs.count(), folder.resumed, quiet)
    report = Report()
    with StopSignals(progress.say) as signals:
        try:
            with folder:
                _embed(client, _feed(inputs, folder, signals), folder, options, progress, report)
        except CallError as error:
            report.stopped = str(error)
        except OSError as error:
            report.stopped = f"{folder.path}: {error}"
        finally:
            progress.close()
        if signals.requested.is_set() and not report.stopped:
            report.stopped = "interrupted"
    return _summary(report, folder, quiet)


def _feed(inputs: Inputs, folder: OutputFolder, signals: StopSignals) -> Iterator[Item]:
    given: set[str] = set()
    for item in inputs.items(lambda id: id in given or folder.holds(id)):
        if signals.requested.is_set():
            return
        given.add(item.id)
        yield item


def _embed(client: Client, items: Iterator[Item], folder: OutputFolder, options: Options, progress: Progress,
           report: Report) -> None:
    outcomes = client.embed_stream(items, on_error="return", **{name: getattr(options, name)
                                                                for name in options.__dataclass_fields__})
    for outcome in outcomes:
        if isinstance(outcome, ItemError):
            folder.refuse(outcome)
            progress.say(f"{COMMAND}: {outcome}")
        else:
            folder.add(outcome)
            report.embedded += 1
        progress.advance()


def _summary(report: Report, folder: OutputFolder, quiet: bool) -> int:
    transient = sum(code not in FINAL_CODES for code in folder.refused.values())
    lines = [f"{report.embedded} embedded into {folder.shards_written} shards, {folder.resumed} were done before"]
    if folder.refused:
        lines.append(f"{len(folder.refused)} have no result: {folder.path / ERRORS}")
    if report.stopped:
        lines.append(f"stopped: {report.stopped}; the same command goes on from here")
    if report.stopped or folder.refused or not quiet:
        print(f"{COMMAND}: {'; '.join(lines)}", file=sys.stderr)
    if report.stopped or transient:
        return FAILURE
    return REFUSED if folder.refused else OK
