#!/usr/bin/env bash
# consume.sh WAY FOLDER PREFIX: builds the program in FOLDER against what is installed in PREFIX, by WAY (cmake or
# pkg-config), and runs it with a path where it may make a bus.
set -euo pipefail
way=$1 folder=$2 prefix=$3
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

case $way in
  cmake)
    cmake -S "$folder" -B "$work" -DCMAKE_PREFIX_PATH="$prefix" -DCMAKE_BUILD_TYPE=Release
    cmake --build "$work"
    ;;
  pkg-config)
    pc=shmif
    case ${folder##*/} in tap | counters) pc=shmif-${folder##*/} ;; shared) pc=shmif-c ;; esac
    PKG_CONFIG_PATH=$(dirname "$(find "$prefix" -name shmif.pc)")
    LD_LIBRARY_PATH=${PKG_CONFIG_PATH%/pkgconfig} # as it is where that folder is a standard one
    export PKG_CONFIG_PATH LD_LIBRARY_PATH
    read -ra cflags < <(pkg-config --cflags "$pc")
    read -ra libs < <(pkg-config --libs "$pc")
    if [[ -f $folder/main.c ]]; then
      compiler=(cc -std=c99 -pedantic-errors "$folder/main.c")
    else
      compiler=(c++ -std=c++20 "$folder/main.cpp")
    fi
    "${compiler[@]}" -I"$folder" "${cflags[@]}" -o "$work/consumer" "${libs[@]}"
    ;;
esac
"$work/consumer" "$work/bus"
if ldd "$work/consumer" | grep libpcap; then
  echo "a program loads libpcap though it may never need it"
  exit 1
fi
