#!/usr/bin/env bash
# consume.sh WAY FILE PREFIX: builds the program FILE against what is installed in PREFIX, by WAY (cmake or pkg-config),
# and runs it with a path where it may make a bus.
set -euo pipefail
way=$1 main=$2 prefix=$3
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

folder=${main%/*}
target=shmif
case ${folder##*/} in tap | counters) target=${folder##*/} ;; shared) target=c ;; esac
case $main in *.c) language=C ;; *) language=CXX ;; esac # a program in C needs no C++ compiler to link the library
case $way in
  cmake)
    parts=
    case $target in counters | c) parts="COMPONENTS $target" ;; esac # the others are found without being named
    cat >"$work/CMakeLists.txt" <<END
cmake_minimum_required(VERSION 3.25)
project(consumer LANGUAGES $language)
find_package(shmif 0.2 REQUIRED $parts)
add_executable(consumer $main)
target_include_directories(consumer PRIVATE $folder)
if(CMAKE_CXX_COMPILER)
  target_compile_features(consumer PRIVATE cxx_std_20)
endif()
target_link_libraries(consumer PRIVATE shmif::$target)
END
    cmake -S "$work" -B "$work/build" -DCMAKE_PREFIX_PATH="$prefix" -DCMAKE_BUILD_TYPE=Release
    cmake --build "$work/build"
    mv "$work/build/consumer" "$work"
    ;;
  pkg-config)
    pc=shmif
    [[ $target == shmif ]] || pc=shmif-$target
    PKG_CONFIG_PATH=$(dirname "$(find "$prefix" -name shmif.pc)")
    LD_LIBRARY_PATH=${PKG_CONFIG_PATH%/pkgconfig} # as it is where that folder is a standard one
    export PKG_CONFIG_PATH LD_LIBRARY_PATH
    read -ra cflags < <(pkg-config --cflags "$pc")
    read -ra libs < <(pkg-config --libs "$pc")
    if [[ $language == C ]]; then
      compiler=(cc -std=c99 -pedantic-errors)
    else
      compiler=(c++ -std=c++20)
    fi
    "${compiler[@]}" "$main" -I"$folder" "${cflags[@]}" -o "$work/consumer" "${libs[@]}"
    ;;
esac
"$work/consumer" "$work/bus"
if ldd "$work/consumer" | grep libpcap; then
  echo "a program loads libpcap though it may never need it"
  exit 1
fi
