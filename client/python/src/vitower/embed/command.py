"""`vitower-embed`: its flags."""

import argparse
import importlib.metadata
import pathlib
import re
import sys
from collections.abc import Sequence
from typing import Any

from vitower.client import Client
from vitower.connection import Tls
from vitower.embed import job
from vitower.embed.folder import OutputFolder
from vitower.embed.shards import FORMATS
from vitower.embed.sources import Inputs, UsageError
from vitower.errors import CallError
from vitower.options import Options, Sampling
from vitower.retry import Retry

_DESCRIPTION = """\
Embed images and clips with a vitower server, into shards of Parquet or safetensors.

INPUT is a file, a folder (searched for images and clips), a glob, a tar (webdataset's too), or FILE.parquet:COLUMN,
a column of encoded images, of paths, or of structs with a field bytes. Run the same command again to go on where a
job was stopped or killed: what is on disk is not done again, and other weights or options are refused. An id is the
path as it is spelled here, so spell it the same way."""

_EPILOG = """\
examples:
  vitower-embed photos/ --server localhost:50051 --output out/
  vitower-embed 'shards/*.tar' --server localhost:50051 --output out/ --outputs pooled --dtype fp32
  vitower-embed laion.parquet:image --server localhost:50051 --output out/ --format safetensors --channels 4

exit codes:
  0  done
  1  failure: server unreachable, file not writable, interrupted; the same command goes on from there
  2  usage: flags, inputs that are not there, an output folder made with other settings
  3  refused input: OUTPUT/errors.jsonl says which and why; what is good was still done"""

