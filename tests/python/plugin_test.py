"""The plugin for pytest, in runs of pytest of their own, in this process."""
import glob
import os

from shmif.pytest_plugin import _file_name

PLUGIN = 'pytest_plugins = ["shmif.pytest_plugin"]'
TESTS = """
import pytest

KIND = b"\\x88\\xb6"

def say(port, text):
    port.send(b"\\xff" * 6 + port.mac + KIND + text)

def test_passes(bus, port, capture):
    say(port, b"of the one that passes")

@pytest.mark.bus(mtu=9000)
def test_fails(bus, port, capture):
    assert bus.inspect().mtu == 9000
    say(port, b"of the one that fails")
    assert False

@pytest.fixture
def broken(port, capture):
    say(port, b"of the fixture that fails")
    raise RuntimeError("broken")

def test_has_an_error(broken):
    pass

def test_skips(port, capture):
    pytest.skip("not now")
"""


def run(pytester, *arguments):
    return pytester.runpytest_inprocess("-p", "no:cacheprovider", f"--basetemp={pytester.path}/temporary", *arguments)


def test_the_capture_of_a_failed_test_is_kept_and_named(pytester):
    pytester.makeconftest(PLUGIN)
    pytester.makepyfile(test_it=TESTS)
    folder = pytester.path / "kept"
    result = run(pytester, f"--shmif-artifacts={folder}")
    result.assert_outcomes(passed=1, failed=1, errors=1, skipped=1)
    kept = sorted(path.name for path in folder.iterdir())
    assert kept == ["test_it.py_test_fails.pcapng", "test_it.py_test_has_an_error.pcapng"]
    assert b"of the one that fails" in (folder / kept[0]).read_bytes()
    assert b"of the fixture that fails" in (folder / kept[1]).read_bytes()
    result.stdout.fnmatch_lines(["*capture of the bus*", f"{folder}/test_it.py_test_fails.pcapng"])
    assert list((pytester.path / "temporary").rglob("*.pcapng")) == []


def test_each_failed_test_keeps_a_file_of_its_own_whatever_its_name(pytester):
    pytester.makeconftest(PLUGIN)
    pytester.makepyfile(test_it="""
        import pytest

        @pytest.mark.parametrize("text", ["a b", "a/b", "a_b", "y" * 300])
        def test_of(bus, port, capture, text):
            port.send(b"\\xff" * 6 + port.mac + b"\\x88\\xb6" + text.encode())
            assert False

        @pytest.fixture
        def ends_badly():
            yield
            raise RuntimeError("at the end")

        def test_ends_badly(ends_badly, capture):
            pass

        @pytest.mark.bus(9000)
        def test_wrong_marker(bus):
            pass
    """)
    folder = pytester.path / "kept"
    result = run(pytester, f"--shmif-artifacts={folder}", f"--junitxml={pytester.path}/junit.xml")
    result.assert_outcomes(failed=4, passed=1, errors=2)
    result.stdout.fnmatch_lines(["*@pytest.mark.bus takes options by their names, such as mtu=9000"])
    texts = [b"a b", b"a/b", b"a_b", b"y" * 300]
    kept = {path: path.read_bytes() for path in folder.iterdir()}
    assert sorted(text for text in texts for content in kept.values() if text in content) == sorted(texts)
    assert len(kept) == 5
    junit = (pytester.path / "junit.xml").read_text()
    assert [junit.count(f'value="{path}"') for path in kept] == [1] * 5


def test_a_failure_tells_what_the_hosts_have_said(pytester):
    pytester.makeconftest(PLUGIN)
    pytester.makepyfile(test_it="""
        def test_one(host):
            host("web", "echo the server is angry; exec sleep 100").wait_output("angry")
            assert False
    """)
    result = run(pytester)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*output of the host web*", "*the server is angry*"])


def test_without_a_folder_it_stays_where_pytest_keeps_files(pytester):
    pytester.makeconftest(PLUGIN)
    pytester.makepyfile(test_it=TESTS)
    result = run(pytester, "-k", "test_passes or test_fails")
    result.assert_outcomes(passed=1, failed=1, deselected=2)
    kept, = (pytester.path / "temporary").rglob("*.pcapng")
    assert b"of the one that fails" in kept.read_bytes()
    result.stdout.fnmatch_lines([str(kept)])


