"""Labs: shmif.Lab."""
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import tomllib

import pytest
import shmif
from shmif.lab import to_toml

KIND = b"\x88\xb6"
NETWORK = {
    "bus": {"lan": {}, "far": {"mtu": 9000}},
    "host": {"a": {"on": "lan", "ip": "198.18.0.1/24", "run": "echo started; sleep 600", "ready": "log started"},
             "b": {"on": ["lan", "far"], "ip": ["198.18.0.2/24", "198.18.1.2/24"]}},
}
SMALL = {"bus": {"lan": {}}, "host": {"a": {"on": "lan"}}}


def labs():
    listed = subprocess.run(["shmifctl", "ls", "--json"], capture_output=True, text=True, check=True)
    return [lab["name"] for lab in json.loads(listed.stdout)["labs"]]


def make(*arguments, **options):
    """A lab that is up; the test is skipped where labs cannot run."""
    try:
        return shmif.Lab(*arguments, **options).up()
    except shmif.Unsupported as reason:
        pytest.skip(str(reason))


def test_a_lab_from_a_dict_runs_and_goes():
    with contextlib.closing(Closing(make(NETWORK))) as closing:
        lab = closing.lab
        assert (lab.hosts, sorted(lab.buses), lab.buses["far"].inspect().mtu) == (["a", "b"], ["far", "lan"], 9000)
        assert lab.name in labs()
        assert "1 received" in lab.exec("a", "ping -c 1 -W 20 b").stdout
        assert lab.exec("b", ["cat"], input="given").stdout == "given"
        assert lab.output("a") == "started\n"
        with lab.buses["lan"].attach("python") as port:
            assert {each.name for each in lab.buses["lan"].ports()} == {"a", "b", "python"}
            assert port.name == "python"
        lab.fault("b", "loss=100%", bus="lan")
        lab.link("a", False)
        assert (lab.buses["lan"].line("b"), lab.buses["lan"].line("a")) == ("fault loss=100%", "link down")
        assert lab.buses["far"].line("b") == ""
        for wrong, words in ((lambda: lab.fault("b", "loss=1%"), "lan, far"), (lambda: lab.fault("c", None), "a, b"),
                             (lambda: lab.link("a", True, bus="far"), "but on lan")):
            with pytest.raises(ValueError, match=words):
                wrong()
        with pytest.raises(subprocess.CalledProcessError, match="no such thing"):
            lab.exec("a", "echo no such thing; exit 1")
        paths = [bus.path for bus in lab.buses.values()]
    assert lab.name not in labs() and not any(os.path.exists(path) for path in paths)
    with pytest.raises(shmif.Error, match="is not up"):
        lab.hosts
    assert not lab.artifacts.exists()


class Closing:
    def __init__(self, lab):
        self.lab = lab

    def close(self):
        self.lab.down()


def test_a_lab_from_a_file_has_its_name_and_keeps_its_logs(tmp_path):
    name = f"file-{os.getpid()}"
    (tmp_path / f"{name}.toml").write_text(to_toml(NETWORK))
    lab = make(tmp_path / f"{name}.toml", artifacts=tmp_path / "out", seed=5)
    with contextlib.closing(Closing(lab)):
        assert (lab.name, lab.exec("a", "hostname").stdout) == (name, "a\n")
    assert (tmp_path / "out/a.log").read_text() == "started\n"
    with pytest.raises(ValueError):
        shmif.Lab(tmp_path / f"{name}.toml", name="other")


def test_a_lab_can_have_any_name_that_a_file_can_have(tmp_path):
    file = tmp_path / f"v1.2 ä {os.getpid()}.toml"
    file.write_text(to_toml(SMALL))
    with make(file) as lab:
        assert lab.name == f"v1-2----{os.getpid()}" and lab.name in labs()
        with pytest.raises(FileExistsError, match=lab.name):
            shmif.Lab(file).up()
    assert lab.name not in labs()
    with make(SMALL, name=f"v1.3 {os.getpid()}") as lab:
        assert lab.name == f"v1-3-{os.getpid()}" and os.path.exists(lab.buses["lan"].path)
    assert lab.name not in labs()
    for wrong in ("a/b", "", "x" * 300, ".x"):
        with pytest.raises(ValueError, match="the name of a lab"):
            shmif.Lab(SMALL, name=wrong)


def test_a_start_that_fails_leaves_the_lab_of_somebody_else(tmp_path):
    """And up() of a lab that is up does nothing."""
    file = tmp_path / f"shell-{os.getpid()}.toml"
    file.write_text(to_toml(SMALL))
    with make(file) as lab:
        state = lab.exec("a", "cat /proc/sys/kernel/random/boot_id; readlink /proc/self/ns/net").stdout
        assert lab.up() is lab
        for other in (shmif.Lab(file), shmif.Lab(NETWORK, name=lab.name)):
            with pytest.raises(FileExistsError, match=f'"{lab.name}" is up already, from {file}'):
                other.up()
        assert lab.name in labs()
        assert lab.exec("a", "cat /proc/sys/kernel/random/boot_id; readlink /proc/self/ns/net").stdout == state
        with pytest.raises(TypeError, match="up is True or False"):
            lab.link("a", "down")
    assert lab.name not in labs()


