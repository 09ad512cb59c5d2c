// --create, --size, --mtu, --flow and names: what is asked for, and what a bus that exists must be.

#include <gtest/gtest.h>

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "tests/support/temp_bus.hpp"
#include "tools/relay/bus_options.hpp"

namespace shmif::test {
namespace {

using tools::BusWish;

tools::Arguments parsed_wish(std::vector<std::string> words) {
  tools::Options options("act", "");
  options.words(0, 0).value("name", "NAME", "a name");
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
  EXPECT_EQ(made.options.ring_bytes, 4U << 20U);
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
           {"--size", "64K"}, {"--mtu", "1500"}, {"--flow", "ethernet"}})
    EXPECT_EQ(refusal_of_wish([&] { wish_of(words); }),
              "--size, --mtu and --flow apply only to a new bus: give --create, too");
  EXPECT_EQ(refusal_of_wish([] { wish_of({"--create", "--flow", "Pause"}); }),
            "--flow \"Pause\" is not known (ethernet or pause)");
  EXPECT_EQ(refusal_of_wish([] { (void)tools::name_option(parsed_wish({"--name", ""}), "name"); }),
            "--name needs a name");
  EXPECT_EQ(tools::name_option(parsed_wish({"--name", "x"}), "name"), "x");
  EXPECT_EQ(tools::name_option(parsed_wish({}), "name"), std::nullopt);
}

/// What a bus at the path is refused with, for these options.
std::error_code code_for(const std::string& path, std::vector<std::string> words) {
  const Result<Bus> bus = tools::provide_bus(path, wish_of(std::move(words)));
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
  const Result<Bus> refused =
      tools::provide_bus(other.path(), wish_of({"--create", "--flow", "ethernet"}));
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
  const Bus made =
      tools::provide_bus(path,
                         wish_of({"--create", "--size", "64K", "--mtu", "3000", "--flow", "pause"}))
          .value();
  EXPECT_EQ(made.info().ring_bytes, 64U << 10U);
  EXPECT_EQ(made.info().mtu, 3000U);
  EXPECT_EQ(made.info().flow, Flow::pause);
  EXPECT_EQ(code_for(path, {}), std::error_code());
}

}  // namespace
}  // namespace shmif::test
