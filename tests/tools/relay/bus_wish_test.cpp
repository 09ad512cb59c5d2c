// --create, --size, --mtu and --flow: what is asked for, and what a bus that exists must be.

#include <gtest/gtest.h>

#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "shmif/capture/pcap_link.hpp"
#include "shmif/port.hpp"
#include "tests/support/run_tool.hpp"
#include "tests/support/temp_bus.hpp"
#include "tools/relay/bus_options.hpp"

namespace shmif::test {
namespace {

using tools::BusWish;

tools::Arguments parsed_wish(std::vector<std::string> words) {
  tools::Options options("act", "");
  options.words(0, 0);
  tools::add_bus_options(options);
  return options.parse({std::move(words), std::nullopt});
}

BusWish wish_of(std::vector<std::string> words) {
  return tools::bus_wish(parsed_wish(std::move(words)));
}

std::string refusal_of_wish(const std::function<void()>& attempt) {
  try {
    attempt();
  } catch (const tools::UsageError& error) {
    return error.what;
  }
  return "taken";
}

TEST(BusWish, KnowsWhichOfTheOptionsWereGiven) {
  const BusWish none = wish_of({});
  EXPECT_FALSE(none.create || none.ring_bytes_asked || none.mtu_asked || none.flow_asked);
  const BusWish made = wish_of({"--create"});
  EXPECT_TRUE(made.create);
  EXPECT_FALSE(made.ring_bytes_asked || made.mtu_asked || made.flow_asked);
  EXPECT_EQ(made.options.ring_bytes, 8U << 20U);
  EXPECT_EQ(made.options.mtu, 1500U);
  EXPECT_EQ(made.options.flow, Flow::ethernet);
  const BusWish size = wish_of({"--create", "--size", "128K"});
  EXPECT_TRUE(size.ring_bytes_asked && !size.mtu_asked && !size.flow_asked);
  EXPECT_EQ(size.options.ring_bytes, 128U << 10U);
  const BusWish mtu = wish_of({"--mtu", "9000", "--create"});
  EXPECT_TRUE(!mtu.ring_bytes_asked && mtu.mtu_asked && !mtu.flow_asked);
  EXPECT_EQ(mtu.options.mtu, 9000U);
  const BusWish flow = wish_of({"--create", "--flow", "pause"});
  EXPECT_TRUE(!flow.ring_bytes_asked && !flow.mtu_asked && flow.flow_asked);
  EXPECT_EQ(flow.options.flow, Flow::pause);
  EXPECT_EQ(wish_of({"--create", "--flow", "ethernet"}).options.flow, Flow::ethernet);
}

TEST(BusWish, IsRefusedWhereItCouldNotBeMet) {
  for (const std::vector<std::string>& words : std::vector<std::vector<std::string>>{
           {"--size", "64K"}, {"--mtu", "1500"}, {"--flow", "ethernet"}, {"--format", "netbsd"}})
    EXPECT_EQ(refusal_of_wish([&] { wish_of(words); }),
              "--format, --size, --mtu and --flow apply only to a new bus: give --create, too");
  EXPECT_EQ(refusal_of_wish([] { wish_of({"--create", "--flow", "Pause"}); }),
            "--flow \"Pause\" is not known (ethernet or pause)");
}

/// What a bus at the path is refused with, for these options.
std::error_code code_for(const std::string& path, std::vector<std::string> words) {
  tools::NewBus made;
  const Result<Bus> bus = tools::provide_bus(path, wish_of(std::move(words)), made);
  return bus ? std::error_code() : bus.error().code;
}

TEST(BusWish, OfABusThatExistsIsWhatWasAskedForAndNothingElse) {
  const TempBus other({.ring_bytes = 64U << 10U, .mtu = 2000, .flow = Flow::pause});
  EXPECT_EQ(code_for(other.path(), {}), std::error_code());
  EXPECT_EQ(code_for(other.path(), {"--create"}), std::error_code()) << "though not the usual ones";
  EXPECT_EQ(
      code_for(other.path(), {"--create", "--size", "64K", "--mtu", "2000", "--flow", "pause"}),
      std::error_code());
  EXPECT_EQ(code_for(other.path(), {"--create", "--size", "128K"}), Errc::geometry_differs);
  EXPECT_EQ(code_for(other.path(), {"--create", "--mtu", "1500"}), Errc::geometry_differs);
  EXPECT_EQ(code_for(other.path(), {"--create", "--flow", "ethernet"}), Errc::geometry_differs);
  tools::NewBus none;
  const Result<Bus> refused =
      tools::provide_bus(other.path(), wish_of({"--create", "--flow", "ethernet"}), none);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().message,
            "the bus " + other.path() +
                " exists with the flow pause, ethernet was asked for (leave the option out, or "
                "destroy the bus first)");
}

TEST(BusWish, ABusThatIsMissingIsMadeOnlyIfAskedFor) {
  const TempBus beside(small_ring());
  const std::string path = beside.file("new");
  EXPECT_EQ(code_for(path, {}), std::errc::no_such_file_or_directory);
  tools::NewBus removed_at_end;
  const BusWish wish = wish_of({"--create", "--size", "64K", "--mtu", "3000", "--flow", "pause"});
  const Bus made = tools::provide_bus(path, wish, removed_at_end).value();
  EXPECT_EQ(made.info().ring_bytes, 64U << 10U);
  EXPECT_EQ(made.info().mtu, 3000U);
  EXPECT_EQ(made.info().flow, Flow::pause);
  EXPECT_EQ(code_for(path, {}), std::error_code());
}

TEST(NewBus, IsRemovedUnlessItIsKeptOrUsedOrNoLongerThere) {
  const TempBus beside(small_ring());
  const std::string path = beside.file("new");
  const BusWish wish = wish_of({"--create", "--size", "64K"});
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
  EXPECT_FALSE(is_left([](tools::NewBus& made, const Bus&) {
    tools::NewBus other(std::move(made));
    made.keep();  // has nothing to keep any more
    made = std::move(other);
  }));
  Port port;
  EXPECT_TRUE(is_left([&](tools::NewBus&, const Bus& bus) { port.attach(bus).value(); }));
  EXPECT_TRUE(is_left([&](tools::NewBus&, const Bus&) {
    std::filesystem::remove(path);
    Bus::create(path, small_ring()).value();  // another one
  }));
  Bus::create(path, small_ring()).value();
  EXPECT_TRUE(is_left([](tools::NewBus&, const Bus&) {})) << "it was there before";
}

TEST(NewBus, OfACommandThatCannotStartIsRemoved) {
  const TempBus beside(small_ring());
  const std::string path = beside.file("new");
  const std::string long_name(40, 'n');
  for (const std::vector<std::string>& words : std::vector<std::vector<std::string>>{
           {"exec", path, "--create", "--", "/no/such/program"},
           {"exec", path, "--create", "--name", long_name, "--", "true"},
           {"exec", beside.path(), "--create", "--bus", path, "--name", long_name, "--", "true"},
           {"tap", path, "--create", "--name", "newbus0", "--port-name", long_name},
           {"bridge", "bus:" + path, "pcap:" + beside.file("c"), "--create", "--port-name",
            long_name},
           {"bridge", "bus:" + path, "stream:" + beside.file("no/socket"), "--create"},
           {"bridge", "bus:" + path, "dgram:" + beside.file("no/one") + ',' + beside.file("no/two"),
            "--create"},
           {"gateway", path, "--create", "--port-name", long_name}}) {
    const ToolResult run = run_tool(words);
    EXPECT_NE(run.status, 0) << testing::PrintToString(words);
    EXPECT_FALSE(std::filesystem::exists(path)) << testing::PrintToString(words) << run.err;
    std::filesystem::remove(path);
  }
}

TEST(NewBus, OfACommandThatRanStays) {
  const TempBus beside(small_ring());
  const std::string path = beside.file("new");
  for (const std::vector<std::string>& words :
       {std::vector<std::string>{"exec", path, "--create", "--", "false"},
        {"bridge", "pcap:" + beside.file("in"), "bus:" + path, "--create"}}) {
    static_cast<void>(PcapWriter::create(beside.file("in")).value());
    const ToolResult run = run_tool(words);
    EXPECT_TRUE(std::filesystem::exists(path)) << testing::PrintToString(words) << run.err;
    std::filesystem::remove(path);
    std::filesystem::remove(beside.file("in"));
  }
}

}  // namespace
}  // namespace shmif::test
