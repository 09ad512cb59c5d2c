#!/usr/bin/python3
"""bench_test.py SOURCE: how tools/bench takes turns, and what it makes of the figures. Nothing is measured here."""
import json
import pathlib
import sys
import tempfile
import types
import unittest
from unittest import mock

SOURCE = pathlib.Path(sys.argv.pop() if len(sys.argv) == 2 else ".").resolve()
sys.path.insert(0, str(SOURCE / "bench"))

import bench  # noqa: E402
import distance  # noqa: E402
import report  # noqa: E402
import rows  # noqa: E402
import versions  # noqa: E402

NEAR, FAR = 0.1404, 0.4398  # us, as a trial tells


class Cpus:
    """Stands for the machine: what each look at the distance finds, and a clock that only sleeping moves."""

    def __init__(self, looks):
        self.looks = list(looks)
        self.now = 0.0
        self.said = []

    def trial(self, _setup, name, **options):
        assert (name, options["kind"]) == ("round_trip", "line")
        found = self.looks.pop(0) if len(self.looks) > 1 else self.looks[0]
        if found is None:
            raise distance.Missing("no second CPU")
        return {"us": found}

    def sleep(self, seconds):
        self.now += seconds

    def distance(self):
        return distance.Distance(None, self.said.append)

    def installed(self):
        clock = types.SimpleNamespace(monotonic=lambda: self.now, sleep=self.sleep)
        return mock.patch.multiple(distance, trial=self.trial, time=clock)


class DistanceOfTheCpus(unittest.TestCase):
    def play(self, looks, turns=1):
        """Result: the turns' figures, how often the subject played, and the Distance."""
        machine = Cpus(looks)
        played = []

        def subject():
            played.append(machine.now)
            return {"n": len(played)}

        with machine.installed():
            cpus = machine.distance()
            cpus.begin_round()
            figures = [cpus.turn(subject) for _ in range(turns)]
        return figures, len(played), cpus, machine

    def test_a_turn_is_the_median_of_trials_at_the_distance_of_the_round(self):
        figures, played, cpus, _ = self.play([NEAR])
        self.assertEqual((figures, played, cpus.seen), ([{"n": 2}], 3, [140]))

    def test_a_trial_during_which_the_cpus_moved_or_that_they_are_elsewhere_for_is_played_again(self):
        #            begin_round | before, after | before, after
        figures, played, _, machine = self.play([NEAR, NEAR, NEAR, FAR, NEAR])
        self.assertEqual((figures, played), ([{"n": 3}], 4))
        self.assertGreater(machine.now, 0)
        figures, played, _, _ = self.play([NEAR, NEAR, FAR, FAR, NEAR])
        self.assertEqual((figures, played), ([{"n": 2}], 3))

    def test_a_turn_is_left_out_when_the_cpus_do_not_come_back(self):
        figures, played, _, machine = self.play([NEAR, NEAR, FAR])
        self.assertEqual((figures, played), ([None], 0))
        self.assertAlmostEqual(machine.now, distance.PATIENCE, delta=0.5)

    def test_a_round_begins_when_two_looks_agree(self):
        _, _, cpus, _ = self.play([FAR, NEAR, FAR, FAR])
        self.assertEqual(cpus.seen, [440])

    def test_the_next_round_waits_for_the_other_distance_unless_the_cpus_stay(self):
        for looks, seen in (([NEAR, NEAR, NEAR, NEAR, FAR], [140, 440]), ([NEAR], [140, 140, 140])):
            machine = Cpus(looks)
            with machine.installed():
                cpus = machine.distance()
                for _ in seen:
                    cpus.begin_round()
            self.assertEqual(cpus.seen, seen)
            self.assertLess(machine.now, 1.1 * distance.PATIENCE)

    def test_without_a_look_every_turn_counts_and_the_reason_is_told(self):
        figures, played, cpus, machine = self.play([None], turns=2)
        self.assertEqual((figures, played, cpus.seen), ([{"n": 1}, {"n": 2}], 2, [None]))
        self.assertEqual(machine.said[0], "  the distance of the CPUs was not measured: no second CPU")
        self.assertEqual(distance.text(cpus.seen), "")

    def test_the_distances_are_told(self):
        self.assertEqual(distance.text([140, 437]), "; a cache line took 140, 437 ns there and back")

    def test_near_and_far_are_not_alike(self):
        self.assertTrue(distance.are_alike(140, 190))
        self.assertTrue(distance.are_alike(190, 140))
        self.assertFalse(distance.are_alike(140, 200))
        self.assertFalse(distance.are_alike(200, 140))
        self.assertFalse(distance.are_alike(None, 140))
        self.assertFalse(distance.are_alike(140, None))


