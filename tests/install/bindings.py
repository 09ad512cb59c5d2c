#!/usr/bin/python3
"""bindings.py bindgen|cgo PREFIX [FOLDER]: what makes bindings for Rust (bindgen) and for Go (cgo) reads all of the
installed shmif/shmif.h: each macro, constant, structure, member and call. A macro with parameters, a call with "...", a
bit field or a union is beyond one of them, and fails here. FOLDER is for Go's cache.
Exits 0 if all was read, 1 if not, 77 where the program is not installed.
"""
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

# What C's types are called in Go; `*` and `struct` are translated by rule.
GO_TYPES = {"void*": "unsafe.Pointer", "struct iovec*": "*C.struct_iovec"}


def run(*command, **more):
    done = subprocess.run(command, capture_output=True, text=True, check=False, **more)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}:\n{done.stdout}{done.stderr}")
    return done.stdout


class Header:
    """What shmif.h itself declares; what it includes is left out."""

    def __init__(self, prefix):
        self.include = prefix / "include"
        self.path = self.include / "shmif/shmif.h"
        text = ""
        own = False
        for line in run("cc", "-std=c99", "-E", str(self.path)).splitlines():
            marker = re.match(r'# \d+ "([^"]*)"', line)
            if marker:
                own = marker.group(1) == str(self.path)
            elif own:
                text += line + "\n"
        included = "".join(f"{line}\n" for line in self.path.read_text().splitlines() if line.startswith("#include"))
        others = run("cc", "-std=c99", "-dM", "-E", "-x", "c", "-", input=included)
        macros = set(run("cc", "-std=c99", "-dM", "-E", str(self.path)).splitlines()) - set(others.splitlines())
        self.macros = {re.match(r"#define (\w+(\(.*?\))?)", line).group(1) for line in macros} - {"SHMIF_SHMIF_H"}
        self.constants = {name for body in re.findall(r"\benum\b[^{;]*\{([^}]*)\}", text)
                          for name in re.findall(r"\b([A-Za-z_]\w*)\s*(?:=|,|$)", body)}
        self.structures = {}
        for name, body in re.findall(r"\bstruct (\w+)\s*\{([^}]*)\}", text):
            # A declaration may have several members: the last word of each part is a name.
            self.structures[name] = [re.search(r"(\w+)\s*(?:\[[^]]*\])?(?:\s*:.*)?$", part.strip()).group(1)
                                     for line in body.split(";") if line.strip() for part in line.split(",")]
        self.calls = {name: [] if parameters.strip() == "void" else [p.strip() for p in parameters.split(",")]
                      for name, parameters in re.findall(r"\b(\w+)\s*\(([^()]*)\)\s*;", text)}
        counts = (len(self.macros), len(self.constants), len(self.structures), len(self.calls))
        if min(counts) == 0 or len(self.calls) < 30 or len(self.structures) < 6:
            sys.exit(f"this test does not read the header: {counts} macros, constants, structures, calls")


def missing_in_rust(header):
    # Not formatted by rustfmt, which need not be there: words and signs with a space between.
    text = run("bindgen", "--no-prepend-enum-name", "--no-doc-comments", "--no-rustfmt-bindings", str(header.path), "--",
               f"-I{header.include}", "-std=c99")
    text = re.sub(r" ?(:+) ?", r"\1 ", text.replace(": :", "::"))
    constants = set(re.findall(r"pub const (\w+):", text))
    calls = dict(re.findall(r"pub fn (\w+)\s*\((.*?)\)\s*(?:->[^;]*)?;", text, re.DOTALL))
    for name in sorted((header.macros | header.constants) - constants):
        yield f"bindgen does not read {name}"
    for name, members in header.structures.items():
        body = re.search(rf"pub struct {name} \{{(.*?)\}}", text, re.DOTALL)
        read = set(re.findall(r"pub (\w+):", body.group(1))) if body else set()
        for member in members:
            if member not in read:
                yield f"bindgen does not read {name}.{member}"
        if body and re.search(r"__bindgen_anon|_bitfield|_opaque", body.group(1)):
            yield f"a program needs help with {name} of bindgen"
    for name, parameters in header.calls.items():
        if name not in calls:
            yield f"bindgen does not read {name}()"
        elif "..." in calls[name] or calls[name].count(":") - 2 * calls[name].count("::") != len(parameters):
            yield f"bindgen reads {name}() with other parameters: {calls[name]}"


def go_type(parameter):
    kind = re.sub(r"\bconst\b", "", parameter)
    kind = re.sub(r"(\w+)\s*\[\d*\]$", r"* \1", kind)  # an array is a pointer
    kind = re.sub(r"\w+$", "", kind.strip())  # its name
    kind = re.sub(r"\s*\*", "*", " ".join(kind.split()))
    if kind in GO_TYPES:
        return GO_TYPES[kind]
    stars = kind.count("*")
    return "*" * stars + "C." + kind.rstrip("*").replace("struct ", "struct_")


def missing_in_go(header, prefix, folder):
    uses = [f"_ = C.{name}" for name in sorted(header.macros | header.constants)]
    for name, members in header.structures.items():
        # cgo leaves out a member that it cannot read, and puts "_" before a word of Go's.
        uses += [f"_ = new(C.struct_{name}).{'_type' if member == 'type' else member}" for member in members]
    for name, parameters in header.calls.items():
        uses.append(f"C.{name}({', '.join(f'*new({go_type(parameter)})' for parameter in parameters)})")
    program = "package main\n\n// #cgo pkg-config: shmif-c\n// #include <shmif/shmif.h>\nimport \"C\"\nimport \"unsafe\"\n\n"
    program += "var _ unsafe.Pointer\n\nfunc all() {\n" + "".join(f"\t{use}\n" for use in uses) + "}\n\n"
    program += "var never bool\n\nfunc main() {\n\tif never {\n\t\tall()\n\t}\n}\n"
    pc = next(prefix.rglob("shmif-c.pc")).parent
    environment = dict(os.environ, GOCACHE=str(folder / "cache"), GOPATH=str(folder / "path"), GOFLAGS="-mod=mod",
                       GOTOOLCHAIN="local", GOPROXY="off", PKG_CONFIG_PATH=str(pc), LD_LIBRARY_PATH=str(pc.parent))
    with tempfile.TemporaryDirectory() as work:
        (pathlib.Path(work) / "go.mod").write_text("module names.example/all\n\ngo 1.19\n")
        (pathlib.Path(work) / "main.go").write_text(program)
        # -e: all errors, not the first ten.
        done = subprocess.run(["go", "build", "-gcflags=-e", "-o", "all", "."], cwd=work, env=environment, text=True,
                              capture_output=True, check=False)
        if done.returncode != 0:
            lines = program.splitlines()
            said = re.sub(r"main\.go:(\d+):.*", lambda m: f"{m[0]}\n    {lines[int(m[1]) - 1].strip()}", done.stderr)
            yield f"cgo does not read all:\n{said}{done.stdout}"
        else:
            run(f"{work}/all", env=environment)


def main():
    way, prefix = sys.argv[1], pathlib.Path(sys.argv[2])
    program = {"bindgen": "bindgen", "cgo": "go"}[way]
    if not shutil.which(program):
        print(f"skipped: {program} is not installed")
        return 77
    header = Header(prefix)
    if way == "bindgen":
        wrong = list(missing_in_rust(header))
    else:
        wrong = list(missing_in_go(header, prefix, pathlib.Path(sys.argv[3])))
    print("\n".join(wrong))
    print(f"{len(header.macros)} macros, {len(header.constants)} constants, {len(header.structures)} structures, "
          f"{len(header.calls)} calls")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
