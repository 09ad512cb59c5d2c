"""The documentation is a site: tools/site builds it, and refuses what a reader would stumble over.

    site_test.py SOURCE BUILD
"""

import importlib.machinery
import importlib.util
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

SOURCE, BUILD = (pathlib.Path(word) for word in sys.argv[1:3])
loader = importlib.machinery.SourceFileLoader("site_tool", str(SOURCE / "tools/site"))
tool = importlib.util.module_from_spec(importlib.util.spec_from_loader("site_tool", loader))
loader.exec_module(tool)


class TheSite(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.out = pathlib.Path(cls.folder.name) / "site"
        done = subprocess.run([SOURCE / "tools/site", "--build", BUILD, cls.out], capture_output=True, text=True)
        cls.said = done.stdout + done.stderr
        cls.status = done.returncode

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def test_1_is_built_whole(self):
        self.assertEqual(self.status, 0, self.said)
        for page in [*(SOURCE / "docs").glob("*.md"), *(SOURCE / "docs/lab").glob("*.md")]:
            name = page.relative_to(SOURCE / "docs").with_suffix(".html").as_posix().replace("README", "index")
            self.assertTrue((self.out / name).exists(), page)
        for page, text in (("source/examples/cable.cpp.html", "LoopbackLink"), ("commands/shmifctl.html", "--flow"),
                           ("reference/classshmif_1_1Port.html", "Attaches to the bus")):
            self.assertTrue(text in (self.out / page).read_text(), f"{page} has no {text}")
        found = json.loads((self.out / "search/search_index.json").read_text())["docs"]
        self.assertTrue(any(each["location"].startswith("labs.html#") and "Mininet" in each["text"] for each in found))

    def test_2_has_no_dead_link_and_one_would_be_found(self):
        self.assertEqual(tool.dead_links(self.out), [])
        with (self.out / "page.html").open("a") as page:
            page.write('<a href="labs.html#every-key"></a><a href="nowhere.html"></a><a href="labs.html#nowhere"></a>')
        self.assertEqual(tool.dead_links(self.out), ["page.html: nowhere.html", "page.html: labs.html#nowhere"])

    def test_3_is_not_built_with_a_declaration_that_has_no_comment(self):
        with tempfile.TemporaryDirectory() as folder:
            headers = pathlib.Path(folder) / "include/shmif"
            headers.mkdir(parents=True)
            shutil.copy(BUILD / "include/shmif/mac.hpp", headers)
            places = {"SHMIF_SITE_PAGES": folder, "SHMIF_SITE_HEADERS": str(headers.parent), "SHMIF_SITE_SOURCE": str(SOURCE)}
            doxygen = ["doxygen", str(SOURCE / "docs/site/Doxyfile")]
            (headers / "bad.hpp").write_text("namespace shmif {\n/// A pair.\nstruct Pair {\n  int first;\n};\n}\n")
            with self.assertRaises(tool.Problem) as caught:
                tool.run(doxygen, **places)
            self.assertIn("Member first (variable) of struct shmif::Pair is not documented", str(caught.exception))

    def test_4_replaces_a_site_and_nothing_else(self):
        with tempfile.TemporaryDirectory() as folder:
            kept = pathlib.Path(folder) / "mine.txt"
            kept.write_text("mine")
            done = subprocess.run([SOURCE / "tools/site", "--build", BUILD, folder], capture_output=True, text=True)
            self.assertEqual(done.returncode, 1)
            self.assertIn("exists, and is no site: give another directory", done.stderr)
            self.assertEqual(os.listdir(folder), ["mine.txt"])


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
