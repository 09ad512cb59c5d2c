#!/usr/bin/env bash
# component.sh PREFIX: find_package(shmif COMPONENTS ...) finds all parts that are installed, and refuses others.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
project() {
  cat >"$work/CMakeLists.txt" <<END
cmake_minimum_required(VERSION 3.25)
project(parts LANGUAGES CXX)
find_package(shmif 0.2 REQUIRED COMPONENTS $*)
END
  rm -rf "$work/build"
}
project shmif c tap counters
cmake -S "$work" -B "$work/build" -DCMAKE_PREFIX_PATH="$1"
project shmif kitchen
if cmake -S "$work" -B "$work/build" -DCMAKE_PREFIX_PATH="$1" >"$work/log" 2>&1; then
  echo "found a component that does not exist"
  exit 1
fi
grep -q kitchen "$work/log" || { echo "the message does not name the component"; cat "$work/log"; exit 1; }