RATE = rows.Figure("rate", "received", "M frames/s", 1e-6)
TIME = rows.Figure("us", "round trip", "us", more_is_better=False)


def row_of(subjects, figures=(RATE,), goals=(), **options):
    return rows.Row("a-row", "some work", subjects, list(figures), list(goals), **options)


class Ratios(unittest.TestCase):
    def measured(self, rounds, figures=(RATE,), goals=()):
        subjects = dict.fromkeys(["shmif", "one", "two"])
        found = report.Measured(row_of(subjects, figures, goals))
        found.rounds = rounds
        return found

    def test_are_made_within_a_round(self):
        found = self.measured([{"shmif": {"rate": 8e6}, "one": {"rate": 4e6}}, {"shmif": {"rate": 30e6}, "one": {"rate": 10e6}}])
        self.assertEqual(found.ratios(rows.Goal("rate", ["one"]), RATE), [2, 3])

    def test_the_best_is_the_most_of_rates_and_the_least_of_times(self):
        each = {"shmif": {"rate": 8e6, "us": 6}, "one": {"rate": 4e6, "us": 2}, "two": {"rate": 1e6, "us": 3}}
        found = self.measured([each], (RATE, TIME))
        self.assertEqual(found.ratios(rows.Goal("rate", ["one", "two"]), RATE), [2])
        self.assertEqual(found.ratios(rows.Goal("us", ["one", "two"]), TIME), [3])

    def test_a_round_without_one_of_the_peers_because_the_cpus_moved_has_no_best(self):
        whole = {"shmif": {"rate": 8e6}, "one": {"rate": 4e6}, "two": {"rate": 2e6}}
        found = self.measured([whole, {"shmif": {"rate": 9e6}, "two": {"rate": 3e6}}])
        found.left_out = {"one": [1]}
        self.assertEqual(found.ratios(rows.Goal("rate", ["one", "two"]), RATE), [2])
        self.assertEqual(found.ratios(rows.Goal("rate", ["two"]), RATE), [4, 3])
        self.assertEqual(found.text("one", RATE), "4; left out 1 x: the CPUs moved")

    def test_a_peer_that_is_missing_is_not_a_zero(self):
        found = self.measured([{"shmif": {"rate": 8e6}}])
        found.failures = {"one": ["one is not installed"]}
        goal = rows.Goal("rate", ["one"], 2.5)
        self.assertEqual(report.goal_lines(found, goal),
                         ("a-row", "received, M frames/s", "8", "one", "one is not installed", "", "", "", ">= 2.5 x", "not measured", ""))

    def test_a_goal_is_met_by_the_median_in_either_state_of_the_cpus(self):
        rounds = [{"shmif": {"rate": ours}, "one": {"rate": 1e6}} for ours in (1e6, 3e6, 9e6)]
        measured = self.measured(rounds)
        goal = rows.Goal("rate", ["one"], 3)
        line = report.goal_lines(measured, goal)
        self.assertEqual(line, ("a-row", "received, M frames/s", "3 (1-9)", "one", "1 (1-1)", "3 (1-9)", "", "", ">= 3 x", "met", ""))
        measured.line_ns = [140, None, 437]
        line = report.goal_lines(measured, goal)
        self.assertEqual(line[5:], ("3 (1-9)", "1", "9", ">= 3 x", "missed", "140-437"))
        measured.line_ns = [437, 140, 140]
        self.assertEqual(report.goal_lines(measured, goal)[5:], ("3 (1-9)", "6 (3-9)", "1", ">= 3 x", "missed", "140-437"))
        measured.rounds[0] = {}
        self.assertEqual(report.goal_lines(measured, goal)[report.VERDICT], "met")


class Rounds(unittest.TestCase):
    def test_the_next_round_is_in_the_reverse_order(self):
        order = []
        subjects = {name: lambda name=name: order.append(name) or {"rate": 1} for name in ("shmif", "one", "two")}
        found = report.Measured(row_of(subjects))
        for number in range(2):
            bench.play_round(found, number, distance.Anywhere())
        self.assertEqual(order, ["shmif", "one", "two", "two", "one", "shmif"])

    def test_a_peer_that_failed_twice_has_no_more_turns(self):
        def fail():
            raise distance.Missing("no such program")

        found = report.Measured(row_of({"shmif": lambda: {"rate": 1}, "one": fail}))
        with mock.patch.object(bench, "say"):
            for number in range(4):
                bench.play_round(found, number, distance.Anywhere())
        self.assertEqual(found.failures, {"one": ["no such program"] * 2})
        self.assertEqual(len(found.rounds), 4)


