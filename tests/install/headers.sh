#!/usr/bin/env bash
# headers.sh PREFIX: every installed header compiles by itself, with warnings as errors, against nothing but
# what is installed; and none shows its users a header of a library that they did not ask for.
set -euo pipefail
include=$1/include
status=0
while read -r header; do
  name=${header#"$include/"}
  language=(-x c++ -std=c++20)
  [[ $header == *.hpp ]] || language=(-x c -std=c99)
  # As a user meets it: found with -I, where warnings show, unlike with -isystem.
  c++ "${language[@]}" -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Werror -fsyntax-only \
    -I"$include" - <<<"#include <$name>" || { echo "does not compile alone: $name"; status=1; }
  if grep -nE '#include <(boost|cxxopts|libelf|netlink|nlohmann|pcap|perfmon|spdlog|tins)' "$header"; then
    echo "shows a third-party header: $name"
    status=1
  fi
  if grep -n '#include "' "$header"; then
    echo "includes a header that may be another one: $name"
    status=1
  fi
  # To a compiler of an older C++ it says one sentence, and nothing else.
  if [[ $header == *.hpp ]]; then
    said=$(c++ -std=c++17 -fsyntax-only -x c++ -I"$include" - 2>&1 <<<"#include <$name>") && said=nothing
    if (($(grep -c 'error:' <<<"$said") != 1)) || [[ $said != *"shmif needs C++20: compile with -std=c++20"* ]]; then
      echo "says to a compiler of C++17, of $name: $said"
      status=1
    fi
  fi
done < <(find "$include/shmif" -name '*.h' -o -name '*.hpp')
exit $status
