#!/usr/bin/python3
"""mutations_test.py SOURCE: tests/mutations/run in a tree of its own, with stand-ins for the build and the tests."""
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

SOURCE = pathlib.Path(sys.argv.pop() if len(sys.argv) == 2 else ".").resolve()
MARK = b"@@shmif-mutation@@\0\0"

# Writes down how it was called. The one test fails while fault 2 is selected in the program.
STAND_IN = r"""#!/usr/bin/python3
import json, pathlib, sys
name, arguments = pathlib.Path(sys.argv[0]).name, sys.argv[1:]
with open("TREE/calls", "a") as calls:
    calls.write(json.dumps([name, *arguments]) + "\n")
if name == "ctest" and "--show-only=json-v1" in arguments:
    print(json.dumps({"tests": [{"name": "A", "command": ["a"], "properties": [{"name": "LABELS", "value": ["memif"]}]}]}))
elif name == "ctest":
    number = int.from_bytes(pathlib.Path("TREE/build/mutations/program").read_bytes()[-4:], "little")
    status = "fail" if number == 2 else "run"
    pathlib.Path(arguments[arguments.index("--output-junit") + 1]).write_text(
        f'<testsuite><testcase name="A" time="1" status="{status}"/></testsuite>')
"""


class Mutations(unittest.TestCase):
    def setUp(self):
        self.holder = tempfile.TemporaryDirectory()
        self.tree = pathlib.Path(self.holder.name)
        for folder in ("bin", "build/mutations", "tests/mutations", "tools"):
            (self.tree / folder).mkdir(parents=True)
        shutil.copy(SOURCE / "tests/mutations/run", self.tree / "tests/mutations/run")
        shutil.copy(SOURCE / "tools/rooms.txt", self.tree / "tools/rooms.txt")
        for name in ("cmake", "ctest"):
            program = self.tree / "bin" / name
            program.write_text(STAND_IN.replace("TREE", str(self.tree)))
            program.chmod(0o755)
        build = self.tree / "build/mutations"
        (build / "program").write_bytes(b"\x7fELF" + MARK + bytes(4))
        (build / "reach.json").write_text(json.dumps({"seconds": {"A": 1}, "failed": [], "reached": {}}))

    def tearDown(self):
        self.holder.cleanup()

    def source(self, place, text):
        path = self.tree / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def run_it(self, *arguments):
        environment = dict(os.environ, PATH=f"{self.tree / 'bin'}:{os.environ['PATH']}")
        return subprocess.run([self.tree / "tests/mutations/run", *arguments], env=environment, text=True,
                              capture_output=True, check=False)

    def calls(self):
        return [json.loads(line) for line in (self.tree / "calls").read_text().splitlines()]

    def test_finds_faults_in_every_folder_that_has_rooms(self):
        rooms = [line.split()[0] for line in (SOURCE / "tools/rooms.txt").read_text().splitlines() if line and line[0] != "#"]
        self.assertTrue({"vhost", "memif"} <= set(rooms))
        for number, room in enumerate(rooms, 10):
            self.source(f"{room}/some.cpp", f"\nif (MUT({number})) return;\n")
        ran = self.run_it("try")
        self.assertEqual((ran.returncode, ran.stderr), (0, ""))
        found = [line.split("\t")[:3] for line in ran.stdout.splitlines()]
        self.assertEqual(found, [[str(number), "green", f"{room}/some.cpp:2"] for number, room in enumerate(rooms, 10)])

    def test_plants_the_faults_that_were_drawn_also_in_files_that_moved_and_tells_which_it_cannot(self):
        self.source("memif/some.cpp", "if (a <\n    b) run(\n    );\n")
        self.source("vhost/moved.cpp", "bool f() { return !is_up(); }\n")
        self.source("tests/mutations/drawn.txt",
                    "1\tmemif/some.cpp\tvalue\ta < b\ta <= b\n"
                    "2\tmemif/some.cpp\tstatement\trun();\t;\n"
                    "3\tmemif/some.cpp\tstatement\tstop();\t;\n"
                    "4\tmemif/moved.cpp\tvalue\tis_up()\ttrue\n"
                    "5\tmemif/gone.cpp\tvalue\tis_up()\ttrue\n")
        ran = self.run_it("plant")
        self.assertEqual((ran.returncode, ran.stderr), (1, ""))
        self.assertEqual(ran.stdout.splitlines(), ["not written: 3, memif/some.cpp: the text is there 0 times",
                                                   "not written: 5, memif/gone.cpp: 0 files have that name"])
        self.assertEqual((self.tree / "memif/some.cpp").read_text(),
                         "if ((MUT(1) ? (a <= b) : (a <\n    b))) { if (MUT(2)) { ; } else { run(\n    ); } }\n")
        self.assertEqual((self.tree / "vhost/moved.cpp").read_text(),
                         "bool f() { return !(MUT(4) ? (true) : (is_up())); }\n")
        self.assertIn("not written: 1, memif/some.cpp: is there already\n", self.run_it("plant").stdout)

    def test_each_fault_that_was_drawn_has_a_number_of_its_own_and_five_fields(self):
        rows = [line.split("\t") for line in (SOURCE / "tests/mutations/drawn.txt").read_text().splitlines()]
        self.assertEqual([row[0] for row in rows], [str(number) for number in range(1, 301)])
        self.assertEqual({(len(row), row[2]) for row in rows}, {(5, "value"), (5, "statement")})

    def test_a_fault_that_is_not_there_is_not_tried(self):
        ran = self.run_it("try", "3")
        self.assertEqual((ran.returncode, ran.stdout), (1, ""))
        self.assertEqual(ran.stderr, "tests/mutations/run: no source has MUT(3)\n")


if __name__ == "__main__":
    unittest.main()
