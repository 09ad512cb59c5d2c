#!/usr/bin/env bash
# uninstall.sh SOURCE BUILD: runs the commands of docs/recipes.md that install and uninstall. They leave no file.
set -euo pipefail
source=$1 build=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fail() { echo "$*"; exit 1; }

# shellcheck disable=SC2016 # backquotes of Markdown
mapfile -t commands < <(sed -n '/^## Install and uninstall$/,/^## Clean up$/p' "$source/docs/recipes.md" |
  sed -n '/^```$/,/^```$/{/^```$/!p}')
((${#commands[@]} == 2)) || fail "the page has ${#commands[@]} commands to install and uninstall, and not 2"
as_told() {
  local command=${1//build\/release/$build}
  bash -c "${command//DIR/$work/prefix}" >/dev/null
}
as_told "${commands[0]}"
[[ -x $work/prefix/bin/shmifctl ]] || fail "this does not install: ${commands[0]}"
touch "$work/prefix/of_the_user"
as_told "${commands[1]}"
left=$(find "$work/prefix" ! -type d)
[[ $left == "$work/prefix/of_the_user" ]] || fail "this does not remove all of it, and nothing else: ${commands[1]}: $left"
