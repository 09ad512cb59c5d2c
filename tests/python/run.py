#!/usr/bin/python3
"""run.py [--nobody] BUILD TEST: runs a file of tests of the package for Python with pytest, against a build.

With --nobody, root runs it as the user nobody. Exits 0 when all tests passed, 1 when one failed, 77 when one was skipped
and none failed: then it says why.
"""
import importlib.util
import os
import pathlib
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
NOBODY = 65534


class Outcomes:
    """Which tests were skipped, and why."""

    def __init__(self):
        self.skipped = []
        self.count = 0

    def pytest_runtest_logreport(self, report):
        self.count += report.when == "call"
        if report.skipped:
            self.skipped.append(report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr))


def run(arguments, build):
    """Runs pytest in this process. Result: the exit code."""
    import pytest
    sys.path.insert(0, str(HERE.parents[1] / "python"))
    outcomes = Outcomes()
    with tempfile.TemporaryDirectory(prefix="shmif-python-") as folder:
        os.environ.update(XDG_RUNTIME_DIR=folder, TMPDIR=folder, SHMIF_BUILD=build)
        tempfile.tempdir = None
        status = pytest.main(["-q", "-p", "no:cacheprovider", f"--basetemp={folder}/pytest", f"--rootdir={HERE}", *arguments],
                             plugins=[outcomes])
    if status != 0:
        return 1
    if outcomes.skipped:
        print(f"skipped: {outcomes.skipped[0].removeprefix('Skipped: ')}")
        return 77
    return 0 if outcomes.count else 1


def main():
    arguments = sys.argv[1:]
    as_nobody = arguments[:1] == ["--nobody"]
    build, *tests = arguments[as_nobody:]
    for module, package in (("pytest", "python3-pytest"), ("_cffi_backend", "python3-cffi-backend")):
        if importlib.util.find_spec(module) is None:
            print(f"skipped: {package} is not installed")
            return 77
    if as_nobody and os.geteuid() == 0:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
        os.environ["HOME"] = "/nonexistent"
        if not os.access(f"{build}/tools/shmifctl", os.X_OK) or not os.access(__file__, os.R_OK):
            print("skipped: another user cannot run this build")
            return 77
    return run(tests, build)


if __name__ == "__main__":
    sys.exit(main())
