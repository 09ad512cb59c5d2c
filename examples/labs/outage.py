"""For ospf.toml and keepalived.toml: how long a host got no answers, as the lab's capture has it, and
when, by the logs of other hosts, the steps happened that ended this. The test passes if they agree.

  outage.py LAB ADDRESS     pings the address from here until an outage is over
"""

import datetime
import json
import os
import pathlib
import re
import subprocess
import sys
import time

RESULTS = pathlib.Path(os.environ["SHMIF_RESULTS"])
PING_SECONDS = 0.01
AFTERWARDS = 50   # answers after the change: then the outage is over
SLACK = 2         # seconds between the last step and the next answer, on a busy machine

# Of each lab: its capture, and the steps between the last answer and the next one: what, by which
# log, and the line that says it.
LABS = {
    "ospf": ("home.pcapng", [
        ("r1 has lost its neighbour r3", "r1.log", r"^(\S+ \S+) OSPF: .*AdjChg.*r13.* -> (?:Down|Deleted)"),
        ("r1 has the route by r2", "r1.log", r"^\[(\S+)\] 198\.18\.3\.0/24 .*via 198\.18\.12\.2 "),
        ("r3 has the route by r2", "r3.log", r"^\[(\S+)\] 198\.18\.1\.0/24 .*via 198\.18\.23\.2 "),
    ]),
    "keepalived": ("lan.pcapng", [
        ("server1 has the address", "server1.log", r"^\[(\S+)\] \d+: lan .*198\.18\.0\.100/24"),
    ]),
}


def seconds_of(text):
    """Seconds since 1970 of a local time: 2026-11-29T06:00:00.123456, or as FRR writes it."""
    return datetime.datetime.fromisoformat(text.replace("/", "-").replace(" ", "T")).timestamp()


def read_capture(name):
    """The times of requests and of answers in the capture, by sequence number."""
    asked, answered = {}, {}
    # The file grows while tcpdump reads it, so its last frame may be cut off.
    read = subprocess.run(["tcpdump", "-ttnr", RESULTS / name, "icmp"], capture_output=True, text=True)
    for line in read.stdout.splitlines():
        if found := re.match(r"(\d+\.\d+) IP .* ICMP echo (request|reply), id \d+, seq (\d+),", line):
            at, what, number = found.groups()
            (asked if what == "request" else answered).setdefault(int(number), float(at))
    return asked, answered


def find_outage(asked, answered, changed):
    """The longest time between two answers with lost requests between them: the times of both, and
    how many were lost. None if it may go on. `changed`: when the lab was done with its change."""
    if sum(at > changed for at in answered.values()) < AFTERWARDS:
        return None
    numbers = sorted(answered)
    gaps = [(answered[n] - answered[before], answered[before], answered[n],
             sum(before < each < n for each in asked))
            for before, n in zip(numbers, numbers[1:]) if n - before > 1]
    return max(gaps)[1:] if gaps else sys.exit("no request was lost")


def read_timeline():
    """What has happened in the lab since it was ready: (seconds since 1970, what)."""
    events = [json.loads(line) for line in (RESULTS / "timeline.jsonl").read_text().splitlines()]
    return [(event["wall_ns"] / 1e9, event["what"]) for event in events if event["what"] != "ready"]


def time_of_step(log, pattern, since):
    """The time of the first line like this at `since` or later. None if there is none for 10 s."""
    for _ in range(100):
        for line in (RESULTS / log).read_text(errors="replace").splitlines():
            found = re.search(pattern, line)
            if found and seconds_of(found[1]) >= since:
                return seconds_of(found[1])
        time.sleep(0.1)
    return None


def main():
    capture, steps = LABS[sys.argv[1]]
    outage = None
    with subprocess.Popen(["ping", "-q", "-i", str(PING_SECONDS), sys.argv[2]]) as ping:
        try:
            while not outage:
                time.sleep(0.2)
                if timeline := read_timeline():
                    outage = find_outage(*read_capture(capture), changed=timeline[-1][0])
        finally:
            ping.terminate()
    before, after, lost = outage
    rows = [(at, f"{what} is done (timeline.jsonl)") for at, what in timeline]
    last = before
    for what, log, pattern in steps:
        at = time_of_step(log, pattern, before)
        if at is None:
            sys.exit(f"{log} does not say: {what}")
        rows.append((at, f"{what} ({log})"))
        last = max(last, at)
    rows.append((after, f"user got the next answer ({capture}); {lost} requests were lost"))
    print("seconds since the last answer:")
    for at, what in sorted(rows):
        print(f"{at - before:7.3f}  {what}")
    if abs(after - last) > SLACK:
        sys.exit("the capture and the logs do not agree")


main()
