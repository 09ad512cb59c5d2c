#!/usr/bin/python3
"""tutorial.py DOCUMENT BUILD: follows a document as a reader would, and looks whether it told the truth.

The blocks of ```sh are its commands. They run in one shell, which begins in the folder of the sources; BUILD takes the
place of build/release. A block of ```text right after them is what the last of these commands prints: each of its lines
must be printed, in this order, where numbers and their units may be others, but no IPv4 addresses, and "..." stands for whatever else there
is. A block of ```python is run by python3; after a line "File `NAME`:", it is written to that file. A command must
succeed, unless `echo $?` comes next, whose answer must be the very number. A comment "<!-- needs: PROGRAM... /DEVICE...
-->" says what the machine must have, and a line "Debian packages: ..." tells readers.
With a section "Clean up", the document must leave no file in its folder, in that of temporary files, or in /dev/shm.
With "<!-- user: ordinary -->", root follows the document as the user nobody, and with "<!-- exact -->" numbers are
compared, too. "<!-- user: ordinary, who may count -->" holds where the kernel lets ordinary users count events in user
space. To a document that needs the word "machine", $kernel and $initrd are those of tests/machines/boot.
Exits 0 when all is true, 1 when not, 77 where this machine cannot do all of it.
"""
import contextlib
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile

TIMEOUT_SECONDS = 280
MARK = "\x1e"
NOBODY = 65534
UNIT = r"%|[num]?s|[kMGT]?B|[kMGT]?bit/s|[kMGT]?/s|[kM]?iB|MHz"


# A command that is surely complete, so that no shell must be asked: words and strings, and perhaps a & at the end.
PLAIN = re.compile(r"""(?!(?:if|for|while|until|case|select|function)\b)(?:[\w./=:,@%+~$ -]|"[^"`\\]*"|'[^']*')+&?""")


def complete(lines):
    """Whether a shell would run these lines now, and not wait for more of the command."""
    if len(lines) == 1 and PLAIN.fullmatch(lines[0]):
        return True
    for i, line in enumerate(lines):
        here = re.search(r"<<-?\s*['\"]?(\w+)", line)
        if here and here[1] not in lines[i + 1:]:
            return False
    if lines[-1].endswith("\\"):
        return False
    return subprocess.run(["bash", "-n"], input="\n".join(lines), text=True, capture_output=True, check=False).returncode == 0


def commands_of(text):
    """Of each command: the line in the document, its text, and the lines that it is to print."""
    found = []
    block = ""          # what kind of block this line is in
    file = ""           # where to write it
    before = ""         # the last block, if only empty lines came after it
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith("```"):
            if block == "python":
                found[-1][1].append("END_OF_BLOCK")
            block, before = ("", block) if block else (line[3:] or "other", before)
            if block == "python":
                found.append((number, [f"cat > {file} <<'END_OF_BLOCK'" if file else "python3 - <<'END_OF_BLOCK'"], []))
        elif not block:
            before = before if line == "" else ""
            named = re.fullmatch(r"File `([^`]+)`:", line)
            file = named[1] if named else file if line == "" else ""
        elif block == "python":
            found[-1][1].append(line)
        elif block == "sh" and found and not complete(found[-1][1]):
            found[-1][1].append(line)
        elif block == "sh" and line:
            found.append((number, [line], []))
        elif block == "text" and before in ("sh", "python") and line.strip() not in ("", "..."):
            found[-1][2].append((number, line))
    return [(number, "\n".join(lines), shown) for number, lines, shown in found]


# The Debian packages of what a document needs, where they have other names, or are more than one.
PACKAGES = {"podman": ["podman", "uidmap"], "pgrep": ["procps"], "ip": ["iproute2"], "ping": ["iputils-ping"], "qemu-system-x86_64": ["qemu-system-x86"],
            "scapy": ["python3-scapy"], "pytest": ["python3-pytest"], "cffi-backend": ["python3-cffi-backend"], "machine": [],
            "/usr/lib/cni/host-local": ["containernetworking-plugins"]}
# Those that are modules of Python, and not programs.
MODULES = {"scapy": "scapy.all", "pytest": "pytest", "cffi-backend": "_cffi_backend"}
LETTERS = str.maketrans("0123456789.", "abcdefghij_")


