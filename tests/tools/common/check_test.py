#!/usr/bin/python3
"""check_test.py SOURCE [CLASS]: runs tools/check on a small tree with stand-ins for cmake and tests, as a person would."""
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

# Builds in two steps. Between them it waits while there is a file build/hold, less than a minute, and 2 s if there is a
# file build/slow.
CMAKE = """#!/bin/bash
case $1 in
-S)
  [[ -d build/release ]] || mkdir -p build/release
  : >build/release/build.ninja
  option=${!#}
  option=${option#-D}
  echo "${option/=/:BOOL=}" >build/release/CMakeCache.txt
  ;;
--build)
  echo "$$" >build/builder
  echo '[1/2] Building a'
  for ((i = 0; i < 1000; ++i)); do
    [[ ! -e build/hold ]] || sleep 0.05
  done
  [[ ! -e build/slow ]] || sleep 2.2
  echo '[2/2] Building b'
  ;;
esac
"""
# Stands in for tools/run_tests: runs two tests. With a file build/broken, one of them fails.
RUN_TESTS = """#!/bin/bash
echo "$(<build/release/CMakeCache.txt) $*" >>build/tested
echo "$SHMIF_STAGE_ENDS" >build/ends
while [[ $1 != --junit ]]; do shift; done
failures=0
[[ ! -e build/broken ]] || failures=1
echo '1/2 Test #1: a ... Passed'
status=run
((failures == 0)) || status=fail
echo "<testsuite><testcase name=\\"a\\" status=\\"run\\"/><testcase name=\\"b\\" status=\\"$status\\"/></testsuite>" >"$2"
exit $failures
"""
# For the real one: four tests, each of which adds its name to build/ran. With a file build/broken, "breaks" fails, and
# with a file build/worse, "worsens" does. With a file build/killer, "breaks" ends who runs it. With a file build/litter, "litters" leaves a file.
TESTS = """
add_test(breaks "sh" "-c" "echo breaks >>../ran; [ ! -e ../killer ] || kill -KILL $PPID; [ ! -e ../broken ]")
add_test(worsens "sh" "-c" "echo worsens >>../ran; [ ! -e ../worse ]")
add_test(skips "sh" "-c" "echo skips >>../ran; echo 'skipped: no moon here'; exit 77")
set_tests_properties(skips PROPERTIES SKIP_RETURN_CODE 77)
add_test(litters "sh" "-c" "echo litters >>../ran; [ ! -e ../litter ] || touch tests/left")
"""
EVERY_TEST = ["breaks", "litters", "skips", "worsens"]
# Stands in for tests/kernel/run: one test skips, for a reason that the file build/known names.
KERNEL = """#!/bin/bash
echo "$*" >>build/asked
while [[ $1 != --results ]]; do shift; done
mkdir -p "$2"
printf '%s\\n' '<testsuite>' '<testcase name="a" status="run"/>' '<testcase name="b" status="notrun">' \\
  '<system-out>b_test.cpp:1: Skipped' 'no moon here' '</system-out>' '</testcase>' '</testsuite>' >"$2/tests.xml"
cp build/known "$2/skips.txt"
"""
# Stand in for tests/kernel/build_damon and tests/kernel/damon.
BUILD_DAMON = """#!/bin/bash
echo built >>build/damon
mkdir -p "$1" && touch "$1/vmlinuz"
"""
DAMON = """#!/bin/bash
[[ -e $1/vmlinuz ]] && echo run >>build/damon
"""


