#!/usr/bin/env bash
# tarball.sh SOURCE WORK: a project that fetches a tarball of the sources builds the library as its own part, without git,
# and with folders of its own that are named like ours. WORK is always the same folder, so ccache finds what it had.
set -euo pipefail
source=$1 work=$2
if ! tree=$(git -C "$source" stash create 2>/dev/null); then
  echo "skipped: the sources are not in git"
  exit 77
fi
rm -rf "$work"
mkdir -p "$work/without_git" "$work/tests"
trap 'rm -rf "$work"' EXIT
git -C "$source" archive --prefix=shmif/ -o "$work/shmif.tar.gz" "${tree:-HEAD}"
cp -r "$source"/tests/install/{cpp,tarball} "$work/tests"
printf '#!/bin/sh\necho "git was called: $*" >&2\nexit 1\n' >"$work/without_git/git"
chmod +x "$work/without_git/git"
export PATH="$work/without_git:$PATH"

cmake -G Ninja -S "$work/tests/tarball" -B "$work/build" -DSHMIF_TARBALL="$work/shmif.tar.gz" -DCMAKE_BUILD_TYPE=Debug \
  -DCMAKE_CXX_FLAGS_DEBUG=-O0 -DCMAKE_UNITY_BUILD=ON -DCMAKE_UNITY_BUILD_BATCH_SIZE=32
ninja -C "$work/build" consumer
bus=$(mktemp -u /dev/shm/shmif-test-XXXXXX)
"$work/build/consumer" "$bus"
rm "$bus"
compiled=$(ninja -C "$work/build" -t commands consumer | grep -- '-c .*cpp/main\.cpp')
if grep -E -- '-Werror|_deps/shmif-src' <<<"$compiled"; then
  echo "the program is compiled with our options, or sees our sources"
  exit 1
fi
