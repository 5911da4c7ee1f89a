"""The clients against a real server whose tower is a puppet that marks each item's rows with its own colour."""

import asyncio
import os
import pickle
import queue
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import torch
import vitower
from numbered import gif, patches
from puppet import Puppet, flat, flat_png, mark, pil, write_photos
from vitower import Client, ItemError


@pytest.fixture(scope="module")
def wide():
    """Answers as large as a 2B tower's."""
    with Puppet("--hidden", 2048, "--depth", 3) as running:
        yield running


def test_info_and_health(client):
    info = client.info()
    assert info.out_hidden_size == 64 and len(info.deepstack_visual_indexes) == 2 and info.dtype == "bf16"
    assert info.outputs[0] == "tokens" and info.limits.max_stream_items > 0
    assert client.health() == "SERVING"


def test_every_kind_of_input_gets_its_own_answer(client, tmp_path):
    path = write_photos(tmp_path, 1) / "0000.png"
    inputs = [path, str(path), flat_png(1), pil(2), flat(3), torch.from_numpy(flat(4)),
              vitower.Frames([flat_png(5), flat_png(6)], fps=2), vitower.Frames([pil(6), pil(7)]),
              np.stack([flat(7), flat(8), flat(9)]), patches(8), gif(9)]
    got = client.embed(inputs)
    assert [mark(embedding) for embedding in got] == [0, 0, *range(1, 10)]
    assert [embedding.index for embedding in got] == list(range(11)) and got[1].id == str(path)
    assert [embedding.grid_thw[0] for embedding in got] == [1, 1, 1, 1, 1, 1, 1, 1, 2, 1, 2]
    for embedding in got:
        assert embedding.tokens.shape == (embedding.token_count, 64) and embedding.tokens.dtype == np.float32


def test_a_clip_tells_its_frames_times_and_padding(client):
    clip = client.embed([vitower.Frames([pil(n) for n in range(3)], fps=2)])[0]
    assert clip.frame_indices == (0, 1, 2) and clip.padded and clip.source_fps == 2
    assert len(clip.slice_timestamps) == 2
    image = client.embed([pil(1)])[0]
    assert image.frame_indices == () and not image.padded and image.source_fps is None


def test_each_output_is_there_by_name_and_in_the_dtype_asked_for(client):
    for dtype, kind in [("bf16", torch.bfloat16), ("fp16", torch.float16), ("fp32", torch.float32)]:
        got = client.embed([flat(77)], tokens=True, deepstack="all", pooled=True, pooled_slices=True, dtype=dtype)[0]
        assert got.keys() == ["tokens", "deepstack_0", "deepstack_1", "pooled", "pooled_slices"]
        assert got.outputs_not_sent == () and len(got.deepstack) == 2
        assert got.to_torch("deepstack_1").dtype == kind and got.to_torch("deepstack_1")[0, 3] == 2
        assert got.pooled.shape == (64,) and got.pooled_slices.shape == (1, 64)
        np.testing.assert_allclose(got.pooled, got.tokens.astype(np.float32).mean(axis=0), rtol=1e-2)


def test_asking_for_what_was_not_sent_is_a_key_error_that_says_so(client):
    got = client.embed([flat(1)], tokens=True)[0]
    assert got.outputs_not_sent == ("deepstack_0", "deepstack_1", "pooled", "pooled_slices") and "pooled" not in got
    with pytest.raises(KeyError, match='"deepstack_1" was not asked for.*holds: tokens'):
        got["deepstack_1"]
    with pytest.raises(KeyError, match="deepstack_0"):
        assert got.deepstack
    with pytest.raises(KeyError, match='the model has no output "deepstack_9"'):
        got.to_torch("deepstack_9")


def test_a_stream_over_several_channels_answers_every_item_once(puppet):
    with Client(puppet.address, channels=3, max_in_flight=50) as client:
        items = (vitower.Item(flat(n), id=f"no {n}") for n in range(1000))
        got = [(e.index, e.id, mark(e)) for e in client.embed_stream(items)]
    assert sorted(got) == [(n, f"no {n}", n) for n in range(1000)]


