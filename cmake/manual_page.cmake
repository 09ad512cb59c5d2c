# cmake -DPROGRAM=... -DTEMPLATE=... -DPAGE=... -P manual_page.cmake: the manual page of shmifperf, which is what was
# written by hand with what the program itself says about its options in the place of @JOB_OPTIONS@.
cmake_minimum_required(VERSION 3.25)
execute_process(COMMAND ${PROGRAM} options --man OUTPUT_VARIABLE JOB_OPTIONS OUTPUT_STRIP_TRAILING_WHITESPACE
  COMMAND_ERROR_IS_FATAL ANY)
file(READ "${TEMPLATE}" page)
string(REPLACE "@JOB_OPTIONS@" "${JOB_OPTIONS}" page "${page}")
file(WRITE "${PAGE}" "${page}")
