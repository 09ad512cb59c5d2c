#!/usr/bin/env bash
# example.sh FILE PACKAGE PREFIX: builds an installed example against what is installed in PREFIX, and runs it.
set -euo pipefail
file=$3/share/doc/shmif/examples/$1 package=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
PKG_CONFIG_PATH=$(dirname "$(find "$3" -name shmif.pc)")
export PKG_CONFIG_PATH
read -ra cflags < <(pkg-config --cflags "$package")
read -ra libs < <(pkg-config --libs "$package")
case $file in
  *.c) cc -c "$file" "${cflags[@]}" -o "$work/example.o" && c++ "$work/example.o" -o "$work/example" "${libs[@]}" ;;
  *) c++ -std=c++20 "$file" "${cflags[@]}" -o "$work/example" "${libs[@]}" ;;
esac
"$work/example"
