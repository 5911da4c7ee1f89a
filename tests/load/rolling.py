"""Three replicas behind client-side round robin, each restarted in turn under load: no item may fail.

    VITOWER_BIN_DIR=build/release/bin .venv/bin/python tests/load/rolling.py [--seconds 60]

Loaded by the C++ client (`vitower bench`, calls and a stream) and by the Python client (a stream), each of which knows the
three addresses as one target. A replica is stopped with SIGTERM, which must end with exit code 0 (nothing was dropped),
and started again at the same address.
"""

import argparse
import sys
import time

from chaos import PythonLoad
from loads import Bench, Puppet, Verdict, machine

SHAPE = ("--hidden", 512, "--depth", 2, "--device-us-per-patch", 5)


def restart_in_turn(replicas, seconds, verdict):
    """Every replica once, and again until the time is over."""
    until, codes = time.monotonic() + seconds, []
    pause = min(max(seconds / 12, 0.3), 5)
    while True:
        for i, replica in enumerate(replicas):
            time.sleep(pause)
            codes.append(replica.stop())
            time.sleep(pause)
            replicas[i] = Puppet(*SHAPE, port=replica.port)
        if time.monotonic() > until:
            break
    time.sleep(pause)
    verdict.check(not any(codes), f"{len(codes)} restarts, exit codes {sorted(set(codes))}")


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60)
    flags = parser.parse_args(arguments)
    verdict = Verdict()
    print(machine())
    replicas = [Puppet(*SHAPE) for _ in range(3)]
    try:
        target = "ipv4:" + ",".join(replica.address for replica in replicas)
        shape = {"seconds": flags.seconds * 2 + 60, "warm_up": 0, "mix": "raw:224x224=2,jpeg:448x448", "attempts": 5,
                 "outputs": "tokens"}
        benches = {"bench, calls": Bench(target, concurrency=12, **shape),
                   "bench, stream": Bench(target, concurrency=12, stream=True, **shape)}
        python = PythonLoad(target)
        python.start()
        time.sleep(1)
        restart_in_turn(replicas, flags.seconds, verdict)
        for process in benches.values():
            process.process.terminate()
        for name, process in benches.items():
            report = process.report()
            answered = sum(second["ok"] for second in report["timeline"])
            longest = report["latency_seconds"]["max"]
            verdict.check(not report["errors"] and answered > 0,
                          f"{name}: {answered} answered, the longest in {longest * 1e3:.0f} ms, errors {report['errors']}")
        python.stopped.set()
        python.join(60)
        outcomes = python.outcomes
        verdict.check(not python.wrong and not outcomes["failed"] and not outcomes["calls failed"] and outcomes["embedded"],
                      f"Python client: {outcomes} {python.wrong[:5] or ''}")
    finally:
        for replica in replicas:
            replica.stop()
    return verdict.exit_code


if __name__ == "__main__":
    sys.exit(main())
