#include "base/result.hpp"

#include <gtest/gtest.h>

#include <cerrno>
#include <iterator>
#include <set>
#include <string>
#include <utility>

namespace shmif {
namespace {

Result<int> answer(bool good) {
  if (good) return 42;
  return Error(Errc::busy, "cannot answer");
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
