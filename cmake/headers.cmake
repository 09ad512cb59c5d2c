# The public headers, as users include them: everything below shmif/ (docs/decisions.md says why). cmake/public_header.cmake
# makes them from those of the tree, in SHMIF_INCLUDE_DIR. Users of the build tree (add_subdirectory, FetchContent) and
# what is installed have the same ones.

# Everything else in these folders is ours alone.
set(SHMIF_PUBLIC_HEADERS
  base/error.hpp
  base/result.hpp
  base/unique_fd.hpp
  bus/frame.hpp
  bus/info.hpp
  bus/mac.hpp
  bus/port_options.hpp
  instruments/counters/errors.hpp
  instruments/counters/event.hpp
  instruments/counters/event_names.hpp
  instruments/counters/sample.hpp
  instruments/counters/sample_format.hpp
  instruments/counters/session.hpp
  instruments/counters/session_table.hpp
  instruments/watch/kernel_files.hpp
  instruments/watch/task_id.hpp
  shmif/bus.hpp
  shmif/capture/pcap_link.hpp
  shmif/control/change.hpp
  shmif/control/change_desk.hpp
  shmif/control/change_text.hpp
  shmif/control/partition.hpp
  shmif/datagram_link.hpp
  shmif/fault_link.hpp
  shmif/faults.hpp
  shmif/filter.hpp
  shmif/frame.hpp
  shmif/heat_share.hpp
  shmif/link.hpp
  shmif/log.hpp
  shmif/loopback_link.hpp
  shmif/mac.hpp
  shmif/ping.hpp
  shmif/port.hpp
  shmif/receiver.hpp
  shmif/shmif.h
  shmif/socket_address.hpp
  shmif/stream_link.hpp
  tap/bridge.hpp
  tap/cidr.hpp
  tap/device_counters.hpp
  tap/guest/guest.hpp
  tap/line/line.hpp
  tap/netlink.hpp
  tap/netns.hpp
  tap/packet_link.hpp
  tap/tap_link.hpp)

set(SHMIF_INCLUDE_DIR ${PROJECT_BINARY_DIR}/include)
set(made)
foreach(header IN LISTS SHMIF_PUBLIC_HEADERS)
  string(REGEX REPLACE "^shmif/" "" name ${header})
  list(APPEND made ${SHMIF_INCLUDE_DIR}/shmif/${name})
endforeach()
set(script ${PROJECT_SOURCE_DIR}/cmake/public_header.cmake)
list(TRANSFORM SHMIF_PUBLIC_HEADERS PREPEND ${PROJECT_SOURCE_DIR}/ OUTPUT_VARIABLE sources)
set(stamp ${PROJECT_BINARY_DIR}/headers.stamp)
add_custom_command(OUTPUT ${stamp} BYPRODUCTS ${made}
  COMMAND ${CMAKE_COMMAND} -DSOURCE=${PROJECT_SOURCE_DIR} -DOUT=${SHMIF_INCLUDE_DIR} -P ${script} -- ${SHMIF_PUBLIC_HEADERS}
  COMMAND ${CMAKE_COMMAND} -E touch ${stamp}
  DEPENDS ${sources} ${script} COMMENT "Public headers" VERBATIM)
add_custom_target(shmif_headers DEPENDS ${stamp})

# shmif_public(NAME TARGET): the library TARGET of the tree as its users meet it, shmif::NAME: with the public headers, and
# without the options that we compile with.
function(shmif_public name target)
  add_library(shmif_public_${name} INTERFACE)
  add_library(shmif::${name} ALIAS shmif_public_${name})
  target_include_directories(shmif_public_${name} INTERFACE ${SHMIF_INCLUDE_DIR})
  target_link_libraries(shmif_public_${name} INTERFACE $<LINK_ONLY:${target}> ${ARGN})
  add_dependencies(${target} shmif_headers)
  if(NOT name STREQUAL c)
    target_compile_features(shmif_public_${name} INTERFACE cxx_std_20)
  endif()
endfunction()
