#!/usr/bin/python3
"""ci_recipes.py PAGE BUILD: does with the files of docs/ci.md what a CI server would do.

Each block of the page after a line "File `NAME`:" is written to that file of a project. Then everything in the project
runs as the page says: the script, the steps of the GitHub and the GitLab job, pytest, CTest and make. Each runs twice:
with the labs as they are, where it must pass, and with a lab whose test fails, where it must fail and leave a capture.
Of the Dockerfile, nothing is built, because that needs a registry: its commands are parsed, the packages must be known to
apt, and the installed libraries must be those that the programs load.
Exits 0 when all is true, 1 when not, 77 where this machine cannot run labs.
"""
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

import yaml


def files_of(page):
    found = {}
    for name, text in re.findall(r"^File `([^`]+)`.*?:\n\n```\w+\n(.*?)^```$", page, re.MULTILINE | re.DOTALL):
        found[name] = text
    return found


class Project:
    """A checkout with the files of the page. Commands find the programs of the build."""

    def __init__(self, files, build, break_it):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="ci-recipes-"))
        for name, text in files.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        if break_it:
            lab = self.folder / "labs/reach.toml"
            lab.write_text(lab.read_text().replace("cmp - reach.toml", "cmp - load.toml"))
        self.environment = dict(os.environ, PATH=f"{build}/tools:{os.environ['PATH']}", TMPDIR=str(self.folder))

    def run(self, command):
        return subprocess.run(command, shell=isinstance(command, str), cwd=self.folder, env=self.environment, text=True,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=240,
                              check=False)

    def remove(self):
        shutil.rmtree(self.folder)


def github(files):
    steps = yaml.safe_load(files[".github/workflows/labs.yml"])["jobs"]["labs"]["steps"]
    return [step["run"] for step in steps if "run" in step]


def gitlab(files):
    return yaml.safe_load(files[".gitlab-ci.yml"])["labs"]["script"]


def recipes(files):
    """Of each recipe: its commands, the first of which that fails ends it; and where it leaves a capture."""
    yield "the script", ["sh labs/run.sh results"], "results/reach/all.pcapng"
    yield "GitHub Actions", github(files), "results/reach/all.pcapng"
    yield "GitLab", gitlab(files), "results/reach/all.pcapng"
    yield "make check", ["make check"], "results/reach/all.pcapng"
    yield "CTest", ["cmake -S . -B build && ctest --test-dir build --output-on-failure -j 2"], \
        "build/results/reach/all.pcapng"
    yield "pytest", ["/usr/bin/python3 -m pytest -q --basetemp=pytest test_labs.py"], \
        "pytest/test_lab_reach_0/results/all.pcapng"


def has_pytest():
    return subprocess.run(["/usr/bin/python3", "-c", "import pytest"], capture_output=True, check=False).returncode == 0


def wrong_in_run(name, commands, capture, files, build, break_it):
    project = Project(files, build, break_it)
    try:
        said = ""
        status = 0
        for command in commands:
            result = project.run(command)
            said += result.stdout
            status = result.returncode
            if status != 0:
                break
        what = f"{name}, {'a lab that fails' if break_it else 'labs that pass'}: "
        if (status != 0) != break_it:
            yield f"{what}exit code {status}\n{said}"
        if (project.folder / capture).exists() != break_it:
            yield f"{what}{capture} is {'missing' if break_it else 'left'}\n{said}"
        if "results/" in capture and not capture.startswith(("build", "pytest")):
            for report in ("results/reach.xml", "results/load.xml"):
                text = (project.folder / report).read_text()
                if ("<failure" in text) != (break_it and "reach" in report):
                    yield f"{what}{report}:\n{text}"
            figures = json.loads((project.folder / "results/load/calls.json").read_text())
            if figures["passed"] is not True or not (project.folder / "results/load/calls.html").exists():
                yield f"{what}no report of shmifperf"
        left = [path for path in project.folder.rglob("*.bus")]
        if left:
            yield f"{what}left behind: {left}"
    finally:
        project.remove()


def words_of(command, pattern):
    said = subprocess.run(command, capture_output=True, text=True, check=False)
    return set(re.findall(pattern, said.stdout, re.MULTILINE))


def wrong_in_dockerfile(text, build):
    packages = set()
    for command in re.findall(r"^RUN (.*)$", text, re.MULTILINE):
        parsed = subprocess.run(["sh", "-n", "-c", command], capture_output=True, text=True, check=False)
        if parsed.returncode != 0:
            yield f"Dockerfile: {command}: {parsed.stderr}"
        for words in re.findall(r"apt-get install ([^&|]*)", command):
            packages.update(word for word in words.split() if not word.startswith("-"))
    known = words_of(["apt-cache", "show", "--no-all-versions", *packages], r"^Package: (\S+)$")
    for package in sorted(packages - known):
        yield f"Dockerfile: Debian has no package {package}"
    folder = pathlib.Path(build, "tools")
    libraries = set()
    for program in [folder / "shmifctl", folder / "shmifperf", *folder.glob("*.so")]:
        libraries |= words_of(["ldd", program], r"=> (/\S+)")
    # /lib is a link to /usr/lib, and packages may know either name.
    names = {name for path in libraries for name in (path, os.path.realpath(path), re.sub("^/usr", "", os.path.realpath(path)))}
    needed = words_of(["dpkg", "-S", *sorted(names)], r"^([^:,\s]+)(?::\S+)?: /")
    # What comes with these packages, or with every Debian.
    with_them = words_of(["apt-cache", "depends", "--recurse", "--no-recommends", "--no-suggests", "--no-conflicts", "--no-breaks",
                          "--no-replaces", "--no-enhances", "--installed", "apt", "libc6", *sorted(packages)], r"^(\S+)$")
    if not needed or not with_them:
        yield "Dockerfile: cannot find out which packages the libraries are from"
    for package in sorted(needed - with_them):
        yield f"Dockerfile: the programs need a library of {package}"


def main():
    page, build = sys.argv[1:]
    files = files_of(pathlib.Path(page).read_text())
    wanted = {"labs/reach.toml", "labs/load.toml", "labs/run.sh", "labs/in-podman.sh", "Dockerfile", ".github/workflows/labs.yml",
              ".gitlab-ci.yml", "test_labs.py", "CMakeLists.txt", "Makefile"}
    if set(files) != wanted:
        sys.exit(f"the page has other files than this test knows: {sorted(set(files) ^ wanted)}")
    probe = subprocess.run(["unshare", "--user", "--map-root-user", "--net", "true"], capture_output=True, check=False)
    if probe.returncode != 0:
        print("skipped: no namespaces here")
        return 77
    if not has_pytest():
        print("skipped: python3-pytest is not installed")
        return 77
    wrong = list(wrong_in_dockerfile(files["Dockerfile"], build))
    runs = 0
    for name, commands, capture in recipes(files):
        for break_it in (False, True):
            runs += 1
            wrong += wrong_in_run(name, commands, capture, files, build, break_it)
    print("\n".join(wrong))
    print(f"{page}: {len(files)} files, {runs} runs")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
