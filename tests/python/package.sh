#!/usr/bin/env bash
# package.sh SOURCE: the declarations are those of the header, the types are right (mypy --strict, also for a program
# that uses the package), and pip can install it.
set -euo pipefail
source=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3=/usr/bin/python3
for need in "cffi python3-cffi" "mypy mypy" "setuptools python3-setuptools" "pip python3-pip"; do
  $python3 -c "import ${need% *}" 2>/dev/null || { echo "skipped: ${need#* } is not installed"; exit 77; }
done

$python3 "$source/python/make_declarations.py" --check
version=$(sed -n 's/^project(shmif VERSION \([0-9.]*\) .*/\1/p' "$source/CMakeLists.txt")
grep -qx "version = \"$version\"" "$source/python/pyproject.toml" || { echo "pyproject.toml has not the version $version"; exit 1; }

cat >"$work/uses.py" <<'PROGRAM'
import asyncio
from typing import List
import shmif

def frames(port: shmif.Port) -> List[bytes]:
    port.send(bytearray(60))
    frame: shmif.Frame = port.receive(timeout=1.0)
    return [frame, frame.payload, frame.source + port.mac]

async def first(port: shmif.Port) -> int:
    async for frame in port:
        return frame.number
    return (await port.asynchronous.receive()).lost

def main() -> None:
    with shmif.Bus.create(mtu=9000) as bus, bus.attach("a", history=True) as port:
        print(frames(port), asyncio.run(first(port)), [row.carrier for row in bus.ports()])
    with shmif.Lab({"bus": {"lan": {}}}) as lab:
        print(lab.exec("a", "true").stdout.upper())
PROGRAM
cat >"$work/wrong.py" <<'PROGRAM'
import shmif
def wrong(port: shmif.Port, bus: shmif.Bus) -> None:
    port.send(5)
    bus.host("web", ips="198.18.0.1/24")
    bus.partition("a", "b")
PROGRAM
checked() {
  (cd "$work" && MYPYPATH=$source/python $python3 -m mypy --explicit-package-bases --cache-dir "$work/cache" \
    --config-file "$source/python/pyproject.toml" "$@")
}
# In one run: most of its time is for the library of Python.
found=$(checked uses.py wrong.py "$source/python/shmif" || true)
if [[ $found != 'wrong.py:3: error: Argument 1 to "send" of "Port" has incompatible type "int"'*$'\n''wrong.py:4: error: '*$'\n''wrong.py:5: error: '*'Found 4 errors in 1 file'* ]]; then
  echo "mypy has to find a number that is sent, an unknown option and two groups that are texts, and nothing else: $found"
  exit 1
fi

cp -r "$source/python" "$work/python"
$python3 -m pip install --quiet --no-build-isolation --no-deps --no-index --no-compile \
  --disable-pip-version-check --target "$work/installed" "$work/python"
for file in "$source"/python/shmif/{*.py,py.typed}; do
  cmp "$file" "$work/installed/shmif/${file##*/}"
done
