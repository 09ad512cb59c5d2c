#!/usr/bin/env bash
# shmifperf.sh PREFIX: what a user of shmifperf finds when it is installed: the program, its manual, its completion, the
# tutorial with the files that it names, and job files to begin with.
set -euo pipefail
prefix=$1
shmifperf=$prefix/bin/shmifperf
documents=$prefix/share/doc/shmif

"$shmifperf" --version
for file in "$prefix/share/man/man1/shmifperf.1" "$prefix/share/bash-completion/completions/shmifperf" \
  "$prefix"/share/fish/vendor_completions.d/shmif{ctl,perf}.fish "$prefix/share/zsh/site-functions/_shmif" \
  "$prefix/share/shmif/complete.bash" "$prefix/share/shmif/apparmor/shmif" \
  "$documents"/shmifperf.md "$documents"/shmifperf-terse.md "$documents"/shmifperf-streams.md "$documents"/shmifperf.schema.json; do
  [[ -s $file ]] || { echo "was not installed: $file"; exit 1; }
done
# The page has what the program says of its options, and not only where that goes.
grep -q '^\.It Fl Fl rate_iops ' "$prefix/share/man/man1/shmifperf.1" || { echo "the manual lacks the options"; exit 1; }
bash -c '. "$1"; complete -p shmifperf' bash "$prefix/share/bash-completion/completions/shmifperf"

jobs=("$documents"/examples/*.job)
((${#jobs[@]} >= 5)) || { echo "job files are missing: ${jobs[*]}"; exit 1; }
for job in "${jobs[@]}"; do "$shmifperf" run "$job" --parse-only; done
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
"$shmifperf" run "$documents/examples/voip.job" --runtime=200ms --rate_iops_min=0 --output-format=json --output=voip.json
"$shmifperf" report voip.json
grep -q '</html>' voip.html || { echo "no page was made"; exit 1; }
