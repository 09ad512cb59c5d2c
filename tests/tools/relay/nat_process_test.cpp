// What a gateway's program leaves behind.

#include "tools/relay/nat_process.hpp"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "tests/support/child_process.hpp"
#include "tests/support/temp_dir.hpp"
#include "tools/relay/name_servers.hpp"

namespace shmif::test {
namespace {

/// Leaves room for `count` more descriptors.
bool allow_descriptors(std::size_t count) {
  rlimit limit{};
  std::vector<UniqueFd> room(count);
  for (UniqueFd& each : room) each = UniqueFd(::dup(STDERR_FILENO));
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return false;
  limit.rlim_cur = static_cast<rlim_t>(room.back().get()) + 1;
  return ::setrlimit(RLIMIT_NOFILE, &limit) == 0;
}

TEST(NameServers, AreThoseOfTheFileInTheirOrderAndWithoutTheirZones) {
  const TempDir dir;
  std::ofstream(dir.file("resolv.conf")) << "# nameserver 198.18.0.9\n"
                                            "search nameserver\n"
                                            "nameserver 198.18.0.1\n"
                                            "  nameserver\tfe80::1%eth0\n"
                                            "options nameserver 198.18.0.8\n"
                                            "nameserver\n"
                                            "nameserver nobody\n"
                                            "nameserver fd00::53 # the last\n";
  std::vector<std::string> found;
  for (const tap::IpAddress& each : tools::name_servers(dir.file("resolv.conf")))
    found.push_back(each.to_string());
  EXPECT_EQ(found, (std::vector<std::string>{"198.18.0.1", "fe80::1", "fd00::53"}));
  EXPECT_TRUE(tools::name_servers(dir.file("none")).empty());
}

TEST(NatProcess, IsTheFirstFileOfThatNameInThePathThatCanBeRun) {
  const TempDir dir;
  std::filesystem::create_directories(dir.file("directory/passt"));
  std::filesystem::create_directories(dir.file("directory/slirp4netns"));
  std::filesystem::create_directory(dir.file("text"));
  std::ofstream(dir.file("text/passt")) << "no program\n";
  std::filesystem::create_directory(dir.file("program"));
  std::ofstream(dir.file("program/passt")) << "#!/bin/sh\n";
  std::filesystem::permissions(dir.file("program/passt"), std::filesystem::perms::owner_all);
  const auto found = [](const std::string& path) {
    return Child([&] {
             ::setenv("PATH", path.c_str(), 1);
             const auto any = tools::find_nat_program({});
             const auto asked = tools::find_nat_program({.program = tools::NatProgram::passt});
             if (any.has_value() != asked.has_value()) return 3;
             if (!any) return 1;
             return *any == tools::NatProgram::passt && *asked == *any ? 0 : 2;
           })
        .wait();
  };
  EXPECT_EQ(found(dir.file("directory")), 1) << "no program";
  EXPECT_EQ(found(dir.file("text")), 1) << "nobody may run it";
  EXPECT_EQ(found(dir.file("directory") + ':' + dir.file("text") + ':' + dir.file("program")), 0);
  EXPECT_EQ(found(dir.file("none") + "::" + dir.file("program")), 0);
}

TEST(NatProcess, HasRoomForAsManySocketsAsTheUserMayHave) {
  const TempDir dir;
  std::ofstream(dir.file("slirp4netns"))
      << "#!" SHMIF_PYTHON
         " -S\nimport resource, socket, sys, time\n"
         "s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)\n"
         "s.bind(sys.argv[-1])\ns.listen(1)\nc, _ = s.accept()\n"
         "c.send(b'%d %d' % resource.getrlimit(resource.RLIMIT_NOFILE))\ntime.sleep(60)\n";
  std::filesystem::permissions(dir.file("slirp4netns"), std::filesystem::perms::owner_all);
  EXPECT_EQ(Child([&] {
              ::setenv("PATH", dir.path().c_str(), 1);
              rlimit limit{};
              if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return 2;
              limit = {.rlim_cur = 64, .rlim_max = std::min<rlim_t>(limit.rlim_max, 4000)};
              if (::setrlimit(RLIMIT_NOFILE, &limit) != 0) return 3;
              const tools::StopSignals stop;
              auto started = tools::NatProcess::start(tools::NatProgram::slirp4netns, {}, stop);
              if (!started || !*started) return 4;
              const UniqueFd connection = (*started)->take_connection();
              std::array<char, 64> said{};
              if (::recv(connection.get(), said.data(), said.size() - 1, 0) <= 0) return 5;
              const std::string most = std::to_string(limit.rlim_max);
              return said.data() == most + ' ' + most ? 0 : 6;
            }).wait(),
            0);
}

TEST(NatProcess, LeavesNoDirectoryAlsoIfThereIsNoDescriptorToListIt) {
  const TempDir dir;
  std::filesystem::create_directory(dir.file("tmp"));
  // Listens as slirp4netns does; its last word is the path.
  std::ofstream(dir.file("slirp4netns"))
      << "#!" SHMIF_PYTHON
         " -S\nimport socket, sys, time\n"
         "s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)\n"
         "s.bind(sys.argv[-1])\ns.listen(1)\ntime.sleep(60)\n";
  std::filesystem::permissions(dir.file("slirp4netns"), std::filesystem::perms::owner_all);
  EXPECT_EQ(Child([&] {
              ::setenv("TMPDIR", dir.file("tmp").c_str(), 1);
              ::setenv("PATH", dir.path().c_str(), 1);
              const tools::StopSignals stop;
              constexpr std::size_t kOfPipeAndSocket = 3;
              if (!allow_descriptors(kOfPipeAndSocket)) return 2;
              const auto started =
                  tools::NatProcess::start(tools::NatProgram::slirp4netns, {}, stop);
              if (!started) std::fprintf(stderr, "%s\n", started.error().message.c_str());
              if (!started || !*started) return 3;
              return std::filesystem::exists(dir.file("tmp")) ? 0 : 4;
            }).wait(),
            0);
  EXPECT_TRUE(std::filesystem::is_empty(dir.file("tmp")));
}

}  // namespace
}  // namespace shmif::test
