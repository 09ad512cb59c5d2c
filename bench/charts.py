"""The pictures of the rows, SVG by matplotlib (python3-matplotlib). Importing this takes a second of CPU time."""

import io
import statistics
import textwrap

import matplotlib
from matplotlib.figure import Figure

from report import curve_values, found_values, is_ours, number
from rows import OURS

WIDTH = 7.2  # inches, of 72 points: as wide as a page shows without scaling it
OURS_COLOUR, THEIR_COLOUR, GRID = "#1f6feb", "#8d96a3", "#e3e6ea"
# Texts stay texts, and the same figures make the same file.
STYLE = {"svg.fonttype": "none", "svg.hashsalt": "shmif", "font.family": "sans-serif", "font.sans-serif": ["DejaVu Sans", "Verdana"], "font.size": 9, "axes.titlesize": 9,
         "axes.titleweight": "bold", "axes.titlelocation": "left", "axes.spines.top": False, "axes.spines.right": False, "axes.axisbelow": True}
WHISKER = {"ecolor": "#000", "elinewidth": 1.5, "capsize": 2}


def svg(measured, height, draw):
    """Makes a picture of one chart. draw() draws it on the given axes."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, height), layout="constrained")
        draw(figure.subplots())
        picture = io.StringIO()
        figure.savefig(picture, format="svg", metadata={"Creator": None, "Date": None, "Title": measured.row.work})
    return "\n".join(line.rstrip() for line in picture.getvalue().splitlines()) + "\n"


def title_of(figure):
    return figure.title + (f", {figure.unit}" if figure.unit else "")


def medians(found):
    """The medians of (step, values), and the distances from them to the least and greatest values."""
    middle = [statistics.median(values) for _, values in found]
    return middle, [[at - min(values) for at, (_, values) in zip(middle, found)], [max(values) - at for at, (_, values) in zip(middle, found)]]


def bars(measured, figure):
    """Draws the subjects' medians as bars, with the spread as a line."""
    found = found_values(measured, figure)
    names = [name for name, _ in found]
    middle, spread = medians(found)

    def draw(axes):
        axes.barh(names, middle, height=0.7, color=[OURS_COLOUR if is_ours(name) else THEIR_COLOUR for name in names], xerr=spread, error_kw=dict(WHISKER))
        for name, at, beyond in zip(names, middle, spread[1]):
            axes.annotate(number(at), (at + beyond, name), (5, 0), textcoords="offset points", va="center")
        axes.invert_yaxis()
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="x", color=GRID)
        axes.margins(x=0.1, y=0.02)
        axes.set(title=measured.row.work, xlabel=title_of(figure), xlim=(0, None))

    return svg(measured, 0.75 + 0.26 * len(found), draw)


def curve(measured, figure):
    """The medians over what grows, whose steps are evenly spaced, with the spread of each as a line. If there are two curves, their
    figures are below the steps."""
    peer = measured.row.peer
    curves = [(OURS, OURS_COLOUR, curve_values(measured, figure))]
    if peer:
        curves.append((peer, THEIR_COLOUR, curve_values(measured, figure, peer)))
    steps = list(dict.fromkeys(step for _, _, found in curves for step, _ in found))

    def draw(axes):
        for line, (name, colour, found) in enumerate(curves):
            middle, spread = medians(found)
            places = [steps.index(step) for step, _ in found]
            axes.errorbar(places, middle, spread, color=colour, linewidth=2, marker="o", markersize=4, **WHISKER)
            for place, at, beyond in zip(places, middle, spread[1]):
                if peer:
                    axes.annotate(number(at), (place, 0), (0, -20 - 12 * line), xycoords=("data", "axes fraction"), textcoords="offset points",
                                  ha="center", va="top", annotation_clip=False)
                else:
                    axes.annotate(number(at), (place, at + beyond), (0, 5), textcoords="offset points", ha="center")
            if peer:
                axes.annotate(name, (0, 0), (-8, -20 - 12 * line), xycoords="axes fraction", textcoords="offset points", ha="right", va="top",
                              color=colour, weight="bold", annotation_clip=False)
        axes.set_xticks(range(len(steps)), steps)
        axes.grid(axis="y", color=GRID)
        axes.margins(y=0.12)
        axes.set(title=measured.row.work, ylabel=textwrap.fill(title_of(figure), 30), ylim=(0, None))
        axes.set_xlabel(measured.row.curve, labelpad=28 if peer else None)

    return svg(measured, 3.2 if peer else 2.8, draw)


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
