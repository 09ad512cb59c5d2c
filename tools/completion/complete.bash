# complete.bash PROGRAM [WORD]...: what may stand for the last WORD of a command line of shmifctl or shmifperf, for shells
# other than bash. The completion for bash decides, so there is one list for all shells. Prints
#
#   words, files or program N   whether only these words are possible, or names of files; or: from word N on (PROGRAM is
#                               word 0), the line is that of another program
#   the part of the last word that stays as it is, which may be empty
#   WORD, a tab, and what --help says of it, for each word that is offered
#
# Here it lies below the folder that also has bash-completion/completions, or beside the sources.

offered=() outcome=files

# These take the places of what the completion calls in bash.
compopt() { [[ $* != *+o\ default* ]] || outcome=words; }
_command_offset() { outcome="program $1"; }
# Offers the words in $1 that begin with $2, and that cannot control the terminal.
offer() {
  local word words=()
  read -r -d '' -a words <<<"$1"
  for word in "${words[@]}"; do
    [[ $word == *[!\ -~]* || $word != "$2"* ]] || offered+=("$word")
  done
}

# The commands and options in a help, each with a tab and the first line of its explanation.
explained() {
  sed -n -e '/^commands:/,/^$/ s/^  \([a-z]\{1,\}\)  *\(.*\)/\1\t\2/p' \
    -e '/^options:/,/^$/ s/^  \(-.,\|   \) \(--[a-z_-]*\)\(\[=[^ ]*\]\| [^ ]\{1,\}\)\{0,1\}   *\(.*\)/\2\t\4/p'
}

program=$1
shift
case $program in shmifctl | shmifperf) ;; *) exit 2 ;; esac
folder=$(dirname "${BASH_SOURCE[0]}")
for file in "$folder/../bash-completion/completions/$program" "$folder/../$program.bash"; do
  # shellcheck source=/dev/null
  [[ -e $file ]] && . "$file" && break
done || exit 1
eval "_${program}_offer() { offer \"\$@\"; }"

# Readline splits --name=value and kind:name into three words each.
COMP_WORDS=("$program")
numbers=(0) # the word of the line that each comes from
for ((i = 1; i <= $#; i++)); do
  rest=${!i}
  while [[ $rest == *[=:]* ]]; do
    begin=${rest%%[=:]*}
    [[ -z $begin ]] || COMP_WORDS+=("$begin") numbers+=("$i")
    COMP_WORDS+=("${rest:${#begin}:1}") numbers+=("$i")
    rest=${rest:${#begin}+1}
  done
  [[ -z $rest && ${!i} == *[=:] && $i -lt $# ]] || COMP_WORDS+=("$rest") numbers+=("$i")
done
last=${*: -1}
prefix=${last%"${last##*[=:]}"}
# Readline gives "=" as the last word if nothing follows it.
if [[ -n $prefix && $prefix == "$last" ]]; then unset 'COMP_WORDS[-1]'; fi
COMP_CWORD=$((${#COMP_WORDS[@]} - 1)) COMPREPLY=()
"_$program" 2>/dev/null

case $outcome in
  program*) outcome="program ${numbers[${outcome#* }]}" ;;
  files) ((${#offered[@]} == 0)) || outcome=words ;;
esac
printf '%s\n%s\n' "$outcome" "$prefix"
declare -A meaning=()
if [[ -z $prefix && ${#offered[@]} != 0 ]]; then
  while IFS=$'\t' read -r word text; do meaning[$word]=$text; done < <(
    {
      command "$program" --help
      for word in "${COMP_WORDS[@]:1}"; do
        [[ $word == -* ]] || { command "$program" "$word" --help && break; }
      done
    } 2>/dev/null </dev/null | explained
  )
fi
for word in "${offered[@]}"; do printf '%s\t%s\n' "$word" "${meaning[$word]:-}"; done
