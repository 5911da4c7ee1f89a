"""Writes src/vitower/vitower.binpb, the API as the package carries it, from proto/. Run it after vitower.proto changed.

The package holds a descriptor rather than generated code because generated code runs only with the protobuf releases
near the one that made it, while a descriptor serves all of them. Needs grpcio-tools.
"""

import pathlib
import sys
import tempfile

from grpc_tools import protoc

HERE = pathlib.Path(__file__).resolve().parent
PROTO = HERE.parents[1] / "proto"


def descriptor() -> bytes:
    """The serialised FileDescriptorSet of vitower.proto, without comments."""
    with tempfile.NamedTemporaryFile() as out:
        if protoc.main(["protoc", f"-I{PROTO}", f"--descriptor_set_out={out.name}",
                        str(PROTO / "vitower/v1/vitower.proto")]):
            sys.exit("protoc failed")
        return pathlib.Path(out.name).read_bytes()


if __name__ == "__main__":
    (HERE / "src/vitower/vitower.binpb").write_bytes(descriptor())
