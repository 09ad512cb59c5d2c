#!/usr/bin/python3
"""junit_test.py SOURCE: what tools/junit makes of the results that CTest wrote about some tests."""
import pathlib
import subprocess
import sys
import tempfile
import unittest

SOURCE = pathlib.Path(sys.argv.pop() if len(sys.argv) == 2 else ".").resolve()

TESTS = r"""
add_test(Passes "true")
add_test([=[Fails/"<a>"]=] "sh" "-c" "printf '%s\n' 'Running main() from b.cc' '[==========] Running' '' 'x < y && \"z\"' '[  FAILED  ]'; exit 1")
add_test(SkipsByGoogleTest "sh" "-c" "printf '%s\n' 'a_test.cpp:7: Skipped' 'no <moon> & no sun' '' 'a_test.cpp:7: Skipped' 'no \"sun\"' ''; exit 77")
add_test(SkipsAsWell "sh" "-c" "echo 'a skipped test, skipped: no \"sun\"'; exit 77")
add_test(SkipsSilently "sh" "-c" "exit 77")
set_tests_properties(SkipsByGoogleTest SkipsAsWell SkipsSilently PROPERTIES SKIP_RETURN_CODE 77)
add_test(IsMissing "/no/such/program")
add_test(IsDisabled "true")
set_tests_properties(IsDisabled PROPERTIES DISABLED TRUE)
"""


class Junit(unittest.TestCase):
    def setUp(self):
        self.holder = tempfile.TemporaryDirectory()
        self.folder = pathlib.Path(self.holder.name)
        self.results = self.folder / "tests.xml"
        (self.folder / "CTestTestfile.cmake").write_text(TESTS)
        subprocess.run(["ctest", "--test-dir", self.folder, "--output-junit", self.results], check=False,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def tearDown(self):
        self.holder.cleanup()

    def run_junit(self, *arguments):
        return subprocess.run([SOURCE / "tools/junit", *arguments], text=True, capture_output=True, check=False)

    def judge(self, skips):
        (self.folder / "skips.txt").write_text(skips)
        run = self.run_junit("judge", self.results, self.folder / "skips.txt")
        self.assertEqual((run.returncode, run.stderr), (0, ""))
        return run.stdout.splitlines()

    def test_counts_a_test_that_is_disabled_or_missing_as_one_that_skipped(self):
        self.assertEqual(self.judge("")[0], "1 1 5 5")

    def test_a_skip_needs_a_line_whose_command_fails_here(self):
        silent = ["  skipped: 3, no reason given (NOT ALLOWED: tests/skips.txt does not know this reason)",
                  "    SkipsSilently", "    IsMissing", "    IsDisabled"]
        both = ["    SkipsByGoogleTest", "    SkipsAsWell"]
        for skips, not_allowed, verdict in (
                ('^no "(sun|sea)"\tfalse\n', 3, ["allowed"]),
                ('^no "sun"\tfalse # it is never here\n', 3, ["allowed"]),
                ('sun\ttrue\n# sun\tfalse\n\nsun"$\t[ 1 = 2 ]\n', 3, ["allowed"]),
                ('^sun\tfalse\n', 5, ["NOT ALLOWED: tests/skips.txt does not know this reason", *both]),
                ('moon\tfalse\n', 5, ["NOT ALLOWED: tests/skips.txt does not know this reason", *both]),
                ('sun\ttrue # a\nsun\ttest -f tools/junit\n', 5, ["NOT ALLOWED: this machine could have run it (test -f tools/junit)", *both])):
            lines = [f'  skipped: 2, no "sun" ({verdict[0]})', *verdict[1:]]
            self.assertEqual(self.judge(skips), [f"1 1 5 {not_allowed}", *lines, *silent], skips)

    def test_shows_what_failed_tests_printed_without_the_frame_of_googletest(self):
        run = self.run_junit("failures", self.results)
        self.assertEqual((run.returncode, run.stdout), (0, 'FAILED: Fails/"<a>"\nx < y && "z"\n[  FAILED  ]\n'))

    def test_refuses_what_it_cannot_read(self):
        self.results.write_text("<testsuite><testcase")
        for arguments, status, text in ((("failures", self.results), 1, f"tools/junit: cannot read {self.results}: "),
                                        (("judge", self.results, "/no/skips"), 1, f"tools/junit: cannot read {self.results} or /no/skips: "),
                                        (("judge", self.results), 2, "tools/junit: "), ((), 2, "tools/junit: ")):
            run = self.run_junit(*arguments)
            self.assertEqual((run.returncode, run.stdout, run.stderr[:len(text)]), (status, "", text))


unittest.main(verbosity=2)
