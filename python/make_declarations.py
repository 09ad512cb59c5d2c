#!/usr/bin/python3
"""make_declarations.py: makes python/shmif/_declarations.py from shmif/shmif.h.

    python3 python/make_declarations.py            # writes it
    python3 python/make_declarations.py --check    # exits 1 if it is not what the header says

Needs python3-cffi. The package itself needs only python3-cffi-backend: it parses no C.
"""
import pathlib
import re
import sys
import tempfile

import cffi

ROOT = pathlib.Path(__file__).resolve().parent.parent
HEADER = ROOT / "shmif/shmif.h"
MADE = ROOT / "python/shmif/_declarations.py"
FIRST_LINE = "# Made from shmif/shmif.h by python/make_declarations.py: do not edit.\n"


def declarations(header: str) -> str:
    """What a C compiler sees of the header, without the headers that it includes."""
    text = re.sub(r"/\*.*?\*/|//[^\n]*", "", header, flags=re.S)
    text = re.sub(r"^#ifdef __cplusplus$.*?^#endif$", "", text, flags=re.S | re.M)
    return "struct iovec { void* iov_base; size_t iov_len; };\n" + re.sub(r"^#.*$", "", text, flags=re.M)


def made() -> str:
    """The text of the module."""
    ffi = cffi.FFI()
    ffi.cdef(declarations(HEADER.read_text()))
    ffi.set_source("shmif._declarations", None)
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, "made.py")
        ffi.emit_python_code(str(path))
        return FIRST_LINE + path.read_text().replace("# auto-generated file\n", "", 1)


def main() -> int:
    if sys.argv[1:] not in ([], ["--check"]):
        sys.exit("usage: make_declarations.py [--check]")
    if sys.argv[1:] == ["--check"]:
        if MADE.read_text() == made():
            return 0
        print(f"{MADE} is not what {HEADER} says: run python/make_declarations.py")
        return 1
    MADE.write_text(made())
    return 0


if __name__ == "__main__":
    sys.exit(main())
