# cmake -DSOURCE=DIR -DOUT=DIR -P public_header.cmake -- HEADER...: the public headers as their users include them.
#
# In the tree, a header is named from the root: "base/error.hpp". A user's include path has these files below shmif/ only,
# so that a project can have a base/error.hpp of its own. So every name of a public header gets shmif/ before it, in
# #include lines and in comments. A compiler of an older C++ stops with a sentence.
cmake_minimum_required(VERSION 3.25)

set(headers)
set(found OFF)
math(EXPR last "${CMAKE_ARGC} - 1")
foreach(i RANGE ${last})
  if(found)
    list(APPEND headers ${CMAKE_ARGV${i}})
  elseif(CMAKE_ARGV${i} STREQUAL "--")
    set(found ON)
  endif()
endforeach()

foreach(header IN LISTS headers)
  file(READ ${SOURCE}/${header} text)
  foreach(name IN LISTS headers)
    if(NOT name MATCHES "^shmif/")
      string(REPLACE "${name}" "shmif/${name}" text "${text}")
    endif()
  endforeach()
  # In angle brackets, so that no folder shmif/ beside a header is looked into first.
  string(REGEX REPLACE "#include \"(shmif/[^\"]*)\"" "#include <\\1>" text "${text}")
  if(header MATCHES "\\.hpp$")
    string(REPLACE "#pragma once\n" "#pragma once
#if __cplusplus < 202002L
#error \"shmif needs C++20: compile with -std=c++20. For C and older C++ there is shmif/shmif.h.\"
#else
" text "${text}")
    string(APPEND text "#endif\n")
  endif()
  string(REGEX REPLACE "^shmif/" "" name ${header})
  file(WRITE ${OUT}/new "${text}")
  cmake_path(GET name PARENT_PATH folder)
  file(MAKE_DIRECTORY ${OUT}/shmif/${folder})
  file(COPY_FILE ${OUT}/new ${OUT}/shmif/${name} ONLY_IF_DIFFERENT)
endforeach()
file(REMOVE ${OUT}/new)