def plain(line):
    """A line without what changes from run to run. The address of a host does not."""
    line = re.sub(r"\b\d+(\.\d+){3}\b", lambda found: found.group().translate(LETTERS), line)
    line = re.sub(r"shmifperf-\d+-[0-9a-f]+|0x[0-9a-f]+", "#", line)
    line = re.sub(r"^machine .*", "machine", line)
    # What a busy machine lost is no mistake of the document; what it asked for is.
    line = re.sub(r", (no loss in [\d,]+ frames?|[\d,]+ (of [\d,]+ )?frames? lost(?! by)) *[^(]*", " ", line)
    line = re.sub(rf"(< )?[+-]?\d[\d,]*(\.\d+)?(e[+-]?\d+)?( ({UNIT})(?![A-Za-z]))?", "#", line)
    return " ".join(line.split())


def caller(text):
    """Who follows the document: what subprocess.run() is to be told."""
    told = re.search("<!-- user: ordinary(, who may count)? -->", text)
    paranoid = pathlib.Path("/proc/sys/kernel/perf_event_paranoid")
    if not told or os.geteuid() != 0 or told[1] and int(paranoid.read_text()) > 2:
        return {}
    return {"user": NOBODY, "group": NOBODY, "extra_groups": []}


def prepare_podman(home, environment):
    """What rootless podman needs beside a home: on a machine without systemd, too, and with cgroups of both kinds."""
    run_dir = pathlib.Path(home, "run")
    run_dir.mkdir(0o700)
    conf = pathlib.Path(home, "containers.conf")
    limits = 'default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]'
    engine = 'runtime = "runc"\n' if shutil.which("runc", path=os.environ["PATH"] + ":/usr/sbin") else ""
    conf.write_text(f'[containers]\n{limits}\n[engine]\ncgroup_manager = "cgroupfs"\n{engine}')
    environment.update(XDG_RUNTIME_DIR=str(run_dir), CONTAINERS_CONF=str(conf))


def end_podman(home, environment, user):
    """Containers live on without their callers. Rootless podman also leaves a process that holds its namespaces."""
    subprocess.run(["podman", "rm", "--all", "--force", "--time", "0"], env=environment, cwd=home, capture_output=True,
                   check=False, **user)
    try:
        os.kill(int(pathlib.Path(home, "run/libpod/tmp/pause.pid").read_text()), signal.SIGKILL)
    except (OSError, ValueError):
        pass


def prepare_machine(home, environment):
    """The kernel and the first files of a virtual machine. Result: why there are none, or None."""
    tests = pathlib.Path(__file__).resolve().parents[1]
    fetched = subprocess.run([tests / "kernel/fetch", "amd64"], capture_output=True, text=True, check=False)
    if fetched.returncode != 0:
        return "no virtual machines here: no kernel: " + fetched.stderr.strip()
    kernel, initrd = pathlib.Path(home, "vmlinuz"), pathlib.Path(home, "initrd.gz")
    shutil.copy(pathlib.Path(fetched.stdout.strip(), "vmlinuz"), kernel)
    made = subprocess.run([tests / "kernel/initrd", fetched.stdout.strip(), tests / "machines/init", initrd, "virtio_pci",
                           "virtio_net"], capture_output=True, text=True, check=False)
    environment.update(kernel=str(kernel), initrd=str(initrd))
    return None if made.returncode == 0 else "no virtual machines here: " + made.stderr.strip()


def files_of(home, source, pid):
    """Where commands of a document leave files. In /dev/shm, only names with the shell's pid are known to be theirs."""
    shared = [path for path in pathlib.Path("/dev/shm").iterdir() if path.name.endswith(f"-{pid}")]
    return {*pathlib.Path(home).iterdir(), *source.iterdir(), *shared}


