#!/usr/bin/python3
"""Compares shmif with its peers, in turns, and prints one table. Started by tools/bench, which builds what is needed.

Every row is a piece of work that shmif and some peers do. In each round all of them take their turn, the next round in
the reverse order; a ratio is made within a round, and the table shows the median of the ratios with the least and the
most. So a machine that is faster or slower from one minute to the next changes the figures, and hardly the ratios.
"""

import argparse
import contextlib
import importlib.util
import json
import os
import platform
import re
import signal
import subprocess
import sys
import time

import distance
import peers
import report
import rows as all_of_them
import versions

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
HEADLINE_ROUNDS, OTHER_ROUNDS = 7, 3
DOCUMENT = os.path.join(ROOT, "docs", "lab", "measurements.md")
FIRST_PAGE = os.path.join(ROOT, "docs", "performance.md")
FIGURES = os.path.join(ROOT, "docs", "figures")
RECORDS = os.path.join(ROOT, "docs", "lab", "measurements")  # one for each kind of CPU: bench-epyc.json
PICTURED = ("memif-64", "memif-1514", "tcp", "growth-batch", "growth-frame", "growth-hosts-slow")  # rows with pictures in DOCUMENT
BEGIN, END = "<!-- tools/bench --write-docs: begin -->", "<!-- tools/bench --write-docs: end -->"