_SUFFIXES = {"": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; the exit code."""
    flags = _parser().parse_args(arguments)
    try:
        return _run(flags)
    except (UsageError, ValueError) as error:
        return _fail(job.USAGE, str(error))
    except (CallError, OSError) as error:
        return _fail(job.FAILURE, str(error))


def _run(flags: argparse.Namespace) -> int:
    options = _options(flags)
    inputs = Inputs(flags.inputs)
    retry = Retry(attempts=flags.attempts)
    tls = _tls(flags)
    with Client(flags.server, channels=flags.channels, token=_token(flags, tls), tls=tls, timeout=flags.timeout,
                max_in_flight=flags.in_flight, retry=retry,
                allow_plain_text_token=flags.plain_text_tokens) as client:
        about = job.about_job(client, options, flags.format)
        folder = OutputFolder(flags.output, about, flags.shard_items, flags.shard_bytes, flags.retry_errors)
        return job.run(client, inputs, folder, options, flags.quiet)


def _fail(code: int, message: str) -> int:
    print(f"{job.COMMAND}: {message}", file=sys.stderr)
    return code


def _options(flags: argparse.Namespace) -> Options:
    sampling = Sampling(fps=flags.fps, num_frames=flags.num_frames, min_frames=flags.min_frames,
                        max_frames=flags.max_frames, start_seconds=flags.start, end_seconds=flags.end)
    return Options(**_outputs(flags.outputs), l2_normalize=flags.l2_normalize, dtype=flags.dtype,
                   min_pixels=flags.min_pixels, max_pixels=flags.max_pixels,
                   do_resize=False if flags.no_resize else None, apply_exif=False if flags.no_exif else None,
                   background=flags.background, sampling=sampling if sampling.is_set() else None,
                   priority=flags.priority)


def _outputs(text: str) -> dict[str, Any]:
    """The fields of Options that a list of outputs names."""
    names = [name.strip() for name in text.split(",")]
    levels = [int(name[10:]) for name in names if re.fullmatch(r"deepstack_\d+", name)]
    known = {"tokens", "deepstack", "pooled", "pooled_slices"}
    for name in names:
        if name not in known and not re.fullmatch(r"deepstack_\d+", name):
            raise UsageError(f'--outputs: "{name}" is not tokens, deepstack, deepstack_N, pooled or pooled_slices')
    return {"tokens": "tokens" in names, "pooled": "pooled" in names, "pooled_slices": "pooled_slices" in names,
            "deepstack": "all" if "deepstack" in names else levels or None}


def _tls(flags: argparse.Namespace) -> Tls | None:
    if not (flags.tls or flags.tls_ca or flags.tls_cert or flags.tls_key):
        return None
    if bool(flags.tls_cert) != bool(flags.tls_key):
        raise UsageError("--tls-cert and --tls-key go together")
    return Tls(flags.tls_ca, flags.tls_cert, flags.tls_key)


def _token(flags: argparse.Namespace, tls: Tls | None) -> str | None:
    if not flags.token_file:
        return None
    if not tls and not flags.plain_text_tokens:
        raise UsageError("--token-file without --tls or --tls-ca: the token would travel unencrypted. Where that is "
                         "meant, --plain-text-tokens says so")
    return str(flags.token_file.read_text().strip())


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is not above 0")
    return value


def _bytes(text: str) -> int:
    found = re.fullmatch(r"(\d+)(|KiB|MiB|GiB)", text)
    if not found or int(found[1]) < 1:
        raise argparse.ArgumentTypeError(f'"{text}" is not a size such as 128MiB')
    return int(found[1]) * _SUFFIXES[found[2]]


def _colour(text: str) -> tuple[int, int, int]:
    found = re.fullmatch("#([0-9a-fA-F]{2})([0-9a-fA-F]{2})([0-9a-fA-F]{2})", text)
    if not found:
        raise argparse.ArgumentTypeError(f'"{text}" is not a colour such as #ffffff')
    red, green, blue = (int(part, 16) for part in found.groups())
    return red, green, blue


def _version() -> str:
    try:
        return importlib.metadata.version("vitower")
    except importlib.metadata.PackageNotFoundError:
        return "unknown (not installed)"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(job.COMMAND, description=_DESCRIPTION, epilog=_EPILOG, allow_abbrev=False,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--version", action="version", version=f"{job.COMMAND} {_version()}")
    parser.add_argument("inputs", nargs="+", metavar="INPUT")
    parser.add_argument("--server", required=True, metavar="HOST:PORT")
    parser.add_argument("--output", required=True, type=pathlib.Path, metavar="FOLDER", help="created where missing")
    _add_what(parser.add_argument_group("what is written"))
    _add_preprocessing(parser.add_argument_group("preprocessing (unset: the model's own)"))
    _add_connection(parser.add_argument_group("connection"))
    parser.add_argument("--quiet", action="store_true", help="print nothing but errors")
    return parser


def _add_what(group: Any) -> None:
    group.add_argument("--format", choices=FORMATS, default="parquet", help="of the shards (default: %(default)s)")
    group.add_argument("--outputs", default="tokens,deepstack", metavar="LIST",
                       help="tokens, deepstack (every level), deepstack_N, pooled, pooled_slices "
                            "(default: %(default)s)")
    group.add_argument("--dtype", choices=("bf16", "fp16", "fp32"), help="of the values (default: the tower's own)")
    group.add_argument("--l2-normalize", action="store_true", help="scale pooled vectors to length 1")
    group.add_argument("--shard-items", type=_positive, default=1000, metavar="N",
                       help="items in a shard; what a kill loses is done again (default: %(default)s)")
    group.add_argument("--shard-bytes", type=_bytes, default=128 << 20, metavar="SIZE",
                       help="a shard is also full at this size; two to three times it are held (default: 128MiB)")
    group.add_argument("--retry-errors", action="store_true", help="try again what was refused in an earlier run")


def _add_preprocessing(group: Any) -> None:
    group.add_argument("--min-pixels", type=_positive, metavar="N", help="smallest area of the resized image")
    group.add_argument("--max-pixels", type=_positive, metavar="N", help="largest area of the resized image")
    group.add_argument("--no-resize", action="store_true", help="take images as they are")
    group.add_argument("--no-exif", action="store_true", help="do not turn images upright")
    group.add_argument("--background", type=_colour, metavar="#RRGGBB", help="under transparent pixels")
    group.add_argument("--fps", type=float, metavar="F", help="frames taken a second of clip")
    group.add_argument("--num-frames", type=_positive, metavar="N", help="frames taken of a clip; excludes --fps")
    group.add_argument("--min-frames", type=_positive, metavar="N", help="fewest frames taken")
    group.add_argument("--max-frames", type=_positive, metavar="N", help="most frames taken")
    group.add_argument("--start", type=float, metavar="SECONDS", help="where in the clip sampling begins")
    group.add_argument("--end", type=float, metavar="SECONDS", help="where it ends")


def _add_connection(group: Any) -> None:
    group.add_argument("--channels", type=_positive, default=2, metavar="N", help="connections (default: %(default)s)")
    group.add_argument("--in-flight", type=_positive, default=64, metavar="N",
                       help="items sent and not yet written; bounds memory (default: %(default)s)")
    group.add_argument("--timeout", type=float, default=600.0, metavar="SECONDS",
                       help="of one item, waiting for a full server included (default: %(default)g)")
    group.add_argument("--attempts", type=_positive, default=10, metavar="N",
                       help="tries in a row to reach a server that went away, about 30 s (default: %(default)s)")
    group.add_argument("--priority", choices=("high", "normal", "low"), help="on the server (default: normal)")
    group.add_argument("--token-file", type=pathlib.Path, metavar="FILE", help="holds the bearer token")
    group.add_argument("--plain-text-tokens", action="store_true", help="let the token travel unencrypted")
    group.add_argument("--tls", action="store_true", help="encrypt; the server is checked against gRPC's own roots")
    group.add_argument("--tls-ca", metavar="PEM", help="encrypt; the server is checked against this")
    group.add_argument("--tls-cert", metavar="PEM", help="the client's own certificate, with --tls-key")
    group.add_argument("--tls-key", metavar="PEM", help="its key")


if __name__ == "__main__":
    sys.exit(main())
