#!/usr/bin/env bash
# go.sh PREFIX FOLDER: builds and runs the installed example in Go against what is installed in PREFIX, and runs its
# tests. FOLDER is for Go's cache. Nothing is fetched.
set -euo pipefail
prefix=$1 folder=$2
if ! command -v go >/dev/null; then
  echo "skipped: go is not installed"
  exit 77
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp "$prefix"/share/doc/shmif/examples/go/* "$work"
cd "$work"
PKG_CONFIG_PATH=$(dirname "$(find "$prefix" -name shmif-c.pc)")
LD_LIBRARY_PATH=${PKG_CONFIG_PATH%/pkgconfig} # as it is where that folder is a standard one
export PKG_CONFIG_PATH LD_LIBRARY_PATH
export GOCACHE=$folder/cache GOPATH=$folder/path GOFLAGS=-mod=mod GOTOOLCHAIN=local GOPROXY=off

unformatted=$(gofmt -l .)
if [[ $unformatted ]]; then
  gofmt -d .
  exit 1
fi
go vet .
go build -o pingpong .
./pingpong
go test -count=1 .
# Waits are what this is about: they cost no threads and no time, also where the runtime has one CPU.
GOMAXPROCS=1 go test -count=1 .
