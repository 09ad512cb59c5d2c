#!/usr/bin/env python3
"""How often `shmifperf compare` is right: equal pairs of runs, and pairs of which the second is slower by 5 %.

Runs take turns, each is compared with the next of its kind, and the figure that counts is the sender's rate.
"""

import argparse
import itertools
import json
import os
import subprocess
import sys
import tempfile

SLOWER = 0.95
RATE = 200_000


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", help="shmifperf, as built by the preset release")
    parser.add_argument("--pairs", type=int, default=100, help="pairs of each kind (default: 100)")
    parser.add_argument("--runtime", default="1s", help="time of a run (default: 1s)")
    parser.add_argument("--threshold", default="2%", help="how much worse is too much (default: 2%%)")
    return parser.parse_args()


def run(args, path, *options):
    subprocess.run([args.program, "run", "--rw=tx", "--bs=64", "--runtime=" + args.runtime, "--drain_time=100ms",
                    "--eta=never", "--output-format=json", "--output=" + path, *options],
                   check=True, stdout=subprocess.DEVNULL)


def verdict(args, before, after):
    told = subprocess.run([args.program, "compare", before, after, "--threshold", args.threshold,
                           "--loss-threshold", "100%", "--json"], stdout=subprocess.PIPE, check=False)
    figures = [f for f in json.loads(told.stdout)["figures"] if f["figure"] == "tx_fps"]
    if len(figures) != 1:
        sys.exit("compare names %d rates of senders, not one" % len(figures))
    return figures[0]["verdict"]


def main():
    args = parse()
    count = {kind: {"same": 0, "worse": 0, "better": 0} for kind in ("flat out", "paced", "5 % slower")}
    slow = ["--rate_iops=%d" % (RATE * SLOWER), "--rate_process=poisson"]
    fast = ["--rate_iops=%d" % RATE, "--rate_process=poisson"]
    with tempfile.TemporaryDirectory() as folder:
        files = {kind: itertools.cycle([os.path.join(folder, kind + end) for end in "ab"]) for kind in count}
        flat, paced = next(files["flat out"]), next(files["paced"])
        run(args, flat)
        run(args, paced, *fast)
        for done in range(1, args.pairs + 1):
            before, flat = flat, next(files["flat out"])
            run(args, flat)
            count["flat out"][verdict(args, before, flat)] += 1
            before, paced = paced, next(files["paced"])
            run(args, paced, *fast)
            count["paced"][verdict(args, before, paced)] += 1
            slower = next(files["5 % slower"])
            run(args, slower, *slow)
            count["5 % slower"][verdict(args, paced, slower)] += 1
            print("\r%d of %d pairs" % (done, args.pairs), end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    for kind, verdicts in count.items():
        print("%-10s  %s" % (kind, ", ".join("%d %s" % (n, word) for word, n in verdicts.items())))


if __name__ == "__main__":
    main()
