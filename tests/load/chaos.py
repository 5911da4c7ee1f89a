"""A gate between clients and a puppet server that delays, cuts, resets, half-opens and slows connections, for minutes.

    VITOWER_BIN_DIR=build/release/bin .venv/bin/python tests/load/chaos.py [--seconds 300]

Through the gate go `vitower bench --stream`, `vitower bench` with a call an item, and the Python client's embed_stream.
bench knows every item it sent and counts it once: answered, or failed with a status; an answer that is another item's is
an INTERNAL error. The Python client sends pictures whose colour tells their number, so that every embedding is known by
its values, and each must come once. The faults are over long before an item's time is, so DEADLINE_EXCEEDED is one that was
lost. A connection that is only slow loses nothing: clients that come and go within such a fault get every answer.

After each fault a new client must be served through the gate at once, and in the pause that follows each of the clients
that were hurt. At the end the server's threads, descriptors, memory and bytes in flight must be what they were.
"""

import sys
import threading
import time

from gate import FAULTS, Gate
from loads import ROOT, Bench, Puppet, Verdict, flag_parser, machine, process_counts

sys.path.insert(0, str(ROOT / "client/python/src"))

from puppet import flat, mark  # noqa: E402
from vitower import Client, ItemError, VitowerError  # noqa: E402

LAWFUL = {"UNAVAILABLE", "CANCELLED", "RESOURCE_EXHAUSTED"}
SLOW = {"delay", "slow-reader"}  # faults that break no connection
TIMEOUT_SECONDS = 60
COLOURS = 4096
MIX = "raw:224x224=4,jpeg:448x448=1,png:64x64=2"
SHAPE = ("--hidden", 512, "--depth", 2)


class PythonLoad(threading.Thread):
    """embed_stream through the gate, run after run, until stopped. `outcomes` counts; `wrong` lists what must not be."""

    def __init__(self, address):
        super().__init__(daemon=True)
        self.address, self.stopped = address, threading.Event()
        self.outcomes = {"embedded": 0, "failed": 0, "calls failed": 0}
        self.wrong = []

    def run(self):
        while not self.stopped.is_set():
            with Client(self.address, timeout=TIMEOUT_SECONDS, max_in_flight=32) as client:
                self._run_once(client)

    def _run_once(self, client):
        seen = set()
        try:
            for outcome in client.embed_stream(self._pictures(), tokens=True, ordered=False, on_error="return"):
                if outcome.index in seen:
                    self.wrong.append(f"index {outcome.index} came twice")
                seen.add(outcome.index)
                if isinstance(outcome, ItemError):
                    self.outcomes["failed"] += 1
                    if outcome.code not in LAWFUL:
                        self.wrong.append(str(outcome))
                else:
                    self.outcomes["embedded"] += 1
                    if mark(outcome) != outcome.index % COLOURS:
                        self.wrong.append(f"index {outcome.index} got the embedding of {mark(outcome)}")
        except VitowerError as error:
            self.outcomes["calls failed"] += 1
            if getattr(error, "code", None) not in LAWFUL:
                self.wrong.append(repr(error))

    def _pictures(self):
        number = 0
        while not self.stopped.is_set():
            yield flat(number % COLOURS)
            number += 1


def answer_of_new_client(address):
    """Seconds until a client that has just come is served."""
    start = time.monotonic()
    with Client(address, timeout=30) as client:
        assert mark(client.embed([flat(7)], tokens=True)[0]) == 7
    return time.monotonic() - start


def await_counts(puppet, threads, fds, seconds=60):
    """The server's threads and descriptors once they are down to these, or after that time."""
    until = time.monotonic() + seconds
    while True:
        now = process_counts(puppet.process.pid)
        if (now[0] <= threads and now[1] <= fds) or time.monotonic() > until:
            return now
        time.sleep(0.1)


def visitors(gate, seconds):
    """Clients that come and go within a fault."""
    shape = {"mix": MIX, "seconds": seconds / 2, "warm_up": 0, "timeout": f"{TIMEOUT_SECONDS}s", "outputs": "pooled"}
    return [Bench(gate.address, concurrency=4, **shape), Bench(gate.address, concurrency=4, stream=True, **shape)]


