# Completion of shmifctl or shmifperf, whichever this file is named after, for fish. It asks the completion for bash, so it
# needs bash; and that asks the programs, so it is never outdated.

set -l shmif_program (string replace -r '\.fish$' '' (basename (status filename)))
set -g __shmif_place (dirname (dirname (dirname (realpath (status filename)))))/shmif/complete.bash

function __shmif_complete
    set -l words (commandline -opc)
    set -l current (commandline -ct)
    set -l lines (bash $__shmif_place $words $current 2>/dev/null)
    set -l kind (string split ' ' -- $lines[1])
    if test "$kind[1]" = program
        # The rest is the line of another program.
        set -l rest $words[(math $kind[2] + 1)..-1]
        complete -C (string join ' ' -- (string escape -- $rest) $current)
        return
    end
    for line in $lines[3..-1]
        echo -- $lines[2]$line
    end
    if test "$kind[1]" = files
        # fish itself takes the word as it is written: with quotes, escapes, ~, or a "-" at its front. A quote before what
        # precedes the path, as in "bus:PATH, is the path's as well.
        set -l quote (string match -r '^["\']' -- "$lines[2]")
        set -l path_begin (string sub -s (math (string length -- "$lines[2]") + 1) -- $current)
        for path in (complete -C "'' $quote$path_begin")
            echo -- (string sub -s (math (string length -- "$quote") + 1) -- "$lines[2]")$path
        end
    end
end

complete -c $shmif_program -f -a '(__shmif_complete)'
