"""The inputs of vitower-embed: files, folders, globs, tars (webdataset's too) and columns of Parquet files."""

import glob
import os
import re
import tarfile
from collections.abc import Callable, Iterator
from typing import Any

from vitower.inputs import IMAGE_EXTENSIONS, VIDEO_EXTENSIONS, Item, Video, unreadable

_MEDIA = IMAGE_EXTENSIONS + VIDEO_EXTENSIONS
_TARS = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
_PARQUET_COLUMN = re.compile(r"(?P<path>.+\.parquet):(?P<column>[^/:]+)")
_ROWS_AT_ONCE = 64
# By name, since the types that come with type checkers leave them out.
_DAMAGED_HEADERS = tuple(getattr(tarfile, name) for name in ("InvalidHeaderError", "TruncatedHeaderError"))

# An id and, where it is wanted, what is to be embedded under it.
Entry = tuple[str, Callable[[], Any]]


class UsageError(Exception):
    """The arguments make no sense together; the message says the way out."""


class Inputs:
    """What the arguments name, looked at once: arguments in their order, a folder's files sorted.

    `items(skip)` reads lazily; the content of an id for which `skip(id)` is true is not read. UsageError where an
    argument names nothing.
    """

    def __init__(self, arguments: list[str]) -> None:
        self._sources = [source for argument in arguments for source in _expand(argument)]
        if not self._sources:
            raise UsageError("no input: give files, folders, globs, tars or FILE.parquet:COLUMN")

    def count(self) -> int | None:
        """How many items there are, or None where that takes reading a tar."""
        counts = [_count(source) for source in self._sources]
        return None if None in counts else sum(count for count in counts if count is not None)

    def items(self, skip: Callable[[str], bool]) -> Iterator[Item]:
        """Each id once, in the order of the arguments. A tar or Parquet file that cannot be read to its end ends with
        an item of its own name whose source is the InputError."""
        for source in self._sources:
            name = source if isinstance(source, str) else ":".join(source)
            try:
                for id, content in _entries(source, skip):
                    if not skip(id):
                        yield Item(content(), id)
            except (tarfile.TarError, EOFError, OSError, ValueError) as error:  # pyarrow's are the last two
                if not skip(name):
                    yield Item(unreadable(name, error), name)


def _entries(source: "Source", skip: Callable[[str], bool]) -> Iterator[Entry]:
    if isinstance(source, tuple):
        return _parquet_entries(*source, skip)
    return _tar_entries(source, skip) if source.lower().endswith(_TARS) else iter([(source, _itself(source))])


