#!/usr/bin/python3
"""charts_test.py SOURCE: the pictures that tools/bench draws. Exits 77 where matplotlib is missing."""
import importlib.util
import pathlib
import re
import sys
import unittest
from xml.etree import ElementTree

SOURCE = pathlib.Path(sys.argv.pop() if len(sys.argv) == 2 else ".").resolve()
if importlib.util.find_spec("matplotlib") is None:
    print("skipped: python3-matplotlib is not installed")
    sys.exit(77)
sys.path.insert(0, str(SOURCE / "bench"))

import bench  # noqa: E402
import charts  # noqa: E402
import report  # noqa: E402
import rows  # noqa: E402

RATE = rows.Figure("rate", "received", "M frames/s", 1e-6)
TIME = rows.Figure("us", "round trip", "us", more_is_better=False)
HIDDEN = rows.Figure("ms", "CPU time", "ms", pictured=False)


def measured(values, figures=(RATE,), **options):
    """A row whose subjects had these values of the first figures, one for each round."""
    found = report.Measured(rows.Row("a-row", "64 B <frames> & more", dict.fromkeys(values), list(figures), [], **options))
    found.rounds = [{name: {figure.key: each[number] for figure in figures} for name, each in values.items()} for number in range(3)]
    return found


def texts(picture):
    return ["".join(each.itertext()) for each in ElementTree.fromstring(picture).iter("{http://www.w3.org/2000/svg}text")]


def widths(picture, colour):
    """Of the bars of this colour."""
    lines = re.findall(r'<path d="([^"]*)" [^>]*style="fill: %s"' % colour, picture)
    corners = [[float(x) for x in re.findall(r"[ML] ([\d.]+)", line)] for line in lines]
    return [max(each) - min(each) for each in corners]


class Pictures(unittest.TestCase):
    BARS = {"shmif": (20e6, 21e6, 24e6), "memif, a & <b>": (6e6, 7e6, 8e6), "shmif, in place": (30e6, 42e6, 43e6)}

    def test_a_bar_is_as_long_as_the_median_and_tells_who_is_shmif(self):
        found = charts.pictures(measured(self.BARS))
        self.assertEqual(list(found), ["a-row"])
        ours, theirs = (widths(found["a-row"], colour) for colour in (charts.OURS_COLOUR, charts.THEIR_COLOUR))
        self.assertEqual((len(ours), len(theirs)), (2, 1))
        self.assertAlmostEqual(ours[0] / theirs[0], 3, places=3)
        self.assertAlmostEqual(ours[1] / theirs[0], 6, places=3)
        shown = texts(found["a-row"])
        for text in (*self.BARS, "0", "21", "7", "42", "64 B <frames> & more", "received, M frames/s"):
            self.assertIn(text, shown)

    def test_a_curve_shows_each_step_with_its_median(self):
        values = {"1": (2e6, 1e6, 3e6), "8": (50e6, 60e6, 55e6), "1514": (102e6, 101e6, 109e6)}
        shown = texts(charts.pictures(measured(values, curve="frames in a batch"))["a-row"])
        for text in ("0", "1", "8", "1514", "2", "55", "102", "frames in a batch", "received, M frames/s"):
            self.assertIn(text, shown)

    def test_two_curves_have_a_picture_for_each_figure_that_is_pictured(self):
        values = {"2": (11, 12, 13), "2, bridge": (21, 22, 23), "10": (31, 32, 33), "50, bridge": (41, 42, 43)}
        found = charts.pictures(measured(values, (TIME, HIDDEN, RATE), curve="hosts", peer="bridge"))
        self.assertEqual(list(found), ["a-row-us", "a-row-rate"])
        shown = texts(found["a-row-us"])
        for text in ("shmif", "bridge", "2", "10", "50", "12", "22", "32", "42", "hosts", "round trip, us"):
            self.assertIn(text, shown)

    def test_a_row_without_figures_has_no_picture(self):
        for options in ({}, {"curve": "hosts", "peer": "bridge"}):
            found = measured(self.BARS, **options)
            found.rounds = [{}]
            self.assertEqual(charts.pictures(found), {})

    def test_the_same_figures_make_the_same_file(self):
        first, second = (charts.pictures(measured(self.BARS))["a-row"] for _ in range(2))
        self.assertEqual(first, second)
        self.assertNotIn("matplotlib.org", first)
        self.assertNotIn("date", first)

    def test_the_pictures_of_the_documents_are_small_and_name_their_work(self):
        one_to_one = "one sender, one receiver"
        works = {"memif-64": f"64 B frames, {one_to_one}, two processes", "memif-1514": f"1514 B frames, {one_to_one}, two processes",
                 "tcp": "TCP between two exec hosts, iperf3", "growth-batch": f"{one_to_one}, growing with frames in a batch, 64 B each",
                 "growth-frame": f"{one_to_one}, growing with bytes of a frame", "growth-hosts-slow": "many hosts on one wire, growing with their number"}
        self.assertEqual(sorted(works), sorted(bench.PICTURED))
        for name, work in works.items():
            picture = pathlib.Path(bench.FIGURES, name + ".svg").read_text(encoding="utf-8")
            self.assertLess(len(picture), 60 * 1024)
            self.assertIn(work, texts(picture))


if __name__ == "__main__":
    unittest.main()
