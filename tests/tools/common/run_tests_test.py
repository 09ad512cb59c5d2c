#!/usr/bin/python3
"""run_tests_test.py SOURCE TELLER: tools/run_tests beside CTest, on tests of all kinds. TELLER is a test program."""
import os
import pathlib
import subprocess
import sys
import tempfile
import time
import unittest
from xml.etree import ElementTree

SOURCE, TELLER = sys.argv[1:]

COMMANDS = r"""
add_test(Passes "sh" "-c" "echo fine")
add_test([=[Fails/"<a>"]=] "sh" "-c" "printf 'x < y\\001\\n'; exit 3")
add_test(IsKilled "sh" "-c" "kill -SEGV $$")
add_test(IsMissing "/no/such/program")
add_test(IsDisabled "false")
set_tests_properties(IsDisabled PROPERTIES DISABLED TRUE)
add_test(SkipsByCode "sh" "-c" "echo 'skipped: no moon'; exit 77")
set_tests_properties(SkipsByCode PROPERTIES SKIP_RETURN_CODE 77)
add_test(SkipsByText "sh" "-c" "echo '[  SKIPPED ]'")
set_tests_properties(SkipsByText PROPERTIES SKIP_REGULAR_EXPRESSION "\\[  SKIPPED \\]")
add_test(SaysWhatItShould "sh" "-c" "echo 7 of 7")
add_test(SaysAnother "sh" "-c" "echo 6 of 7")
set_tests_properties(SaysWhatItShould SaysAnother PROPERTIES PASS_REGULAR_EXPRESSION "7 of 7")
add_test(HasItsEnvironment "sh" "-c" "test \"$MOON\" = full && test $PWD = /")
set_tests_properties(HasItsEnvironment PROPERTIES ENVIRONMENT "MOON=full" WORKING_DIRECTORY "/")
add_test(TakesTooLong "sh" "-c" "echo begun; sleep 600 & sleep 600")
set_tests_properties(TakesTooLong PROPERTIES TIMEOUT 1)
"""
STATUS = {"Passes": "run", 'Fails/"<a>"': "fail", "IsKilled": "fail", "IsMissing": "fail", "IsDisabled": "disabled",
          "SkipsByCode": "notrun", "SkipsByText": "notrun", "SaysWhatItShould": "run", "SaysAnother": "fail",
          "HasItsEnvironment": "run", "TakesTooLong": "fail"}
TELLERS = {"Teller.BeginsNone": "run", "Teller.BeginsOne": "run", "Teller.BeginsOneInAChild": "run", "Teller.Fails": "fail",
           "Teller.Skips": "notrun", "Teller.EndsEarly": "run", "Teller.IsKilled": "fail", "Teller.Hangs": "fail",
           "Teller.EndsWhoStartedIt": "fail", "Teller.LeavesNothingBehind": "run", "Teller.HasNoInput": "run"}


