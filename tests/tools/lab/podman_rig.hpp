#pragma once
// podman for tests: with a store of the test's own, and an image of busybox in it.

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include "tests/support/run_tool.hpp"

namespace shmif::test {

/// Makes podman's store in `folder`, and the image docker.io/library/busybox in it, which has only
/// busybox. Result: why that is not possible here; empty if it is.
inline std::string prepare_podman(const std::string& folder) {
  for (const char* const tool : {"podman", "busybox"}) {
    if (run_program({"sh", "-c", std::string("command -v ") + tool}).status != 0)
      return std::string("no ") + tool;
  }
  const bool has_runc =
      run_program({"sh", "-c", "PATH=$PATH:/usr/sbin; command -v runc"}).status == 0;
  std::filesystem::create_directories(folder);
  // Limits of its own, as a machine may forbid to raise them.
  std::ofstream(folder + "/containers.conf")
      << "[containers]\ndefault_ulimits = [\"nofile=1024:1024\", \"nproc=1024:1024\"]\n"
      << "[engine]\ncgroup_manager = \"cgroupfs\"\ntmp_dir = \"" << folder << "/tmp\"\n"
      << (has_runc ? "runtime = \"runc\"\n" : "");
  std::ofstream(folder + "/storage.conf") << "[storage]\ndriver = \"vfs\"\ngraphroot = \"" << folder
                                          << "/graph\"\nrunroot = \"" << folder << "/run\"\n";
  ::setenv("CONTAINERS_CONF", (folder + "/containers.conf").c_str(), 1);
  ::setenv("CONTAINERS_STORAGE_CONF", (folder + "/storage.conf").c_str(), 1);
  const ToolResult made = run_program(
      {"sh", "-c",
       "set -e; cd \"$0\"; mkdir -p image/bin image/dev image/etc image/proc image/run image/sys "
       "image/tmp; busybox=$(command -v busybox); cp -L $busybox image/bin/busybox; "
       "for each in $(ldd $busybox 2>/dev/null | grep -o '/[^ ]*'); do "
       "cp -L --parents $each image; done; cd image; "
       "for tool in cat cut echo env head hostname httpd ip kill mkdir nproc ping sh sleep sysctl "
       "wget; do ln -sf busybox bin/$tool; done; "
       "tar -c . | podman import -q - docker.io/library/busybox",
       folder});
  if (made.status != 0) return "no podman that works: " + made.err;
  const ToolResult ran = run_program(
      {"podman", "run", "--rm", "--network", "none", "docker.io/library/busybox", "true"});
  // busybox has no link "true", which is why it says 127.
  return ran.status == 0 || ran.status == 127 ? "" : "no podman that works: " + ran.err;
}

/// Ends what podman left in that store, and nothing in the user's own.
inline void end_podman(const std::string& folder) {
  if (!std::filesystem::exists(folder + "/storage.conf")) return;
  run_program({"podman", "rm", "--all", "--force", "--time", "0"});
}

}  // namespace shmif::test
