// Which libraries a command loads. libpcap and libtins bring libcrypto and eight others; a host's
// start and memory would pay for them.

#include <dlfcn.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>

#include "tests/support/paths.hpp"
#include "tests/tools/common/bus_rig.hpp"

namespace shmif::test {
namespace {

/// A bus with one frame on it.
struct Libraries : ::testing::Test {
  void SetUp() override {
    Port port = rig.port("sender");
    send(port, {arp_request()});
  }

  /// Which of the libraries that commands should do without this one loads, as "pcap tins crypto".
  std::string loaded_by(Words words, int status = 0) const {
    words.insert(words.begin(), {"env", "LD_DEBUG=libs", "LD_DEBUG_OUTPUT=" + rig.file("loaded"),
                                 shmifctl_path()});
    Tool tool(std::move(words));
    const std::string log = rig.file("loaded." + std::to_string(tool.pid()));
    const ToolResult result = tool.finish();
    EXPECT_EQ(result.status, status) << result.err;
    std::ifstream file(log);
    const std::string text(std::istreambuf_iterator<char>(file), {});
    EXPECT_TRUE(contains(text, "calling init: ")) << "no log of the dynamic linker";
    std::string found;
    for (const std::string name : {"pcap", "tins", "crypto"}) {
      if (text.find("/lib" + name + ".so") != std::string::npos) found += ' ' + name;
    }
    return found.empty() ? "" : found.substr(1);
  }

  BusRig rig;
};

TEST_F(Libraries, OfPacketsAreLoadedByTheCommandsThatReadPacketsOnly) {
  const std::string bus = rig.path();
  const std::string capture = rig.file("capture.pcap");
  EXPECT_EQ(loaded_by({"--help"}), "");
  EXPECT_EQ(loaded_by({"create", rig.file("other")}), "");
  for (const std::string command : {"stat", "audit", "ps", "repair"}) {
    EXPECT_EQ(loaded_by({command, bus}), "") << command;
  }
  EXPECT_EQ(loaded_by({"top", bus, "-n", "1", "--interval", "0.05"}), "");
  EXPECT_EQ(loaded_by({"ping", bus, "-c", "1", "--timeout", "0.01"}, 1), "");
  EXPECT_EQ(loaded_by({"wait", bus, "--port", "none", "--timeout", "0"}, 1), "");
  EXPECT_EQ(loaded_by({"serve", bus, "--http", "127.0.0.1:0", "--timeout", "0.01"}), "crypto");
  EXPECT_EQ(loaded_by({"dump", bus, "--history", "--timeout", "0", "-w", capture}), "");
  EXPECT_EQ(loaded_by({"dump", bus, "--history", "--timeout", "0", "-w", capture, "arp"}), "pcap");
  EXPECT_EQ(loaded_by({"inject", bus, capture}), "pcap");
  EXPECT_EQ(loaded_by({"bridge", "pcap:" + capture, "bus:" + bus}), "pcap");
  EXPECT_EQ(loaded_by({"dump", bus, "--history", "--timeout", "0"}), "pcap tins crypto");
  EXPECT_EQ(loaded_by({"wait", bus, "--tcp", "198.18.0.1:80", "--timeout", "0"}, 1),
            "pcap tins crypto");
}

TEST_F(Libraries, OfAProgramThatIsAloneAreMissedByTheCommandsThatNeedThem) {
  const std::string alone = rig.file("shmifctl");
  std::filesystem::copy_file(shmifctl_path(), alone);
  const auto run = [&](Words words) {
    words.insert(words.begin(), alone);
    return run_program(std::move(words));
  };
  const auto expect_refusal = [&](const Words& parts) {
    for (const Words& words : {Words{"dump", rig.path(), "--history", "--timeout", "0"},
                               {"wait", rig.path(), "--tcp", "198.18.0.1:80"}}) {
      const ToolResult result = run(words);
      EXPECT_EQ(result.status, 77);
      EXPECT_EQ(count_of_lines(result.err), 1) << result.err;
      for (const std::string& part : parts) {
        EXPECT_TRUE(contains(result.err, part));
      }
    }
  };
  expect_refusal({"/shmif/shmifctl_packets.so", "No such file", "install all of shmif"});
  EXPECT_EQ(run({"stat", rig.path()}).status, 0);
  const std::string capture = rig.file("c.pcap");
  EXPECT_EQ(run({"dump", rig.path(), "--history", "--timeout", "0", "-w", capture, "arp"}).status,
            0);
  EXPECT_EQ(read_capture(capture).size(), 1U);

  const std::string beside = rig.file("shmifctl_packets.so");
  std::filesystem::copy_file(in_build("tests/tools/libforeign_module.so"), beside);
  expect_refusal({"was not built with this shmifctl", "install all of shmif"});
  for (const unsigned others : {0646U, 0664U}) {
    std::filesystem::permissions(beside, std::filesystem::perms(others));
    expect_refusal({beside, "may be somebody else's"});
  }
  std::filesystem::remove(beside);
  std::ofstream(beside) << "no library";
  expect_refusal({"file too short", "install all of shmif"});
}

/// In a shared folder, or behind a hard link, what is beside the program may be anybody's.
TEST_F(Libraries, OfSomebodyElseAreNotLoaded) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root, to give a file to somebody else";
  const std::string alone = rig.file("shmifctl");
  const std::string beside = rig.file("shmifctl_packets.so");
  std::filesystem::copy_file(shmifctl_path(), alone);
  std::filesystem::copy_file(
      std::filesystem::path(shmifctl_path()).parent_path() / "shmifctl_packets.so", beside);
  const auto dump = [&] {
    return run_program({alone, "dump", rig.path(), "--history", "--timeout", "0"});
  };
  EXPECT_EQ(dump().status, 0);
  const auto is_refused = [&] {
    const ToolResult refused = dump();
    EXPECT_EQ(refused.status, 77);
    EXPECT_TRUE(contains(refused.err, beside +
                                          " may be somebody else's (its owner must be that of the "
                                          "program, or root"));
  };
  for (const mode_t mode : {0775U, 0757U}) {  // others could write to it
    ASSERT_EQ(::chmod(beside.c_str(), mode), 0);
    is_refused();
  }
  ASSERT_EQ(::chmod(beside.c_str(), 0755), 0);
  ASSERT_EQ(::chown(alone.c_str(), 65534, 65534), 0);
  EXPECT_EQ(dump().status, 0) << "root may have put it there";
  ASSERT_EQ(::chown(alone.c_str(), 0, 0), 0);
  ASSERT_EQ(::chown(beside.c_str(), 65534, 65534), 0);
  is_refused();
  ASSERT_EQ(::chown(alone.c_str(), 65534, 65534), 0);
  EXPECT_EQ(dump().status, 0) << "both are that user's";
}

TEST_F(Libraries, AreNotLookedForWhereTheProgramCannotTellWhereItIs) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root, to hide /proc";
  const ToolResult result =
      run_program({"unshare", "--mount", "sh", "-c", R"(mount -t tmpfs none /proc && exec "$@")",
                   "sh", shmifctl_path(), "dump", rig.path(), "--history", "--timeout", "0"});
  EXPECT_EQ(result.status, 77);
  EXPECT_TRUE(contains(result.err, "where the program is cannot be read (mount /proc)"));
}

