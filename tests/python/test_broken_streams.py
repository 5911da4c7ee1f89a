"""A server that breaks its stream over one item must not be sent that item for ever."""

from concurrent.futures import ThreadPoolExecutor

import grpc
from vitower import Client, Item, ItemError, Retry
from vitower.messages import SERVICE, ModelInfo, Response, message

ATTEMPTS = 3


class Fragile:
    """Answers every item but the one that it is poisoned by: that breaks the stream, each time after an answer."""

    def __init__(self):
        self.poisoned = 0
        unary = grpc.unary_unary_rpc_method_handler(lambda *_: ModelInfo(fingerprint="f").SerializeToString())
        stream = grpc.stream_stream_rpc_method_handler(self.embed)
        self.server = grpc.server(ThreadPoolExecutor(8))
        self.server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(
            SERVICE.strip("/"), {"GetModelInfo": unary, "EmbedStream": stream})])
        self.port = self.server.add_insecure_port("127.0.0.1:0")
        self.server.start()

    def embed(self, requests, context):
        poison = False
        for request in map(message("EmbedStreamRequest").FromString, requests):
            if request.item.image == b"poison":
                poison = True
                continue
            response = Response(key=request.key)
            response.result.dtype = 3
            response.result.outputs.add(name="tokens", shape=[1, 1], dtype=3, data=b"1234")
            yield response.SerializeToString()
            if poison and self.poisoned < 10:  # else it would never end where this test fails
                self.poisoned += 1
                context.abort(grpc.StatusCode.UNAVAILABLE, "poisoned")


def test_an_item_that_breaks_every_stream_is_given_up_though_others_are_answered():
    fragile = Fragile()
    items = [Item(b"poison", id="poison"), *(Item(b"good", id=str(n)) for n in range(30))]
    retry = Retry(attempts=ATTEMPTS, first_seconds=0.01, jitter=0)
    with Client(f"127.0.0.1:{fragile.port}", max_in_flight=2, timeout=10, retry=retry) as client:
        got = {}
        for outcome in client.embed_stream(items, on_error="return"):
            got[outcome.id] = outcome
    fragile.server.stop(None)
    assert len(got) == len(items) and [id for id in got if isinstance(got[id], ItemError)] == ["poison"]
    assert got["poison"].code == "UNAVAILABLE" and fragile.poisoned == ATTEMPTS
    assert "no answer on 3 streams, the last of which ended with UNAVAILABLE: poisoned" in str(got["poison"])