def faults_in_turn(gate, seconds, verdict):
    """Each fault, a new client, a pause; again and again until the time is over. Ends with all of them had. Returns the
    pauses, as times since 1970."""
    until, slowest, pauses, harmed, visits = time.monotonic() + seconds, 0.0, [], {}, 0
    length = min(max(seconds / (2 * len(FAULTS)), 0.3), 5)
    while True:
        for name in FAULTS:
            with gate.fault(name):
                guests = visitors(gate, length) if name in SLOW else []
                time.sleep(length)
            begin = time.time()
            slowest = max(slowest, answer_of_new_client(gate.address))
            for report in [guest.report() for guest in guests]:
                visits += sum(second["ok"] for second in report["timeline"])
                harmed.update(report["errors"])
            time.sleep(max(length * 0.8 - (time.time() - begin), 0.1))
            pauses.append((name, begin, time.time()))
        if time.monotonic() > until:
            break
    verdict.check_speed(slowest < 5, f"a new client was served within {slowest * 1e3:.0f} ms after each fault")
    verdict.check(visits > 0 and not harmed, f"{visits} items of connections that were only slow, all answered {harmed or ''}")
    return pauses


def pauses_without_answer(report, pauses):
    """The pauses in whose last whole second the client had none."""
    found = []
    for name, _, end in pauses:
        second = int(end - report["began_at_unix_seconds"]) - 1
        if not any(counts["ok"] for counts in report["timeline"][second : second + 1]):
            found.append(f"after {name}, second {second}")
    return found


def check_bench(name, report, pauses, verdict):
    answered = sum(second["ok"] for second in report["timeline"])
    errors = {code: error["count"] for code, error in report["errors"].items()}
    verdict.check(set(errors) <= LAWFUL and answered > 0,
                  f"{name}: {answered} answered, the others failed with a status: {errors}"
                  + "".join(f"; {code}: {error['first_message']}" for code, error in report["errors"].items()
                            if code not in LAWFUL))
    silent = pauses_without_answer(report, pauses)
    verdict.check_speed(not silent, f"{name}: was served again in {len(pauses) - len(silent)} of {len(pauses)} pauses"
                                    + (f"; not {silent[:5]}" if silent else ""))
    return answered


def main(arguments=None):
    flags = flag_parser(__doc__, seconds=300).parse_args(arguments)
    verdict = Verdict(flags.smoke)
    print(machine())
    with Puppet(*SHAPE) as puppet, Gate(("127.0.0.1", puppet.port)) as gate:
        answer_of_new_client(gate.address)
        answer_of_new_client(puppet.address)
        shape = {"seconds": flags.seconds * 2 + 60, "warm_up": 0, "mix": MIX, "timeout": f"{TIMEOUT_SECONDS}s"}
        benches = {"bench, stream": Bench(gate.address, stream=True, concurrency=16, **shape),
                   "bench, calls": Bench(gate.address, concurrency=4, **shape)}
        python = PythonLoad(gate.address)
        python.start()
        time.sleep(1)
        pauses = faults_in_turn(gate, flags.seconds, verdict)
        for process in benches.values():
            process.process.terminate()  # what is in flight is still answered
        answered = sum(check_bench(name, process.report(), pauses, verdict) for name, process in benches.items())
        python.stopped.set()
        python.join(TIMEOUT_SECONDS)
        verdict.check(not python.is_alive() and not python.wrong and python.outcomes["embedded"] > 0,
                      f"Python client: {python.outcomes} {python.wrong[:5] or ''}")
        answered += python.outcomes["embedded"]
        verdict.check_speed(answered >= 100 * flags.seconds, f"{answered} items were answered in all, "
                                                             f"{100 * flags.seconds:.0f} wanted")
        puppet.await_idle()
        leaks(puppet, gate, verdict)
    return verdict.exit_code


def leaks(puppet, gate, verdict):
    """The counts with nobody connected, before and after a load that meets no fault: a leak of the faults would be above."""
    connections = gate.connections
    counts = puppet.metrics()
    verdict.check(counts["vitower_inflight_bytes"] == 0, "no bytes in flight are left")
    blamed = sum(counts[f'vitower_rejected_total{{method="{method}",reason="{reason}"}}']
                 for method in ("Embed", "EmbedStream") for reason in ("malformed", "no_items"))
    verdict.check(blamed == 0, f"{blamed:.0f} requests were held for wrong that were only cut")
    with Puppet(*SHAPE) as fresh:
        Bench(fresh.address, mix=MIX, seconds=1, warm_up=0, stream=True, concurrency=64).report()
        fresh.await_idle()
        fresh_threads, fresh_fds, fresh_memory = await_counts(fresh, 0, 0, seconds=0.5)
    threads, fds, memory = await_counts(puppet, fresh_threads + 8, fresh_fds + 2)
    verdict.check(threads <= fresh_threads + 8, f"{threads} threads, a server without faults has {fresh_threads}")
    verdict.check(fds <= fresh_fds + 2, f"{fds} descriptors after {connections} connections, a server without faults has "
                                        f"{fresh_fds}")
    # What the allocator keeps of as many items in flight differs by some MB from run to run.
    verdict.check(memory <= fresh_memory + 48, f"{memory:.0f} MB resident, a server without faults has {fresh_memory:.0f} MB")


if __name__ == "__main__":
    sys.exit(main())
