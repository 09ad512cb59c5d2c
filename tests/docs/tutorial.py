#!/usr/bin/python3
"""tutorial.py DOCUMENT BUILD: follows a document as a reader would, and looks whether it told the truth.

In its blocks of ```console, a line that begins with "$ " is a command, and lines that begin with "> " go on with it.
All commands run in one shell, which begins in the folder of the sources; BUILD takes the place of build/release.
The other lines are what a command prints: each must be printed, in this order, where numbers and their units may be
others, and "..." stands for whatever else there is. A command must succeed, unless `echo $?` comes next, whose
answer must be the very number. A comment "<!-- needs: PROGRAM... /DEVICE... -->" says what the machine must have.
Exits 0 when all is true, 1 when not, 77 where this machine cannot do all of it.
"""
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

TIMEOUT_SECONDS = 200
MARK = "\x1e"
UNIT = r"%|[num]?s|[kMGT]?B|[kMGT]?bit/s|[kMGT]?/s|[kM]?iB|MHz"


def commands_of(text):
    """Of each command: the line in the document, its text, and the lines that it is to print."""
    found = []
    inside = False
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith("```"):
            inside = line == "```console"
        elif inside and line.startswith("$ "):
            found.append((number, [line[2:]], []))
        elif inside and line.startswith("> ") and not found[-1][2]:
            found[-1][1].append(line[2:])
        elif inside and line.strip() not in ("", "..."):
            found[-1][2].append((number, line))
    return [(number, "\n".join(lines), shown) for number, lines, shown in found]


def plain(line):
    """A line without what changes from run to run."""
    line = re.sub(r"shmifperf-\d+-[0-9a-f]+|0x[0-9a-f]+", "#", line)
    line = re.sub(r"^machine .*", "machine", line)
    # What a busy machine lost is no mistake of the document; what it asked for is.
    line = re.sub(r", [\d,]+ frames? lost(?! by) *[^(]*", " ", line)
    line = re.sub(rf"(< )?[+-]?\d[\d,]*(\.\d+)?(e[+-]?\d+)?( ({UNIT})(?![A-Za-z]))?", "#", line)
    return " ".join(line.split())


def run(commands, build):
    """What each command printed, and its exit status."""
    script = ["exec 2>&1"]
    for _, command, _ in commands:
        # The status is that of the last command to the next one, as at a prompt.
        script.append(f"printf '{MARK}'\n(exit ${{status:-0}})\n{command}\nstatus=$?\nprintf '{MARK}%d' $status")
    text = "\n".join(script).replace("build/release", build)
    source = pathlib.Path(__file__).resolve().parents[2]
    with tempfile.TemporaryDirectory() as home:
        environment = dict(os.environ, HOME=home, TMPDIR=home, LC_ALL="C.UTF-8")
        done = subprocess.run(["bash", "-c", text], cwd=source, env=environment, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, timeout=TIMEOUT_SECONDS, check=False)
    parts = done.stdout.decode(errors="replace").split(MARK)[1:]
    return list(zip(parts[::2], (int(status or -1) for status in parts[1::2])))


def untruths(shown, printed, exact):
    """The lines of the document that were not printed in their turn."""
    same = str.strip if exact else plain
    lines = [same(line) for line in printed.splitlines()]
    at = 0
    for number, line in shown:
        try:
            at = lines.index(same(line), at) + 1
        except ValueError:
            yield f"line {number}: this was not printed, or not here: {line}"


def missing(text):
    """What the document needs and this machine has not, or None."""
    for needs in re.findall(r"^<!-- needs: (.*) -->$", text, re.MULTILINE):
        for need in needs.split():
            if need.startswith("/dev/") and not os.access(need, os.W_OK):
                return "no TUN device here" if need == "/dev/net/tun" else f"no {need} here"
            if not need.startswith("/") and shutil.which(need) is None:
                return f"no {need} here"
    return None


def main():
    document, build = sys.argv[1:]
    lacks = missing(pathlib.Path(document).read_text())
    if lacks:
        print(f"skipped: {lacks}")
        return 77
    can = subprocess.run(["unshare", "--user", "--map-root-user", "--net", "true"], capture_output=True, check=False)
    if can.returncode != 0:
        print("skipped: no namespaces here")
        return 77
    commands = commands_of(pathlib.Path(document).read_text())
    results = run(commands, os.path.relpath(build, pathlib.Path(__file__).resolve().parents[2]))
    wrong = []
    for i, (number, command, shown) in enumerate(commands):
        if i >= len(results):
            wrong.append(f"line {number}: never came to: {command}")
            break
        printed, status = results[i]
        bad = list(untruths(shown, printed, command == "echo $?"))
        may_fail = i + 1 < len(commands) and commands[i + 1][1] == "echo $?"
        if status != 0 and not may_fail:
            bad.append(f"line {number}: exit status {status} of: {command}")
        if bad:
            wrong += bad + ["  | " + line for line in printed.splitlines()]
    print("\n".join(wrong))
    print(f"{document}: {len(commands)} commands, {sum(len(c[2]) for c in commands)} lines of output looked for")
    return 1 if wrong or not commands else 0


if __name__ == "__main__":
    sys.exit(main())
