#pragma once
// Uplinks over ssh for tests, with a stand-in for ssh, which runs the command on this machine.

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "shmif/port.hpp"
#include "tests/support/eventually.hpp"
#include "tests/tools/uplink/machines.hpp"

namespace shmif::test {

inline void make_program(const std::string& path, const std::string& text) {
  std::ofstream(path) << "#!/bin/sh\n" << text;
  ::chmod(path.c_str(), 0755);
}

/// Sends frames of so many bytes to everybody.
inline void send_frames(Port& port, std::size_t bytes, unsigned count) {
  std::vector<std::byte> frame(bytes, std::byte{0xff});
  frame[6] = std::byte{2};
  const FrameView view(frame.data(), frame.size());
  for (unsigned i = 0; i < count; ++i) ASSERT_EQ(port.send({&view, 1}).taken, 1U);
}

class UplinkSsh : public ::testing::Test {
 protected:
  void SetUp() override {
    Bus::create(near_, {}).value();
    std::filesystem::create_directory(file("bin"));
    ssh_is("for last; do :; done\nexec sh -c \"$last\"\n");
  }
  std::string file(const std::string& name) const { return directory_.file(name); }
  /// What the uplink finds as ssh.
  void ssh_is(const std::string& script) const { make_program(file("bin/ssh"), script); }
  Words line(const Words& more = {}) const {
    return Words{"env",           "PATH=" + file("bin") + ":" + std::getenv("PATH"),
                 shmifctl_path(), "uplink",
                 near_,           "--ssh",
                 "b:" + far_,     "--far-program",
                 shmifctl_path()} +
           more;
  }
  std::unique_ptr<Tool> connected(const Words& more = {}) const {
    auto tool = std::make_unique<Tool>(line(more));
    EXPECT_TRUE(tool->wait_for("connected to "));
    wait_for_port(near_);
    wait_for_port(far_);
    return tool;
  }
  static void wait_for_port(const std::string& bus) {
    EXPECT_TRUE(eventually([&] {
      const auto ports = Bus::open(bus).value().info().ports;
      return std::ranges::any_of(ports, [](const PortInfo& p) {
        return p.live && p.up && p.link == LinkKind::bridge && p.name == "uplink";
      });
    }));
  }
  pid_t far_process() const {
    for (const PortInfo& port : Bus::open(far_).value().info().ports) {
      if (port.live && port.name == "uplink") return port.pid;
    }
    return 0;
  }

  TempDir directory_;
  const std::string near_ = directory_.file("near");
  const std::string far_ = directory_.file("far");
};

}  // namespace shmif::test
