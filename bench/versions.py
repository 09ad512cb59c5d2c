"""Two builds of shmif in turns: both do the same work, and the table has the ratios of their figures."""

import contextlib
import statistics
import time

import distance
from peers import Missing
from report import MOST_FAILURES, number, spread
from rows import OURS

HEADINGS = ("row", "by", "figure", "before", "now", "now / before", "near", "far")


def of_shmif(row):
    """The subjects of a row that use shmif: those named after it, or all if its name does not occur."""
    if row.curve:
        return [name for name in row.subjects if not row.peer or not name.endswith(", " + row.peer)]
    return [name for name in row.subjects if name.startswith(OURS)] or list(row.subjects)


class Versions:
    """A row and all its rounds: for each subject the figures of both builds, or why they are missing."""

    def __init__(self, before, now):
        self.rows = (before, now)
        self.rounds = []  # each is {subject: (figures before, figures now, distance of the CPUs in ns or None)}
        self.failures = {}  # subject: reasons
        self.left_out = {}  # subject: how often the CPUs did not keep their distance

    def play(self, subject, number_of_round, cpus):
        """Plays a turn of each build. Another build is first in each round."""
        cpus.begin_round()
        turns = (0, 1) if number_of_round % 2 == 0 else (1, 0)
        figures = {}
        for which in turns:
            try:
                figures[which] = cpus.turn(self.rows[which].subjects[subject])
                if figures[which] is None:
                    self.left_out[subject] = self.left_out.get(subject, 0) + 1
                    return None
            except Missing as reason:
                self.failures.setdefault(subject, []).append(("before: ", "now: ")[which] + str(reason))
                return None
        return figures[0], figures[1], cpus.seen[-1] if cpus.seen else None

    def play_round(self, number_of_round, cpus):
        played = {}
        for subject in of_shmif(self.rows[1]):
            if len(self.failures.get(subject, [])) < MOST_FAILURES and (pair := self.play(subject, number_of_round, cpus)):
                played[subject] = pair
        self.rounds.append(played)

    def pairs(self, subject, figure):
        """(before, now, distance) of each round in which both were measured."""
        found = [played[subject] for played in self.rounds if subject in played]
        return [(b[figure.key] * figure.scale, n[figure.key] * figure.scale, ns) for b, n, ns in found if figure.key in b and figure.key in n]

    def lines(self):
        for subject in of_shmif(self.rows[1]):
            for figure in self.rows[1].figures:
                pairs = self.pairs(subject, figure)
                title = figure.title + (f", {figure.unit}" if figure.unit else "")
                if pairs:
                    ratios = [(now / before, distance.state(ns)) for before, now, ns in pairs if before > 0]
                    before, now = (number(statistics.median(values)) for values in list(zip(*pairs))[:2])
                    columns = [[ratio for ratio, state in ratios if name in ("", state)] for name in ("", "near", "far")]
                    yield self.rows[1].name, subject, title, before, now, *(spread(each) if each else "" for each in columns)
            if left_out := self.left_out.get(subject):
                yield self.rows[1].name, subject, f"left out {left_out} x: the CPUs moved", "", "", "", "", ""
            if reasons := self.failures.get(subject):
                yield self.rows[1].name, subject, f"failed {len(reasons)} x: {reasons[-1]}", "", "", "", "", ""


def measure(before, now, rounds, cpus, say):
    began = time.monotonic()
    versions = Versions(before, now)
    with contextlib.ExitStack() as stack:
        for row in versions.rows:
            stack.enter_context(row.around())
        for count in range(rounds):
            versions.play_round(count, cpus)
    say(f"  {time.monotonic() - began:.0f} s, {rounds} rounds" + distance.text(cpus.seen))
    for cells in versions.lines():
        say("  " + "  ".join(cell for cell in cells[1:] if cell))
    return versions


def markdown(all_versions):
    lines = [HEADINGS, *(line for versions in all_versions for line in versions.lines())]
    text = ["| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines]
    return "\n".join([text[0], "|" + "---|" * len(HEADINGS), *text[1:]])