class Tree(unittest.TestCase):
    """A small tree in which people run tools/check: for each test a copy of the first one."""
    made = None

    def setUp(self):
        self.holder = tempfile.TemporaryDirectory()
        self.tree = pathlib.Path(self.holder.name) / "tree"
        self.environment = {key: value for key, value in os.environ.items() if not key.startswith(("SHMIF_", "GIT_"))}
        self.environment["PATH"] = f"{self.tree}/bin:{self.environment['PATH']}"
        self.environment["XDG_CACHE_HOME"] = str(self.tree / "build/cache")
        if not Tree.made:
            self.make()
            Tree.made = tempfile.TemporaryDirectory()
            shutil.copytree(self.tree, Tree.made.name, dirs_exist_ok=True)
        else:
            shutil.copytree(Tree.made.name, self.tree)

    def make(self):
        self.tree.mkdir()
        for folder in ("tools", "bin", "build"):
            (self.tree / folder).mkdir()
        for name in ("check", "junit", "lib.sh"):
            shutil.copy(SOURCE / "tools" / name, self.tree / "tools")
        self.change_check("step < 150000", "step < 1500")  # of the loop that tells how fast the machine is
        (self.tree / "tools/packages.txt").write_text("# none\n")
        (self.tree / ".gitignore").write_text("/build/\n")
        for name, text in (("bin/cmake", CMAKE), ("tools/run_tests", RUN_TESTS)):
            (self.tree / name).write_text(text)
            (self.tree / name).chmod(0o755)
        self.git("init", "-q", "--template=")
        self.commit()

    def tearDown(self):
        self.holder.cleanup()

    def commit(self):
        self.git("add", "-A")
        self.git("-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false", "commit", "-q", "-m", "tree")

    def git(self, *arguments):
        subprocess.run(["git", "-C", self.tree, *arguments], check=True, env=self.environment)

    def change_check(self, old, new):
        path = self.tree / "tools/check"
        text, count = re.subn(old, new, path.read_text(), flags=re.MULTILINE)
        self.assertEqual(count, 1, f"tools/check no longer has one line {old}")
        path.write_text(text)

    def run_check(self, *arguments, **environment):
        return subprocess.run([self.tree / "tools/check", *arguments], text=True, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=self.environment | environment)

    def is_running(self, pid):
        try:
            return " Z " not in pathlib.Path(f"/proc/{pid}/stat").read_text()
        except OSError:
            return False

    def times_tested(self):
        tested = self.tree / "build/tested"
        return len(tested.read_text().splitlines()) if tested.exists() else 0

    def last_line(self, run):
        return run.stdout.splitlines()[-1]


