#!/bin/sh
# fetch.sh NPM DIR [BUILD]: installs what DIR/package-lock.json lists in DIR. Says what to do if that fails; the message
# names the build directory BUILD.
#
# npm runs in DIR and not with --prefix DIR: with --prefix, it does not read this machine's own npmrc, which may name a
# proxy and its certificates.
cd "$2" && "$1" ci --loglevel=error --no-audit --no-fund --ignore-scripts && exit
echo "npm could not fetch the library for charts of 'shmifperf report' (is there a network? 'npm ping' tries it;" \
  "'npm config' sets a proxy). Without the page: cmake -DSHMIF_REPORT_HTML=OFF ${3:-BUILD}" >&2
exit 1
