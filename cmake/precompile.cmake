# Headers that nearly every file includes, compiled once for all of them: of most files they are the greater part.
# For the programs and the harness, which nobody but us compiles (SHMIF_PRECOMPILE), and for the tests. The library
# is compiled without them, with every warning.

# g++ 12 takes templates of a precompiled header for code of ours, and warns of what std::string does.
set(SHMIF_PRECOMPILED_OPTIONS
  $<$<AND:$<COMPILE_LANG_AND_ID:CXX,GNU>,$<VERSION_LESS:$<CXX_COMPILER_VERSION>,13>>:-Wno-array-bounds$<SEMICOLON>-Wno-stringop-overflow$<SEMICOLON>-Wno-stringop-overread>)

# shmif_precompiled(NAME [EXECUTABLE] HEADERS header... [LIBS target...]): headers of those libraries, compiled once
# for all targets that use NAME, which are libraries, or executables.
function(shmif_precompiled name)
  if(NOT SHMIF_PRECOMPILE)
    return()
  endif()
  cmake_parse_arguments(ARG EXECUTABLE "" "HEADERS;LIBS" ${ARGN})
  set(source ${CMAKE_CURRENT_BINARY_DIR}/precompiled.cpp)
  file(CONFIGURE OUTPUT ${source} CONTENT "int main() { return 0; }\n")
  if(ARG_EXECUTABLE)
    add_executable(${name} EXCLUDE_FROM_ALL ${source})
  else()
    add_library(${name} STATIC EXCLUDE_FROM_ALL ${source})
  endif()
  target_link_libraries(${name} PRIVATE shmif_options ${ARG_LIBS})
  target_compile_options(${name} PRIVATE ${SHMIF_PRECOMPILED_OPTIONS})
  target_precompile_headers(${name} PRIVATE ${ARG_HEADERS})
endfunction()

# shmif_unity(TARGET...): with SHMIF_UNITY, compiles thirty-two files of each target as one, because headers and the
# templates in them are most of each file.
function(shmif_unity)
  if(NOT SHMIF_UNITY OR CMAKE_UNITY_BUILD)
    return()
  endif()
  foreach(target ${ARGN})
    set_target_properties(${target} PROPERTIES UNITY_BUILD ON UNITY_BUILD_BATCH_SIZE 32)
    # g++ takes a file that another includes for a header, where nothing may be local.
    target_compile_options(${target} PRIVATE $<$<COMPILE_LANG_AND_ID:CXX,GNU>:-Wno-subobject-linkage>)
  endforeach()
endfunction()

# shmif_precompile(NAME TARGET...): lets these targets use the precompiled headers of NAME, and shmif_unity(). Most of
# their files include most of these headers.
function(shmif_precompile name)
  if(NOT SHMIF_PRECOMPILE)
    return()
  endif()
  foreach(target ${ARGN})
    target_compile_options(${target} PRIVATE ${SHMIF_PRECOMPILED_OPTIONS})
    target_precompile_headers(${target} REUSE_FROM ${name})
  endforeach()
  shmif_unity(${ARGN})
endfunction()

set(headers <algorithm> <array> <atomic> <chrono> <functional> <map> <memory> <optional> <set> <span> <string>
  <string_view> <system_error> <thread> <vector>)
shmif_precompiled(precompiled_std HEADERS ${headers})
shmif_precompiled(precompiled_json HEADERS ${headers} <nlohmann/json.hpp>)