class RunTests(unittest.TestCase):
    def setUp(self):
        self.holder = tempfile.TemporaryDirectory()
        self.build = pathlib.Path(self.holder.name)
        self.results = self.build / "tests.xml"

    def tearDown(self):
        self.holder.cleanup()

    def put_tests(self, text):
        (self.build / "CTestTestfile.cmake").write_text(text)

    def put_tellers(self, names=TELLERS):
        self.put_tests("".join(f'add_test({name} {TELLER} --gtest_filter={name})\nset_tests_properties({name} PROPERTIES '
                               'SKIP_REGULAR_EXPRESSION "\\\\[  SKIPPED \\\\]" TIMEOUT 2)\n' for name in names))

    def run_tests(self, *options, **environment):
        return subprocess.run([f"{SOURCE}/tools/run_tests", self.build, "--jobs", "3", "--junit", self.results, *options],
                              text=True, capture_output=True, check=False, timeout=200, env=os.environ | environment)

    def cases(self):
        return {case.get("name"): case for case in ElementTree.parse(self.results).getroot().iter("testcase")}

    def statuses(self):
        return {name: case.get("status") for name, case in self.cases().items()}

    def test_judges_commands_as_ctest_does(self):
        self.put_tests(COMMANDS)
        run = self.run_tests()
        self.assertEqual((run.returncode, run.stderr), (8, ""))
        self.assertEqual(self.statuses(), STATUS)
        cases = self.cases()
        self.assertEqual(cases['Fails/"<a>"'].findtext("system-out"), "x < y?\n")
        self.assertIn("ended by signal 11 (Segmentation fault)", cases["IsKilled"].findtext("system-out"))
        self.assertIn("the program of this test is missing", cases["IsMissing"].findtext("system-out"))
        self.assertIn("begun\n\nended after its time limit of 1 s", cases["TakesTooLong"].findtext("system-out"))
        self.assertIn("failed: IsKilled\n", run.stdout)
        self.assertIn("6 of 11 tests did not fail\n", run.stdout)
        suite = ElementTree.parse(self.results).getroot()
        self.assertEqual([suite.get(name) for name in ("tests", "failures", "skipped")], ["11", "5", "2"])
        subprocess.run(["ctest", "--test-dir", self.build, "--output-junit", self.results], stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL, check=False)
        # CTest says of a missing program that its test did not run.
        self.assertEqual(self.statuses(), STATUS | {"IsMissing": "notrun"})

    def test_judges_tests_of_a_program_that_forks_for_them_as_if_each_had_its_own(self):
        self.put_tellers()
        run = self.run_tests()
        self.assertEqual((run.returncode, run.stderr), (8, ""))
        self.assertEqual(self.statuses(), TELLERS)
        cases = self.cases()
        self.assertIn("Killed", cases["Teller.IsKilled"].findtext("system-out"))
        self.assertIn("ended after its time limit of 2 s", cases["Teller.Hangs"].findtext("system-out"))
        self.assertIn("Failed\nthis one fails\n", cases["Teller.Fails"].findtext("system-out"))
        self.assertIn("Skipped\nno moon\n", cases["Teller.Skips"].findtext("system-out"))

    def test_starts_a_program_anew_that_asks_for_it(self):
        tell = self.build / "tell"
        tell.write_text('#!/bin/sh\necho "$*" >>%s/told\n' % self.build)
        tell.chmod(0o755)
        self.put_tests(f"add_test(A {tell} --gtest_filter=T.A --fresh)\nadd_test(B {tell} --gtest_filter=T.B)\n")
        self.run_tests()
        self.assertEqual(self.statuses(), {"A": "run", "B": "fail"})
        self.assertIn("does not serve tests", self.cases()["B"].findtext("system-out"))
        self.assertEqual(sorted((self.build / "told").read_text().splitlines()), ["--gtest_filter=T.A --fresh", "--serve", "--serve"])

    def test_runs_again_what_failed(self):
        self.put_tellers()
        self.run_tests()
        old = self.build / "old.xml"
        self.results.rename(old)
        self.assertEqual(self.run_tests("--failed-in", old).returncode, 8)
        self.assertEqual(self.statuses(), {name: "fail" for name, status in TELLERS.items() if status == "fail"})

    def test_a_test_that_passes_the_second_time_is_unsteady(self):
        self.put_tests(f"""
add_test(Once sh -c "test -e {self.build}/once || {{ touch {self.build}/once; echo too late; false; }}")
add_test(Never sh -c "echo never; false")
""")
        run = self.run_tests()
        self.assertEqual(run.returncode, 8)
        self.assertEqual(run.stdout.splitlines()[-2:], ["failed: Never", "unsteady: Once"])
        self.assertEqual(self.statuses(), {"Once": "run", "Never": "fail"})
        self.assertEqual([(case.get("unsteady"), case.findtext("system-out")) for case in self.cases().values()],
                         [("yes", "too late\n"), (None, "never\n")])

    def test_takes_the_options_of_ctest(self):
        self.put_tests(COMMANDS)
        self.assertEqual(self.run_tests("--tests-regex", "^(Passes|Says)", "--exclude-regex", "Another").returncode, 0)
        self.assertEqual(self.statuses(), {"Passes": "run", "SaysWhatItShould": "run"})
        run = self.run_tests("--tests-regex", "NoSuchTest")
        self.assertEqual((run.returncode, run.stdout), (1, "No tests were found!!!\n"))

    def test_keeps_apart_what_must_not_run_side_by_side(self):
        step = 'echo "begin $0" >>log; sleep 0.2; echo "end $0" >>log'
        names = ["Alone", "Locked1", "Locked2", "Sets", "Uses", "Wide", "Other"]
        self.put_tests("".join(f"add_test({name} sh -c [=[{step}]=] {name})\n" for name in names) + """
set_tests_properties(Alone PROPERTIES RUN_SERIAL TRUE COST 9)
set_tests_properties(Locked1 Locked2 PROPERTIES RESOURCE_LOCK cpus)
set_tests_properties(Sets PROPERTIES FIXTURES_SETUP prefix)
set_tests_properties(Uses PROPERTIES FIXTURES_REQUIRED prefix COST 5)
set_tests_properties(Wide PROPERTIES PROCESSORS 3)
set_tests_properties(Alone Locked1 Locked2 Sets Uses Wide Other PROPERTIES WORKING_DIRECTORY %s)
""" % self.build)
        self.assertEqual(self.run_tests().returncode, 0)
        running, beside = set(), set()
        for line in (self.build / "log").read_text().splitlines():
            verb, name = line.split()
            if verb == "begin":
                beside |= {frozenset((name, each)) for each in running}
                running.add(name)
            else:
                running.remove(name)
        beside = {tuple(sorted(pair)) for pair in beside}
        for pair in beside:
            self.assertFalse({"Alone", "Wide"} & set(pair), beside)
            self.assertNotIn(pair, {("Locked1", "Locked2"), ("Sets", "Uses")})
        self.assertTrue(beside, "nothing ran side by side")

    def test_a_test_whose_fixture_failed_fails(self):
        self.put_tests("""
add_test(Sets false)
add_test(Uses true)
set_tests_properties(Sets PROPERTIES FIXTURES_SETUP prefix)
set_tests_properties(Uses PROPERTIES FIXTURES_REQUIRED prefix)
""")
        self.run_tests()
        self.assertEqual(self.statuses(), {"Sets": "fail", "Uses": "fail"})

    def test_refuses_what_it_does_not_know(self):
        self.put_tests('add_test(A true)\nset_tests_properties(A PROPERTIES WILL_FAIL TRUE)\n')
        for options, told in (([], "the test A has a property that tools/run_tests does not know: WILL_FAIL"),
                              (["--jobs", "0"], "--jobs takes a number from 1 on, not 0"),
                              (["--failed-in"], "--failed-in needs a value")):
            run = self.run_tests(*options)
            self.assertEqual(run.returncode, 2, run.stdout)
            self.assertIn(f"tools/run_tests: {told}", run.stderr)

    def test_ends_with_all_its_tests_when_it_is_ended(self):
        self.put_tests('add_test(A sh -c "echo $$ >pid; exec sleep 600")\n'
                       f'set_tests_properties(A PROPERTIES WORKING_DIRECTORY {self.build})\n')
        runner = subprocess.Popen(["timeout", "3", f"{SOURCE}/tools/run_tests", self.build], stdout=subprocess.DEVNULL,
                                  stderr=subprocess.DEVNULL)
        self.assertEqual(runner.wait(60), 124)
        pid = int((self.build / "pid").read_text())
        until = time.monotonic() + 20
        while os.path.exists(f"/proc/{pid}") and time.monotonic() < until:
            time.sleep(0.05)
        self.assertFalse(os.path.exists(f"/proc/{pid}"))


unittest.main(verbosity=2, argv=sys.argv[:1])