def test_a_lab_can_be_started_again_and_an_exception_takes_it_down():
    lab = make(SMALL)
    lab.down()
    with pytest.raises(ZeroDivisionError), lab:
        assert lab.name in labs()
        1 / 0
    assert lab.name not in labs()


def test_a_lab_that_does_not_start_says_why_and_leaves_only_its_logs():
    kept = []
    for description, words in (({"bus": {"lan": {}}, "host": {"a": {"on": "wan"}}}, "wan"),
                               ({"bus": {"lan": {}}, "host": {"a": {"on": "lan", "run": "exit 4", "ready": "log never"}}}, "a")):
        lab = shmif.Lab(description)
        with pytest.raises(shmif.Error, match=words) as failed:
            lab.up()
        assert lab.name not in labs() and ".toml" not in str(failed.value)
        if "logs and captures are in" in str(failed.value):
            assert str(lab.artifacts) in str(failed.value) and lab.artifacts.is_dir()
            kept.append(lab)
    assert len(kept) == 1
    lab = shmif.Lab({"bus": {"lan": {}}, "host": {"a": {"on": "lan", "run": "sleep 600", "ready": "log never"}}}, timeout=2)
    with pytest.raises(TimeoutError, match="not ready after"):
        lab.up()
    assert lab.name not in labs()


def ports_of(lab):
    with contextlib.suppress(FileNotFoundError):
        return lab.buses["lan"].ports()
    return []


def test_a_lab_whose_program_is_not_there_does_not_start():
    with pytest.raises(shmif.Error, match='(?s)does not start.*cannot run "no-such-program" in host a: there is no such program'):
        make({"bus": {"lan": {}}, "host": {"a": {"on": "lan", "run": "no-such-program"}}})


def test_a_host_that_has_ended_says_what_it_has_printed():
    """Also if it was the only one, and the lab has ended with it."""
    for others in {}, {"b": {"on": "lan"}}:
        lab = shmif.Lab({"bus": {"lan": {}}, "host": {"a": {"on": "lan", "run": "true; no-such-program"}, **others}})
        try:
            lab.up()
        except shmif.Unsupported as reason:
            pytest.skip(str(reason))
        except shmif.Error as failed:  # it has ended by now
            assert not others and "a: sh: 1: no-such-program: not found" in str(failed) and lab.artifacts.is_dir()
            continue
        with contextlib.closing(Closing(lab)):
            while any(port.name == "a" for port in ports_of(lab)):
                time.sleep(0.01)
            for call in (lambda: lab.exec("a", "true", check=False), lambda: lab.fault("a", None)):
                with pytest.raises(shmif.Error, match='(?s)the host "a" of the lab ".*" has ended: .*no-such-program: not found'):
                    call()
            with pytest.raises(TypeError, match="and not 5"):
                lab.exec("a", 5)


RUNS = """
import shmif, time
for ready in "log never", "file /":
    lab = shmif.Lab({"bus": {"lan": {}}, "host": {"a": {"on": "lan", "run": "sleep 600", "ready": ready}}})
    print(lab.name, flush=True)
    try:
        with lab:
            print("up", flush=True)
            time.sleep(600)
    except KeyboardInterrupt:
        print("interrupted", flush=True)
"""


def test_ctrl_c_takes_the_lab_down():
    """While it starts, and while it runs."""
    with subprocess.Popen([sys.executable, "-c", RUNS], stdout=subprocess.PIPE, text=True,
                          env=dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path))) as child:
        for starts in True, False:
            name = child.stdout.readline().strip()
            assert starts or child.stdout.readline() == "up\n"
            while name not in labs():
                assert child.poll() is None
                time.sleep(0.02)
            child.send_signal(signal.SIGINT)
            assert child.stdout.readline() == "interrupted\n"
            assert name not in labs()
    assert child.returncode == 0


def test_a_dict_becomes_the_same_toml():
    description = {"at": [{"time": "1s", "link": "a", "down": True}], "test": {"host": "a", "run": "x"}, "bus": {"lan": {}},
                   "host": {"a b": {"run": 'say "ü" \\ \x01\x7f\n😀', "cpu": 0.5, "count": 3, "on": ["x", "y"], "env": {"A": "1"}}}}
    assert tomllib.loads(to_toml(description)) == description
    with pytest.raises(TypeError, match="None"):
        to_toml({"bus": {"lan": None}})
    with pytest.raises(TypeError, match="keys are texts"):
        to_toml({1: 2})