def media(data: bytes) -> bytes | Video:
    """Encoded bytes as what they are: a clip where they begin as mp4, mov, mkv, webm or avi files do."""
    is_clip = data[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free") or data[:4] == b"\x1a\x45\xdf\xa3"
    return Video(data) if is_clip or (data[:4] == b"RIFF" and data[8:12] == b"AVI ") else data


def _itself(value: Any) -> Callable[[], Any]:
    return lambda: value


Source = str | tuple[str, str]  # a file, or a Parquet file and its column


def _expand(argument: str) -> Iterator[Source]:
    column = _PARQUET_COLUMN.fullmatch(argument)
    if column:
        for path in _matches(column["path"]):
            _check_column(path, column["column"])
            yield path, column["column"]
        return
    for path in _matches(argument):
        if path.lower().endswith(".parquet"):
            raise UsageError(f"{path}: say which column holds the images, as {path}:COLUMN")
        if os.path.isdir(path):
            yield from _below(path)
        else:
            yield path


def _matches(pattern: str) -> list[str]:
    if os.path.exists(pattern):
        return [os.path.normpath(pattern)]
    found = sorted(glob.glob(pattern, recursive=True))
    if not found:
        raise UsageError(f"{pattern}: no such file or folder")
    return [os.path.normpath(path) for path in found]


def _below(folder: str) -> Iterator[str]:
    found = False
    for parent, folders, files in os.walk(folder):
        folders.sort()
        for name in sorted(files):
            if name.lower().endswith(_MEDIA):
                found = True
                yield os.path.join(parent, name)
    if not found:
        raise UsageError(f"{folder}: no image or clip in this folder ({' '.join(_MEDIA)})")


def _count(source: Source) -> int | None:
    if isinstance(source, tuple):
        return int(_parquet_file(source[0]).metadata.num_rows)
    return None if source.lower().endswith(_TARS) else 1


class _Member(tarfile.TarInfo):
    """A header; ReadError where it is damaged or cut, which tarfile takes for the end of the archive."""

    @classmethod
    def fromtarfile(cls, tar: tarfile.TarFile) -> "_Member":
        try:
            return super().fromtarfile(tar)
        except _DAMAGED_HEADERS as error:
            raise tarfile.ReadError(f"{error} at byte {tar.offset}") from None


def _tar_entries(path: str, skip: Callable[[str], bool]) -> Iterator[Entry]:
    """The images and clips of a tar, read in one pass. An id is the tar's path, a slash and the member's name."""
    with tarfile.open(path, "r|*", tarinfo=_Member) as tar:
        for member in tar:
            id = f"{path}/{member.name}"
            if not member.isfile() or not member.name.lower().endswith(_MEDIA) or skip(id):
                continue
            content = tar.extractfile(member)
            assert content is not None  # it is a file
            yield id, _itself(media(content.read()))


def import_parquet() -> Any:
    """pyarrow's module; UsageError where it is not installed."""
    try:
        from pyarrow import parquet
    except ImportError:
        raise UsageError("Parquet needs pyarrow: pip install 'vitower[parquet]', or --format safetensors") from None
    return parquet


def _parquet_file(path: str) -> Any:
    return import_parquet().ParquetFile(path)


def _check_column(path: str, column: str) -> None:
    import_parquet()
    import pyarrow

    try:
        schema = _parquet_file(path).schema_arrow
    except pyarrow.ArrowInvalid as error:
        raise UsageError(f"{path}: {error}") from None
    if column not in schema.names:
        raise UsageError(f'{path}: no column "{column}"; it has: {", ".join(schema.names)}')
    kind = schema.field(column).type
    if pyarrow.types.is_struct(kind) and kind.get_field_index("bytes") >= 0:
        kind = kind.field("bytes").type
    if not (_is_binary(kind) or _is_text(kind)):
        raise UsageError(f'{path}: column "{column}" is {kind}: it must hold encoded images or clips (binary), '
                         "paths (string), or structs with a field bytes")


def _is_binary(kind: Any) -> bool:
    import pyarrow.types as types

    return bool(types.is_binary(kind) or types.is_large_binary(kind) or types.is_fixed_size_binary(kind))


def _is_text(kind: Any) -> bool:
    import pyarrow.types as types

    return bool(types.is_string(kind) or types.is_large_string(kind))


def _parquet_entries(path: str, column: str, skip: Callable[[str], bool]) -> Iterator[Entry]:
    """The rows of a column. An id is path:column:row, rows counted from 0. Row groups of which nothing is wanted are
    not read."""
    file = _parquet_file(path)
    row = 0
    for group in range(file.metadata.num_row_groups):
        rows = file.metadata.row_group(group).num_rows
        if all(skip(f"{path}:{column}:{i}") for i in range(row, row + rows)):
            row += rows
            continue
        for batch in file.iter_batches(_ROWS_AT_ONCE, row_groups=[group], columns=[column]):
            for value in batch.column(0):
                yield f"{path}:{column}:{row}", _cell(value.as_py)
                row += 1


def _cell(value: Callable[[], Any]) -> Callable[[], Any]:
    def content() -> Any:
        cell = value()
        if isinstance(cell, dict):
            cell = cell.get("bytes")
        return media(cell) if isinstance(cell, bytes) else (cell or b"")  # null: refused by the server as empty

    return content