def run(commands, build, user, machine):
    """What each command printed, and its exit status; and the files that are left of all."""
    script = ["exec 2>&1"]
    for _, command, _ in commands:
        # The status is that of the last command to the next one, as at a prompt.
        script.append(f"printf '{MARK}'\n(exit ${{status:-0}})\n{command}\nstatus=$?\nprintf '{MARK}%d' $status")
    text = "\n".join(script).replace("build/release", build)
    source = pathlib.Path(__file__).resolve().parents[2]
    with tempfile.TemporaryDirectory() as home:
        environment = dict(os.environ, HOME=home, TMPDIR=home, LC_ALL="C.UTF-8")
        if "podman" in text:
            prepare_podman(home, environment)
        lacks = prepare_machine(home, environment) if machine else None
        if lacks:
            print(f"skipped: {lacks}")
            sys.exit(77)
        if user:
            for path in [home, *pathlib.Path(home).rglob("*")]:
                os.chown(path, user["user"], user["group"])
        before = files_of(home, source, "none") | {pathlib.Path(home, "printed.txt")}
        # Files, and no pipes: what stays in the background would hold them open.
        with open(pathlib.Path(home, "printed.txt"), "wb+") as out, subprocess.Popen(
                ["bash", "-c", text], cwd=source, env=environment, stdin=subprocess.DEVNULL, stdout=out,
                start_new_session=True, **user) as shell:
            try:
                shell.wait(TIMEOUT_SECONDS)
            except subprocess.TimeoutExpired:
                print(f"not at its end after {TIMEOUT_SECONDS} s")
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(shell.pid, signal.SIGKILL)
                if "podman" in text:
                    end_podman(home, environment, user)
            left = sorted(str(path) for path in files_of(home, source, shell.pid) - before)
            out.seek(0)
            printed = out.read()
    parts = printed.decode(errors="replace").split(MARK)[1:]
    return list(zip(parts[::2], (int(status or -1) for status in parts[1::2]))), left


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


def missing(text, user):
    """What the document needs and this machine has not, or None."""
    def can(*command):
        return subprocess.run(command, capture_output=True, check=False, **user).returncode == 0
    if not can("test", "-r", __file__):
        return "another user cannot run this build"
    for needs in re.findall(r"^<!-- needs: (.*) -->$", text, re.MULTILINE):
        for need in needs.split():
            if need.startswith("/dev/") and not can("test", "-w", need):
                return "others may not use the TUN device" if need == "/dev/net/tun" else f"no {need} here"
            if need.startswith("/") and not os.path.exists(need):
                return f"no {need} here"
            if need in MODULES and not can("/usr/bin/python3", "-c", f"import {MODULES[need]}"):
                return "no scapy here" if need == "scapy" else f"{PACKAGES[need][0]} is not installed"
            if not need.startswith("/") and need != "machine" and need not in MODULES and shutil.which(need) is None:
                return f"no {need} here"
    return None


def untold(text):
    """The packages that readers need, and that the document does not name."""
    found = re.search(r"^Debian packages: ([^.]*)\.", text, re.MULTILINE)
    told = re.split(r"[,\s]+", found[1]) if found else []
    needs = " ".join(re.findall(r"^<!-- needs: (.*) -->$", text, re.MULTILINE)).split()
    wanted = [package for need in needs for package in PACKAGES.get(need, [need]) if not package.startswith("/dev/")]
    return [package for package in wanted if package not in told]


def main():
    document, build = sys.argv[1:]
    text = pathlib.Path(document).read_text()
    if untold(text):
        sys.exit("the document does not name these Debian packages: " + ", ".join(untold(text)))
    user = caller(text)
    lacks = missing(text, user)
    if lacks:
        print(f"skipped: {lacks}")
        return 77
    can = subprocess.run(["unshare", "--user", "--map-root-user", "--net", "true"], capture_output=True, check=False,
                         **user)
    if can.returncode != 0:
        print("skipped: no namespaces here")
        return 77
    commands = commands_of(text)
    machine = re.search(r"^<!-- needs:.* machine ", text, re.MULTILINE) is not None
    results, left = run(commands, os.path.relpath(build, pathlib.Path(__file__).resolve().parents[2]), user, machine)
    wrong = [f"this is left behind: {path}" for path in left if "\n## Clean up\n" in text]
    for i, (number, command, shown) in enumerate(commands):
        if i >= len(results):
            wrong.append(f"line {number}: never came to: {command}")
            break
        printed, status = results[i]
        bad = list(untruths(shown, printed, command == "echo $?" or "<!-- exact -->" in text))
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
