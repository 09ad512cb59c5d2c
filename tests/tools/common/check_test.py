#!/usr/bin/python3
"""check_test.py SOURCE: runs tools/check on a small tree with a stand-in for cmake, as a person would."""
import os
import pathlib
import pty
import re
import shutil
import subprocess
import sys
import tempfile
import time
import unittest

SOURCE = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else ".").resolve()

# Builds in two steps. Between them it waits while there is a file build/hold, at most a minute.
CMAKE = """#!/bin/bash
case $1 in
-S) echo "${!#}" | sed 's/^-D//; s/=/:BOOL=/' >build/release/CMakeCache.txt ;;
--build)
  echo "$$" >build/builder
  echo '[1/2] Building a'
  for ((i = 0; i < 1000; ++i)); do
    [[ ! -e build/hold ]] || sleep 0.05
  done
  echo '[2/2] Building b'
  ;;
esac
"""
# "breaks" fails as long as the file build/broken has a line, and takes one away each time.
TESTS = """
add_test(breaks "sh" "-c" "test ! -s ../broken || { sed -i 1d ../broken; echo broken; exit 1; }")
add_test(skips "sh" "-c" "echo 'skipped: no moon here'; exit 77")
set_tests_properties(skips PROPERTIES SKIP_RETURN_CODE 77)
add_test(litters "sh" "-c" "[ ! -e ../litter ] || touch tests/left")
add_test(Install.A "true")
set_tests_properties(Install.A PROPERTIES LABELS install)
add_test(Long.A "true")
add_test(Long.B "true")
set_tests_properties(Long.A PROPERTIES LABELS exhaustive-bus)
"""


