#!/usr/bin/env bash
# fetch_test.sh SOURCES: how the build gets the library for charts. npm's stand-in says where it runs and with what.
set -uo pipefail
fetch=$1/perf/report/web/fetch.sh
dir=$(mktemp -d) || exit
trap 'rm -rf "$dir"' EXIT
mkdir "$dir/page"
# shellcheck disable=SC2016  # expanded by the stand-in
printf '#!/bin/sh\necho "$(pwd) $*"\necho "npm: no way to the registry" >&2\nexit "$STATUS"\n' >"$dir/npm"
chmod +x "$dir/npm"
wrong() { printf '%s\n' "$@"; exit 1; }

said=$(STATUS=0 "$fetch" "$dir/npm" "$dir/page" /my/build 2>/dev/null) || wrong "it failed though npm did not"
[[ $said == "$dir/page ci "* ]] || wrong "npm runs elsewhere, or does something else: $said"
[[ $said != *--prefix* ]] || wrong "with --prefix, npm does not read the machine's npmrc: $said"

said=$(STATUS=1 "$fetch" "$dir/npm" "$dir/page" /my/build 2>&1) && wrong "it succeeded though npm did not"
[[ $said != *--silent* ]] || wrong "npm is not to say why it failed: $said"
[[ $said == *"npm: no way to the registry"* ]] || wrong "npm's own message is missing: $said"
[[ $said == *"cmake -DSHMIF_REPORT_HTML=OFF /my/build"* ]] || wrong "nothing says how to do without npm: $said"
