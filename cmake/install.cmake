# What `cmake --install` puts where. The headers are those that cmake/headers.cmake makes.

include(CMakePackageConfigHelpers)
include(GNUInstallDirs)

set(SHMIF_CMAKE_DIR ${CMAKE_INSTALL_LIBDIR}/cmake/shmif)
set(SHMIF_PKGCONFIG_DIR ${CMAKE_INSTALL_LIBDIR}/pkgconfig)

set(SHMIF_INSTALLED_TARGETS shmif)
foreach(part c tap counters watch)
  if(TARGET shmif_${part})
    list(APPEND SHMIF_INSTALLED_TARGETS shmif_${part})
    set_target_properties(shmif_${part} PROPERTIES EXPORT_NAME ${part})
  endif()
endforeach()

target_include_directories(shmif INTERFACE $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
# C programs may link the library too, and their linker does not know of the C++ runtime.
target_link_libraries(shmif INTERFACE $<INSTALL_INTERFACE:stdc++>)
if(TARGET shmif_c)
  target_include_directories(shmif_c INTERFACE $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
endif()
install(TARGETS ${SHMIF_INSTALLED_TARGETS} EXPORT shmif-targets
  ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR} LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
foreach(header IN LISTS SHMIF_PUBLIC_HEADERS)
  string(REGEX REPLACE "^shmif/" "" name ${header})
  cmake_path(GET name PARENT_PATH folder)
  install(FILES ${SHMIF_INCLUDE_DIR}/shmif/${name} DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/shmif/${folder})
endforeach()

install(EXPORT shmif-targets NAMESPACE shmif:: DESTINATION ${SHMIF_CMAKE_DIR})
set(SHMIF_HAS_C OFF)
if(TARGET shmif_c)
  set(SHMIF_HAS_C ON)
endif()
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
if(TARGET shmif_c)
  configure_file(cmake/shmif-c.pc.in shmif-c.pc @ONLY)
  install(FILES ${CMAKE_CURRENT_BINARY_DIR}/shmif-c.pc DESTINATION ${SHMIF_PKGCONFIG_DIR})
endif()
if(TARGET shmif_counters)
  configure_file(cmake/shmif-counters.pc.in shmif-counters.pc @ONLY)
  install(FILES ${CMAKE_CURRENT_BINARY_DIR}/shmif-counters.pc DESTINATION ${SHMIF_PKGCONFIG_DIR})
endif()

# The package for Python calls the shared library. Nothing of it is built, so no build needs Python.
set(SHMIF_PYTHON_DIR lib/python3/dist-packages CACHE STRING
  "Where in the prefix the package for Python goes; empty: nowhere. The default is Debian's, if the prefix is /usr")
if(TARGET shmif_c AND SHMIF_PYTHON_DIR)
  file(GLOB modules CONFIGURE_DEPENDS python/shmif/*.py)
  install(FILES ${modules} python/shmif/py.typed DESTINATION ${SHMIF_PYTHON_DIR}/shmif)
  # By this, importlib.metadata and pip know of it. It needs cffi's backend, which Debian packages without the rest of cffi.
  configure_file(cmake/python-metadata.in python-metadata @ONLY)
  set(info ${SHMIF_PYTHON_DIR}/shmif-${PROJECT_VERSION}.dist-info)
  install(FILES ${CMAKE_CURRENT_BINARY_DIR}/python-metadata RENAME METADATA DESTINATION ${info})
  file(CONFIGURE OUTPUT python-installer CONTENT "cmake\n")
  install(FILES ${CMAKE_CURRENT_BINARY_DIR}/python-installer RENAME INSTALLER DESTINATION ${info})
endif()

if(TARGET shmifctl)
  add_dependencies(shmifperf shmif_counters)  # who builds the programs can install
  add_dependencies(shmifctl shmif_headers)
  if(TARGET shmif_c)
    add_dependencies(shmifctl shmif_c)
  endif()
  install(TARGETS shmifctl shmifperf RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
  foreach(program shmifctl shmifperf)
    install(FILES tools/${program}.bash RENAME ${program}
      DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions)
    install(FILES tools/completion/shmif.fish RENAME ${program}.fish
      DESTINATION ${CMAKE_INSTALL_DATADIR}/fish/vendor_completions.d)
  endforeach()
  # Debian's zsh looks in share/zsh/vendor-completions of /usr, and in site-functions of /usr/local.
  set(SHMIF_ZSH_FOLDER site-functions CACHE STRING "Folder below share/zsh for the completion of zsh")
  install(FILES tools/completion/_shmif DESTINATION ${CMAKE_INSTALL_DATADIR}/zsh/${SHMIF_ZSH_FOLDER})
  install(FILES tools/completion/complete.bash DESTINATION ${CMAKE_INSTALL_DATADIR}/shmif)
  install(FILES tools/apparmor/shmif DESTINATION ${CMAKE_INSTALL_DATADIR}/shmif/apparmor)
  install(TARGETS shmifctl_packets_module shmifctl_page_module LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}/shmif)
  if(TARGET vdeplug_shmif)  # where Debian's libvdeplug looks, if the prefix is /usr
    install(TARGETS vdeplug_shmif LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}/vdeplug)
  endif()
  # Where a Wireshark of the same prefix looks: Debian's, if the prefix is /usr.
  set(wireshark ${CMAKE_INSTALL_LIBDIR}/wireshark)
  file(RELATIVE_PATH program ${CMAKE_INSTALL_FULL_LIBDIR}/wireshark/extcap ${CMAKE_INSTALL_FULL_BINDIR}/shmifctl)
  file(MAKE_DIRECTORY ${PROJECT_BINARY_DIR}/extcap)
  file(CREATE_LINK ${program} ${PROJECT_BINARY_DIR}/extcap/shmif SYMBOLIC)
  install(FILES ${PROJECT_BINARY_DIR}/extcap/shmif DESTINATION ${wireshark}/extcap)
  install(FILES tools/shmif.lua tools/shmif_bus.lua DESTINATION ${wireshark}/plugins)
  foreach(program shmifctl shmifperf)
    if(TARGET ${program}_manual)
      install(FILES ${PROJECT_BINARY_DIR}/tools/${program}.1 DESTINATION ${CMAKE_INSTALL_MANDIR}/man1)
    endif()
  endforeach()
endif()
# All pages, and what they show and link to. The examples lie beside the pages when they are installed, so the links to
# them are changed.
file(GLOB pages RELATIVE ${PROJECT_SOURCE_DIR}/docs CONFIGURE_DEPENDS docs/*.md docs/lab/*.md)
foreach(name IN LISTS pages)
  set(page ${PROJECT_SOURCE_DIR}/docs/${name})
  get_filename_component(folder ${name} DIRECTORY)
  file(READ ${page} text)
  string(REPLACE "](../examples/" "](examples/" text "${text}")
  file(GENERATE OUTPUT ${PROJECT_BINARY_DIR}/docs/${name} CONTENT "${text}")
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${page})
  install(FILES ${PROJECT_BINARY_DIR}/docs/${name} DESTINATION ${CMAKE_INSTALL_DOCDIR}/${folder})
endforeach()
install(FILES docs/lab.schema.json docs/shmifperf.schema.json DESTINATION ${CMAKE_INSTALL_DOCDIR})
install(DIRECTORY docs/examples docs/figures DESTINATION ${CMAKE_INSTALL_DOCDIR})
install(DIRECTORY docs/lab/measurements DESTINATION ${CMAKE_INSTALL_DOCDIR}/lab)
file(GLOB programs CONFIGURE_DEPENDS examples/*.c examples/*.cpp examples/*.py)
install(FILES ${programs} DESTINATION ${CMAKE_INSTALL_DOCDIR}/examples)
install(DIRECTORY examples/go DESTINATION ${CMAKE_INSTALL_DOCDIR}/examples)
install(DIRECTORY examples/labs DESTINATION ${CMAKE_INSTALL_DOCDIR}/examples USE_SOURCE_PERMISSIONS)
install(PROGRAMS examples/cni/shmif DESTINATION ${CMAKE_INSTALL_DOCDIR}/examples/cni)
install(FILES CHANGELOG.md LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR})
