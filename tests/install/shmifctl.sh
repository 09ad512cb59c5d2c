#!/usr/bin/env bash
# shmifctl.sh PREFIX: the installed shmifctl loads what it needs for some commands only when they need it, and finds it
# also in a tree that somebody has moved.
set -euo pipefail
work=$(mktemp -d /dev/shm/shmif-test-XXXXXX)
trap 'rm -rf "$work"' EXIT
bus=$work/bus
fail() { echo "$*"; exit 1; }

# The page has what the program says of its options, and not only where that goes.
grep -q '^\.It Fl Fl lock-memory$' "$1/share/man/man1/shmifctl.1" || fail "the manual lacks the options"
cp -r "$1" "$work/moved"
"$1/bin/shmifctl" create "$bus"
for prefix in "$1" "$work/moved"; do
  shmifctl=$prefix/bin/shmifctl
  if ldd "$shmifctl" | grep -E 'lib(pcap|tins|crypto)\.so'; then fail "$shmifctl loads these for all commands"; fi
  "$shmifctl" ping "$bus" -c 1 --timeout 0 && fail "somebody answered"
  shown=$("$shmifctl" dump "$bus" --history --timeout 0 ether proto 0x88b5)
  [[ $shown == *"shmif ping request"* ]] || fail "$shmifctl shows no ping: $shown"
  said=$("$shmifctl" wait "$bus" --tcp 198.18.0.1:80 --timeout 0 2>&1) && fail "somebody is there"
  [[ $said == *"no host on the bus has the address"* ]] || fail "$shmifctl asked nobody: $said"
  wireshark=$(find "$prefix" -type d -path '*/lib*/wireshark')
  [[ $("$wireshark/extcap/shmif" --extcap-dlts) == "dlt {number=1}"* ]] || fail "extcap/shmif does not lead to shmifctl"
  for script in shmif shmif_bus; do [[ -s $wireshark/plugins/$script.lua ]] || fail "Wireshark finds no $script.lua"; done
done
find "$work/moved" -name shmifctl_packets.so -delete
said=$("$work/moved/bin/shmifctl" dump "$bus" --timeout 0 2>&1) && fail "the module was not missed"
[[ $said == *"cannot load"*"$work/moved/"*/shmif/shmifctl_packets.so:* ]] || fail "shmifctl does not say what it misses: $said"
