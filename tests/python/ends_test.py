"""What is left when a program ends, or its child."""
import os
import subprocess
import sys

import shmif

BEGIN = "import os, sys, shmif\n"


def run(program, *arguments):
    """The lines that a program prints, and what it says of errors."""
    done = subprocess.run([sys.executable, "-W", "default", "-c", BEGIN + program, *map(str, arguments)], text=True,
                          capture_output=True, timeout=100, check=False,
                          env=dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path)))
    return done.stdout.split(), done.stderr


def lives(pid):
    return os.path.exists(f"/proc/{pid}")


def test_what_nobody_closes_ends_with_the_program(bus, tmp_path):
    """A host, a capture, and a bus without a name; but a bus with a name stays."""
    said, errors = run("""
bus = shmif.Bus.open(sys.argv[1])
web, capture = bus.host("web"), bus.capture(sys.argv[2])
print(web.pid, capture._program.pid)
unnamed = shmif.Bus.create()
print(unnamed.path, shmif.Bus.create(sys.argv[3]).path)
""", bus.path, tmp_path / "x.pcap", tmp_path / "named")
    assert len(said) == 4 and not any(lives(pid) for pid in said[:2])
    assert bus.ports() == [] and (tmp_path / "x.pcap").stat().st_size >= 24
    assert 'ResourceWarning: the host "web" was not closed' in errors
    assert [os.path.exists(path) for path in said[2:]] == [False, True]
    assert f"ResourceWarning: <shmif.Bus {said[2]}> was not closed" in errors and f"Bus {said[3]}> was not" not in errors


def test_a_child_of_a_fork_removes_and_ends_nothing():
    """Neither at the end of its `with`, nor at its own."""
    said, errors = run("""
def child():
    pid = os.fork()
    if pid == 0:
        sys.exit(7)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
unnamed = shmif.Bus.create()
with shmif.Bus.create() as bus, bus.host("web") as web:
    print(child(), len(bus.ports()), web.running, unnamed.inspect().mtu)
unnamed.close()
""")
    assert said == ["7", "1", "True", "1500"] and "was not closed" not in errors


def test_a_lab_that_nobody_takes_down_ends_with_the_program_but_not_with_its_child():
    said, errors = run("""
lab = shmif.Lab({"bus": {"lan": {}}, "host": {"a": {"on": "lan"}}}).up()
pid = os.fork()
if pid == 0:
    sys.exit(0)
os.waitpid(pid, 0)
print(lab.name, lab.exec("a", "echo runs").stdout)
""")
    if "Unsupported" in errors:
        return
    listed = subprocess.run([shmif.hosts.shmifctl(), "ls", "--json"], capture_output=True, text=True, check=True)
    assert said[1:] == ["runs"] and said[0] not in listed.stdout
    assert "was not taken down" in errors
