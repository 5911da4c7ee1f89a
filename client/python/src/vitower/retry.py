"""When and how often something is tried again."""

import random
from dataclasses import dataclass


@dataclass(frozen=True)
class Retry:
    """A policy of trying again; never beyond the item's or call's own timeout.

    A server that is full (RESOURCE_EXHAUSTED with a time to come back) is asked again after that time, until the
    timeout. One that cannot be reached or drains (UNAVAILABLE) is tried `attempts` times in a row, and an item is sent
    `attempts` times, even if others are answered meanwhile: it may be what breaks the streams. A pause is of
    `first_seconds`, doubled each time up to `longest_seconds`. Every pause grows by up to `jitter` of itself, at
    random, so that many clients do not come back at one time. Everything else is final.
    """

    attempts: int = 6
    first_seconds: float = 0.1
    longest_seconds: float = 10.0
    jitter: float = 0.5

    def pause(self, failures: int) -> float:
        """Seconds to wait after so many failures in a row, from 1; without jitter."""
        return min(self.first_seconds * 2.0 ** (failures - 1), self.longest_seconds)

    def spread(self, seconds: float) -> float:
        """A pause with jitter."""
        return seconds * (1 + random.random() * self.jitter)


DEFAULT_RETRY = Retry()
