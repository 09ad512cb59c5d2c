# What `cmake --install` puts where. Users include <shmif/port.hpp>; the headers lie in
# INCLUDEDIR/shmif/{base,bus,perf,shmif,tap}, so that nothing of ours but one folder shows in a shared include path.

include(CMakePackageConfigHelpers)
include(GNUInstallDirs)

set(SHMIF_HEADER_DIR ${CMAKE_INSTALL_INCLUDEDIR}/shmif)
set(SHMIF_CMAKE_DIR ${CMAKE_INSTALL_LIBDIR}/cmake/shmif)
set(SHMIF_PKGCONFIG_DIR ${CMAKE_INSTALL_LIBDIR}/pkgconfig)

# The public headers. Everything else in these folders is ours alone.
set(SHMIF_PUBLIC_HEADERS
  base/error.hpp
  base/result.hpp
  base/unique_fd.hpp
  bus/frame.hpp
  bus/info.hpp
  bus/mac.hpp
  bus/port_options.hpp
  shmif/bus.hpp
  shmif/capture/pcap_link.hpp
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
  shmif/socket_address.hpp
  shmif/stream_link.hpp
  shmif/shmif.h)

set(SHMIF_INSTALLED_TARGETS shmif)
if(TARGET shmif_tap)
  list(APPEND SHMIF_INSTALLED_TARGETS shmif_tap)
  set_target_properties(shmif_tap PROPERTIES EXPORT_NAME tap)
  list(APPEND SHMIF_PUBLIC_HEADERS
    tap/bridge.hpp
    tap/cidr.hpp
    tap/device_counters.hpp
    tap/guest/guest.hpp
    tap/netlink.hpp
    tap/netns.hpp
    tap/packet_link.hpp
    tap/tap_link.hpp)
endif()

if(TARGET shmif_counters)
  list(APPEND SHMIF_INSTALLED_TARGETS shmif_counters shmif_watch)
  set_target_properties(shmif_counters PROPERTIES EXPORT_NAME counters)
  set_target_properties(shmif_watch PROPERTIES EXPORT_NAME watch)
  list(APPEND SHMIF_PUBLIC_HEADERS
    perf/counters/errors.hpp
    perf/counters/event.hpp
    perf/counters/event_names.hpp
    perf/counters/sample.hpp
    perf/counters/sample_format.hpp
    perf/counters/session.hpp
    perf/counters/session_table.hpp
    perf/watch/kernel_files.hpp
    perf/watch/task_id.hpp)
endif()

