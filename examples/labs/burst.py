"""For burst.toml: the throughput of TCP over lines with more and more loss, the lines in turn.

Environment variables: ROUNDS (default 1), EACH, the seconds of a transfer (1), LINES_OF_LAB ("0 2 10"),
CONTROLS, the congestion controls (reno), and PICTURE, a file for the curve (python3-matplotlib)."""

import json
import os
import statistics
import subprocess
import sys

if "PICTURE" in os.environ:
    import matplotlib
    from matplotlib.figure import Figure

ROUNDS = int(os.environ.get("ROUNDS", "1"))
EACH = os.environ.get("EACH", "1")
LINES = [int(line) for line in os.environ.get("LINES_OF_LAB", "0 2 10").split()]
CONTROLS = os.environ.get("CONTROLS", "reno").split()


def loss_of(line):
    """The frames that a line loses on average, in per cent: it becomes bad with a probability of
    N %, and good again with 40 %; a bad line loses half of the frames."""
    return 50 * line / (40 + line)


def send(line, control):
    """Sends over a line. Result: what arrived, in Mbit/s."""
    words = ["iperf3", "-c", f"line{line}", "-C", control, "-t", EACH, "-J"]
    ended = json.loads(subprocess.run(words, capture_output=True, text=True).stdout)
    if "error" in ended:
        sys.exit(f"iperf3 to line{line}: {ended['error']}")
    return ended["end"]["sum_received"]["bits_per_second"] / 1e6


def draw(found, path):
    matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "shmif", "font.size": 9})
    figure = Figure(figsize=(7.2, 3.2), layout="constrained")
    axes = figure.subplots()
    for control in CONTROLS:
        values = [found[control, line] for line in LINES]
        middle = [statistics.median(each) for each in values]
        spread = [[at - min(each) for at, each in zip(middle, values)], [max(each) - at for at, each in zip(middle, values)]]
        axes.errorbar([loss_of(line) for line in LINES], middle, yerr=spread, marker="o", capsize=2, label=control)
    axes.set(title="One TCP stream, by its congestion control", xlabel="frames lost, %", ylabel="Mbit/s", yscale="log")
    axes.yaxis.set_major_formatter("{x:g}")
    axes.grid(color="#e3e6ea")
    axes.legend()
    figure.savefig(path, format="svg", metadata={"Creator": None, "Date": None})


def main():
    found = {(control, line): [] for control in CONTROLS for line in LINES}
    for number in range(ROUNDS):
        for (control, line), values in found.items():
            values.append(send(line, control))
        if ROUNDS > 1:
            print(f"round {number + 1} of {ROUNDS} is done", flush=True)
    print("frames lost, control, Mbit/s: median (least to greatest)")
    for (control, line), values in found.items():
        print(f"{loss_of(line):5.1f} %  {control:5}  {statistics.median(values):6.2f} ({min(values):.2f} to {max(values):.2f})")
    if "PICTURE" in os.environ:
        draw(found, os.environ["PICTURE"])
    for control in CONTROLS:
        first, last = (statistics.median(found[control, line]) for line in (LINES[0], LINES[-1]))
        if first <= last:
            sys.exit(f"{control}: more loss did not make it slower")


main()
