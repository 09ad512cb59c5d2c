"""What came of the rows: ratios, verdicts, the table, and pictures of it."""

import html
import statistics
import textwrap

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


MOST_FAILURES = 2  # after these a subject has no more turns


class Measured:
    """All rounds of a row: for each subject its figures, or why there are none."""

    def __init__(self, row):
        self.row = row
        self.rounds = []  # of {subject: {figure: value}}
        self.failures = {}  # subject: reasons
        self.line_ns = []  # at which distance of the CPUs each round was played, if it matters
        self.left_out = {}  # subject: rounds in which the CPUs did not keep their distance

    def values(self, subject, figure):
        return [r[subject][figure.key] * figure.scale for r in self.rounds if figure.key in r.get(subject, {})]

    def has_given_up(self, subject):
        return len(self.failures.get(subject, [])) >= MOST_FAILURES

    def text(self, subject, figure):
        """The figure with its spread; or why there is none, or not in every round."""
        values, reasons = self.values(subject, figure), self.failures.get(subject, [])
        left_out = self.left_out.get(subject, [])
        gaps = [f"left out {len(left_out)} x: the CPUs moved"] if left_out else []
        if not values:
            return "; ".join([*reasons[-1:], *gaps]) or "not measured"
        if reasons:
            gaps.append(f"failed {len(reasons)} x: {reasons[-1]}")
        return "; ".join([spread(values), *gaps])

    def ratios(self, goal, figure):
        """One for each round in which both sides were measured."""
        best = max if figure.more_is_better else min
        found = []
        for number_of_round, one in enumerate(self.rounds):
            if any(number_of_round in self.left_out.get(peer, []) for peer in goal.peers):
                continue  # the best of the others is not the best of all
            theirs = [one[peer][figure.key] for peer in goal.peers if figure.key in one.get(peer, {})]
            if not theirs or figure.key not in one.get(goal.numerator, {}) or best(theirs) <= 0:
                continue
            found.append(one[goal.numerator][figure.key] / best(theirs))
        return found


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
    """(row, figure, ours, peer, theirs, ratio, target, verdict) of one goal."""
    figure = next(f for f in measured.row.figures if f.key == goal.figure)
    title = figure.title + (f", {figure.unit}" if figure.unit else "")
    if goal.numerator != OURS:
        title += f" ({goal.numerator})"
    ours = measured.values(goal.numerator, figure)
    ours_text = measured.text(goal.numerator, figure)
    star = "* " if measured.row.headline else ""
    if not goal.peers:
        judged = verdict(goal, statistics.median(ours)) if ours else "not measured" if goal.limit is not None else ""
        return (star + measured.row.name, title, ours_text, "", "", "", target(goal), judged)
    ratios = measured.ratios(goal, figure)
    theirs = measured.text(goal.peers[0], figure) if len(goal.peers) == 1 else ""
    judged = verdict(goal, statistics.median(ratios)) if ratios else "not measured" if goal.limit is not None else ""
    return (star + measured.row.name, title, ours_text, goal.text or goal.peers[0], theirs, spread(ratios) if ratios else "",
            target(goal), judged)


HEADINGS = ("row", "figure", OURS, "peer", "its", "ratio", "target", "verdict")


def is_of_curve(measured, subject, peer):
    return not measured.row.peer or subject.endswith(", " + measured.row.peer) == bool(peer)


def curve_values(measured, figure, peer=""):
    """(step, values) of shmif's curve, or of its peer's."""
    return [(subject.removesuffix(", " + peer), values) for subject, values in found_values(measured, figure) if is_of_curve(measured, subject, peer)]


def steps_text(steps):
    return ", ".join(f"{step}: {number(statistics.median(values))}" for step, values in steps)


def curve_text(measured, figure, peer=""):
    """The figure at each step; or why there is none."""
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
            yield (measured.row.name, title, *cells, "", "")


def lines_of(measured):
    return [goal_lines(measured, goal) for goal in measured.row.goals] or list(curve_lines(measured))


def lines(all_measured):
    return [line for measured in all_measured for line in lines_of(measured)]


# (row, figure, peer, the question that it answers): what a user needs first.
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


def brief(found):
    """The table of a few rows, out of lines()."""
    text = ["| work | shmif | peer | its | ratio |", "|---|---|---|---|---|"]
    for row, figure, peer, question in FIRST:
        line = next((one for one in found if one[0].removeprefix("* ") == row and one[1] == figure and one[3] == peer), None)
        if line is None:
            raise LookupError(f"no figure \"{figure}\" beside {peer} in the row {row}")
        text.append("| " + " | ".join((question, line[2], peer, line[4], line[5])) + " |")
    return "\n".join(text)


def plain(all_measured):
    table = [HEADINGS, *lines(all_measured)]
    widths = [min(max(len(line[i]) for line in table), 48) for i in range(len(HEADINGS))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() for line in table)


