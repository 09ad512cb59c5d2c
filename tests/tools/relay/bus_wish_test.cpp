// --create: what becomes of a bus that a command made.

#include <gtest/gtest.h>

#include <filesystem>
#include <functional>
#include <string>

#include "shmif/capture/pcap_link.hpp"
#include "shmif/port.hpp"
#include "tests/support/run_tool.hpp"
#include "tests/support/temp_bus.hpp"
#include "tools/relay/bus_options.hpp"

namespace shmif::test {
namespace {

TEST(NewBus, IsRemovedUnlessItIsKeptOrUsedOrNoLongerThere) {
  const TempBus beside(small_ring());
  const std::string path = beside.file("new");
  tools::BusWish wish;
  wish.create = true;
  wish.options = small_ring();
  const auto is_left = [&](const std::function<void(tools::NewBus&, const Bus&)>& use) {
    {
      tools::NewBus made;
      const Bus bus = tools::provide_bus(path, wish, made).value();
      use(made, bus);
    }
    const bool is = std::filesystem::exists(path);
    std::filesystem::remove(path);
    return is;
  };
  EXPECT_FALSE(is_left([](tools::NewBus&, const Bus&) {}));
  EXPECT_TRUE(is_left([](tools::NewBus& made, const Bus&) { made.keep(); }));
  Port port;
  EXPECT_TRUE(is_left([&](tools::NewBus&, const Bus& bus) { port.attach(bus).value(); }));
  EXPECT_TRUE(is_left([&](tools::NewBus&, const Bus&) {
    std::filesystem::remove(path);
    Bus::create(path, small_ring()).value();  // another one
  }));
  Bus::create(path, small_ring()).value();
  EXPECT_TRUE(is_left([](tools::NewBus&, const Bus&) {})) << "it was there before";
}

TEST(NewBus, OfACommandThatCannotStartIsRemovedAndOfOneThatRanStays) {
  const TempBus beside(small_ring());
  const std::string path = beside.file("new"), bus = "bus:" + path;
  const std::string in = beside.file("in"), long_name(40, 'n');
  static_cast<void>(PcapWriter::create(in).value());
  struct Case {
    Words words;
    bool stays;
  };
  for (const auto& [words, stays] : std::vector<Case>{
           {{"exec", path, "--", "/no/such/program"}, false},
           {{"exec", path, "--name", long_name, "--", "true"}, false},
           {{"exec", beside.path(), "--bus", path, "--name", long_name, "--", "true"}, false},
           {{"tap", path, "--name", "newbus0", "--port-name", long_name}, false},
           {{"bridge", bus, "pcap:" + beside.file("c"), "--port-name", long_name}, false},
           {{"bridge", bus, "stream:" + beside.file("no/socket")}, false},
           {{"bridge", bus, "dgram:" + beside.file("no/one") + ',' + beside.file("no/two")}, false},
           {{"gateway", path, "--port-name", long_name}, false},
           {{"exec", path, "--", "false"}, true},
           {{"bridge", "pcap:" + in, bus}, true}}) {
    Words line = words;
    line.insert(line.begin() + 2, "--create");
    const ToolResult run = run_tool(line);
    EXPECT_TRUE(stays || run.status != 0) << testing::PrintToString(line);
    EXPECT_EQ(std::filesystem::exists(path), stays) << testing::PrintToString(line) << run.err;
    std::filesystem::remove(path);
  }
}

}  // namespace
}  // namespace shmif::test