def test_ordered_keeps_the_order_though_some_items_take_longer(client):
    sizes = [(64, 64) if n % 10 else (640, 640) for n in range(100)]
    items = [flat(n, *size) for n, size in enumerate(sizes)]
    assert [mark(e) for e in client.embed_stream(items, ordered=True)] == list(range(100))


def test_large_uploads_and_answers_go_in_parts(wide):
    with Client(wide.address) as client:
        chunk = client.info().limits.stream_chunk_bytes
        big = [flat(n, 1024, 2048) for n in range(3)]
        assert big[0].nbytes > chunk
        got = client.embed([*big, flat(3)])
    assert [mark(e) for e in got] == list(range(4)) and got[0].raw["tokens"].nbytes > chunk
    for embedding in got:
        assert [int(level[0, 3]) for level in embedding.deepstack] == [1, 2, 3]
        for values in [embedding.tokens, *embedding.deepstack]:
            np.testing.assert_array_equal(values[1:], np.tile(np.arange(128.0), 16)[None].repeat(len(values) - 1, 0))


def test_a_bad_item_is_raised_or_returned_and_hurts_no_other(client):
    items = [flat_png(n) if n % 20 else b"no image" for n in range(100)]
    got = client.embed(items, on_error="return")
    for n, outcome in enumerate(got):
        if n % 20:
            assert mark(outcome) == n
        else:
            assert isinstance(outcome, ItemError) and outcome.code == "INVALID_ARGUMENT" and outcome.index == n
    with pytest.raises(ItemError, match="item cat.jpg: INVALID_ARGUMENT") as caught:
        client.embed([flat(1), vitower.Item(b"no image", id="cat.jpg")])
    assert caught.value.index == 1
    with pytest.raises(ItemError, match="NOT_FOUND: /nowhere.png: no such file"):
        list(client.embed_stream(["/nowhere.png"]))


@pytest.mark.parametrize("wrong, error", [([17], TypeError), ("cat.jpg", TypeError), (b"\xff\xd8", TypeError)])
def test_what_is_no_input_is_a_type_error(client, wrong, error):
    with pytest.raises(error):
        client.embed(wrong)
    with pytest.raises(TypeError):
        client.embed([flat(1)], nonsense=1)
    with pytest.raises(ValueError):
        client.embed_stream([], on_error="ignore")


def test_no_more_items_are_taken_than_may_be_in_flight(puppet):
    taken = []
    items = (taken.append(n) or flat(n) for n in range(500))
    with Client(puppet.address, max_in_flight=10) as client:
        for count, _ in enumerate(client.embed_stream(items), start=1):
            assert len(taken) <= 10 + count
    assert len(taken) == 500


def test_answers_come_while_the_input_is_waited_for(client):
    feed = queue.SimpleQueue()
    stream = client.embed_stream(iter(feed.get, None))
    for number in range(3):
        feed.put(flat_png(number))
        assert mark(next(stream)) == number  # would never come if the next input were waited for first
    feed.put(None)
    assert list(stream) == []


def test_an_error_of_the_input_ends_the_run(client):
    def broken():
        yield flat(1)
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        list(client.embed_stream(broken()))


def test_a_full_server_is_asked_again_until_all_is_done():
    with Puppet("--max-batch-patches", 256, "--max-item-patches", 256, "--max-queue-patches", 768,
                "--device-min-us", 3000, "--hidden", 64) as small:
        with Client(small.address, max_in_flight=40, channels=8) as client:  # a stream alone waits, and is not refused
            got = sorted(mark(e) for e in client.embed_stream([flat(n) for n in range(150)]))
        refused = small.metrics()['vitower_rejected_total{method="EmbedStream",reason="queue_full"}']
    assert got == list(range(150)) and refused > 0


def test_a_server_killed_and_started_again_loses_no_item():
    first = Puppet("--hidden", 64, "--device-min-us", 10_000, "--max-batch-patches", 512)
    got = []
    with Client(first.address, channels=2, retry=vitower.Retry(attempts=20, longest_seconds=0.5)) as client:
        for embedding in client.embed_stream(flat(n) for n in range(300)):
            got.append(mark(embedding))
            if len(got) == 50:
                first.stop(signal.SIGKILL)
                second = Puppet("--hidden", 64, port=first.port)
        second.stop()
    assert sorted(got) == list(range(300))


