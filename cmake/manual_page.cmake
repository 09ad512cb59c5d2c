# cmake -DPROGRAM=... -DTEMPLATE=... -DPAGE=... -P manual_page.cmake: the manual page of a program: the template, joined
# with what the program says about its commands and options.
#
# `PROGRAM help --man NAME` prints the entry of a command, with a comment behind each part. In the template, a line
#
#   @create@         stands for the entry of create up to what the command does,
#   @create --size@  for the next options up to --size,
#   @create end@     for the rest.
#
# The lines between them are what only the page says about that part. @JOB_OPTIONS@ stands for all options of jobs.
#
# -DEMULATOR="PROGRAM;ARGUMENT..." runs a program of another architecture.
cmake_minimum_required(VERSION 3.25)

function(ask out)
  execute_process(COMMAND ${EMULATOR} ${PROGRAM} ${ARGN} OUTPUT_VARIABLE text COMMAND_ERROR_IS_FATAL ANY)
  set(${out} "${text}" PARENT_SCOPE)
endfunction()

# Text that is not a list: without this, CMake would take [ ] ; apart. Only whole strings are passed on, in quotes.
file(READ "${TEMPLATE}" rest)
set(page "")
set(command "")
set(entry "")
while(TRUE)
  string(REGEX MATCH "\n@([a-z]+)( [a-z_-]+)?@\n" line "${rest}")
  if(line STREQUAL "")
    break()
  endif()
  set(name "${CMAKE_MATCH_1}")
  set(part "${CMAKE_MATCH_2}")
  string(FIND "${rest}" "${line}" at)
  string(LENGTH "${line}" length)
  string(SUBSTRING "${rest}" 0 ${at} before)
  math(EXPR at "${at} + ${length} - 1")  # its last line end begins what follows
  string(SUBSTRING "${rest}" ${at} -1 rest)
  string(APPEND page "${before}")
  if(NOT name STREQUAL command)
    if(NOT entry STREQUAL "")
      message(FATAL_ERROR "${TEMPLATE}: there is no @${command} end@")
    endif()
    set(command "${name}")
    ask(entry help --man ${command})
  endif()
  if(part STREQUAL " end")
    set(end 0)
    set(copied "${entry}")
    set(entry "")
  else()
    set(mark ".\\\" @${command}${part}\n")
    string(FIND "${entry}" "${mark}" end)
    if(end EQUAL -1)
      message(FATAL_ERROR "${TEMPLATE}: @${command}${part}@ names no part of 'help --man ${command}' that is still to come")
    endif()
    string(SUBSTRING "${entry}" 0 ${end} copied)
    string(LENGTH "${mark}" length)
    math(EXPR end "${end} + ${length}")
    string(SUBSTRING "${entry}" ${end} -1 entry)
  endif()
  string(REGEX REPLACE "(^|\n)\\.\\\\\" @[^\n]*" "" copied "${copied}")
  string(REGEX REPLACE "\n$" "" copied "${copied}")
  if(NOT copied STREQUAL "")
    string(APPEND page "\n${copied}")
  endif()
endwhile()
if(NOT entry STREQUAL "")
  message(FATAL_ERROR "${TEMPLATE}: there is no @${command} end@")
endif()
string(APPEND page "${rest}")
if(page MATCHES "@JOB_OPTIONS@")
  ask(options options --man)
  string(REGEX REPLACE "\n$" "" options "${options}")
  string(REPLACE "@JOB_OPTIONS@" "${options}" page "${page}")
endif()
file(WRITE "${PAGE}" "${page}")