def test_a_capture_that_has_missed_frames_is_told(pytester):
    pytester.makeconftest(PLUGIN)
    pytester.makepyfile(test_it="""
        import os, pytest, signal

        @pytest.mark.bus(ring_bytes=65536)
        @pytest.mark.parametrize("fails", [False, True])
        def test_one(bus, port, capture, fails):
            os.kill(capture._program.pid, signal.SIGSTOP)
            port.send_many([b"\\xff" * 6 + port.mac + bytes(1000)] * 200)
            os.kill(capture._program.pid, signal.SIGCONT)
            assert not fails
    """)
    result = run(pytester, "--tb=short")
    result.assert_outcomes(passed=1, failed=1, warnings=2)
    result.stdout.fnmatch_lines(["*capture of the bus at teardown*", "* frames of this test are not in */capture.pcapng"])
    result.stdout.fnmatch_lines(["*CaptureLoss: the capture * has missed * frames*"])
    run(pytester, "-W", "error::shmif.CaptureLoss", "-k", "False").assert_outcomes(passed=1, errors=1, deselected=1)


def test_a_short_report_names_the_capture_too(pytester):
    pytester.makeconftest(PLUGIN)
    pytester.makepyfile(test_it=TESTS)
    for style in "line", "no":
        result = run(pytester, "-k", "test_fails", f"--tb={style}")
        result.stdout.fnmatch_lines(["capture of test_it.py::test_fails: */capture.pcapng"])


def test_a_folder_that_cannot_be_made_is_told_once(pytester):
    pytester.makeconftest(PLUGIN)
    pytester.makepyfile(test_it=TESTS)
    result = run(pytester, "--shmif-artifacts=/dev/null/x")
    result.stderr.fnmatch_lines(["ERROR: --shmif-artifacts /dev/null/x: cannot make this folder: Not a directory"])
    assert result.ret == 4
    (pytester.path / "dangling").symlink_to("nowhere")
    os.mkfifo(pytester.path / "fifo")
    for name in "dangling", "fifo":
        result = run(pytester, f"--shmif-artifacts={name}")
        result.stderr.fnmatch_lines([f"ERROR: --shmif-artifacts {name}: this is no folder (*)"])


def test_a_short_report_shows_an_error_of_the_collection(pytester):
    pytester.makeconftest(PLUGIN)
    pytester.makepyfile(test_it="import nosuchmodule")
    for style in "line", "no":
        result = run(pytester, f"--tb={style}")
        result.assert_outcomes(errors=1)
        result.stdout.no_fnmatch_line("*INTERNALERROR*")


def test_a_failure_is_no_skip_whatever_the_exit_code_and_the_last_exception(pytester):
    pytester.makeconftest(PLUGIN)
    pytester.makepyfile(test_it="""
        import pytest, shmif

        def test_exit_code(host):
            host("web", "sleep 0.2; echo 'cannot read config' >&2; exit 77").wait_output("READY")

        def test_finally():
            try:
                assert 1 == 2
            finally:
                raise shmif.Unsupported(95, "not here")

        def test_two_ways():
            try:
                raise shmif.Unsupported(95, "not here")
            except shmif.Unsupported:
                raise shmif.Unsupported(95, "nor there")
    """)
    result = run(pytester, "-rs")
    result.assert_outcomes(failed=2, skipped=1)
    result.stdout.fnmatch_lines(["*AssertionError*", "SKIPPED*nor there"])


def test_a_capture_whose_file_is_gone_stops_no_other_test(pytester):
    pytester.makeconftest(PLUGIN)
    pytester.makepyfile(test_it="""
        def test_after(capture):
            capture.close()
            capture.path.unlink()

        def test_before(capture):
            capture.path.unlink()

        def test_next(capture):
            pass
    """)
    for more in [], ["--shmif-artifacts=kept"]:
        result = run(pytester, *more)
        result.assert_outcomes(passed=3, errors=1)
        result.stdout.fnmatch_lines(["*has no file any more: it was removed or replaced meanwhile"])


