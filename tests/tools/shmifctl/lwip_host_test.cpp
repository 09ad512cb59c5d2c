// examples/lwip_host.c: a host whose TCP/IP stack is lwIP, beside hosts that use the kernel's.

#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <memory>
#include <random>
#include <sstream>
#include <string>

#include "shmif/bus.hpp"
#include "tests/support/run_tool.hpp"
#include "tests/support/temp_dir.hpp"

namespace shmif::test {
namespace {

std::string content_of(const std::string& path) {
  std::ostringstream text;
  text << std::ifstream(path, std::ios::binary).rdbuf();
  return text.str();
}

class LwipHost : public ::testing::Test {
 protected:
  void SetUp() override {
    if (const ToolResult probe = on_host("true"); probe.status == 77)
      GTEST_SKIP() << "no hosts here: " << probe.err;
  }
  /// Runs a script on a host of the bus, with the kernel's stack.
  ToolResult on_host(const std::string& script, const std::string& address = "198.18.0.1/24") {
    return run_tool({"exec", bus_, "--create", "--ip", address, "--", "sh", "-c", script});
  }
  std::string file(const std::string& name) const { return directory_.file(name); }
  /// The host 198.18.0.9, which serves `page`, once it is up.
  std::unique_ptr<Tool> serving(const std::string& page) const {
    std::ofstream(file("page"), std::ios::binary) << page;
    auto host = std::make_unique<Tool>(
        Words{in_build("examples/lwip_host"), bus_, "198.18.0.9/24", file("page")});
    EXPECT_TRUE(host->wait_for("is up\n"));
    return host;
  }

  TempDir directory_;
  const std::string bus_ = directory_.file("bus");
};

TEST_F(LwipHost, AnswersPingsOfEverySizeThatTheBusCarries) {
  const auto host = serving("text");
  for (const char* const size : {"56", "1472", "4000"}) {  // the last one comes in fragments
    const ToolResult pinged =
        on_host(std::string("ping -q -c 3 -i 0.1 -w 20 -s ") + size + " 198.18.0.9");
    EXPECT_EQ(pinged.status, 0) << size << pinged.out << pinged.err;
    EXPECT_TRUE(contains(pinged.out, " 3 received, 0% packet loss"));
  }
}

TEST_F(LwipHost, ServesAFileUnchangedToSeveralHostsAtOnceAgainAndAgain) {
  std::string page(std::size_t{3} << 20U, '\0');
  std::mt19937 random(1);  // NOLINT(cert-msc32-c,cert-msc51-cpp): the same file each time
  std::ranges::generate(page, [&] { return static_cast<char>(random()); });
  const auto host = serving(page);
  const auto fetch = [&](const std::string& number) {
    return Words{shmifctl_path(),
                 "exec",
                 bus_,
                 "--ip",
                 "198.18.0." + number + "/24",
                 "--",
                 "sh",
                 "-c",
                 "for i in 1 2 3; do curl -sS -m 60 -o " + file("got") + number +
                     ".$i http://198.18.0.9/ || exit; done"};
  };
  Tool one(fetch("1"));
  Tool two(fetch("2"));
  for (Tool* const each : {&one, &two}) {
    const ToolResult result = each->finish();
    EXPECT_EQ(result.status, 0) << result.err;
  }
  for (const char* const name : {"got1.1", "got1.2", "got1.3", "got2.1", "got2.2", "got2.3"})
    EXPECT_TRUE(content_of(file(name)) == page) << name;
}

TEST_F(LwipHost, IsGoneFromTheBusWhenItIsKilledAndComesBack) {
  for (const std::string page : {"first\n", "second\n"}) {
    const auto host = serving(page);
    const ToolResult fetched = on_host("curl -sS -m 20 http://198.18.0.9/");
    EXPECT_EQ(fetched.out, page) << fetched.err;
    host->signal(SIGKILL);
    static_cast<void>(host->finish());
    const auto ports = Bus::open(bus_).value().info().ports;
    EXPECT_TRUE(std::ranges::none_of(ports, &PortInfo::live));
  }
}

}  // namespace
}  // namespace shmif::test
