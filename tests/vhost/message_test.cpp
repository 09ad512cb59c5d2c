// The messages of vhost-user, as they arrive at a socket.

#include <gtest/gtest.h>
#include <sys/socket.h>

#include <array>
#include <span>
#include <vector>

#include "tests/support/holdings.hpp"
#include "tests/support/rights.hpp"
#include "tests/vhost/front_end.hpp"
#include "vhost/message.hpp"

namespace shmif::test {
namespace {

using vhost::MessageHeader;
using vhost::MessageReader;
using vhost::Request;
using Status = MessageStatus;

std::span<const std::byte> bytes_of(const auto& value) {
  return std::as_bytes(std::span(&value, 1));
}

std::ptrdiff_t held() {
  return holdings({}).descriptors;
}

TEST(VhostMessage, ThatArrivesByteByByteIsPutTogether) {
  auto pair = vhost_sockets();
  struct {
    MessageHeader header{.request = 10, .flags = 1, .payload_bytes = 8};
    vhost::VringState state{.index = 1, .value = 77};
  } const sent;
  base::ForeignSocket socket(std::move(pair[1]));
  MessageReader reader;
  const auto all = bytes_of(sent);
  for (std::size_t i = 0; i < all.size(); ++i) {
    EXPECT_EQ(reader.read(socket), Status::none) << i;
    ASSERT_EQ(::send(pair[0].get(), &all[i], 1, 0), 1);
  }
  ASSERT_EQ(reader.read(socket), Status::whole);
  EXPECT_EQ(reader.message().as<vhost::VringState>()->value, 77U);
}

TEST(VhostMessage, OfAWrongShapeIsRefused) {
  struct Case {
    const char* why;
    MessageHeader header;
  };
  for (const auto& [why, header] :
       {Case{"no version", {.request = 1, .flags = 0, .payload_bytes = 0}},
        Case{"version 2", {.request = 1, .flags = 2, .payload_bytes = 0}},
        Case{"a reply", {.request = 1, .flags = 5, .payload_bytes = 0}},
        Case{"too long", {.request = 1, .flags = 1, .payload_bytes = 513}},
        Case{"as long as can be", {.request = 1, .flags = 1, .payload_bytes = ~0U}}}) {
    auto pair = vhost_sockets();
    ASSERT_EQ(::send(pair[0].get(), &header, sizeof header, 0), 12);
    base::ForeignSocket socket(std::move(pair[1]));
    MessageReader reader;
    EXPECT_EQ(reader.read(socket), Status::malformed) << why;
  }
}

// Eight may come with each part that is read, and eight with all of them.
TEST(VhostMessage, TooManyDescriptorsWithSeveralPartsAreRefused) {
  for (const std::size_t second : {std::size_t{0}, std::size_t{1}}) {
    auto pair = vhost_sockets();
    base::ForeignSocket socket(std::move(pair[1]));
    MessageReader reader;
    const UniqueFd event(::eventfd(0, EFD_CLOEXEC));
    const std::vector<int> eight(8, event.get());
    // A whole header with eight, whose payload comes later.
    const MessageHeader header{.request = 5, .flags = 1, .payload_bytes = 12};
    ASSERT_TRUE(send_with_rights(pair[0].get(), bytes_of(header), eight));
    ASSERT_EQ(reader.read(socket), Status::none);
    // The payload is as long as a message without one.
    ASSERT_TRUE(vhost::send_message(pair[0].get(), Request::get_features, 0, {},
                                    std::span(eight).first(second)));
    EXPECT_EQ(reader.read(socket), second == 0 ? Status::whole : Status::malformed) << second;
  }
}

TEST(VhostMessage, DescriptorsThatNobodyTookAreClosedWithTheMessage) {
  auto pair = vhost_sockets();
  const auto before = held() + 1;
  const UniqueFd event(::eventfd(0, EFD_CLOEXEC));
  const std::array<int, 1> sent{event.get()};
  for (int i = 0; i < 3; ++i)
    ASSERT_TRUE(vhost::send_message(pair[0].get(), Request::get_features, 0, {}, sent));
  base::ForeignSocket socket(std::move(pair[1]));
  MessageReader reader;
  for (int i = 0; i < 3; ++i) {
    ASSERT_EQ(reader.read(socket), Status::whole);
    EXPECT_EQ(held(), before + 1);
  }
  EXPECT_EQ(reader.read(socket), Status::none);
  EXPECT_EQ(held(), before);
  pair[0].reset();
  EXPECT_EQ(reader.read(socket), Status::closed);
}

}  // namespace
}  // namespace shmif::test
