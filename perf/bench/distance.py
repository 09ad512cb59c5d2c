"""How far apart the CPUs 0 and 1 are, and turns at one distance.

A virtual machine's CPUs are sometimes near each other (they share a cache), sometimes not, and a hypervisor moves them
while it runs. Then frames of 1514 B come four times as fast as a second before. So where work is done by two CPUs, all
turns of a round are played at the distance that the round began with.
"""

import time

from peers import Missing, trial

ALIKE = 1.6  # near and far differ by more than two
PATIENCE = 10.0  # seconds to wait for the CPUs to come back
ATTEMPTS = 4


class Distance:
    def __init__(self, setup):
        self.setup = setup
        self.reference = None
        self.seen = []  # ns, of all rounds

    def look(self):
        """Nanoseconds that a cache line takes there and back; None where that cannot be measured."""
        try:
            return trial(self.setup, "round_trip", kind="line", turns=40_000)["us"] * 1000
        except Missing:
            return None

    def begin_round(self):
        self.reference = self.look()
        if self.reference is not None:
            self.seen.append(round(self.reference))

    def is_alike(self):
        now = self.look()
        return now is None or self.reference is None or 1 / ALIKE < now / self.reference < ALIKE

    def wait(self):
        deadline = time.monotonic() + PATIENCE
        while not (alike := self.is_alike()) and time.monotonic() < deadline:
            time.sleep(0.2)
        return alike

    def turn(self, subject):
        """Result: the figures of the subject, or None if the CPUs did not keep their distance."""
        for _ in range(ATTEMPTS):
            if not self.wait():
                return None
            figures = subject()
            if self.is_alike():
                return figures
        return None


class Anywhere:
    """For work that the scheduler places: every turn counts."""
    seen = []

    def begin_round(self):
        pass

    def turn(self, subject):
        return subject()