class TwoVersions(unittest.TestCase):
    def compare(self, before, now, rounds=2, cpus=distance.Anywhere()):
        subjects = [{"shmif": work, "shmif, in place": work, "memif": work} for work in (before, now)]
        found = versions.Versions(*(row_of(one) for one in subjects))
        for number in range(rounds):
            found.play_round(number, cpus)
        return found

    def test_take_turns_and_their_ratio_is_now_by_before(self):
        order = []
        found = self.compare(lambda: order.append("before") or {"rate": 2e6}, lambda: order.append("now") or {"rate": 3e6})
        self.assertEqual(order, ["before", "now"] * 2 + ["now", "before"] * 2)
        self.assertEqual(list(found.lines()), [("a-row", name, "received, M frames/s", "2", "3", "1.5 (1.5-1.5)", "", "")
                                               for name in ("shmif", "shmif, in place")])

    def test_each_distance_of_the_cpus_has_a_column(self):
        cpus = types.SimpleNamespace(seen=[], turn=lambda subject: subject())
        cpus.begin_round = lambda: cpus.seen.append([140, 440][len(cpus.seen) // 2 % 2])  # each round has two subjects
        lines = list(self.compare(lambda: {"rate": 2e6}, lambda: {"rate": [2e6, 2e6, 8e6][min(len(cpus.seen), 3) - 1]}, cpus=cpus).lines())
        self.assertEqual(lines[0][5:], ("2.5 (1-4)", "1", "4"))

    def test_leave_the_peers_out_and_what_only_stands_beside(self):
        self.assertEqual(versions.of_shmif(row_of(dict.fromkeys(["shmif", "memif", "shmif, in place", "dump -w at tcpdump's rate"]))),
                         ["shmif", "shmif, in place"])
        self.assertEqual(versions.of_shmif(row_of(dict.fromkeys(["2", "2, bridge", "10", "10, bridge"]), curve="hosts", peer="bridge")),
                         ["2", "10"])

    def test_a_failure_is_told_with_the_version_that_failed(self):
        def fail():
            raise distance.Missing("it crashed")

        lines = list(self.compare(lambda: {"rate": 1}, fail, rounds=3).lines())
        self.assertEqual(lines[0], ("a-row", "shmif", "failed 2 x: now: it crashed", "", "", "", "", ""))

    def test_a_turn_that_the_cpus_spoiled_is_told(self):
        spoiled = types.SimpleNamespace(begin_round=lambda: None, turn=lambda subject: None, seen=[])
        lines = list(self.compare(lambda: {"rate": 1}, lambda: {"rate": 1}, cpus=spoiled).lines())
        self.assertEqual(lines[0], ("a-row", "shmif", "left out 2 x: the CPUs moved", "", "", "", "", ""))


class Documents(unittest.TestCase):
    FACTS = {"cpus": 2, "model": "some CPU", "kernel": "6.18", "date": "2026-11-25", "commit": "abc", "busy_percent_before": 0, "line_ns": []}

    FIRST = (("kept", "received, M frames/s", "one", "how fast?"),)
    OLDER = {"machine": {"model": "Intel(R) Xeon(R) Processor", "date": "2026-01-02"},
             "lines": [["* kept", "received, M frames/s", "5", "one", "2", "2.5", "", "", "", "", ""]]}  # of a run that did not record distances

    def written(self, rounds, goals, line_ns=()):
        """Result: both pages, the record, and the names of the pictures, of rows `kept` and `other`."""
        measured = []
        for name in ("kept", "other"):
            found = report.Measured(row_of(dict.fromkeys(["shmif", "one"]), (RATE,), goals[name]))
            found.row.name, found.rounds, found.line_ns = name, rounds, list(line_ns)
            measured.append(found)
        with tempfile.TemporaryDirectory() as folder:
            root = pathlib.Path(folder)
            for page in ("page.md", "first.md"):
                (root / page).write_text(f"before\n{bench.BEGIN}\nold\n{bench.END}\nafter\n")
            (root / "bench-xeon.json").write_text(json.dumps(self.OLDER))
            charts = types.SimpleNamespace(pictures=lambda found: {found.row.name: "<svg/>"})  # charts_test.py has the real ones
            with mock.patch.dict(sys.modules, charts=charts), \
                    mock.patch.multiple(bench, DOCUMENT=root / "page.md", FIRST_PAGE=root / "first.md", FIGURES=root / "figures",
                                     RECORDS=root, PICTURED=("kept",)), mock.patch.object(report, "FIRST", self.FIRST):
                bench.write_docs(self.FACTS, measured)
            return ((root / "page.md").read_text(), (root / "first.md").read_text(), json.loads((root / "bench-some.json").read_text()),
                    sorted(file.name for file in (root / "figures").iterdir()))

    def test_the_page_has_what_has_a_target_and_the_record_has_all(self):
        with_target, without = rows.Goal("rate", ["one"], 3), rows.Goal("rate", ["one"])
        page, _, record, pictures = self.written([{"shmif": {"rate": 8e6}, "one": {"rate": 2e6}}], {"kept": [with_target, without], "other": [without]})
        judged = ["kept", "received, M frames/s", "8", "one", "2", "4", "", "", ">= 3 x", "met", ""]
        beside = ["received, M frames/s", "8", "one", "2", "4", "", "", "", "", ""]
        self.assertEqual([line for line in page.splitlines() if line.startswith(("| kept", "| other"))], ["| " + " | ".join(judged) + " |"])
        self.assertEqual([line for line in page.splitlines() if line.startswith("- ")], ["- `kept`: some work"])
        self.assertTrue(page.startswith("before\n") and page.endswith("\nafter\n"))
        self.assertEqual(record["lines"], [judged, ["kept", *beside], ["other", *beside]])
        self.assertEqual(record["rows"][1]["rounds"], [{"shmif": {"rate": 8e6}, "one": {"rate": 2e6}}])
        self.assertEqual((record["command"], record["machine"]), ("tools/bench --write-docs", self.FACTS))
        self.assertEqual(pictures, ["kept.svg"])

    def test_the_first_page_shows_the_last_run_on_each_kind_of_cpu(self):
        goal = rows.Goal("rate", ["one"])
        _, first, _, _ = self.written([{"shmif": {"rate": 8e6}, "one": {"rate": 2e6}}], {"kept": [goal], "other": [goal]}, [131])
        self.assertEqual([line for line in first.splitlines() if line.startswith("|")], [
            "| work | peer | some, 2026-11-25: shmif | ratio | near | far | Xeon, 2026-01-02: shmif | ratio |",
            "|---|---|---|---|---|---|---|---|",
            "| how fast? | one | 8 | 4 | 4 |  | 5 | 2.5 |"])

    def test_kinds_of_cpus_are_told_apart_by_a_word_of_the_model(self):
        for model, kind in (("AMD EPYC 7B13", "EPYC"), ("Intel(R) Xeon(R) Processor", "Xeon"), ("Neoverse-N1", "Neoverse"), ("", "CPU")):
            self.assertEqual(bench.kind_of(model), kind)

    def test_a_run_draws_pictures_unless_it_is_quick_or_has_nothing_to_draw_with(self):
        found = report.Measured(row_of({"shmif": None}))
        found.rounds = [{"shmif": {"rate": 2e6}}]
        both, missing = ["results.json", "table.md"], " (pictures need python3-matplotlib; --install installs it)"
        for quick, can_draw, files, text in ((False, True, ["a-row.svg", *both], "table.md, results.json and pictures"),
                                             (True, True, both, "table.md and results.json"),
                                             (False, False, both, "table.md and results.json" + missing)):
            charts = types.SimpleNamespace(pictures=lambda found: {found.row.name: "<svg/>"})
            with tempfile.TemporaryDirectory() as folder, mock.patch.dict(sys.modules, charts=charts), \
                    mock.patch.object(bench, "can_draw", lambda can_draw=can_draw: can_draw):
                said = bench.write_results(types.SimpleNamespace(out=folder, quick=quick), self.FACTS, [found])
                self.assertEqual((said, sorted(file.name for file in pathlib.Path(folder).iterdir())), (text, files))

    def test_lines_of_prose_fit_into_a_page(self):
        found = report.Measured(row_of({"shmif": None}, goals=[rows.Goal("rate", [], 1)]))
        found.row.work = "word " * 30
        found.rounds = [{"shmif": {"rate": 2e6}}]
        works = report.markdown([found]).split("\n\n")[1].splitlines()
        self.assertEqual([len(line) <= 100 for line in works], [True, True])
        self.assertTrue(works[1].startswith("  word"))


if __name__ == "__main__":
    unittest.main()
