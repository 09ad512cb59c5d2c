#!/usr/bin/python3
"""one_thread_test.py SOURCE TELLER: which tests tools/one_thread has CTest leave out, of those of the program TELLER."""
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest

SOURCE, TELLER = sys.argv[1:]
NAMES = ["BeginsNone", "BeginsOne", "BeginsOneInAChild", "Fails", "Skips", "EndsEarly"]
FILTERS = {f"Teller.{name}": f"Teller.{name}" for name in NAMES}
# As CMake names tests with a parameter. Brackets, quotes and backslashes come of what GoogleTest prints of a value.
FILTERS |= {"Each/OfValues.BeginsNone/Of5  # GetParam() = 5": "Each/OfValues.BeginsNone/0",
            'Each/OfValues.BeginsNone/Of7  # GetParam() = "]=]\\" 7': "Each/OfValues.BeginsNone/1"}


class OneThread(unittest.TestCase):
    def setUp(self):
        self.holder = tempfile.TemporaryDirectory()
        self.build = pathlib.Path(self.holder.name)
        self.names = self.build / "names"
        self.names.touch()
        (self.build / "CTestTestfile.cmake").write_text("".join(
            f"add_test([==[{name}]==] {TELLER} --gtest_filter={wanted})\n" for name, wanted in FILTERS.items()))

    def tearDown(self):
        self.holder.cleanup()

    def run_tests(self, jobs="1"):
        run = subprocess.run([f"{SOURCE}/tools/run_tests", self.build, "--jobs", jobs], stdout=subprocess.PIPE, text=True,
                             check=False, env=os.environ | {"SHMIF_SINGLE_THREADED": str(self.names)})
        return len(set(re.findall(r" Test #(\d+)", run.stdout)))

    def test_leaves_out_what_passed_with_one_thread_and_nothing_else(self):
        self.assertEqual(self.run_tests(), len(FILTERS))
        self.assertEqual(sorted(self.names.read_text().splitlines()),
                         ["Each/OfValues.BeginsNone/0", "Each/OfValues.BeginsNone/1", "Teller.BeginsNone"])
        for _ in range(2):  # also where some are left out already
            told = subprocess.run([f"{SOURCE}/tools/one_thread", self.names, self.build], text=True,
                                  stdout=subprocess.PIPE, check=True)
            self.assertEqual(told.stdout, "3\n")
            self.assertEqual(self.run_tests(), len(FILTERS) - 3)


unittest.main(verbosity=2, argv=sys.argv[:1])
