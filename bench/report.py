"""What came of the rows: ratios, verdicts and the table. Pictures of it: charts.py."""

import statistics
import textwrap

import distance
from rows import OURS, Goal


def number(value):
    if value == 0:
        return "0"
    if abs(value) >= 100:
        return f"{value:.0f}"
    return f"{value:.3g}"


def spread(values):
    return f"{number(statistics.median(values))} ({number(min(values))}-{number(max(values))})" if len(values) > 1 \
        else number(values[0])


MOST_FAILURES = 2  # after so many, a subject gets no more turns


class Measured:
    """All rounds of a row: for each subject its figures, or why they are missing."""

    def __init__(self, row):
        self.row = row
        self.rounds = []  # each is {subject: {figure: value}}
        self.failures = {}  # subject: reasons
        self.line_ns = []  # the distance of the CPUs in each round, if it matters
        self.left_out = {}  # subject: rounds in which the CPUs did not keep their distance

    def states(self):
        """The rounds of which the CPUs were near each other, and those of which they were far."""
        return [[number for number, ns in enumerate(self.line_ns) if distance.state(ns) == each] for each in ("near", "far")]

    def values(self, subject, figure, of_rounds=None):
        return [r[subject][figure.key] * figure.scale for number, r in enumerate(self.rounds)
                if figure.key in r.get(subject, {}) and (of_rounds is None or number in of_rounds)]

    def has_given_up(self, subject):
        return len(self.failures.get(subject, [])) >= MOST_FAILURES

    def text(self, subject, figure):
        """The figure with its spread, or why it is missing in some or all rounds."""
        values, reasons = self.values(subject, figure), self.failures.get(subject, [])
        left_out = self.left_out.get(subject, [])
        gaps = [f"left out {len(left_out)} x: the CPUs moved"] if left_out else []
        if not values:
            return "; ".join([*reasons[-1:], *gaps]) or "not measured"
        if reasons:
            gaps.append(f"failed {len(reasons)} x: {reasons[-1]}")
        return "; ".join([spread(values), *gaps])

    def ratios(self, goal, figure, of_rounds=None):
        """A ratio for each round, or each of `of_rounds`, in which both sides were measured."""
        best = max if figure.more_is_better else min
        found = []
        for number_of_round, one in enumerate(self.rounds):
            if of_rounds is not None and number_of_round not in of_rounds:
                continue
            if any(number_of_round in self.left_out.get(peer, []) for peer in goal.peers):
                continue  # without this peer, the best of the others may not be the best of all
            theirs = [one[peer][figure.key] for peer in goal.peers if figure.key in one.get(peer, {})]
            if not theirs or figure.key not in one.get(goal.numerator, {}) or best(theirs) <= 0:
                continue
            found.append(one[goal.numerator][figure.key] / best(theirs))
        return found


def distance_text(measured):
    """How long a cache line took from CPU to CPU and back while the row was measured, in ns; empty if it does not matter."""
    seen = [ns for ns in measured.line_ns if ns]
    return f"{min(seen)}-{max(seen)}" if seen else ""


def verdict(goal, value):
    if goal.limit is None:
        return ""
    met = value <= goal.limit if goal.at_most else value >= goal.limit
    return "met" if met else "missed"


def target(goal):
    if goal.limit is None:
        return ""
    return ("<= " if goal.at_most else ">= ") + number(goal.limit) + (" " + goal.text if not goal.peers else " x")


def goal_lines(measured, goal):
    """(row, figure, ours, peer, theirs, ratio, near, far, target, verdict, line) of one goal. A goal is met if its median
    is, in either state of the CPUs."""
    figure = next(f for f in measured.row.figures if f.key == goal.figure)
    title = figure.title + (f", {figure.unit}" if figure.unit else "")
    if goal.numerator != OURS:
        title += f" ({goal.numerator})"
    found = [measured.ratios(goal, figure, rounds) if goal.peers else measured.values(goal.numerator, figure, rounds)
             for rounds in (None, *measured.states())]
    medians = [statistics.median(values) for values in (found[1:] if any(found[1:]) else found) if values]
    verdicts = [verdict(goal, value) for value in medians]
    judged = ("missed" if "missed" in verdicts else verdicts[0]) if verdicts else "not measured" if goal.limit is not None else ""
    all_rounds, near, far = (spread(values) if values else "" for values in found)
    star = "* " if measured.row.headline else ""
    theirs = measured.text(goal.peers[0], figure) if len(goal.peers) == 1 else ""
    return (star + measured.row.name, title, measured.text(goal.numerator, figure), goal.text or goal.peers[0] if goal.peers else "",
            theirs, all_rounds if goal.peers else "", near, far, target(goal), judged, distance_text(measured))


HEADINGS = ("row", "figure", OURS, "peer", "its", "ratio", "near", "far", "target", "verdict", "line, ns")
VERDICT = HEADINGS.index("verdict")


def is_of_curve(measured, subject, peer):
    return not measured.row.peer or subject.endswith(", " + measured.row.peer) == bool(peer)


def curve_values(measured, figure, peer=""):
    """(step, values) of shmif's curve, or of its peer's."""
    return [(subject.removesuffix(", " + peer), values) for subject, values in found_values(measured, figure) if is_of_curve(measured, subject, peer)]


