#!/usr/bin/env bash
# abi.sh PREFIX: the C library that is installed there has the interface that shmif/c/libshmif.abi records, and each of its
# symbols the version that is in libshmif.map. abi.sh --record PREFIX writes that record anew.
#
# Its types are those of the header: the record is made from a library whose functions do nothing, because the debug
# information of the real one would drag in the C++ behind it.
set -euo pipefail
record=
if [[ $1 == --record ]]; then
  record=1
  shift
fi
prefix=$1
source=$(cd "$(dirname "$0")/../.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

header=$prefix/include/shmif/shmif.h
calls='\b(?:int|void|size_t|uint32_t|uint64_t|const char ?\*) ?shmif_\w+\([^;{}]*\);'
{
  echo '#include <shmif/shmif.h>'
  cc -std=c99 -E -P "$header" | tr '\n' ' ' | grep -oP "$calls" | sed 's/;$/ { __builtin_trap(); }/'
} >"$work/calls.c"
cc -std=c99 -g -shared -fPIC -I"$prefix/include" "$work/calls.c" -o "$work/libshmif.so.0" \
  -Wl,-soname,libshmif.so.0 -Wl,--version-script="$source/shmif/c/libshmif.map"

symbols() { nm -D --defined-only --with-symbol-versions "$1" | sed 's/^[0-9a-f]* //' | sort; }
library=$(find "$prefix" -name 'libshmif.so.0')
if ! diff <(symbols "$work/libshmif.so.0") <(symbols "$library"); then
  echo "above: '<' is in shmif/shmif.h and libshmif.map, '>' in libshmif.so.0"
  exit 1
fi

# The values of constants, which abidiff does not see because no call has their type; comments in the record.
constants() { cc -std=c99 -E -P "$header" | grep -oE '\bSHMIF_[A-Z_]+ = [0-9]+' | sed 's/.*/<!-- & -->/'; }

recorded=$source/shmif/c/libshmif.abi
if [[ $record ]]; then
  abidw --no-show-locs --no-corpus-path --no-comp-dir-path --out-file "$recorded" "$work/libshmif.so.0"
  constants >>"$recorded"
  exit 0
fi
abidiff "$recorded" "$work/libshmif.so.0" && diff <(grep '^<!-- SHMIF_' "$recorded") <(constants) && exit 0
cat <<'END'
The interface is not as recorded. If a call, a parameter, an offset or a value has changed above, programs that were
linked with an older libshmif.so.0 break (docs/compatibility.md). If it has only grown, renew the record:
tests/install/abi.sh --record PREFIX
END
exit 1
