# For CMake: cross-builds for arm64 with Debian's g++-aarch64-linux-gnu, and runs what was built
# with QEMU's user mode. The environment's SHMIF_ARM64_ROOT is a Debian system for arm64, with the
# libraries; tests/arm64/run makes one.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(SHMIF_ARM64_ROOT "$ENV{SHMIF_ARM64_ROOT}" CACHE PATH "a Debian system for arm64")
list(APPEND CMAKE_TRY_COMPILE_PLATFORM_VARIABLES SHMIF_ARM64_ROOT)
set(CMAKE_C_COMPILER aarch64-linux-gnu-gcc)
set(CMAKE_CXX_COMPILER aarch64-linux-gnu-g++)
set(CMAKE_SYSROOT ${SHMIF_ARM64_ROOT})
set(CMAKE_FIND_ROOT_PATH ${SHMIF_ARM64_ROOT})
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_PACKAGE ONLY)
set(ENV{PKG_CONFIG_SYSROOT_DIR} ${SHMIF_ARM64_ROOT})
set(ENV{PKG_CONFIG_LIBDIR}
  ${SHMIF_ARM64_ROOT}/usr/lib/aarch64-linux-gnu/pkgconfig:${SHMIF_ARM64_ROOT}/usr/lib/pkgconfig:${SHMIF_ARM64_ROOT}/usr/share/pkgconfig)
set(CMAKE_CROSSCOMPILING_EMULATOR qemu-aarch64-static;-L;${SHMIF_ARM64_ROOT})
