#pragma once
// Hosts for tests: `shmifctl exec`, run by root and by an ordinary user.

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "shmif/bus.hpp"
#include "tests/support/eventually.hpp"
#include "tests/support/run_tool.hpp"
#include "tests/support/temp_dir.hpp"

namespace shmif::test {

/// Who calls shmifctl, and how the hosts get their interfaces.
struct ExecSetting {
  bool as_stranger = false;  ///< an ordinary user whom /etc/subuid does not know
  std::string via;
  std::string name;
  /// The mode of a /dev/net/tun that the caller gets from root; empty: that of the machine.
  std::string tun_mode{};
};
inline void PrintTo(const ExecSetting& setting, std::ostream* out) {
  *out << setting.name;
}

inline std::vector<ExecSetting> exec_settings() {
  if (::geteuid() != 0) return {{false, "veth", "CallerViaVeth"}};
  // An ordinary user cannot open /dev/net/tun here; tests/tap/guest/guest_test.cpp opens it to one.
  return {{false, "tap", "RootViaTap"}, {false, "veth", "RootViaVeth"}, {true, "veth", "User"}};
}

/// A directory that everybody may write to, and buses in it that everybody may use.
class ExecRig : public ::testing::TestWithParam<ExecSetting> {
 protected:
  void SetUp() override {
    ::chmod(directory_.path().c_str(), 0777);
    if (run_program(by_caller({"test", "-x", shmifctl_path()})).status != 0) {
      GTEST_SKIP() << "another user cannot run " << shmifctl_path();
    }
    const ToolResult probe = run({"true"});
    if (probe.status == 77) GTEST_SKIP() << "no hosts here: " << probe.err;
    ASSERT_EQ(probe.status, 0) << probe.err;
  }

  std::string file(const std::string& name) const { return directory_.file(name); }
  std::string bus(const std::string& name = "bus", std::uint32_t mtu = 1500) const {
    const std::string path = file(name);
    BusOptions options;
    options.mtu = mtu;
    options.mode = 0666;
    options.ring_bytes = 1U << 20U;
    if (::access(path.c_str(), F_OK) != 0) Bus::create(path, options).value();
    return path;
  }

  /// The words of a command line that the caller runs.
  static Words by_caller(Words words) {
    Words all;
    if (!GetParam().tun_mode.empty()) {
      all = {"unshare",
             "--mount",
             "sh",
             "-c",
             "mount -t tmpfs none /dev/net && mknod -m $0 /dev/net/tun c 10 200 && exec \"$@\"",
             GetParam().tun_mode};
    }
    if (GetParam().as_stranger) {
      all.insert(all.end(), {"setpriv", "--reuid", "65001", "--regid", "65001", "--clear-groups"});
    }
    all.insert(all.end(), words.begin(), words.end());
    return all;
  }
  Words host_line(Words program, Words options) const {
    Words words = Words{shmifctl_path(), "exec", bus(), "--via", GetParam().via} + options;
    words.emplace_back("--");
    words.insert(words.end(), program.begin(), program.end());
    return by_caller(std::move(words));
  }

  /// Runs a program on a host to its end.
  ToolResult run(Words program, Words options = {}, std::string input = {}) const {
    return run_program(host_line(std::move(program), std::move(options)), std::move(input));
  }
  ToolResult run_shell(const std::string& script, Words options = {}) const {
    return run({"sh", "-c", script}, std::move(options));
  }
  /// Starts a host that runs beside the test, and waits until its port `name` is up
  /// and has carrier.
  std::unique_ptr<Tool> start(const std::string& name, const std::string& script,
                              Words options = {}) const {
    options.insert(options.begin(), {"--name", name});
    auto tool = std::make_unique<Tool>(host_line({"sh", "-c", script}, std::move(options)));
    EXPECT_TRUE(eventually([&] { return port(name) && port(name)->up; })) << name;
    // Carrier comes when its interface is up, unless its program takes the interface down at once.
    constexpr std::chrono::seconds kSoon{5};
    static_cast<void>(eventually(
        [&] {
          const std::optional<PortInfo> now = port(name);
          return !now || now->carrier;
        },
        kEmulated ? 12 * kSoon : kSoon));
    return tool;
  }

  std::optional<PortInfo> port(const std::string& name) const {
    const Bus opened = Bus::open(bus()).value();
    for (const PortInfo& each : opened.info().ports) {
      if (each.live && each.name == name) return each;
    }
    return std::nullopt;
  }

 private:
  TempDir directory_;
};

/// Whether a program is there, also where an ordinary user's PATH does not lead.
inline bool has_program(const std::string& name) {
  for (const char* directory : {"/usr/bin/", "/bin/", "/usr/sbin/", "/sbin/", "/usr/lib/frr/"}) {
    if (::access((directory + name).c_str(), X_OK) == 0) return true;
  }
  return false;
}

}  // namespace shmif::test
