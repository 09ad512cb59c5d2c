#!/usr/bin/python3
"""ci_containers.py PAGE BUILD: the recipe of docs/ci.md for podman, as an ordinary user, in an image with the programs of
the build; and what `shmifctl doctor` prints in containers, as the table of the page says.
Exits 0 when all is true, 1 when not, 77 where this machine has no podman that works.
"""
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile

from ci_recipes import files_of

NOBODY = 65534
TOOLS = ["basename", "busybox", "cat", "cmp", "dirname", "httpd", "mkdir", "mktemp", "rm", "rmdir", "sh", "sleep", "true", "wget"]
# Docker's default profile, as far as it is about namespaces: these calls need CAP_SYS_ADMIN, and clone3() is unknown.
REFUSED = ["mount", "pivot_root", "setns", "umount2", "unshare"]
NEW_NAMESPACES = 0x7E020000
DOCKER = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
    {"names": REFUSED, "action": "SCMP_ACT_ERRNO", "errnoRet": 1},
    {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38}] + [
    {"names": ["clone"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1,
     "args": [{"index": 0, "value": 1 << bit, "valueTwo": 1 << bit, "op": "SCMP_CMP_MASKED_EQ"}]}
    for bit in range(32) if NEW_NAMESPACES >> bit & 1]}


class Podman:
    """podman of an ordinary user, with a home of its own."""

    def __init__(self, home):
        self.home = home
        self.user = {"user": NOBODY, "group": NOBODY, "extra_groups": []} if os.geteuid() == 0 else {}
        run_dir = home / "run"
        run_dir.mkdir(mode=0o700)
        engine = 'runtime = "runc"\n' if shutil.which("runc", path=os.environ["PATH"] + ":/usr/sbin") else ""
        (home / "containers.conf").write_text(
            '[containers]\ndefault_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]\n'
            f'[engine]\ncgroup_manager = "cgroupfs"\n{engine}')
        self.environment = dict(os.environ, HOME=str(home), TMPDIR=str(home), XDG_RUNTIME_DIR=str(run_dir),
                                CONTAINERS_CONF=str(home / "containers.conf"))

    def run(self, *words, cwd=None, **more):
        return subprocess.run(words, cwd=cwd or self.home, env=self.environment, text=True, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, timeout=200, check=False, **self.user, **more)

    def end(self):
        """Containers live on without their callers, and podman leaves a process that holds its namespaces."""
        self.run("podman", "rm", "--all", "--force", "--time", "0")
        self.run("podman", "rmi", "--all", "--force")
        try:
            os.kill(int((self.home / "run/libpod/tmp/pause.pid").read_text()), signal.SIGKILL)
        except (OSError, ValueError):
            pass


def make_image(folder, build):
    for name in ("bin", "dev", "etc", "proc", "run", "sys", "tmp", "work"):
        (folder / name).mkdir(parents=True)
    (folder / "tmp").chmod(0o1777)
    programs = [pathlib.Path(build, "tools", name) for name in ("shmifctl", "shmifperf")]
    programs.append(pathlib.Path(shutil.which("busybox")))
    modules = list(pathlib.Path(build, "tools").glob("shmifctl_*.so"))
    for program in programs + modules:
        shutil.copy(program, folder / "bin")
        said = subprocess.run(["ldd", program], capture_output=True, text=True, check=False).stdout
        for library in re.findall(r"(/\S+) \(0x", said):
            place = folder / library.lstrip("/")
            if not place.exists():
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(library, place)
    for tool in TOOLS:
        if not (folder / "bin" / tool).exists():
            (folder / "bin" / tool).symlink_to("busybox")


def wrong_in_recipe(podman, files, break_it):
    project = podman.home / ("broken" if break_it else "project")
    for name, text in files.items():
        path = project / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.replace("cmp - reach.toml", "cmp - load.toml") if break_it else text)
    if podman.user:
        for path in [project, *project.rglob("*")]:
            os.chown(path, NOBODY, NOBODY)
    done = podman.run("sh", "labs/in-podman.sh", "results", cwd=project)
    what = "a lab that fails" if break_it else "labs that pass"
    if (done.returncode != 0) != break_it:
        yield f"{what}: exit code {done.returncode}\n{done.stdout}"
    for name in ("reach", "load"):
        report = project / f"results/{name}.xml"
        text = report.read_text() if report.exists() else "no report"
        if ("<failure" in text) != (break_it and name == "reach") or "<testcase" not in text:
            yield f"{what}: {name}.xml: {text}\n{done.stdout}"
    if (project / "results/reach/all.pcapng").exists() != break_it:
        yield f"{what}: the capture is {'missing' if break_it else 'left'}"
    if podman.user and any(path.stat().st_uid != NOBODY for path in project.rglob("*")):
        yield f"{what}: files that do not belong to the caller"


def parts_of(page, runner):
    """The parts of a line that the table has for a runner; between them, the line may have more."""
    cell = re.search(rf"^\| [^|]*{re.escape(runner)}[^|]*\| ([^|]*)\|", page, re.MULTILINE)
    return re.findall(r"`([^`]*)`", cell.group(1)) if cell else ["(no such row in the page)"]


def wrong_in_doctor(podman, page):
    profile = podman.home / "docker.json"
    profile.write_text(json.dumps(DOCKER))
    profile.chmod(0o644)
    for runner, options, works in (("podman, with", [], True),
                                   ("Docker with its default profile", ["--security-opt", f"seccomp={profile}"], False),
                                   ("a container without the device", [], True),
                                   ("64 MB of", [], True)):
        done = podman.run("podman", "run", "--rm", "--network", "none", *options, "shmif", "shmifctl", "doctor")
        wanted = ".*".join(re.escape(part) for part in parts_of(page, runner))
        said = [" ".join(line.split()) for line in done.stdout.splitlines()]
        if not any(re.match(wanted, line) for line in said):
            yield f"{runner}: no line as the page says ({wanted}):\n{done.stdout}"
        if (done.returncode == 0) != works:
            yield f"{runner}: doctor's exit code is {done.returncode}\n{done.stdout}"


def main():
    page, build = pathlib.Path(sys.argv[1]).read_text(), sys.argv[2]
    for program in ("podman", "busybox"):
        if not shutil.which(program):
            print(f"skipped: no {program} here")
            return 77
    files = {name: text for name, text in files_of(page).items() if name.startswith("labs/")}
    # Two folders: what podman leaves in its home belongs to ids that only its own user namespace has.
    with tempfile.TemporaryDirectory(prefix="ci-containers-") as folder:
        home = pathlib.Path(folder, "home")
        home.mkdir()
        pathlib.Path(folder).chmod(0o755)
        podman = Podman(home)
        make_image(pathlib.Path(folder, "image"), build)
        subprocess.run(["tar", "-C", f"{folder}/image", "-cf", f"{folder}/image.tar", "."], check=True)
        if podman.user:
            for path in [home, *home.rglob("*")]:
                os.chown(path, NOBODY, NOBODY)
        try:
            made = podman.run("podman", "import", "--quiet", f"{folder}/image.tar", "localhost/shmif")
            if made.returncode != 0:
                print(f"skipped: no podman that works: {made.stdout}")
                return 77
            wrong = [*wrong_in_doctor(podman, page), *wrong_in_recipe(podman, files, False),
                     *wrong_in_recipe(podman, files, True)]
        finally:
            podman.end()
        print("\n".join(wrong))
        return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
