"""The few pieces of protobuf's wire format that let payloads pass without being copied by the protobuf library.

What is sent is a list of buffers that is joined once; what is received is cut into views of the message. Everything
small goes through the protobuf classes. A malformed message raises ValueError.
"""

from collections.abc import Iterator, Sequence

Buffer = bytes | bytearray | memoryview

_SMALL = [bytes([value]) for value in range(0x80)]
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5

# Field numbers of vitower.proto (a test compares them with the descriptor).
REQUEST_ITEM, REQUEST_PART = 2, 3
RESPONSE_KEY, RESPONSE_RESULT, RESPONSE_PART = 1, 2, 3
PART_OUTPUT, PART_OFFSET, PART_DATA = 1, 2, 3
RESULT_OUTPUTS, TENSOR_DATA = 7, 4


def varint(value: int) -> bytes:
    """A non-negative whole number in base 128."""
    if value < 0x80:
        return _SMALL[value]
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def number_field(field: int, value: int) -> bytes:
    return varint(field << 3 | _VARINT) + varint(value)


def size(buffers: Sequence[Buffer]) -> int:
    """Bytes of all buffers together."""
    return sum(b.nbytes if isinstance(b, memoryview) else len(b) for b in buffers)


def bytes_field(field: int, buffers: Sequence[Buffer]) -> list[Buffer]:
    """A length-delimited field (bytes, string or message) whose content is `buffers`, none of which is copied."""
    return [varint(field << 3 | _BYTES) + varint(size(buffers)), *buffers]


def item_request(key: int, item: Sequence[Buffer]) -> bytes:
    """EmbedStreamRequest{key, item} of a serialised Item in pieces, each copied once."""
    return b"".join([number_field(1, key), *bytes_field(REQUEST_ITEM, item)])


def part_requests(key: int, item: bytes, chunk_bytes: int) -> Iterator[bytes]:
    """EmbedStreamRequest{key, part} messages that carry a serialised Item in parts of `chunk_bytes`."""
    view, total = memoryview(item), len(item)
    for offset in range(0, total, chunk_bytes):
        part = [number_field(1, offset), number_field(2, total), *bytes_field(3, [view[offset : offset + chunk_bytes]])]
        yield b"".join([number_field(1, key), *bytes_field(REQUEST_PART, part)])


def _read_varint(data: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
        if shift > 63:
            raise ValueError("a varint of more than 10 bytes")


def fields(data: memoryview) -> Iterator[tuple[int, int | memoryview, int, int]]:
    """(number, value, start, end) of each field: an int for varints, else a view; start:end is the whole field."""
    at, end = 0, len(data)
    try:
        while at < end:
            start = at
            tag, at = _read_varint(data, at)
            number, kind = tag >> 3, tag & 7
            value: int | memoryview
            if kind == _VARINT:
                value, at = _read_varint(data, at)
            else:
                if kind == _BYTES:
                    length, at = _read_varint(data, at)
                elif kind in (_FIXED64, _FIXED32):
                    length = 8 if kind == _FIXED64 else 4
                else:
                    raise ValueError(f"wire type {kind} in an answer")
                value, at = data[at : at + length], at + length
            if at > end:
                raise ValueError("an answer is cut short")
            yield number, value, start, at
    except IndexError:
        raise ValueError("an answer is cut short") from None


def split_answer(message: bytes) -> tuple[int, int, memoryview]:
    """(key, number of the body's field, body) of a serialised EmbedStreamResponse."""
    key, number, body = 0, 0, memoryview(b"")
    for field, value, _, _ in fields(memoryview(message)):
        if isinstance(value, int):
            key = value if field == RESPONSE_KEY else key
        elif field in (RESPONSE_RESULT, RESPONSE_PART):
            number, body = field, value
    return key, number, body


def split_part(part: memoryview) -> tuple[int, int, memoryview]:
    """(output, offset, data) of a serialised TensorPart."""
    numbers, data = {PART_OUTPUT: 0, PART_OFFSET: 0}, memoryview(b"")
    for field, value, _, _ in fields(part):
        if not isinstance(value, int):
            data = value if field == PART_DATA else data
        elif field in numbers:
            numbers[field] = value
    return numbers[PART_OUTPUT], numbers[PART_OFFSET], data


def split_result(data: memoryview) -> tuple[bytes, list[memoryview]]:
    """A serialised Result as (the same without the values of its outputs, the values of each output in order)."""
    small: list[Buffer] = []
    values: list[memoryview] = []
    for number, value, start, end in fields(data):
        if number != RESULT_OUTPUTS or isinstance(value, int):
            small.append(data[start:end])
            continue
        tensor: list[Buffer] = []
        content = memoryview(b"")
        for inner, inner_value, inner_start, inner_end in fields(value):
            if inner == TENSOR_DATA and not isinstance(inner_value, int):
                content = inner_value
            else:
                tensor.append(value[inner_start:inner_end])
        small += bytes_field(RESULT_OUTPUTS, tensor)
        values.append(content)
    return b"".join(small), values
