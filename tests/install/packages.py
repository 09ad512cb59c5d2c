#!/usr/bin/env python3
"""packages.py SOURCE PREFIX: debian/ agrees with the rest of the tree, which no build of packages has to tell.

Each file that was installed in PREFIX is in one package, and each line of debian/*.install finds a file. The version, the
symbols of the C library, and the packages that a build needs are those of CMake, of libshmif.map and of tools/packages.txt.
"""
import fnmatch
import pathlib
import re
import sys

source, prefix = map(pathlib.Path, sys.argv[1:])
debian = source / "debian"
findings = []


def fields(text):
    """The paragraphs of a control file, each as a dictionary."""
    for paragraph in re.split(r"\n\n+", text.strip()):
        yield {name: value.strip() for name, value in re.findall(r"^(\S+):((?:.*)(?:\n[ \t].*)*)", paragraph, re.M)}


def names(value):
    return set(re.findall(r"(?:^|,)\s*([a-z0-9][a-z0-9.+-]+)", value, re.M))


build, *packages = fields((debian / "control").read_text())
packages = {each["Package"]: each for each in packages}

version = re.search(r"^project\(shmif VERSION (\S+)", (source / "CMakeLists.txt").read_text(), re.M)[1]
newest = re.match(r"shmif \(([^-]+)-\d+\) ", (debian / "changelog").read_text())
if not newest or newest[1] != version:
    findings.append(f"debian/changelog does not begin with version {version}, which CMakeLists.txt has")

nodes = dict(re.findall(r"^(SHMIF_\S+) \{(.*?)^\}", (source / "shmif/c/libshmif.map").read_text(), re.M | re.S))
calls = {f"{call}@{node}" for node, text in nodes.items() for call in re.findall(r"^ +(\w+);$", text, re.M)}
listed = set(re.findall(r"^ (\S+) \S+$", (debian / "libshmif0.symbols").read_text(), re.M))
if listed != calls | {f"{node}@{node}" for node in nodes}:
    findings += [f"debian/libshmif0.symbols and libshmif.map differ: {each}"
                 for each in sorted(listed ^ (calls | {f"{node}@{node}" for node in nodes}))]

# What the packages leave out, in tests and benchmarks; g++ is there without asking.
LEFT_OUT = {"g++", "libbenchmark-dev", "libgtest-dev"}
OF_PACKAGING = {"debhelper-compat", "dh-apparmor", "dh-python"}
rows = [line.split() for line in (source / "tools/packages.txt").read_text().splitlines() if line and line[0] != "#"]
needed = {row[0] for row in rows if "build" in row[1:]} - LEFT_OUT
wanted = names(build["Build-Depends"]) | names(build.get("Build-Depends-Indep", ""))
findings += [f"debian/control and tools/packages.txt differ in what a build needs: {each}"
             for each in sorted(needed ^ (wanted - OF_PACKAGING))]


def place(path):
    """A path below the prefix as the packages have it."""
    path = re.sub(r"^lib/(?=(lib)?shmif|vdeplug|wireshark|cmake|pkgconfig)", "lib/x-linux-gnu/", path)
    path = path.replace("share/zsh/site-functions/", "share/zsh/vendor-completions/")
    return "usr/" + path.replace("share/doc/shmif/", "share/doc/libshmif-doc/")


# The licence and the changelog of Debian's packages have places of their own.
OTHERWISE = {"usr/share/doc/libshmif-doc/LICENSE", "usr/share/doc/libshmif-doc/CHANGELOG.md"}
files = {place(str(path.relative_to(prefix))) for path in prefix.rglob("*") if path.is_symlink() or path.is_file()}
homes = {path: [] for path in files - OTHERWISE}
for listing in sorted(debian.glob("*.install")):
    if listing.stem not in packages:
        findings.append(f"debian/{listing.name} is of no package in debian/control")
    for pattern in listing.read_text().split("\n"):
        if not pattern:
            continue
        found = [path for path in homes if fnmatch.fnmatch(path, pattern) or path.startswith(pattern + "/")
                 or fnmatch.fnmatch(path, pattern + "/*")]
        if not found:
            findings.append(f"debian/{listing.name}: nothing is installed as {pattern}")
        for path in found:
            homes[path].append(listing.stem)
if len(files) < 50:
    findings.append(f"only {len(files)} files were found in {prefix}")
findings += [f"{path} is in {' and '.join(home) if home else 'no package'}" for path, home in sorted(homes.items())
             if len(home) != 1]

print("\n".join(findings))
sys.exit(1 if findings else 0)