TEST_F(Libraries, WithoutLibpcapAFilterAndACaptureAreRefusedAndNothingElse) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root, to hide a library";
  void* const function = ::dlsym(::dlopen("libpcap.so.0.8", RTLD_NOW), "pcap_close");
  ::Dl_info library{};
  ASSERT_NE(::dladdr(function, &library), 0);
  const std::string capture = rig.file("capture.pcap");
  write_capture(capture, {arp_request()});
  const auto run = [&](Words words) {
    words.insert(words.begin(),
                 {"unshare", "--mount", "sh", "-c", R"(mount --bind /dev/null "$0" && exec "$@")",
                  library.dli_fname, shmifctl_path()});
    return run_program(std::move(words));
  };
  const ToolResult filtered = run({"dump", rig.path(), "--timeout", "0", "-w", "-", "arp"});
  EXPECT_EQ(filtered.status, 77);
  EXPECT_TRUE(contains(filtered.err,
                       "cannot compile the filter \"arp\": cannot load libpcap (Debian's "
                       "package libpcap0.8): "));
  const ToolResult injected = run({"inject", rig.path(), capture});
  EXPECT_EQ(injected.status, 77);
  EXPECT_TRUE(
      contains(injected.err, "cannot read capture file \"" + capture + "\": cannot load libpcap"));
  EXPECT_EQ(run({"dump", rig.path(), "--history", "--timeout", "0", "-w", capture}).status, 0);
}

}  // namespace
}  // namespace shmif::test
