# Shared by tools/demo and tools/check: packages, the build, and progress in a few lines.
# shellcheck shell=bash

root=$(cd "${BASH_SOURCE[0]%lib.sh}.." && pwd)
logs=$root/build/logs
jobs=$(nproc)
[[ -d $logs ]] || mkdir -p "$logs"

say() { printf '%s\n' "$*"; }

die() {
  printf 'tools/%s: %s\n' "${0##*/}" "$*" >&2
  exit 1
}

# quietly LOG COMMAND...: runs the command with its output in build/logs/LOG.log. When it fails, shows the end of the
# output and where the rest is.
quietly() {
  local log=$logs/$1.log status=0
  shift
  "$@" >"$log" 2>&1 </dev/null || status=$?
  report_failure "$log" "$status"
}

# report_failure LOG STATUS: if the status is not 0, shows the end of the log. Returns the status.
report_failure() {
  local log=$1 status=$2
  ((status == 0)) && return 0
  tail -n "${SHMIF_LOG_LINES:-25}" "$log" | sed 's/^/  | /'
  say "  the whole output: $log"
  return "$status"
}

# how_far LOG: prints how far Ninja or CTest has come, if LOG is its output. Prints nothing for other programs.
how_far() {
  local steps what="step"
  steps=$(tail -c 30000 "$1" | grep -aoE '^(\[[0-9]+/[0-9]+\]| *[0-9]+/[0-9]+ Test )' | tail -n 1) || return 0
  [[ $steps != *Test* ]] || what="test"
  steps=${steps//[!0-9\/]/}
  printf ', %s %s of %s' "$what" "${steps%/*}" "${steps#*/}"
}

# follow TEXT PID LOG [SECONDS]: until this child ends, prints how long it has run and how far it is. On a terminal it
# rewrites one line; otherwise it prints a new line every so many seconds (default 15).
follow() {
  local text=$1 pid=$2 log=$3 every=${4:-15} begin=$SECONDS next never
  next=$every
  exec {never}<> <(:) # never has anything to read, so a `read` with a time limit is a sleep without a process
  while kill -0 "$pid" 2>/dev/null; do
    if [[ -t 1 ]]; then
      printf '\r%s\033[K' "  $text: $((SECONDS - begin)) s$(how_far "$log")"
    elif ((SECONDS - begin >= next)); then
      say "  $text: $((SECONDS - begin)) s$(how_far "$log")"
      ((next += every))
    fi
    if ((SECONDS == begin)); then read -rt 0.1 -u "$never"; else read -rt 0.5 -u "$never"; fi || true
  done
  exec {never}<&-
  [[ ! -t 1 ]] || printf '\r\033[K'
}

# watched TEXT LOG COMMAND...: like quietly, for long commands: shows how far they are.
watched() {
  local text=$1 log=$logs/$2.log status=0 pid
  shift 2
  "$@" >"$log" 2>&1 </dev/null &
  pid=$!
  follow "$text" "$pid" "$log"
  wait "$pid" || status=$?
  report_failure "$log" "$status"
}

# packages_for GROUP...: prints the packages in tools/packages.txt for any of these groups.
packages_for() {
  awk -v groups="$*" '
    BEGIN { n = split(groups, wanted, " ") }
    /^#/ || NF < 2 { next }
    { for (i = 2; i <= NF; i++) for (j = 1; j <= n; j++) if ($i == wanted[j]) { print $1; next } }
  ' "$root/tools/packages.txt"
}

# missing_packages GROUP...: prints the ones of them that are not installed.
missing_packages() {
  local package packages installed
  mapfile -t packages < <(packages_for "$@")
  ((${#packages[@]} > 0)) || return 0
  installed=$(dpkg-query -W -f '${Package} ${db:Status-Status}\n' "${packages[@]}" 2>/dev/null) || true  # fails if it does not know one
  for package in "${packages[@]}"; do
    [[ $'\n'$installed$'\n' == *$'\n'"$package installed"$'\n'* ]] || echo "$package"
  done
}

# need_packages GROUP...: installs missing packages, as root or with sudo. Without either, it names them and stops.
# Uses neither apt nor the network if no package is missing.
need_packages() {
  local missing as_root=()
  if ! command -v dpkg-query >/dev/null; then
    say "packages: no dpkg here, so going on with what is installed. On Debian 12 it would be:"
    packages_for "$@" | paste -sd ' ' | fold -s -w 100 | sed 's/^/  /'
    return 0
  fi
  missing=$(missing_packages "$@")
  missing=${missing//$'\n'/ }
  [[ -n $missing ]] || return 0
  if ((EUID != 0)); then
    command -v sudo >/dev/null ||
      die "these packages are missing, and there is neither root nor sudo to install them: $missing"
    as_root=(sudo)
    sudo -v || die "sudo did not let us install these packages: $missing" # asks before the progress lines begin
  fi
  say "packages: installing $(wc -w <<<"$missing") of them: $missing" | fold -s -w 100
  # Outdated package lists make the install fail, not the update. So only the install counts.
  watched packages packages apt_get "$missing" || die "apt-get could not install: $missing"
}

apt_get() {
  local get=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=120)
  "${get[@]}" update || echo "apt-get update failed; trying with the lists that are here"
  # shellcheck disable=SC2086  # a list of words
  "${get[@]}" install -y --no-install-recommends $1
}

# configure PRESET [CMAKE OPTION...]: creates build/PRESET if it does not exist. Ninja notices later changes itself.
configure() {
  local preset=$1
  shift
  [[ -f $root/build/$preset/build.ninja ]] || cmake -S "$root" --preset "$preset" "$@"
}

# build PRESET [TARGET...]: builds everything, or these targets. With ccache, what another clone has compiled counts, too:
# paths within the tree are no difference, nor are the times of headers.
build() {
  local preset=$1
  shift
  CCACHE_BASEDIR=$root CCACHE_NOHASHDIR=1 \
    CCACHE_SLOPPINESS=pch_defines,time_macros,include_file_mtime,include_file_ctime \
    cmake --build "$root/build/$preset" -j "$jobs" ${1:+--target "$@"}
}