target_include_directories(shmif INTERFACE $<INSTALL_INTERFACE:${SHMIF_HEADER_DIR}>)
# C programs may link the library too, and their linker does not know of the C++ runtime.
target_link_libraries(shmif INTERFACE $<INSTALL_INTERFACE:stdc++>)
install(TARGETS ${SHMIF_INSTALLED_TARGETS} EXPORT shmif-targets
  ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
foreach(header IN LISTS SHMIF_PUBLIC_HEADERS)
  get_filename_component(folder ${header} DIRECTORY)
  install(FILES ${header} DESTINATION ${SHMIF_HEADER_DIR}/${folder})
endforeach()
# The names that these headers had before. Programs include them.
if(TARGET shmif_counters)
  foreach(header event.hpp event_names.hpp)
    set(former ${PROJECT_BINARY_DIR}/former/perf/events/${header})
    file(CONFIGURE OUTPUT ${former} CONTENT "#pragma once\n#include \"perf/counters/${header}\"\n")
    install(FILES ${former} DESTINATION ${SHMIF_HEADER_DIR}/perf/events)
  endforeach()
endif()

install(EXPORT shmif-targets NAMESPACE shmif:: DESTINATION ${SHMIF_CMAKE_DIR})
set(SHMIF_HAS_TAP OFF)
if(TARGET shmif_tap)
  set(SHMIF_HAS_TAP ON)
endif()
set(SHMIF_HAS_COUNTERS OFF)
if(TARGET shmif_counters)
  set(SHMIF_HAS_COUNTERS ON)
endif()
configure_package_config_file(cmake/shmif-config.cmake.in shmif-config.cmake
  INSTALL_DESTINATION ${SHMIF_CMAKE_DIR} NO_SET_AND_CHECK_MACRO)
write_basic_package_version_file(shmif-config-version.cmake COMPATIBILITY SameMinorVersion)
install(FILES
  ${CMAKE_CURRENT_BINARY_DIR}/shmif-config.cmake
  ${CMAKE_CURRENT_BINARY_DIR}/shmif-config-version.cmake
  DESTINATION ${SHMIF_CMAKE_DIR})

# The .pc files find their prefix from where they lie, so an installed tree can be moved.
file(RELATIVE_PATH SHMIF_PREFIX_FROM_PC /${SHMIF_PKGCONFIG_DIR} /)
configure_file(cmake/shmif.pc.in shmif.pc @ONLY)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/shmif.pc DESTINATION ${SHMIF_PKGCONFIG_DIR})
if(TARGET shmif_tap)
  configure_file(cmake/shmif-tap.pc.in shmif-tap.pc @ONLY)
  install(FILES ${CMAKE_CURRENT_BINARY_DIR}/shmif-tap.pc DESTINATION ${SHMIF_PKGCONFIG_DIR})
endif()
if(TARGET shmif_counters)
  configure_file(cmake/shmif-counters.pc.in shmif-counters.pc @ONLY)
  install(FILES ${CMAKE_CURRENT_BINARY_DIR}/shmif-counters.pc DESTINATION ${SHMIF_PKGCONFIG_DIR})
endif()

if(TARGET shmifctl)
  add_dependencies(shmifperf shmif_counters)  # who builds the programs can install
  install(TARGETS shmifctl shmifperf RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
  foreach(program shmifctl shmifperf)
    install(FILES tools/${program}.bash RENAME ${program}
      DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions)
  endforeach()
  install(TARGETS shmifctl_packets_module LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}/shmif)
  if(TARGET vdeplug_shmif)  # where Debian's libvdeplug looks, if the prefix is /usr
    install(TARGETS vdeplug_shmif LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}/vdeplug)
  endif()
  foreach(program shmifctl shmifperf)
    if(TARGET ${program}_manual)
      install(FILES ${PROJECT_BINARY_DIR}/tools/${program}.1 DESTINATION ${CMAKE_INSTALL_MANDIR}/man1)
    endif()
  endforeach()
endif()
# All pages, and what they show and link to. The examples lie beside the pages when they are installed, so the links to
# them are changed.
file(GLOB pages CONFIGURE_DEPENDS docs/*.md)
foreach(page IN LISTS pages)
  get_filename_component(name ${page} NAME)
  file(READ ${page} text)
  string(REPLACE "](../examples/" "](examples/" text "${text}")
  file(GENERATE OUTPUT ${PROJECT_BINARY_DIR}/docs/${name} CONTENT "${text}")
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${page})
  install(FILES ${PROJECT_BINARY_DIR}/docs/${name} DESTINATION ${CMAKE_INSTALL_DOCDIR})
endforeach()
install(FILES docs/shmifperf.schema.json DESTINATION ${CMAKE_INSTALL_DOCDIR})
install(DIRECTORY docs/examples docs/figures docs/measurements DESTINATION ${CMAKE_INSTALL_DOCDIR})
file(GLOB programs CONFIGURE_DEPENDS examples/*.c examples/*.cpp examples/*.py)
install(FILES ${programs} DESTINATION ${CMAKE_INSTALL_DOCDIR}/examples)
install(PROGRAMS examples/cni/shmif DESTINATION ${CMAKE_INSTALL_DOCDIR}/examples/cni)
install(FILES LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR})
