# Completion of shmifctl for bash. It asks the program itself for its options, so it is never outdated.

# The names in JSON. Names with control characters, \b or \u001b, are left out.
_shmifctl_unescape() {
  sed -n '/^\([^\\]\|\\["\\]\)*$/ s/\\\(["\\]\)/\1/gp; t; /\\/!p'
}

_shmifctl_ports() {
  command shmifctl stat "$1" --json 2>/dev/null |
    sed -n '/"ports": \[/,$ s/^ *"name": "\(.*\)",$/\1/p' | _shmifctl_unescape
}

_shmifctl_hosts() {
  command shmifctl ps "$1" --json 2>/dev/null | sed -n 's/^      "name": "\(.*\)",$/\1/p' |
    _shmifctl_unescape
}

_shmifctl_labs() {
  command shmifctl ls --json 2>/dev/null | sed -n 's/^      "name": "\(.*\)",$/\1/p' |
    _shmifctl_unescape
}

# The categories of --debug. A list continues after its last comma.
_shmifctl_categories() {
  local word begin=''
  [[ $1 == *,* ]] && begin=${1%,*},
  for word in $(command shmifctl --debug=help | sed -n 's/^  \([a-z]*\) .*/\1/p'); do
    [[ ,$begin == *,$word,* ]] || printf '%s\n' "$begin$word"
  done
}

# Offers the words in $1 that begin with $2. Other users choose some of them, such as names of ports.
# So words are not expanded, as compgen -W would do. Each is quoted, so the shell takes it literally.
_shmifctl_offer() {
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

# The interfaces of this network namespace: all, or only the TAP devices.
_shmifctl_interfaces() {
  local folder
  for folder in /sys/class/net/*/; do
    [[ $1 == packet || -e ${folder}tun_flags ]] && basename "$folder"
  done
}

_shmifctl_namespaces() {
  local file
  for file in /run/netns/*; do
    [[ -e $file ]] && basename "$file"
  done
}

_shmifctl() {
  local current=${COMP_WORDS[COMP_CWORD]} option=${COMP_WORDS[COMP_CWORD - 1]}
  local command='' path='' word words='' kind='' named=() i
  COMPREPLY=()
  # Readline splits --name=value and kind:name into three words each.
  if [[ $current == = ]]; then
    current=''
  elif [[ $option == = ]]; then
    option=${COMP_WORDS[COMP_CWORD - 2]}
  elif [[ $current == : ]]; then
    kind=$option current=''
  elif [[ $option == : ]]; then
    kind=${COMP_WORDS[COMP_CWORD - 2]}
  fi
  for ((i = 1; i < COMP_CWORD; i++)); do
    word=${COMP_WORDS[i]}
    if [[ $word == -- ]]; then
      # The rest is another program's command line.
      if declare -F _command_offset >/dev/null; then _command_offset $((i + 1)); fi
      return
    elif [[ $word == -* ]]; then
      continue
    elif [[ -z $command && ${COMP_WORDS[i - 1]} != --log-level && ${COMP_WORDS[i - 1]} != --debug ]]; then
      command=$word
    elif [[ -z $path && -e $word ]]; then
      path=$word
    elif [[ -n $path${SHMIF_BUS-} && ${COMP_WORDS[i - 1]} != --* ]]; then
      named+=("$word")
    fi
  done
  local bus=${path:-${SHMIF_BUS-}} # of a line that names none
  local only=yes # whether no other word is possible here, in particular no file
  case $option in
    --log-level) words='trace debug info warning error critical off' ;;
    --debug) words=$(_shmifctl_categories "$current") ;;
    --port | --to) [[ -n $bus ]] && words=$(_shmifctl_ports "$bus") ;;
    --via) words='tap veth' ;;
    --with) words='slirp4netns passt' ;;
    --timing) words='original flat x2' ;;
    --flow) words='ethernet pause' ;;
    --resume) words='first newest' ;;
    --keep) words='failed always' ;;
    --sort) words='loss lag tx rx name slot' ;;
    --format)
      words='pcap pcapng'
      [[ $command == dump ]] || words='shmif netbsd'
      ;;
    --netns)
      words=$(_shmifctl_namespaces)
      [[ $current == */* || -z $words ]] && only=''
      ;;
    *)
      only=''
      if [[ -z $command || $command == help ]]; then
        words=$(command shmifctl --help | sed -n '/^commands:/,/^$/ s/^  \([a-z]*\) .*/\1/p')
        [[ -z $command ]] && words+=' --help --version --log-level --debug'
        [[ $command == help ]] && words+=' values'
      elif [[ $current == -* ]]; then
        words=$(command shmifctl "$command" --help 2>/dev/null |
          sed -n '/^options:/,/^$/ s/^  \(-.,\|   \) \(--[a-z-]*\).*/\2/p')
      elif [[ -n $bus && ($command == enter || $command == stop) ]]; then
        words=$(_shmifctl_hosts "$bus")
        for word in "${named[@]}"; do words=$(grep -vxF -e "$word" <<<"$words"); done
        [[ $command == stop || ${#named[@]} == 0 ]] || words=-- # a program comes next
      elif [[ ($command == down || $command == serve) && -z $path ]]; then
        words=$(_shmifctl_labs) # or a file
      elif [[ -n $bus && ${#named[@]} == 0 && ($command == fault || $command == link || $command == move) ]]; then
        words=$(_shmifctl_ports "$bus")
      elif [[ -n $bus && $command == partition ]]; then
        words=$(_shmifctl_ports "$bus")
        for word in "${named[@]}"; do words=$(grep -vxF -e "$word" <<<"$words"); done
        [[ ${#named[@]} == 0 ]] || words+=' /'
      elif [[ $command == bridge && ($kind == tap || $kind == packet) ]]; then
        words=$(_shmifctl_interfaces "$kind")
        only=yes
      elif [[ $command == bridge && -n $kind ]]; then
        : # a file: left to readline
      elif [[ $command == bridge && $option != --* ]]; then
        words=$(command shmifctl bridge --help 2>/dev/null | sed '/^options:/q' |
          grep -oE '[a-z-]+:(\[?connect=\]?)?[A-Z]' | sed -E 's/.$//; s/(.*)\[(.*)\]/\1\n\1\2/' | sort -u)
        only=yes
        compopt -o nospace 2>/dev/null
      fi
      ;;
  esac
  # Outside of a completion, as in a test, compopt has no completion to change.
  [[ -z $only ]] || compopt +o default +o bashdefault 2>/dev/null
  _shmifctl_offer "$words" "$current"
}

complete -o bashdefault -o default -F _shmifctl shmifctl
