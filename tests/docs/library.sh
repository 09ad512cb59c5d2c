#!/usr/bin/env bash
# library.sh SOURCE BUILD: the C++ of README.md and docs/library.md compiles, and the command of docs/library.md that
# links a program without installing the library makes one that works.
set -euo pipefail
source=$1 build=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

for page in README.md docs/library.md; do
  awk '/^```/ { inside = $0 == "```cpp"; next } inside' "$source/$page" >"$work/block"
  grep -q 'shmif::Port port' "$work/block" || { echo "$page has no program"; exit 1; }
  {
    grep '^#include' "$work/block"
    echo "void program(const void* data, std::size_t size,"
    echo "             void (*use)(shmif::MacAddress, std::span<const std::byte>)) {"
    grep -v '^#include' "$work/block"
    echo "}"
  } >"$work/program.cpp"
  c++ -std=c++20 -Wall -Wextra -Werror -I"$build/include" -fsyntax-only "$work/program.cpp"
done

awk '/^```/ { inside = !inside; next } inside && /^c\+\+ / { found = 1 } inside && found' "$source/docs/library.md" \
  >"$work/command"
sed -i "s,-o two_ports,-o '$work/two_ports',; s,build/release,'$build'," "$work/command"
grep -qF "'$build'/shmif/libshmif.a" "$work/command" || { echo "no command that links: $(<"$work/command")"; exit 1; }
(cd "$source" && bash -e "$work/command")
"$work/two_ports" | grep -F '1000 answers verified'