def test_a_server_that_drains_hands_its_items_to_the_next():
    first = Puppet("--hidden", 64, "--device-min-us", 10_000, "--max-batch-patches", 512)
    got = []
    with Client(first.address, retry=vitower.Retry(attempts=20, longest_seconds=0.5)) as client:
        for embedding in client.embed_stream(flat(n) for n in range(300)):
            got.append(mark(embedding))
            if len(got) == 50:
                assert first.stop(signal.SIGTERM) == 0
                second = Puppet("--hidden", 64, port=first.port)
        second.stop()
    assert sorted(got) == list(range(300))


def test_a_server_that_is_gone_ends_the_run_in_bounded_time():
    server = Puppet()
    with Client(server.address, retry=vitower.Retry(attempts=3, first_seconds=0.01)) as client:
        stream = client.embed_stream((flat(n % 4096) for n in range(10**6)), on_error="return")
        next(stream)
        server.stop(signal.SIGKILL)
        with pytest.raises(vitower.CallError, match="UNAVAILABLE"):
            list(stream)
        with pytest.raises(vitower.CallError, match="UNAVAILABLE"):
            client.health()


def test_without_the_insides_of_grpc_it_goes_the_public_way(monkeypatch, tmp_path):
    """As the fast way does: small and large items, refused ones, a server that dies and comes back, a run left early."""
    monkeypatch.setattr("vitower.stream_call.QueueCall", lambda *_: (_ for _ in ()).throw(TypeError("made otherwise")))
    first = Puppet("--hidden", 64, "--device-min-us", 10_000, "--max-batch-patches", 512)
    items = [flat(n, *((1024, 2048) if n == 60 else (64, 64))) if n % 50 != 7 else b"no image" for n in range(200)]
    got = []
    with Client(first.address, channels=2, retry=vitower.Retry(attempts=20, longest_seconds=0.5)) as client:
        for outcome in client.embed_stream(items, on_error="return"):
            got.append(outcome.index)
            assert isinstance(outcome, ItemError) if outcome.index % 50 == 7 else mark(outcome) == outcome.index
            if len(got) == 50:
                first.stop(signal.SIGKILL)
                second = Puppet("--hidden", 64, port=first.port)
        stream = client.embed_stream(flat(n) for n in range(10**6))
        next(stream)
        stream.close()
        second.await_idle()
        second.stop()
    assert sorted(got) == list(range(200))


def test_an_item_that_takes_longer_than_the_timeout_is_given_up():
    slow = Puppet("--device-min-us", 1_500_000)
    try:
        with Client(slow.address, timeout=0.3) as client:
            client.info()
            with pytest.raises(ItemError, match="DEADLINE_EXCEEDED: no answer within the timeout of 0.3 s"):
                client.embed([flat(1)])
            got = list(client.embed_stream([flat(n) for n in range(3)], on_error="return"))
            assert [outcome.code for outcome in got] == ["DEADLINE_EXCEEDED"] * 3
    finally:
        slow.stop(signal.SIGKILL)


def test_a_run_that_is_left_early_frees_the_server(puppet):
    with Client(puppet.address) as client:
        stream = client.embed_stream(flat(n % 4096, 512, 512) for n in range(10**6))
        next(stream)
        stream.close()
        assert mark(client.embed([flat(5)])[0]) == 5
        end = time.monotonic() + 20
        while puppet.metrics()["vitower_queue_items"] or puppet.metrics()["vitower_inflight_bytes"]:
            assert time.monotonic() < end, "the server still holds what a gone client sent"