class Check(Tree):
    def put_kernels(self):
        """Stand-ins for the virtual machines: that of Debian's kernel, and that with DAMON."""
        folder = self.tree / "tests/kernel"
        folder.mkdir(parents=True)
        for name, text in (("run", KERNEL), ("build_damon", BUILD_DAMON), ("damon", DAMON)):
            (folder / name).write_text(text)
            (folder / name).chmod(0o755)

    def test_only_continuous_integration_has_budgets(self):
        self.change_check(r"^build +1200 ", "build 1 ")
        (self.tree / "build/slow").touch()
        person = self.run_check("--quick")
        self.assertEqual(person.returncode, 0, person.stdout)
        self.assertEqual(self.last_line(person), "5 passed, 0 failed")
        machine = self.run_check("--quick", SHMIF_CHECK_BUDGETS="1")
        self.assertEqual(machine.returncode, 1, machine.stdout)
        self.assertIn("FAILED: over its budget", machine.stdout)
        self.assertEqual(self.last_line(machine), "1 passed, 1 failed")
        self.assertIn("SHMIF_CHECK_BUDGETS=1", (SOURCE / ".ci/run").read_text())

    def test_a_machine_that_builds_slowly_has_longer_budgets_in_proportion(self):
        self.change_check("usual_build=300", "usual_build=1")
        (self.tree / "build/slow").touch()
        slow = self.run_check("--quick", SHMIF_CHECK_BUDGETS="1")
        self.assertEqual(slow.returncode, 0, slow.stdout)
        self.assertIn("a slow machine: each budget is 215 % of the usual\n", slow.stdout, "never more")
        self.assertRegex(slow.stdout, r"(?m)^test +\d+ s of 1548 s  ok")
        (self.tree / "build/release").mkdir(exist_ok=True)
        usual = self.run_check("--quick", SHMIF_CHECK_BUDGETS="1")
        self.assertRegex(usual.stdout, r"(?m)^test +\d+ s of  720 s  ok", "nothing was built from nothing")

    def test_stages_before_the_build_are_judged_when_it_has_told_how_slow_the_machine_is(self):
        self.change_check(r"^format +30 ", "format 3 ")
        self.change_check(r"^stage_format\(\) \{$", "stage_format() {\n  sleep 4.1; return")
        self.change_check("most_slowness=215", "most_slowness=900")
        usual = self.run_check("format", "build", SHMIF_CHECK_BUDGETS="1")
        self.assertEqual(usual.returncode, 1, usual.stdout)
        self.assertRegex(usual.stdout, r"(?m)^format +\d+ s  ok$(.*\n)*^format +\d+ s of    3 s  FAILED: over its budget$")
        self.assertEqual(self.last_line(usual), "1 passed, 1 failed")
        shutil.rmtree(self.tree / "build/release")
        (self.tree / "build/slow").touch()
        self.change_check("usual_build=300", "usual_build=1")
        slow = self.run_check("format", "build", SHMIF_CHECK_BUDGETS="1")
        self.assertEqual(slow.returncode, 0, slow.stdout)
        self.assertEqual(self.last_line(slow), "2 passed, 0 failed")
        again = self.run_check("format", "build", SHMIF_CHECK_BUDGETS="1")
        self.assertRegex(again.stdout, r"(?m)^format +\d+ s of    3 s  FAILED: over its budget$", "the build is no longer one from nothing")

    def test_a_machine_that_becomes_slower_after_its_build_has_longer_budgets_in_proportion(self):
        self.change_check(r"^  pace=.*EPOCHREALTIME.*$", "  pace=$((pace + 1000))")
        slower = self.run_check("--quick", SHMIF_CHECK_BUDGETS="1")
        self.assertEqual(slower.returncode, 0, slower.stdout)
        self.assertNotIn("a slow machine", slower.stdout, "the build took no longer than usual")
        # 1,000 at the start, 2,000 and 3,000 before and after the build, 4,000 after the tests.
        self.assertRegex(slower.stdout, r"(?m)^test +\d+ s of 1152 s  ok")

    def test_all_stages_together_have_a_limit(self):
        self.change_check("^limit=2370$", "limit=1")
        (self.tree / "build/slow").touch()
        late = self.run_check("--quick", SHMIF_CHECK_BUDGETS="1")
        self.assertEqual(late.returncode, 1, late.stdout)
        self.assertRegex(late.stdout, r"(?m)^all stages: \d+ s of 1 s  FAILED: over the limit$")
        self.assertEqual(self.run_check("--quick").returncode, 0, "people have no limit")

    def test_a_stage_is_told_to_end_in_its_own_time_and_in_that_of_all_stages(self):
        ends = []
        for limit in ("2370", "300"):
            self.change_check(r"^limit=\d+$", f"limit={limit}")
            run = self.run_check("--quick", SHMIF_CHECK_BUDGETS="1")
            ends.append(int((self.tree / "build/ends").read_text()) - time.time())
            self.assertEqual(run.returncode, 0, run.stdout)
        self.assertTrue(400 < ends[0] <= 720 * 2.15 - 60, ends)
        self.assertTrue(0 < ends[1] <= 300 * 2.15 - 60, ends)

    def test_continue_leaves_out_what_has_passed_on_this_tree(self):
        broken = self.tree / "build/broken"
        broken.touch()
        run = self.run_check("--quick")
        self.assertEqual(run.returncode, 1)
        self.assertEqual(self.last_line(run),
                         "3 passed, 2 failed; tools/check --quick --continue runs what has not passed")
        broken.unlink()
        self.assertEqual(self.last_line(self.run_check("--quick", "--continue")), "5 passed, 0 failed")
        self.assertEqual(self.times_tested(), 2)
        run = self.run_check("--continue", "--quick")
        self.assertIn("test     passed before on this tree", run.stdout)
        self.assertEqual(self.last_line(run), "3 passed, 0 failed")
        self.assertEqual(self.times_tested(), 2)
        for each, change in enumerate(("bin/cmake", "new file", "commit")):
            if change == "commit":
                self.commit()
            else:
                with open(self.tree / change, "a") as file:
                    file.write("# changed\n")
            self.assertEqual(self.last_line(self.run_check("--quick", "--continue")), "5 passed, 0 failed", change)
            self.assertEqual(self.times_tested(), 3 + each, change)

    def test_a_failure_ends_what_had_passed_before(self):
        self.run_check("--quick")
        (self.tree / "build/broken").touch()
        self.assertEqual(self.run_check("--quick").returncode, 1)
        self.assertEqual(self.run_check("--quick", "--continue").returncode, 1)

    def test_quick_leaves_the_exhaustive_tests_to_the_stage_test(self):
        def left_out():
            return "SHMIF_EXHAUSTIVE_TESTS:BOOL=OFF" in (self.tree / "build/tested").read_text().splitlines()[-1]

        self.run_check("--quick")
        self.assertTrue(left_out())
        self.assertEqual(self.last_line(self.run_check("test", "--continue")), "3 passed, 0 failed")
        self.assertFalse(left_out(), "what --quick ran is not the whole stage")
        self.assertEqual(self.times_tested(), 2)
        self.assertIn("test     passed before", self.run_check("--quick", "--continue").stdout)
        self.assertEqual(self.times_tested(), 2)

    def test_says_now_and_then_how_far_it_is_without_a_terminal(self):
        self.change_check(r"^every=60$", "every=1")
        (self.tree / "build/slow").touch()
        lines = self.run_check("--quick").stdout.splitlines()
        self.assertTrue(any(re.fullmatch(r"  build, stage 2 of 3: \d+ s, step 1 of 2", line) for line in lines), lines)
        self.assertFalse(any("\r" in line for line in lines))

    def test_rewrites_one_line_on_a_terminal_and_ends_all_by_control_c(self):
        (self.tree / "build/hold").touch()
        pid, terminal = pty.fork()
        if pid == 0:
            os.execve(self.tree / "tools/check", ["tools/check", "--quick"], self.environment)
        shown = ""
        ended = False
        interrupted = False
        while not ended:
            try:
                shown += os.read(terminal, 4096).decode()
            except OSError:
                ended = True
            if not interrupted and "step 1 of 2" in shown:
                interrupted = True
                os.write(terminal, b"\x03")
        self.assertEqual(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), 130)
        os.close(terminal)
        self.assertRegex(shown, r"\r  build, stage 2 of 3: \d+ s, step 1 of 2\x1b\[K")
        self.assertEqual(shown.splitlines()[-1], "tools/check: stopped; tools/check --quick --continue goes on")
        builder = (self.tree / "build/builder").read_text().strip()
        while self.is_running(builder):  # runs until it has ended, or until CTest's timeout
            time.sleep(0.02)
        (self.tree / "build/hold").unlink()
        self.assertEqual(self.last_line(self.run_check("--quick", "--continue")), "5 passed, 0 failed")

    def test_a_virtual_machine_says_itself_what_it_could_have_run(self):
        self.put_kernels()
        (self.tree / "tests/skips.txt").write_text("^no moon here\ttrue\n")
        known = self.tree / "build/known"
        known.write_text("^no moon here\tfalse # there\n")
        run = self.run_check("kernel")
        self.assertEqual(self.last_line(run), "2 passed, 0 failed", run.stdout)
        self.assertIn("skipped: 1, no moon here (allowed)", run.stdout)
        known.write_text("^no moon here\ttrue # there\n")
        run = self.run_check("kernel")
        self.assertIn("NOT ALLOWED: this machine could have run it (true # there)", run.stdout)
        self.assertEqual((self.tree / "build/damon").read_text().splitlines(), ["built", "run", "run"], "it is built once")
        self.assertRegex(self.last_line(run), "^2 passed, 1 failed")
        run = self.run_check("kernel", "--continue")
        self.assertRegex(self.last_line(run), "^2 passed, 1 failed", "a skip that is not allowed is no reason to leave it out")

    def test_a_stage_fails_whose_results_cannot_be_read(self):
        self.put_kernels()
        (self.tree / "build/known").write_text("")
        with open(self.tree / "tests/kernel/run", "a") as kernel:
            kernel.write('echo "<testsuite><testcase" >"$2/tests.xml"\n')
        run = self.run_check("kernel")
        self.assertRegex(run.stdout, r"tools/junit: cannot read \S*/build/logs/kernel.xml or")
        self.assertRegex(self.last_line(run), "^0 passed, 1 failed")

    def test_all_stages_run_a_choice_of_tests_on_the_other_kernel_and_a_named_stage_all(self):
        self.put_kernels()
        (self.tree / "build/known").write_text("^no moon here\tfalse\n")
        check = self.tree / "tools/check"
        check.write_text(re.sub(r"^(?!packages|build|kernel)[a-z]+ +\d+ .*\n", "", check.read_text(), flags=re.MULTILINE))
        run = self.run_check()
        self.assertEqual(self.last_line(run), "4 passed, 0 failed", run.stdout)
        self.assertIn("kernel   passed before on this tree", self.run_check("--continue").stdout)
        self.assertEqual(self.last_line(self.run_check("kernel", "--continue")), "2 passed, 0 failed")
        asked = (self.tree / "build/asked").read_text().splitlines()
        self.assertEqual(["--short" in each for each in asked], [True, False])
        self.assertEqual((self.tree / "build/damon").read_text().splitlines(), ["built", "run"], "of the named stage alone")

    def test_explains_itself(self):
        self.assertIn("tools/check --quick --continue", self.run_check("--help").stdout)
        run = self.run_check("nonsense")
        self.assertEqual(run.returncode, 2)
        self.assertEqual(run.stdout, 'tools/check: there is no option or stage "nonsense" (try tools/check --help, or --list)\n')