def test_tests_of_similar_names_have_captures_of_their_own(pytester):
    pytester.makeconftest(PLUGIN)
    pytester.makepyfile(test_it="""
        class TestA:
            class TestB:
                def test_c(self, capture):
                    assert False

        class TestA_TestB:
            def test_c(self, capture):
                pass
    """)
    run(pytester, "--shmif-artifacts=kept").assert_outcomes(passed=1, failed=1)
    kept, = (pytester.path / "kept").iterdir()
    assert kept.name.startswith("test_it.py_TestA_TestB_test_c-")
    assert _file_name("p\udcff/test_a.py::test_b").startswith("p_test_a.py_test_b-")


def test_a_capture_follows_no_link_in_the_folder(pytester):
    """Where the folder belongs to another user."""
    folder, other = pytester.path / "kept", pytester.path / "other"
    for each in folder, other:
        each.mkdir()
    (other / "victim").touch()
    (folder / "test_it.py_test_fails.pcapng").symlink_to(other / "victim")
    (other / "test_it.py_test_passes.pcapng").write_text("of somebody else")
    pytester.makeconftest(PLUGIN)
    pytester.makepyfile(test_it=f"""
        import os

        def test_fails(port, capture):
            port.send(b"\\xff" * 6 + port.mac + b"\\x88\\xb6recorded")
            assert False

        def test_passes(capture):
            os.rename("{folder}", "{folder}.was")
            os.symlink("{other}", "{folder}")
    """)
    run(pytester, f"--shmif-artifacts={folder}").assert_outcomes(failed=1, passed=1)
    assert (other / "victim").read_bytes() == b"" and (other / "test_it.py_test_passes.pcapng").read_text() == "of somebody else"
    kept, = pytester.path.glob("kept.was/*")
    assert not kept.is_symlink() and b"recorded" in kept.read_bytes()


def test_the_output_of_a_host_is_bounded_and_harmless(pytester):
    pytester.makeconftest(PLUGIN)
    pytester.makepyfile(test_it="""
        def test_long(host):
            host("long", "truncate -s 300G /proc/self/fd/1; sleep 0.1; echo READY >> /proc/self/fd/1; sleep 60")
            host("escapes", "printf 'a\\033]0;title\\007b\\n'; sleep 60").wait_output("b\\n")
            assert False
    """)
    result = run(pytester)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*output of the host long*", "(* bytes of output before this are left out)",
                                 "*output of the host escapes*", "a?]0;title?b"])


def test_hosts_and_faults_end_with_the_test(pytester):
    pytester.makeconftest(PLUGIN)
    pytester.makepyfile(test_it="""
        def test_one(bus, host, fault):
            web = host("web", ip="198.18.0.1/24")
            fault("web", "loss=1%")
            fault("web", "loss=2%")
            assert bus.line("web") == "fault loss=2%"
            print("BUS", bus.path, web.pid)
    """)
    result = run(pytester, "-rP")
    result.assert_outcomes(passed=1)
    said, = (line.split() for line in result.outlines if line.startswith("BUS "))
    assert glob.glob(said[1]) == [] and glob.glob(f"/proc/{said[2]}") == []


def test_a_machine_that_cannot_run_hosts_skips(pytester, monkeypatch):
    program = pytester.path / "shmifctl"
    program.write_text("#!/bin/sh\necho 'shmifctl: no user namespaces' >&2\nexit 77\n")
    program.chmod(0o755)
    monkeypatch.setenv("SHMIFCTL", str(program))
    pytester.makeconftest(PLUGIN)
    pytester.makepyfile(test_it="""
        import pytest, shmif

        def test_one(host):
            host("web")

        def test_two():
            shmif.Lab({"bus": {"lan": {}}}).up()

        @pytest.fixture
        def web(bus):
            return bus.host("web")

        def test_three(web):
            pass
    """)
    result = run(pytester, "-rs")
    result.assert_outcomes(skipped=3)
    result.stdout.fnmatch_lines(["*test_it.py*no user namespaces*"])
