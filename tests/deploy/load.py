"""A short mixed load on a running server, in the background."""

import contextlib
import threading

import grpc
import numpy as np

from pictures import encoded, photo
from serving import stubs


def page_url(server):
    return server.metrics_url.removesuffix("metrics")


def requests(seed):
    messages, _ = stubs()
    rng = np.random.default_rng(seed)
    while True:
        images = [encoded(photo(rng, int(rng.integers(64, 300)), int(rng.integers(64, 300))), "JPEG") for _ in range(4)]
        items = [messages.Item(image=image) for image in images] + [messages.Item(image=b"no picture at all")]
        yield messages.EmbedRequest(items=items)


@contextlib.contextmanager
def loaded(server, clients=3):
    """Calls until left. What the server answers is not looked at, but for one of each kind of refusal."""
    stop = threading.Event()

    def call(seed):
        stub = server.stub()
        for request in requests(seed):
            if stop.is_set():
                return
            with contextlib.suppress(grpc.RpcError):
                stub.Embed(request, timeout=60)

    threads = [threading.Thread(target=call, args=(seed,), daemon=True) for seed in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()
