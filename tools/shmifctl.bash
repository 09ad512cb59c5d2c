# Completion of shmifctl for bash. It asks the program itself what there is, so it cannot grow old.

_shmifctl_ports() {
  command shmifctl stat "$1" --json 2>/dev/null |
    sed -n '/"ports": \[/,$ s/^ *"name": "\(.*\)",$/\1/p'
}

_shmifctl_hosts() {
  command shmifctl ps "$1" --json 2>/dev/null | sed -n 's/^      "name": "\(.*\)",$/\1/p'
}

_shmifctl() {
  local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]}
  local command='' path='' word i
  COMPREPLY=()
  for ((i = 1; i < COMP_CWORD; i++)); do
    word=${COMP_WORDS[i]}
    if [[ $word == -- ]]; then
      # What stands behind is another program's command line.
      if declare -F _command_offset >/dev/null; then _command_offset $((i + 1)); fi
      return
    elif [[ $word == -* ]]; then
      continue
    elif [[ -z $command && ${COMP_WORDS[i - 1]} != --log-level ]]; then
      command=$word
    elif [[ -z $path && -e $word ]]; then
      path=$word
    fi
  done
  local words=''
  case $previous in
    --log-level) words='trace debug info warning error critical off' ;;
    --port | --to) [[ -n $path ]] && words=$(_shmifctl_ports "$path") ;;
    --via) words='tap veth' ;;
    --timing) words='original flat x2' ;;
    *)
      if [[ -z $command || $command == help ]]; then
        words=$(command shmifctl --help | sed -n '/^commands:/,/^$/ s/^  \([a-z]*\) .*/\1/p')
        [[ -z $command ]] && words+=' --help --version --log-level'
      elif [[ $current == -* ]]; then
        words=$(command shmifctl "$command" --help 2>/dev/null |
          sed -n '/^options:/,/^$/ s/^  \(-.,\|   \) \(--[a-z-]*\).*/\2/p')
      elif [[ -n $path && ($command == enter || $command == stop) ]]; then
        words=$(_shmifctl_hosts "$path")
      fi
      ;;
  esac
  mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
}

complete -o bashdefault -o default -F _shmifctl shmifctl
