"""Thirty-two items on the real tower, four of which go wrong in four ways: the other twenty-eight do not notice."""

import grpc
import numpy as np
import pytest

from pictures import encoded, photo
from serving import rel_l2, rows, serving, stubs

pb, _ = stubs()
OK, INVALID_ARGUMENT = 0, 3
BROKEN, NAN, HUNG_UP, EXPIRED = 5, 11, 17, 23
# The idle device waits for company: the item is in the queue when its time is up.
DELAY, DEADLINE_S = "3s", 1.5


def items():
    rng = np.random.default_rng(9)
    images = [encoded(photo(rng, int(rng.integers(60, 300)), int(rng.integers(60, 300))), "PNG") for _ in range(32)]
    small = pb.Preprocessing(min_pixels=4096, max_pixels=16384)
    made = [pb.Item(id=str(i), image=image, preprocessing=small) for i, image in enumerate(images)]
    made[BROKEN].image = images[BROKEN][:-2000]
    patches = rng.standard_normal((16, 1536)).astype(np.float32)
    patches[7, 100] = np.nan
    made[NAN].ClearField("preprocessing")
    made[NAN].patches.CopyFrom(pb.PatchRows(data=patches.tobytes(), dtype=pb.DTYPE_FP32,
                                            grid_thw=pb.GridThw(t=1, h=4, w=4)))
    return made


def values(result):
    assert result.status.code == OK, result.status.message
    return np.concatenate([rows(output) for output in result.outputs])


# As batch against single in test_serving.py.
@pytest.mark.parametrize("dtype, limit", [("fp32", 1e-6), ("bf16", 5e-3)])
def test_twenty_eight_of_thirty_two_items_do_not_notice_the_other_four(dtype, limit):
    made = items()
    good = [i for i in range(32) if i not in (BROKEN, NAN, HUNG_UP, EXPIRED)]
    with serving("--dtype", dtype, "--max-batch-patches", 4096, "--max-batch-delay", DELAY) as server:
        stub = server.stub()
        stub.GetModelInfo(pb.GetModelInfoRequest(), timeout=60)  # connects
        calls = {i: stub.Embed.future(pb.EmbedRequest(items=[item]), timeout=DEADLINE_S if i == EXPIRED else 120)
                 for i, item in enumerate(made)}
        expired = calls[EXPIRED].code()  # waits
        calls[HUNG_UP].cancel()
        results = {i: calls[i].result().results[0] for i in [*good, BROKEN, NAN]}
        metrics = server.metrics()
    with serving("--dtype", dtype) as server:  # the same random weights, and no wait for company
        stub = server.stub()
        alone = {i: stub.Embed(pb.EmbedRequest(items=[made[i]]), timeout=120).results[0] for i in good}
    worst = max(rel_l2(values(results[i]), values(alone[i])) for i in good)
    dropped = {reason: metrics[f'vitower_dropped_total{{reason="{reason}"}}'] for reason in ("expired", "cancelled")}
    print(f"{dtype}: worst relL2 to the item alone {worst:.2e}, dropped {dropped}, batches "
          f"{metrics['vitower_batch_items_count']:.0f}")
    assert expired == grpc.StatusCode.DEADLINE_EXCEEDED
    assert results[BROKEN].status.code == INVALID_ARGUMENT and "truncated" in results[BROKEN].status.message.lower()
    assert results[NAN].status.code == INVALID_ARGUMENT and "not finite" in results[NAN].status.message
    assert dropped == {"expired": 1, "cancelled": 1}
    assert worst <= limit