class Check(unittest.TestCase):
    def setUp(self):
        self.holder = tempfile.TemporaryDirectory()
        self.tree = pathlib.Path(self.holder.name)
        self.build = self.tree / "build"
        self.environment = {key: value for key, value in os.environ.items() if not key.startswith(("SHMIF_", "GIT_"))}
        self.environment["PATH"] = f"{self.tree}/bin:{self.environment['PATH']}"
        for folder in ("tools", "bin", "tests", "bus", "docs", "build/release/tests"):
            (self.tree / folder).mkdir(parents=True)
        for name in ("check", "junit", "lib.sh", "run_tests"):
            shutil.copy(SOURCE / "tools" / name, self.tree / "tools")
        # The stage format is about the real tree.
        self.change_check(r"^stage_format\(\) \{$", "stage_format() {\n  return")
        (self.tree / "tools/packages.txt").write_text("# none\n")
        (self.tree / "tests/skips.txt").write_text("^no moon here\tfalse\n")
        (self.tree / "tests/long.txt").write_text("# none\n^Long.B$\tfor no reason\n")
        (self.tree / ".gitignore").write_text("/build/\n")
        (self.tree / "bin/cmake").write_text(CMAKE)
        (self.tree / "bin/cmake").chmod(0o755)
        (self.build / "release/CTestTestfile.cmake").write_text(TESTS)
        self.git("init", "-q", "--template=")
        self.commit()

    def tearDown(self):
        self.holder.cleanup()

    def git(self, *arguments):
        subprocess.run(["git", "-C", self.tree, *arguments], check=True, env=self.environment)

    def commit(self):
        self.git("add", "-A")
        self.git("-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false", "commit", "-q", "-m", "tree")

    def change_check(self, old, new):
        path = self.tree / "tools/check"
        text, count = re.subn(old, new, path.read_text(), flags=re.MULTILINE)
        self.assertEqual(count, 1, f"tools/check no longer has one line {old}")
        path.write_text(text)

    def run_check(self, *arguments):
        return subprocess.run([self.tree / "tools/check", *arguments], text=True, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=self.environment)

    def stages(self, run):
        return re.findall(r"^([a-z]+) +\d+ s  (?:ok|FAILED)", run.stdout, re.MULTILINE)

    def test_without_a_stage_it_is_the_gate_that_continuous_integration_runs(self):
        run = self.run_check()
        self.assertEqual(run.returncode, 0, run.stdout)
        self.assertEqual(self.stages(run), ["packages", "format", "build", "test", "install"])
        self.assertRegex(run.stdout, r"(?m)^test +\d+ s  ok  \(2 passed, 0 failed, 1 skipped\)\n  skipped: 1, no moon here \(allowed\)$")
        self.assertRegex(run.stdout, r"\n8 passed, 0 failed, in \d+ s\n$")
        self.assertIn("tools/check\n", (SOURCE / ".ci/run").read_text())

    def test_a_test_that_passes_the_second_time_is_named_at_the_end(self):
        (self.build / "broken").write_text("once\n")
        run = self.run_check()
        self.assertEqual(run.returncode, 0, run.stdout)
        self.assertEqual(run.stdout.splitlines()[-1], "unsteady: breaks")

    def test_fails_for_a_test_that_fails_twice_a_skip_and_a_file_left_behind(self):
        def fails(text):
            run = self.run_check("test")
            self.assertEqual(run.returncode, 1, run.stdout)
            self.assertIn(text, run.stdout)

        (self.build / "broken").write_text("once\ntwice\n")
        fails("  | FAILED: breaks\n  | broken\n")
        (self.tree / "tests/skips.txt").write_text("^no moon here\ttrue\n")
        fails("NOT ALLOWED: this machine could have run it (true)")
        (self.tree / "tests/skips.txt").write_text("^no moon here\tfalse\n")
        (self.build / "litter").touch()
        fails("tests left files behind:\n  | build/release/tests/left\n")

    def test_the_stage_exhaustive_runs_the_tests_that_the_gate_leaves_out(self):
        run = self.run_check("exhaustive")
        self.assertRegex(run.stdout, r"(?m)^exhaustive +\d+ s  ok  \(2 passed, 0 failed, 0 skipped\)$")
        self.assertIn("EXHAUSTIVE_TESTS:BOOL=ON", (self.build / "release/CMakeCache.txt").read_text())

    def test_touched_names_the_stages_that_look_at_what_has_changed(self):
        for stage in ("packages", "exhaustive", "asan", "tsan", "fuzz", "kernel", "interop", "demo", "bench", "tidy"):
            self.change_check(rf"^stage_{stage}\(\) ", f"stage_{stage}() {{ return; }}\nother_{stage}() ")
        self.commit()
        self.assertIn("nothing that a stage after the gate looks at has changed", self.run_check("--touched", "HEAD").stdout)
        (self.tree / "tests/docs").mkdir()
        (self.tree / "tests/docs/new_test.py").touch()
        self.assertEqual(self.stages(self.run_check("--touched", "HEAD")), ["packages", "exhaustive"])
        (self.tree / "bus/new.cpp").touch()
        self.assertEqual(self.stages(self.run_check("--touched", "HEAD")),
                         ["packages", "exhaustive", "asan", "tsan", "fuzz", "kernel", "interop", "bench", "tidy"])
        self.assertEqual(self.run_check("--touched", "nowhere").returncode, 2)

    def test_control_c_ends_all(self):
        (self.build / "hold").touch()
        pid, terminal = pty.fork()
        if pid == 0:
            os.execve(self.tree / "tools/check", ["tools/check"], self.environment)
        shown, interrupted = "", False
        while True:
            try:
                shown += os.read(terminal, 4096).decode()
            except OSError:
                break
            if not interrupted and "step 1 of 2" in shown:
                interrupted = True
                os.write(terminal, b"\x03")
        self.assertEqual(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), 130)
        os.close(terminal)
        self.assertRegex(shown, r"\r  build, stage 3 of 5: \d+ s, step 1 of 2\x1b\[K")
        builder = pathlib.Path("/proc") / (self.build / "builder").read_text().strip() / "stat"
        until = time.monotonic() + 30
        while builder.exists() and " Z " not in builder.read_text():
            self.assertLess(time.monotonic(), until, "the build goes on")
            time.sleep(0.02)


unittest.main(verbosity=2, argv=sys.argv[:1])
