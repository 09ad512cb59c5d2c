#!/usr/bin/env python3
"""What it costs a run that `shmifperf run` finds out what held its jobs back: runs with --why=1 and --why=0 take turns.

Tells for each kind the CPU time of the controller, as a share of one CPU, and the frames that the receivers got. The
controller's CPU time is its own, without that of its jobs. The looks count their own CPU time, which varies less.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile

LOADS = {
    "ten jobs, 2,000 frames/s each": ["--numjobs=5", "--rate_iops=2000"],
    "two jobs, as fast as they can": ["--numjobs=1"],
}


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", help="shmifperf, as built by the preset release")
    parser.add_argument("--rounds", type=int, default=10, help="runs of each kind and load (default: 10)")
    parser.add_argument("--runtime", type=int, default=5, help="seconds of a run (default: 5)")
    return parser.parse_args()


def run(args, why, load, path):
    """The controller's share of a CPU, the frames that were received, how often it looked, and the looks' share."""
    child = subprocess.Popen([args.program, "run", "--name=job", "--rw=tx", "--engine=bus", "--bs=64", *load,
                              "--runtime=%d" % args.runtime, "--drain_time=100ms", "--eta=never", "--why=%d" % why,
                              "--output-format=json", "--output=" + path], stdout=subprocess.DEVNULL)
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # waits for its end, but keeps its times readable
    with open("/proc/%d/schedstat" % child.pid, encoding="ascii") as file:
        busy = int(file.read().split()[0]) * 1e-9
    if child.wait() != 0:
        sys.exit("shmifperf ended with %d" % child.returncode)
    with open(path, encoding="utf-8") as file:
        result = json.load(file)
    received = sum(job["rx"]["frames"] for job in result["jobs"] if job["rx"])
    looks, share = (result["why"]["looks"], result["why"]["own_cpu_share"]) if result["why"] else (0, 0)
    return busy / result["time"]["seconds"], received, looks, share


def per_cent(values):
    return "%.3f %% (%.3f-%.3f)" % tuple(100 * v for v in (statistics.median(values), min(values), max(values)))


def main():
    args = parse()
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "result.json")
        for name, load in LOADS.items():
            runs = {1: [], 0: []}
            for done in range(args.rounds):
                for why in (1, 0) if done % 2 else (0, 1):
                    runs[why].append(run(args, why, load, path))
            busy = {why: [r[0] for r in runs[why]] for why in runs}
            frames = [on[1] / off[1] for on, off in zip(runs[1], runs[0])]
            more = [on - off for on, off in zip(busy[1], busy[0])]
            print("%s, %d rounds of %d s" % (name, args.rounds, args.runtime))
            for why in runs:
                print("  why=%d: controller %s of a CPU" % (why, per_cent(busy[why])))
            print("  more with why=1: %s, with %d looks" % (per_cent(more), statistics.median(r[2] for r in runs[1])))
            print("  the looks themselves: %s" % per_cent([r[3] for r in runs[1]]))
            print("  frames received with why=1 / why=0: %.3f (%.3f-%.3f)"
                  % (statistics.median(frames), min(frames), max(frames)))


if __name__ == "__main__":
    main()
