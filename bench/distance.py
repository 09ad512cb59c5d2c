"""How far apart the CPUs 0 and 1 are, and turns at one distance.

A virtual machine's CPUs are sometimes near each other (they share a cache), sometimes not, and a hypervisor moves them
while it runs, some several times a second. Then frames of 1514 B come four times as fast as a moment before. So where
work is done by two CPUs, all turns of a round are played at the distance that the round began with, in short trials of
which each counts only if that was the distance before and after it. A move there and back within a trial goes unseen.
"""

import collections
import statistics
import time

from peers import Missing, trial

ALIKE = 1.4  # most ratio of equal distances; near and far differ by more than twice that
NEAR_NS = 200  # a cache line takes less, there and back, between CPUs that share a cache
PATIENCE = 10.0  # seconds for waiting for the CPUs, and for playing a trial again
TRIALS = 3  # of a turn: the median counts
TRIAL_SECONDS = 0.4  # most time of a trial: of two seconds, few passed without a move on one EPYC
LOOKS = 5  # most looks at the beginning of a round, until two in a row agree


def are_alike(one, other):
    return one is not None and other is not None and 1 / ALIKE < one / other < ALIKE


def state(ns):
    """"near", "far", or "" if the distance is not known."""
    return "" if not ns else "near" if ns < NEAR_NS else "far"


def text(seen):
    return f"; a cache line took {', '.join(map(str, seen))} ns there and back" if any(seen) else ""


class Distance:
    def __init__(self, setup, say=print):
        self.setup = setup
        self.say = say
        self.reference = None
        self.seen = []  # ns, for each round; None if it could not be measured
        self.moves = True  # until they were waited for in vain

    def look(self):
        """Nanoseconds that a cache line takes there and back; None if that cannot be measured."""
        try:
            ns = trial(self.setup, "round_trip", kind="line", turns=40_000)["us"] * 1000
        except (Missing, OSError, ValueError, KeyError, TypeError) as reason:
            self.say(f"  the distance of the CPUs was not measured: {reason}")
            return None
        return ns if ns > 0 else None

    def is_rare(self, ns):
        """Whether the rounds before had this distance less often than the other."""
        count = collections.Counter(state(seen) for seen in self.seen)
        return count[state(ns)] <= count["far" if state(ns) == "near" else "near"]

    def steady_look(self):
        now = self.look()
        for _ in range(LOOKS):
            before, now = now, self.look()
            if now is None or are_alike(before, now):
                break
        return now

    def begin_round(self):
        """Begins a round, if possible at the distance of which there were fewer."""
        now = self.steady_look()
        deadline = time.monotonic() + PATIENCE
        while self.moves and now is not None and not self.is_rare(now):
            time.sleep(0.1)
            now = self.steady_look()
            self.moves = time.monotonic() < deadline
        self.reference = now
        self.seen.append(None if now is None else round(now))

    def turn(self, subject):
        """Plays a turn. Result: the medians of the subject's figures, or None if the CPUs did not keep their distance."""
        if self.reference is None:
            return subject()
        found = []
        deadline = time.monotonic() + PATIENCE
        while len(found) < TRIALS:
            if are_alike(self.look(), self.reference):
                figures = subject()
                if are_alike(self.look(), self.reference):
                    found.append(figures)
                    deadline = time.monotonic() + PATIENCE
                    continue
            if time.monotonic() > deadline:
                return None
            time.sleep(0.05)
        return {key: statistics.median(each[key] for each in found) for key in found[0]}


class Anywhere:
    """Used instead for work that the scheduler places, and for short trials: every turn counts."""
    seen = []

    def begin_round(self):
        pass

    def turn(self, subject):
        return subject()
