#!/usr/bin/env bash
# demo_targets.sh BUILD: whoever has built shmifctl and shmifperf, as tools/demo does, can install. Every file of the
# build tree that the install takes is made by what builds these two, or was there when the build was configured.
set -euo pipefail
build=$1
[[ -f $build/build.ninja ]] || { echo "skipped: not a build by Ninja"; exit 77; }
commands=$(ninja -C "$build" -t commands shmifctl shmifperf)
status=0
seen=0
while read -r file; do
  ninja -C "$build" -t query "$file" >/dev/null 2>&1 || continue # made by CMake itself
  seen=$((seen + 1))
  grep -qF "${file##*/}" <<<"$commands" || { echo "installed, but not built with shmifctl and shmifperf: $file"; status=1; }
done < <(find "$build" -name cmake_install.cmake -exec grep -ho "\"$build/[^\"]*\"" {} + | tr -d '"' |
  sed "s|^$build/||" | sort -u)
((seen >= 4)) || { echo "looked at $seen files only"; exit 1; }
exit $status