def test_one_client_serves_many_threads(client):
    wrong = []

    def work(base):
        numbers = range(base, base + 50)
        got = [mark(e) for e in client.embed_stream([flat(n) for n in numbers], ordered=True)]
        wrong.extend([] if got == list(numbers) else [base])

    threads = [threading.Thread(target=work, args=(base,)) for base in range(0, 400, 50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_client_can_be_pickled_but_not_used_after_a_fork(client):
    with pickle.loads(pickle.dumps(client)) as other:
        assert mark(other.embed([flat(9)])[0]) == 9
    child = os.fork()
    if child == 0:
        try:
            client.info()
        except RuntimeError:
            os._exit(17)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 17


def test_a_pickled_client_keeps_every_setting(puppet):
    settings = dict(channels=2, token="a-token-of-16-letters", timeout=7.0, max_in_flight=3, allow_plain_text_token=True)
    with Client(puppet.address, **settings) as client, pickle.loads(pickle.dumps(client)) as other:
        assert mark(other.embed([flat(9)])[0]) == 9
        assert other._settings == client._settings


def test_embeddings_and_errors_can_be_pickled(client):
    got = pickle.loads(pickle.dumps(client.embed([flat(3), b"bad"], on_error="return")))
    assert mark(got[0]) == 3 and got[1].code == "INVALID_ARGUMENT" and got[1].index == 1


def test_a_closed_client_says_so(puppet):
    client = Client(puppet.address)
    client.close()
    client.close()
    with pytest.raises(vitower.CallError, match="closed"):
        client.embed([flat(1)])


@pytest.mark.parametrize("leave", ["", "del stream", "stream.cycle = [stream]; del stream; gc.collect()"])
def test_a_program_that_ends_in_the_middle_of_a_run_ends(puppet, leave):
    code = f"""if True:
        import gc, sys, numpy as np
        from vitower import Client
        client = Client("{puppet.address}")
        class Stream:
            def __init__(self): self.items = client.embed_stream(np.zeros((64, 64, 3), np.uint8) for _ in range(10**6))
        stream = Stream()
        next(stream.items)
        {leave}
        print("last line")
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60,
                          env={"PYTHONPATH": os.pathsep.join(sys.path)})
    assert done.returncode == 0 and done.stdout == "last line\n" and done.stderr == ""


def test_a_finaliser_never_waits_for_the_loop():
    """It may run on any thread, holding what the loop waits for."""
    loop, held, ended = vitower.loop_thread.shared(), threading.Lock(), threading.Event()

    async def end():
        ended.set()

    with held:
        loop.loop.call_soon_threadsafe(lambda: held.acquire() and held.release())
        loop.end(end())
    assert ended.wait(60)


# ---- asyncio


def run_aio(address, work, **settings):
    async def main():
        async with vitower.aio.Client(address, **settings) as client:
            return await work(client)

    return asyncio.run(main())


def test_aio_streams_from_plain_and_async_iterables(puppet, tmp_path):
    paths = sorted(write_photos(tmp_path, 100).iterdir())

    async def feed():
        for number in range(300):
            yield flat(number)

    async def work(client):
        assert await client.health() == "SERVING" and (await client.info()).out_hidden_size == 64
        ordered = [mark(e) async for e in client.embed_stream(feed(), ordered=True)]
        plain = sorted([mark(e) async for e in client.embed_stream(paths)])
        return ordered, plain, [mark(e) for e in await client.embed([pil(7), flat(8)])]

    assert run_aio(puppet.address, work, channels=2) == (list(range(300)), list(range(100)), [7, 8])


def test_aio_raises_and_returns_errors_as_the_other_does(puppet):
    async def work(client):
        got = await client.embed([flat(1), b"bad", "/nowhere.png"], on_error="return")
        assert [getattr(outcome, "code", "OK") for outcome in got] == ["OK", "INVALID_ARGUMENT", "NOT_FOUND"]
        with pytest.raises(ItemError, match="INVALID_ARGUMENT"):
            await client.embed([b"bad"])
        with pytest.raises(TypeError):
            await client.embed([17])
        return True

    assert run_aio(puppet.address, work)


def test_aio_runs_side_by_side_on_one_client(puppet):
    async def work(client):
        async def one(base):
            return [mark(e) async for e in client.embed_stream([flat(base + n) for n in range(40)], ordered=True)]

        return await asyncio.gather(*(one(base) for base in range(0, 400, 40)))

    assert sum(run_aio(puppet.address, work), []) == list(range(400))


def test_both_clients_work_in_one_process_without_a_word_on_stderr(puppet, client, capfd):
    async def work(other):
        thread = asyncio.to_thread(lambda: [mark(e) for e in client.embed_stream(flat(n) for n in range(200))])
        own = [mark(e) async for e in other.embed_stream(flat(n) for n in range(200))]
        return sorted(own), sorted(await thread)

    assert run_aio(puppet.address, work) == (list(range(200)),) * 2
    assert capfd.readouterr().err == ""
