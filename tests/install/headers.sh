#!/usr/bin/env bash
# headers.sh PREFIX: every installed header compiles by itself, with warnings as errors, against nothing but
# what is installed; and none shows its users a header of a library that they did not ask for.
set -euo pipefail
include=$1/include/shmif
status=0
while read -r header; do
  name=${header#"$include/"}
  language=(-x c++ -std=c++20)
  [[ $header == *.hpp ]] || language=(-x c -std=c11)
  # As a user meets it: found with -I, where warnings show, unlike with -isystem.
  c++ "${language[@]}" -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Werror -fsyntax-only \
    -I"$include" - <<<"#include <$name>" || { echo "does not compile alone: $name"; status=1; }
  if grep -nE '#include <(boost|cxxopts|libelf|netlink|nlohmann|pcap|perfmon|spdlog|tins)' "$header"; then
    echo "shows a third-party header: $name"
    status=1
  fi
done < <(find "$include" -name '*.h' -o -name '*.hpp')
exit $status