def wrapped(text, indent=""):
    """As tools/lint wants the prose of a page."""
    return textwrap.fill(text, 100, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def works(all_measured):
    return {measured.row.name: measured.row.work for measured in all_measured}


def markdown(all_measured, judged_only=False):
    """The table, and what each row does; with `judged_only`, of the figures that have a target."""
    def cells(line):
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |"
    shown = [measured for measured in all_measured if not judged_only or any(line[-1] for line in lines_of(measured))]
    text = [cells(HEADINGS), "|" + "---|" * len(HEADINGS)]
    text += [cells(line) for line in lines(shown) if line[-1] or not judged_only]
    text += ["", *(wrapped(f"- `{name}`: {work}", "  ") for name, work in works(shown).items())]
    return "\n".join(text)


def found_values(measured, figure):
    found = [(subject, measured.values(subject, figure)) for subject in measured.row.subjects]
    return [(subject, values) for subject, values in found if values]


BAR, GAP, LABEL, WIDTH = 18, 8, 220, 720
OURS_COLOUR, THEIR_COLOUR = "#1f6feb", "#9aa4b2"


def is_ours(subject):
    """A way to use shmif, as "shmif, in place"; not what stands beside it for comparison, as "shmif, lossy"."""
    return subject == OURS or subject.startswith((OURS + ", in place", OURS + ", two bridges", OURS + ", stream", OURS + ", plugin", "dump -w"))


def svg(measured, figure, height, shapes):
    title = f"{measured.row.work}: {figure.title}" + (f", {figure.unit}" if figure.unit else "")
    head = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" font-size="12">',
            f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>',
            f'<text x="8" y="18" font-weight="bold">{html.escape(title)}</text>']
    return "\n".join([*head, *shapes, "</svg>", ""])


def bars(measured, figure):
    """The subjects' medians as bars, with the spread as a line."""
    found = found_values(measured, figure)
    scale = (WIDTH - LABEL - 90) / (max(max(values) for _, values in found) or 1)
    out = []
    for i, (subject, values) in enumerate(found):
        y = 30 + i * (BAR + GAP)
        least, median, most = (LABEL + scale * f(values) for f in (min, statistics.median, max))
        colour = OURS_COLOUR if is_ours(subject) else THEIR_COLOUR
        out += [f'<text x="{LABEL - 8}" y="{y + 13}" text-anchor="end">{html.escape(subject)}</text>',
                f'<rect x="{LABEL}" y="{y}" width="{median - LABEL:.1f}" height="{BAR}" fill="{colour}"/>',
                f'<path d="M{least:.1f} {y + BAR / 2}H{most:.1f}" stroke="#000" stroke-width="2"/>',
                f'<text x="{most + 6:.1f}" y="{y + 13}">{number(statistics.median(values))}</text>']
    return svg(measured, figure, 34 + len(found) * (BAR + GAP), out)


def curve(measured, figure):
    """The medians over what grows, whose steps are evenly spaced, with the spread of each as a line. If there are two curves, their
    figures are below the steps."""
    peer = measured.row.peer
    curves = [(OURS, OURS_COLOUR, curve_values(measured, figure))]
    if peer:
        curves.append((peer, THEIR_COLOUR, curve_values(measured, figure, peer)))
    labels = list(dict.fromkeys(label for _, _, found in curves for label, _ in found))
    left, top, bottom = 140 if peer else 60, 40, 220
    step = (WIDTH - 60 - left) / max(len(labels) - 1, 1)
    scale = (bottom - top) / (max(max(values) for _, _, found in curves for _, values in found) or 1)
    out = [f'<path d="M{left} {top}V{bottom}H{WIDTH - 40}" stroke="#000" fill="none"/>']
    out += [f'<text x="{left + i * step:.1f}" y="{bottom + 16}" text-anchor="middle">{html.escape(label)}</text>' for i, label in enumerate(labels)]
    below = bottom + 34
    for name, colour, found in curves:
        points = []
        for label, values in found:
            x = left + labels.index(label) * step
            most, median, least = (bottom - scale * f(values) for f in (max, statistics.median, min))
            points.append(f"{x:.1f},{median:.1f}")
            out += [f'<path d="M{x:.1f} {most:.1f}V{least:.1f}" stroke="#000" stroke-width="2"/>',
                    f'<text x="{x:.1f}" y="{below if peer else most - 6:.1f}" text-anchor="middle">{number(statistics.median(values))}</text>']
        out.append(f'<polyline points="{" ".join(points)}" stroke="{colour}" stroke-width="2" fill="none"/>')
        if peer:
            out.append(f'<text x="8" y="{below}" font-weight="bold" fill="{colour}">{html.escape(name)}</text>')
            below += 16
    place = f'x="8" y="{bottom + 16}"' if peer else f'x="{WIDTH / 2:.0f}" y="{below}" text-anchor="middle"'
    out.append(f'<text {place}>{html.escape(measured.row.curve)}</text>')
    return svg(measured, figure, below + 10, out)


def pictures(measured):
    """The row's pictures, SVG by name. A row has one, of its first figure; if two curves are compared, one for each that says so."""
    row = measured.row
    if row.peer:
        return {f"{row.name}-{figure.key}": curve(measured, figure) for figure in row.figures
                if figure.pictured and found_values(measured, figure)}
    figure = row.figures[0]
    if not found_values(measured, figure):
        return {}
    return {row.name: curve(measured, figure) if row.curve else bars(measured, figure)}
