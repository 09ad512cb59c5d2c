# Completion of shmifperf for bash. It asks the program itself for its options, so it is never outdated.

# The options of a command as in its --help, with "=" if a value may follow.
_shmifperf_options() {
  command shmifperf "$1" --help 2>/dev/null |
    sed -n '/^options:/,/^$/ s/^  \(-.,\|   \) \(--[a-z_-]*\).*/\2/p'
  [[ $1 != run ]] || command shmifperf options | sed -n 's/^  \([a-z_-]*\)\(=\|\[=\).*/--\1=/p'
}

# The words that an option of jobs accepts, if there are few: "bus, tap or unix".
_shmifperf_values() {
  # The program explains all options of the group. The words may take more than one line.
  command shmifperf options "${1#--}" 2>/dev/null | sed -n "/^  ${1#--}\(=\|\[=\)/,/^\$/p" |
    sed -n '/^ *Values:/,$p' | tr '\n' ' ' | tr -s ' ' |
    sed -n 's/^ *Values: \([a-z0-9_+]*\(, [a-z0-9_+]*\)* or [a-z0-9_+]*\).*/\1/p' | sed 's/, \| or / /g'
}

# The categories of --debug. A list continues after its last comma.
_shmifperf_categories() {
  local word begin=''
  [[ $1 == *,* ]] && begin=${1%,*},
  for word in $(command shmifperf --debug=help | sed -n 's/^  \([a-z]*\) .*/\1/p'); do
    [[ ,$begin == *,$word,* ]] || printf '%s\n' "$begin$word"
  done
}

# Offers the words in $1 that begin with $2. Words are not expanded, as compgen -W would do. Each is
# quoted, so the shell takes it literally.
_shmifperf_offer() {
  local LC_ALL=C word quoted words=()
  read -r -d '' -a words <<<"$1"
  for word in "${words[@]}"; do
    [[ $word == *[!\ -~]* ]] && continue # could control the terminal
    printf -v quoted %q "$word"
    quoted=${quoted//\\,/,} # harmless between quoted braces
    if [[ $word == "$2"* || $quoted == "$2"* || ($2 == [\"\']* && $word == "${2:1}"*) ]]; then
      COMPREPLY+=("$quoted")
    fi
  done
}

_shmifperf() {
  local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]}
  local command='' words='' i
  COMPREPLY=()
  # Readline splits --name=value into three words.
  if [[ $current == = ]]; then
    current=''
  elif [[ $previous == = ]]; then
    previous=${COMP_WORDS[COMP_CWORD - 2]}
  fi
  for ((i = 1; i < COMP_CWORD; i++)); do
    [[ ${COMP_WORDS[i]} == -* || ${COMP_WORDS[i - 1]} == --log-level || ${COMP_WORDS[i - 1]} == --debug ]] && continue
    command=${COMP_WORDS[i]}
    break
  done
  case $previous in
    --log-level) words='trace debug info warning error critical off' ;;
    --debug) words=$(_shmifperf_categories "$current") ;;
    --source) words='pmu resctrl software' ;;
    --backend) words='auto client written clear_refs damon' ;;
    --report) words='reads writes total' ;;
    --load) words='fill fill:op=read fill:op=write fill:op=copy' ;;
    --format) words='profile raw raw:max= raw:only=user raw:only=kernel addresses addresses:only=user addresses:only=kernel chains chains:depth=' ;;
    --profile) words=$(command shmifperf options --profiles | sed 's/ .*//') ;;
    *)
      if [[ -z $command || $command == help ]]; then
        words=$(command shmifperf --help | sed -n '/^commands:/,/^$/ s/^  \([a-z]*\) .*/\1/p')
        [[ -z $command ]] && words+=' --help --version --log-level --debug'
        [[ $command == help ]] && words+=' values'
      elif [[ $previous == --?* ]] && words=$(_shmifperf_values "$previous") && [[ $words && $words != '0 1' ]]; then
        # The words are the option's values; a value of 0 or 1 needs none. A list continues after its last comma.
        if [[ $current == *,* ]]; then
          local begin=${current%,*} word rest='' list=()
          read -r -d '' -a list <<<"$words"
          for word in "${list[@]}"; do
            [[ ,$begin, == *,$word,* ]] || rest+=" $begin,$word"
          done
          words=$rest
        fi
        compopt +o default +o bashdefault 2>/dev/null
      elif [[ $current == -* ]]; then
        words=$(_shmifperf_options "$command")
      elif [[ $command == options ]]; then
        words=$(command shmifperf options | sed -n 's/^  \([a-z_-]*\)\(=\|\[=\).*/\1/p; s/^[^ ].*(\([a-z]*\))$/\1/p')
      fi
      ;;
  esac
  _shmifperf_offer "$words" "$current"
  [[ ${#COMPREPLY[@]} -ne 1 || ${COMPREPLY[0]} != *= ]] || compopt -o nospace 2>/dev/null
}

complete -o bashdefault -o default -F _shmifperf shmifperf