def parse():
    parser = argparse.ArgumentParser(prog="tools/bench", description=__doc__.split("\n", maxsplit=1)[0],
                                     epilog="Rows are in bench/rows.py; how to read the table is in docs/lab/measurements.md.")
    parser.add_argument("--row", action="append", metavar="NAME", help="only this row, or those that begin so; repeatable")
    parser.add_argument("--list", action="store_true", help="name the rows and stop")
    parser.add_argument("--quick", action="store_true", help="a minute: one short round of some rows, no pictures, and no failure")
    parser.add_argument("--install", action="store_true", help="install the packages of the peers first (tools/packages.txt)")
    parser.add_argument("--rounds", type=int, help=f"instead of {HEADLINE_ROUNDS} for rows with a * and {OTHER_ROUNDS} for others")
    parser.add_argument("--out", default=os.path.join(ROOT, "build", "bench"), metavar="DIR", help="for the results")
    parser.add_argument("--write-docs", action="store_true", help="of all rows: also put them into docs/ (two pages, a record, and figures)")
    parser.add_argument("--before", metavar="TREE", help="shmif alone, in turns with the earlier version in TREE, which you have built there with the preset release")
    parser.add_argument("--build", default=os.path.join(ROOT, "build", "release"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.write_docs and (options.row or options.quick):
        parser.error("--write-docs replaces the whole table, so it goes with every row: leave out --row and --quick")
    if options.write_docs and not can_draw():
        parser.error("--write-docs draws pictures, and python3-matplotlib is missing; --install installs it")
    if options.before and options.write_docs:
        parser.error("--before measures no peers, which --write-docs needs")
    for program in ("tools/shmifctl", "bench/shmif_bench_throughput"):
        if options.before and not os.access(os.path.join(build_of(options.before), program), os.X_OK):
            parser.error(f"{options.before} has no build/release/{program}; build it there: "
                         "cmake --preset release && cmake --build --preset release --target bench shmifctl")
    return options


def can_draw():
    return importlib.util.find_spec("matplotlib") is not None


def build_of(tree):
    return os.path.join(os.path.abspath(tree), "build", "release")


def chosen(rows, options):
    if options.quick and not options.row:
        return [row for row in rows if row.quick]
    if not options.row:
        return rows
    for name in options.row:
        if not any(row.name.startswith(name) for row in rows):
            sys.exit(f"tools/bench: there is no row {name}; --list names them")
    return [row for row in rows if any(row.name.startswith(name) for name in options.row)]


def beside(row):
    if row.curve:
        return f"; beside {row.peer}" if row.peer else ""
    others = [name for name in row.subjects if name != all_of_them.OURS]
    return "; beside " + ", ".join(others) if others else ""


def say(text):
    """Progress goes to standard error, the table to standard output."""
    print(text, file=sys.stderr, flush=True)


@contextlib.contextmanager
def distance_of(row, setup):
    """While the block runs, trials take no longer than `row` permits."""
    usual = setup.seconds
    try:
        if row.on_two_cpus and not setup.quick:
            setup.seconds = distance.TRIAL_SECONDS
            yield distance.Distance(setup, say)
        else:
            yield distance.Anywhere()
    finally:
        setup.seconds = usual


def play_round(measured, number, cpus):
    figures = {}
    cpus.begin_round()
    subjects = list(measured.row.subjects.items())
    for name, subject in subjects if number % 2 == 0 else reversed(subjects):
        if measured.has_given_up(name):
            continue
        try:
            if (found := cpus.turn(subject)) is None:
                measured.left_out.setdefault(name, []).append(number)
                say(f"  {name}: left out of this round, because the CPUs did not keep their distance")
            else:
                figures[name] = found
        except peers.Missing as reason:
            measured.failures.setdefault(name, []).append(str(reason))
            say(f"  {name}: {reason}")
    measured.rounds.append(figures)


def measure(row, rounds, setup):
    began = time.monotonic()
    measured = report.Measured(row)
    with row.around(), distance_of(row, setup) as cpus:
        for number in range(rounds):
            play_round(measured, number, cpus)
    measured.line_ns = cpus.seen
    say(f"  {time.monotonic() - began:.0f} s, {rounds} rounds" + distance.text(cpus.seen))
    for cells in report.lines_of(measured):
        say("  " + "  ".join(cell for cell in cells[1:-1] if cell))
    return measured


def busy_share(seconds=2.0):
    """The share of CPU time that other programs use while nothing is measured, in percent."""
    def look():
        with open("/proc/stat", encoding="ascii") as file:
            times = [int(word) for word in file.readline().split()[1:9]]
        return sum(times), times[3] + times[4]  # idle, and waiting for a disk, both count as idle

    all_before, idle_before = look()
    time.sleep(seconds)
    all_after, idle_after = look()
    return round(100 * (1 - (idle_after - idle_before) / max(all_after - all_before, 1)))


def commit_of(tree):
    found = subprocess.run(["git", "-C", tree, "describe", "--always", "--dirty"], capture_output=True, text=True, check=False)
    return found.stdout.strip() or "unknown"


def machine():
    with open("/proc/cpuinfo", encoding="ascii", errors="replace") as file:
        model = re.search(r"model name\s*: (.*)", file.read())
    return {"cpus": os.cpu_count(), "model": model.group(1) if model else platform.processor(), "kernel": platform.release(),
            "busy_percent_before": busy_share(), "commit": commit_of(ROOT), "date": time.strftime("%Y-%m-%d")}


def summary(facts):
    busy = facts["busy_percent_before"]
    warning = " The machine had other work: these figures show that the table can be made, and no more." if busy > 10 else ""
    lines = facts.get("line_ns")
    apart = f" A cache line took {min(lines)} to {max(lines)} ns from one CPU to the other and back." if lines else ""
    return (f"{facts['cpus']} CPUs ({facts['model']}), Linux {facts['kernel']}, {facts['date']}, commit {facts['commit']}; "
            f"CPUs {busy} % busy before.{apart}{warning}")


def raw(facts, measured):
    return {"machine": facts,
            "rows": [{"name": m.row.name, "rounds": m.rounds, "failures": m.failures, "left_out": m.left_out, "line_ns": m.line_ns} for m in measured]}


def write_results(options, facts, measured):
    """Writes the result files. Result: a text that says what was written."""
    os.makedirs(options.out, exist_ok=True)
    with open(os.path.join(options.out, "results.json"), "w", encoding="utf-8") as file:
        json.dump(raw(facts, measured), file, indent=1)
    with open(os.path.join(options.out, "table.md"), "w", encoding="utf-8") as file:
        file.write(summary(facts) + "\n\n" + report.markdown(measured) + "\n")
    if options.quick:
        return "table.md and results.json"
    if not can_draw():
        return "table.md and results.json (pictures need python3-matplotlib; --install installs it)"
    write_figures(options.out, measured)
    return "table.md, results.json and pictures"


def write_figures(folder, measured, only=()):
    """Draws the pictures of all rows, or of `only` some. Result: their names."""
    import charts  # matplotlib takes a second to load
    os.makedirs(folder, exist_ok=True)
    names = []
    for name, picture in (found for one in measured for found in charts.pictures(one).items()):
        if only and name not in only:
            continue
        names.append(name + ".svg")
        with open(os.path.join(folder, names[-1]), "w", encoding="utf-8") as file:
            file.write(picture)
    return names


def replace_section(page, parts):
    with open(page, encoding="utf-8") as file:
        text = file.read()
    if BEGIN not in text or END not in text:
        sys.exit(f"tools/bench: {page} has no section between {BEGIN} and {END}")
    section = "\n\n".join([BEGIN, *parts, END])
    with open(page, "w", encoding="utf-8") as file:
        file.write(text[:text.index(BEGIN)] + section + text[text.index(END) + len(END):])


def kind_of(model):
    """The word by which records tell kinds of CPUs apart: "EPYC", "Xeon", or the first word of another model."""
    return next((word for word in ("EPYC", "Xeon", "Ryzen", "Core") if word in model), (re.findall(r"[A-Za-z]+", model) or ["CPU"])[0])


def write_record(facts, measured):
    """All lines of the table, of which the page shows those with a target, and the figures of each round."""
    os.makedirs(RECORDS, exist_ok=True)
    with open(os.path.join(RECORDS, f"bench-{kind_of(facts['model']).lower()}.json"), "w", encoding="utf-8") as file:
        json.dump({"command": "tools/bench --write-docs", "works": report.works(measured), "columns": report.HEADINGS,
                   "lines": report.lines(measured), **raw(facts, measured)}, file, indent=1, ensure_ascii=False)
        file.write("\n")


def records():
    """The last run on each kind of CPU, the newest first: (title, lines)."""
    found = []
    for name in sorted(os.listdir(RECORDS)):
        if re.fullmatch(r"bench-\w+\.json", name):
            with open(os.path.join(RECORDS, name), encoding="utf-8") as file:
                found.append(json.load(file))
    found.sort(key=lambda record: record["machine"]["date"], reverse=True)
    return [(f"{kind_of(record['machine']['model'])}, {record['machine']['date']}", record["lines"]) for record in found]


def write_docs(facts, measured):
    write_record(facts, measured)
    pictures = "\n".join(f"![{name[:-4]}](../figures/{name})" for name in write_figures(FIGURES, measured, PICTURED))
    about = report.wrapped(summary(facts))
    replace_section(DOCUMENT, [about, report.markdown(measured, judged_only=True), pictures])
    replace_section(FIRST_PAGE, [report.brief(records())])


def main():
    options = parse()
    setup = peers.Setup(options.build, options.quick)
    rows = all_of_them.all_rows(setup)
    if options.list:
        for row in rows:
            print(f"{'*' if row.headline else ' '} {row.name:18} {row.work}{beside(row)}")
        return
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    with peers.session():
        if options.before:
            compare_versions(rows, options, setup)
        else:
            compare(chosen(rows, options), options, setup)


def stop(number, _frame):
    say("tools/bench: stopped")
    sys.exit(128 + number)  # leaving the blocks also ends everything they started


def compare(rows, options, setup):
    facts = machine()
    say(summary(facts))
    measured = []
    for i, row in enumerate(rows):
        say(f"[{i + 1}/{len(rows)}] {row.name}: {row.work}")
        rounds = options.rounds or (1 if options.quick else row.rounds or (HEADLINE_ROUNDS if row.headline else OTHER_ROUNDS))
        measured.append(measure(row, rounds, setup))
    facts["line_ns"] = [ns for one in measured for ns in one.line_ns if ns]
    print(report.plain(measured))
    written = write_results(options, facts, measured)
    if options.write_docs:
        write_docs(facts, measured)
    say(f"results in {options.out}: {written}")
    verdicts = [line[report.VERDICT] for line in report.lines(measured)]
    print("targets: " + ", ".join(f"{verdicts.count(v)} {v}" for v in ("met", "missed", "not measured")))


def compare_versions(rows, options, setup):
    where = f"{summary(machine())} Before: commit {commit_of(options.before)}."
    say(where)
    earlier = {row.name: row for row in all_of_them.all_rows(peers.Setup(build_of(options.before), options.quick))}
    rows = chosen(rows, options)
    measured = []
    for i, row in enumerate(rows):
        say(f"[{i + 1}/{len(rows)}] {row.name}: {row.work}")
        rounds = options.rounds or (1 if options.quick else OTHER_ROUNDS)
        with distance_of(row, setup) as cpus:
            measured.append(versions.measure(earlier[row.name], row, rounds, cpus, say))
    table = versions.markdown(measured)
    print(table)
    os.makedirs(options.out, exist_ok=True)
    with open(os.path.join(options.out, "before.md"), "w", encoding="utf-8") as file:
        file.write(f"{where}\n\n{table}\n")
    say(f"results: {options.out}/before.md")


if __name__ == "__main__":
    main()
