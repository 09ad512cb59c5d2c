#include "base/result.hpp"

#include <gtest/gtest.h>

#include <cerrno>
#include <iterator>
#include <memory>
#include <set>
#include <string>
#include <utility>

namespace shmif {
namespace {

Result<int> answer(bool good) {
  if (good) return 42;
  return Error(Errc::busy, "cannot answer");
}

TEST(Result, HoldsTheValue) {
  const Result<int> r = answer(true);
  ASSERT_TRUE(r);
  EXPECT_EQ(*r, 42);
  EXPECT_EQ(r.value(), 42);
}

TEST(Result, HoldsTheErrorWithItsMessage) {
  const Result<int> r = answer(false);
  ASSERT_FALSE(r);
  EXPECT_EQ(r.error().code, Errc::busy);
  EXPECT_EQ(r.error().message, "cannot answer");
}

TEST(Result, ValueThrowsTheErrorWithItsMessageAsItIs) {
  try {
    (void)answer(false).value();
    FAIL() << "it did not throw";
  } catch (const Exception& e) {
    EXPECT_EQ(e.code(), Errc::busy);
    EXPECT_STREQ(e.what(), "cannot answer");
  }
}

TEST(Result, CarriesWhatCanOnlyBeMoved) {
  Result<std::unique_ptr<std::string>> r(std::make_unique<std::string>("x"));
  const std::unique_ptr<std::string> taken = *std::move(r);
  EXPECT_EQ(*taken, "x");
}

TEST(Result, OfNothingIsDoneOrAnError) {
  Result<void> r;
  EXPECT_TRUE(r);
  EXPECT_NO_THROW(r.value());
  r = Error(Errc::corrupt, "broken");
  EXPECT_FALSE(r);
  EXPECT_THROW(r.value(), Exception);
}

TEST(Error, FromErrnoEndsWithItsText) {
  const Error e = Error::from_errno(ENOSPC, "cannot write");
  EXPECT_EQ(e.message, "cannot write: No space left on device");
  EXPECT_EQ(e.code, std::errc::no_space_on_device);
}

TEST(Errc, EveryValueHasATextOfItsOwn) {
  std::set<std::string> texts;
  for (int i = 1; i <= static_cast<int>(Errc::lock_held); ++i) {
    const std::string text = make_error_code(static_cast<Errc>(i)).message();
    EXPECT_NE(text, "unknown shmif error") << i;
    EXPECT_TRUE(texts.insert(text).second) << text;
  }
}

TEST(Errc, TheTextsOfNeighboursAreNotMixedUp) {
  constexpr std::pair<Errc, const char*> kTexts[] = {
      {Errc::wrong_layout, "a bus of another format version"},
      {Errc::wrong_size, "the file's size does not match its header"},
      {Errc::bad_size, "the ring size must be a power of two from 64K to 1G"},
      {Errc::bad_mtu, "the MTU must lie between 68 and 65521"},
      {Errc::name_taken, "a live port has that name already"},
      {Errc::mac_taken, "a live port has that MAC address already"},
      {Errc::path_empty, "the path is empty"},
      {Errc::path_too_long, "the path is too long"},
      {Errc::not_linked, "the port is not linked to a bus"},
      {Errc::already_linked, "the port is linked to a bus already"},
      {Errc::port_up, "not possible while the port is up"},
      {Errc::port_down, "the port is down"},
      {Errc::frame_too_short, "a frame has at least 14 bytes"},
      {Errc::frame_too_long, "the frame exceeds the MTU of the bus"},
      {Errc::corrupt, "the shared memory is corrupt"},
      {Errc::bus_lost, "the bus file was truncated"},
  };
  for (const auto& [code, text] : kTexts) EXPECT_EQ(make_error_code(code).message(), text);
}

TEST(Errc, ComparesWithTheErrnoOfTheAncestor) {
  EXPECT_EQ(make_error_code(Errc::already_linked), std::errc::device_or_resource_busy);
  EXPECT_EQ(make_error_code(Errc::path_too_long), std::errc::argument_list_too_long);
  EXPECT_EQ(make_error_code(Errc::not_linked), std::errc::no_such_device_or_address);
  EXPECT_EQ(make_error_code(Errc::path_empty), std::errc::invalid_argument);
}

// As shmif.h says of the negative results of its functions.
TEST(Errc, GivesCProgramsTheErrnoThatIsDocumented) {
  const std::pair<Errc, std::errc> documented[] = {
      {Errc::exists, std::errc::file_exists},
      {Errc::not_a_bus, std::errc::invalid_argument},
      {Errc::wrong_layout, std::errc::invalid_argument},
      {Errc::wrong_size, std::errc::invalid_argument},
      {Errc::not_ready, std::errc::resource_unavailable_try_again},
      {Errc::copied_file, std::errc::invalid_argument},
      {Errc::unsupported_file_system, std::errc::operation_not_supported},
      {Errc::not_a_regular_file, std::errc::invalid_argument},
      {Errc::bad_size, std::errc::invalid_argument},
      {Errc::bad_mtu, std::errc::invalid_argument},
      {Errc::bad_patience, std::errc::invalid_argument},
      {Errc::ring_too_small, std::errc::invalid_argument},
      {Errc::geometry_differs, std::errc::invalid_argument},
      {Errc::table_full, std::errc::no_space_on_device},
      {Errc::name_taken, std::errc::file_exists},
      {Errc::bad_name, std::errc::invalid_argument},
      {Errc::mac_taken, std::errc::file_exists},
      {Errc::path_empty, std::errc::invalid_argument},
      {Errc::path_too_long, std::errc::argument_list_too_long},
      {Errc::not_linked, std::errc::no_such_device_or_address},
      {Errc::already_linked, std::errc::device_or_resource_busy},
      {Errc::port_up, std::errc::device_or_resource_busy},
      {Errc::port_down, std::errc::network_down},
      {Errc::frame_too_short, std::errc::invalid_argument},
      {Errc::frame_too_long, std::errc::message_size},
      {Errc::read_only, std::errc::read_only_file_system},
      {Errc::no_room, std::errc::no_space_on_device},
      {Errc::corrupt, std::errc::io_error},
      {Errc::bus_lost, std::errc::io_error},
      {Errc::forked, std::errc::operation_not_permitted},
      {Errc::busy, std::errc::device_or_resource_busy},
      {Errc::timed_out, std::errc::timed_out},
      {Errc::link_ended, std::errc::broken_pipe},
      {Errc::not_supported, std::errc::operation_not_supported},
      {Errc::bad_argument, std::errc::invalid_argument},
      {Errc::interrupted, std::errc::interrupted},
      {Errc::lock_held, std::errc::device_or_resource_busy},
  };
  ASSERT_EQ(std::size(documented), static_cast<std::size_t>(Errc::lock_held)) << "each of them";
  for (const auto& [code, number] : documented) {
    EXPECT_EQ(make_error_code(code), number) << make_error_code(code).message();
  }
}

}  // namespace
}  // namespace shmif
