#!/usr/bin/env python3
"""What the instruments of a run cost the run: runs with and without them, by turns.

instruments.py SHMIFPERF [--rounds N] [--seconds S] [--with OPTIONS]...

Two loads: flat out, where the cost shows in the frames that arrive; and a paced load that sleeps, where it shows in the CPU
time. The CPU time of the jobs is that of their window, and that of the controller is its own, without the jobs. The order of
the runs of a round changes from round to round. What counts is the median over the rounds, because both runs of a round met
the same machine.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile

LOADS = {
    "flat out": ["--bs=64"],
    "paced": ["--bs=1000", "--rate_iops=2000"],
}
USUAL = ["--counters=task-clock,page-faults,context-switches,cpu-migrations", "--membw"]


def run(arguments, load, options):
    """Frames that arrived, CPU seconds of the jobs: for each frame and in all, and CPU seconds of the controller."""
    with tempfile.NamedTemporaryFile() as result:
        child = subprocess.Popen(
            [arguments.shmifperf, "run", "--name=flow", "--engine=bus", f"--runtime={arguments.seconds}", "--output-format=json",
             f"--output={result.name}", *load, *options])
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # waits for its end, but keeps its times readable
        with open(f"/proc/{child.pid}/stat", encoding="ascii") as stat:
            ticks = stat.read().rpartition(")")[2].split()[11:13]  # times of all its threads
        if child.wait() != 0:
            sys.exit(f"shmifperf ended with {child.returncode}")
        jobs = json.load(result)["jobs"]
    controller = sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")
    frames = sum(job["rx"]["frames"] for job in jobs if job["rx"])
    cpu = sum(job["cpu"][key] for job in jobs for key in ("user_seconds", "system_seconds"))
    moved = sum(job[way]["frames"] for job in jobs for way in ("tx", "rx") if job[way])
    return frames, cpu / moved, cpu, controller


def spread(values, form):
    low, middle, high = (format(value, form) for value in statistics.quantiles(values, n=4))
    return f"{middle} ({low} to {high})"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("shmifperf")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--seconds", type=int, default=3)
    parser.add_argument("--load", choices=LOADS, action="append", help="only this load")
    parser.add_argument("--with", dest="options", action="append", help="the options of an instrument, instead of the usual ones")
    arguments = parser.parse_args()
    kinds = ["", *(arguments.options or USUAL)]
    for name in arguments.load or LOADS:
        rounds = []
        for number in range(arguments.rounds):
            turn = kinds[number % len(kinds):] + kinds[:number % len(kinds)]
            rounds.append({kind: run(arguments, LOADS[name], kind.split()) for kind in turn})
        print(f"{name}, {arguments.rounds} rounds of {arguments.seconds} s; medians (quartiles):")
        for kind in kinds[1:]:
            frames = [each[kind][0] / each[""][0] for each in rounds]
            cpu = [each[kind][1] / each[""][1] for each in rounds]
            more = [[100 * (each[kind][of] - each[""][of]) / arguments.seconds for each in rounds] for of in (2, 3)]
            print(f"  {kind}\n    frames {spread(frames, '.4f')} of those without; CPU time of the jobs for a frame "
                  f"{spread(cpu, '.4f')} of that without;\n    the jobs took {spread(more[0], '+.2f')} % of a CPU more, and the "
                  f"controller {spread(more[1], '+.2f')} %", flush=True)
    return 0


sys.exit(main())