class Rerun(Tree):
    """What --continue runs of a stage whose tests failed. The tests are run by tools/run_tests itself."""

    def setUp(self):
        super().setUp()
        shutil.copy(SOURCE / "tools/run_tests", self.tree / "tools")
        (self.tree / "tests").mkdir()
        self.allow("false")
        self.build = self.tree / "build"
        (self.build / "release/tests").mkdir(parents=True)
        (self.build / "release/CTestTestfile.cmake").write_text(TESTS)
        self.program = self.build / "release/tests/a_test"
        self.put_program(self.program)

    def allow(self, probe):
        (self.tree / "tests/skips.txt").write_text(f"^no moon here\t{probe}\n")
        self.commit()

    def put_program(self, path):
        path.write_text("#!/bin/sh\n")
        path.chmod(0o755)

    def ran(self, *arguments):
        """Runs tools/check test. Result: the names of the tests that ran, in order, and the run."""
        (self.build / "ran").unlink(missing_ok=True)
        run = self.run_check("test", *arguments)
        ran = self.build / "ran"
        return sorted(ran.read_text().split()) if ran.exists() else [], run

    def break_tests(self, *names):
        for name in names:
            (self.build / name).touch()
        found, run = self.ran()
        self.assertEqual((found, run.returncode), (EVERY_TEST, 1), run.stdout)

    def test_only_what_failed_until_each_test_has_passed(self):
        self.break_tests("broken", "worse")
        (self.build / "worse").unlink()
        found, run = self.ran("--continue")
        self.assertEqual(found, ["breaks", "worsens"])
        self.assertIn("(2 passed, 1 failed, 1 skipped; rerun 2)", run.stdout)
        self.assertIn("  | FAILED: breaks\n", run.stdout)
        self.assertNotIn("FAILED: worsens", run.stdout)
        self.assertTrue(self.last_line(run).startswith("2 passed, 2 failed"), run.stdout)
        (self.build / "broken").unlink()
        found, run = self.ran("--continue")
        self.assertEqual(found, ["breaks"])
        self.assertIn("(3 passed, 0 failed, 1 skipped; rerun 1)\n  skipped: 1, no moon here (allowed)", run.stdout)
        self.assertEqual(self.last_line(run), "4 passed, 0 failed")
        found, run = self.ran("--continue")
        self.assertEqual((found, self.last_line(run)), ([], "1 passed, 0 failed"))

    def test_also_when_other_programs_were_built_and_other_tests_run_in_the_meantime(self):
        self.break_tests("broken")
        self.put_program(self.build / "release/benchmark")
        (self.build / "worse").touch()
        subprocess.run(["ctest", "--test-dir", self.build / "release", "-R", "worsens"], check=False, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL)
        (self.build / "broken").unlink()
        found, run = self.ran("--continue")
        self.assertEqual((found, self.last_line(run)), (["breaks"], "4 passed, 0 failed"))

    def test_also_after_the_second_run_was_interrupted(self):
        self.break_tests("broken")
        (self.build / "killer").touch()
        self.assertEqual(self.ran("--continue")[1].returncode, 1)
        (self.build / "killer").unlink()
        self.assertEqual(self.ran("--continue")[0], ["breaks"])

    def test_all_tests_when_the_others_did_not_pass_on_what_is_here_now(self):
        def add_test():
            with open(self.build / "release/CTestTestfile.cmake", "a") as file:
                file.write('add_test(added "true")\n')

        for change in (lambda: self.put_program(self.program), self.program.unlink, add_test, lambda: self.allow("false # never"),
                       (self.tree / "new file").touch):
            self.break_tests("broken")
            change()
            self.assertEqual(self.ran("--continue")[0], EVERY_TEST)
        self.assertEqual(self.ran()[0], EVERY_TEST, "without --continue")

    def test_all_tests_when_the_stage_was_interrupted(self):
        self.break_tests("broken")
        (self.build / "killer").touch()
        self.assertEqual(self.ran()[1].returncode, 1)
        (self.build / "killer").unlink()
        self.assertEqual(self.ran("--continue")[0], EVERY_TEST)

    def test_all_tests_when_one_left_files_or_must_not_skip(self):
        self.break_tests("broken", "litter")
        (self.build / "release/tests/left").unlink()
        self.assertEqual(self.ran("--continue")[0], EVERY_TEST)
        (self.build / "litter").unlink()
        (self.build / "release/tests/left").unlink()
        self.allow("true")
        self.break_tests("broken")
        self.assertEqual(self.ran("--continue")[0], EVERY_TEST)


unittest.main(verbosity=2, argv=[sys.argv[0], *sys.argv[2:]])
