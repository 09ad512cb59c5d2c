#!/usr/bin/env bash
# documents.sh SOURCE PREFIX: every page is installed as it is in the sources, and each file that a page or a manual page
# leads to is installed, too.
set -euo pipefail
source=$1 prefix=$2
documents=$prefix/share/doc/shmif
status=0
fail() {
  echo "$*"
  status=1
}

for page in "$source"/docs/*.md "$source"/docs/lab/*.md; do
  name=${page#"$source/docs/"}
  if ! diff <(sed 's,](\.\./examples/,](examples/,g' "$page") "$documents/$name" >/dev/null; then
    fail "not installed as it is: $name"
  fi
done
links=0
for page in "$documents"/*.md "$documents"/lab/*.md; do
  while IFS= read -r target; do
    links=$((links + 1))
    [[ -e ${page%/*}/$target ]] || fail "${page##*/} leads to $target, which is not installed"
  done < <(grep -o '](\([^)# ]*\)' "$page" | sed 's/^](//' | grep -v '^http' | grep -v '^$')
done
((links >= 40)) || fail "only $links links were found in the pages"
for manual in "$prefix"/share/man/man1/*.1; do
  while IFS= read -r target; do
    [[ -e $documents/${target#docs/} ]] || fail "${manual##*/} names $target, which is not installed"
  done < <(grep -o 'docs/[a-z-]*\.md' "$manual")
done
for example in "$source"/examples/*.{c,cpp,py}; do
  cmp "$example" "$documents/examples/${example##*/}" || status=1
done
diff -r "$source/examples/go" "$documents/examples/go" || status=1
[[ -x $documents/examples/cni/shmif ]] || fail "the plugin for podman cannot be run"
exit $status