def steps_text(steps):
    return ", ".join(f"{step}: {number(statistics.median(values))}" for step, values in steps)


def curve_text(measured, figure, peer=""):
    """The figure at each step, or why it is missing."""
    steps = curve_values(measured, figure, peer)
    reasons = [reasons[-1] for subject, reasons in measured.failures.items() if is_of_curve(measured, subject, peer)]
    return steps_text(steps) or (reasons[-1] if reasons else "")


def curve_lines(measured):
    """The lines of a row without goals, one for each figure: the figure at each step of what grows."""
    peer = measured.row.peer
    for figure in measured.row.figures:
        title = figure.title + (f", {figure.unit}" if figure.unit else "")
        theirs = curve_text(measured, figure, peer) if peer else ""
        steps = [step for step, _ in curve_values(measured, figure, peer)] if peer else []
        ratios = [(step, measured.ratios(Goal(figure.key, [f"{step}, {peer}"], numerator=step), figure)) for step in steps]
        cells = (curve_text(measured, figure), peer if theirs else "", theirs, steps_text([(step, values) for step, values in ratios if values]))
        if any(cells):
            yield (measured.row.name, title, *cells, "", "", "", "", distance_text(measured))


def lines_of(measured):
    return [goal_lines(measured, goal) for goal in measured.row.goals] or list(curve_lines(measured))


def lines(all_measured):
    return [line for measured in all_measured for line in lines_of(measured)]


# (row, figure, peer, the question that it answers): the most important results for a user.
FIRST = (
    ("memif-64", "received, M frames/s (shmif, in place)", "the best memif", "64 B frames between two programs, million/s"),
    ("memif-1514", "received, M frames/s (shmif, in place)", "the best memif", "1514 B frames between two programs, million/s"),
    ("sockets-64", "received, M frames/s", "the best of them", "64 B frames, beside the best socket (AF_UNIX, AF_PACKET on veth, VDE)"),
    ("wait", "round trip, us", "futex", "round trip of a frame between programs in `wait()` that answer at once, µs"),
    ("epoll", "round trip, us", "eventfd", "round trip of a frame between programs in epoll, µs"),
    ("tcp", "1 stream to the server, Gbit/s", "veth", "TCP between two `exec` hosts, Gbit/s"),
    ("tcp", "1 stream to the server, Gbit/s", "VDE", "the same"),
    ("udp", "received, frames of 64 B, M datagrams/s", "veth", "UDP of 64 B between two `exec` hosts, million/s"),
    ("ping", "median round trip, us", "veth", "ping between two `exec` hosts, median, µs"),
    ("capture", "captured, M frames/s", "tcpdump on veth", "64 B frames captured with `dump -w`, million/s"),
)


def line_about(found, row, figure, peer):
    for one in found:
        if one[0].removeprefix("* ") == row and one[1] == figure and one[3] == peer:
            return one
    raise LookupError(f"no figure \"{figure}\" beside {peer} in the row {row}")


def brief(records):
    """The table of a few rows, from the (title, lines) of each kind of CPU: the figure, its ratio to the peer's, and that
    ratio in either state of the CPUs, if that run told them apart."""
    columns = [(2, 5, 6, 7) if any(line[6] or line[7] for line in found) else (2, 5) for _, found in records]
    text = [["work", "peer"], ["---", "---"]]
    for (title, _), shown in zip(records, columns):
        text[0] += [f"{title}: shmif", "ratio", "near", "far"][:len(shown)]
        text[1] += ["---"] * len(shown)
    for row, figure, peer, question in FIRST:
        lines_found = [line_about(found, row, figure, peer) for _, found in records]
        text.append([question, peer, *(line[column] for line, shown in zip(lines_found, columns) for column in shown)])
    return "\n".join("| " + " | ".join(cells) + " |" for cells in text).replace("| --- ", "|---").replace("--- |", "---|")


def plain(all_measured):
    table = [HEADINGS, *lines(all_measured)]
    widths = [min(max(len(line[i]) for line in table), 48) for i in range(len(HEADINGS))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() for line in table)


def wrapped(text, indent=""):
    """Wraps a text as tools/lint requires in pages."""
    return textwrap.fill(text, 100, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def works(all_measured):
    return {measured.row.name: measured.row.work for measured in all_measured}


def markdown(all_measured, judged_only=False):
    """The table, and what each row does; with `judged_only`, of the figures that have a target."""
    def cells(line):
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |"
    shown = [measured for measured in all_measured if not judged_only or any(line[VERDICT] for line in lines_of(measured))]
    text = [cells(HEADINGS), "|" + "---|" * len(HEADINGS)]
    text += [cells(line) for line in lines(shown) if line[VERDICT] or not judged_only]
    text += ["", *(wrapped(f"- `{name}`: {work}", "  ") for name, work in works(shown).items())]
    return "\n".join(text)


def found_values(measured, figure):
    found = [(subject, measured.values(subject, figure)) for subject in measured.row.subjects]
    return [(subject, values) for subject, values in found if values]


def is_ours(subject):
    """A way to use shmif, as "shmif, in place"; not what stands beside it for comparison, as "shmif, lossy"."""
    return subject == OURS or subject.startswith((OURS + ", in place", OURS + ", two bridges", OURS + ", stream", OURS + ", plugin", "dump -w"))
