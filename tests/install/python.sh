#!/usr/bin/env bash
# python.sh PREFIX: the package for Python finds the library and the programs of its own prefix.
set -euo pipefail
prefix=$1
/usr/bin/python3 -c 'import _cffi_backend' 2>/dev/null || { echo "skipped: python3-cffi-backend is not installed"; exit 77; }
unset LD_LIBRARY_PATH SHMIF_LIBRARY SHMIFCTL
export PATH=/usr/bin:/bin PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=$prefix/lib/python3/dist-packages
[[ -f $PYTHONPATH/shmif/py.typed ]] || { echo "py.typed is not installed"; exit 1; }
/usr/bin/python3 - "$prefix" <<'PROGRAM'
import importlib.metadata, sys, shmif, shmif.hosts
assert importlib.metadata.version("shmif") == shmif.version() and not importlib.metadata.requires("shmif")
with shmif.Bus.create() as bus, bus.attach("a") as a, bus.attach("b") as b:
    a.send(b.mac + a.mac + b"\x88\xb6hello")
    assert b.receive(timeout=20).payload == b"hello"
assert shmif.__file__.startswith(sys.argv[1]), shmif.__file__
assert shmif.hosts.shmifctl() == sys.argv[1] + "/bin/shmifctl", shmif.hosts.shmifctl()
with open("/proc/self/maps") as maps:
    loaded = {line.split()[-1] for line in maps if "libshmif" in line}
assert len(loaded) == 1 and loaded.pop().startswith(sys.argv[1] + "/lib/libshmif.so.0")
PROGRAM
