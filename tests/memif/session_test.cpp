// Messages byte for byte, so that the two sides of our tests cannot err in the same way, and what
// the server answers.

#include "memif/session.hpp"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/memif/client.hpp"
#include "tests/support/debug_lines.hpp"

namespace shmif::test {
namespace {

using memif::MessageType;

std::vector<unsigned> first_bytes(const std::array<std::byte, 128>& message, std::size_t count) {
  std::vector<unsigned> out;
  out.reserve(count);
  for (std::size_t i = 0; i < count; ++i) out.push_back(std::to_integer<unsigned>(message[i]));
  return out;
}

TEST(MemifMessage, FieldsFollowEachOtherWithoutGaps) {
  EXPECT_EQ(first_bytes(memif::make_message(MessageType::ack), 4),
            (std::vector<unsigned>{1, 0, 0, 0}));
  EXPECT_EQ(first_bytes(memif::make_message(MessageType::init, memif::Init{.id = 0x01020304}), 9),
            (std::vector<unsigned>{3, 0, 0, 2, 4, 3, 2, 1, 0}));
  EXPECT_EQ(first_bytes(MemifClient::region_message(5, 0x0102030405060708), 12),
            (std::vector<unsigned>{4, 0, 5, 0, 8, 7, 6, 5, 4, 3, 2, 1}));
  EXPECT_EQ(first_bytes(MemifClient::ring_message({.flags = 1,
                                                   .index = 2,
                                                   .region = 3,
                                                   .offset = 0x01020304,
                                                   .size_log2 = 10,
                                                   .private_bytes = 7}),
                        15),
            (std::vector<unsigned>{5, 0, 1, 0, 2, 0, 3, 0, 4, 3, 2, 1, 10, 7, 0}));
  EXPECT_EQ(memif::field_of<4>("a longer text"), (std::array<char, 4>{'a', ' ', 'l', 0}));
}

TEST(MemifMessage, TheServerSaysHelloFirst) {
  MemifPair pair({}, {}, false);
  const auto hello = pair.client().reply();
  ASSERT_TRUE(hello.has_value());
  EXPECT_EQ(hello->type(), MessageType::hello);
  EXPECT_EQ(std::string(reinterpret_cast<const char*>(hello->bytes.data()) + 2), "shmif");
  // The versions, the highest number of a region, those of rings, and the largest ring.
  std::vector<unsigned> rest;
  for (std::size_t i = 34; i < 46; ++i)
    rest.push_back(std::to_integer<unsigned>(hello->bytes.at(i)));
  EXPECT_EQ(rest, (std::vector<unsigned>{0, 2, 0, 2, 63, 0, 0, 0, 0, 0, 14, 0}));
}

TEST(MemifMessage, EachStepIsAnsweredAndFramesPassAfterTheLast) {
  MemifPair pair({}, {}, false);
  EXPECT_TRUE(pair.client().describe());
  EXPECT_FALSE(pair.link().was_set_up());
  ASSERT_TRUE(pair.client().tell(MemifClient::connect_message()));
  const auto connected = pair.client().reply();
  ASSERT_TRUE(connected.has_value());
  EXPECT_EQ(connected->type(), MessageType::connected);
  EXPECT_EQ(std::string(reinterpret_cast<const char*>(connected->bytes.data()) + 2), "shmif");
  EXPECT_TRUE(pair.link().was_set_up());
}

TEST(MemifMessage, AnAcknowledgementOfTheClientHasNoAnswer) {
  MemifPair pair;
  ASSERT_TRUE(pair.client().tell(memif::make_message(MessageType::ack)));
  EXPECT_FALSE(pair.client().reply().has_value());
  EXPECT_FALSE(pair.last().error) << pair.link().why();
  EXPECT_EQ(pair.link().send(views({make_frame(60, 1)})).taken, 1U);
}

// Of an interface: its number, its name and a secret. Of a ring: further flags, and bytes that the
// client keeps for itself.
TEST(MemifMessage, WhatTheServerDoesNotUseMayBeAnything) {
  MemifPair pair({}, {}, false);
  MemifClient& client = pair.client();
  ASSERT_EQ(client.reply_type(), MessageType::hello);
  memif::Init init{.id = 0xffff'ffff};
  init.secret.fill('s');
  init.name.fill('n');
  ASSERT_TRUE(client.tell(MemifClient::init_message(init)));
  ASSERT_TRUE(client.acknowledged());
  ASSERT_TRUE(
      client.tell(MemifClient::region_message(0, client.rings.size()), client.rings.file()));
  ASSERT_TRUE(client.acknowledged());
  ASSERT_TRUE(
      client.tell(MemifClient::region_message(1, client.buffers.size()), client.buffers.file()));
  ASSERT_TRUE(client.acknowledged());
  for (const bool from_client : {true, false}) {
    memif::AddRing fields = client.ring_fields(from_client);
    fields.flags = from_client ? 0xffff : 0xfffe;
    fields.private_bytes = 0xffff;
    const int interrupt = (from_client ? client.send_ring : client.receive_ring).interrupt.get();
    ASSERT_TRUE(client.tell(MemifClient::ring_message(fields), interrupt));
    ASSERT_TRUE(client.acknowledged()) << pair.link().why();
  }
  EXPECT_FALSE(pair.link().was_set_up());
  ASSERT_TRUE(client.tell(MemifClient::connect_message()));
  ASSERT_EQ(client.reply_type(), MessageType::connected);
  EXPECT_TRUE(pair.link().was_set_up());
  ASSERT_EQ(client.send({make_frame(60, 1)}), 1U);
  EXPECT_TRUE(same_frames({make_frame(60, 1)}, collect(pair.link(), 1)));
}

TEST(MemifMessage, ATextWithoutAnEndIsToldAsFarAsItsFieldGoes) {
  const std::string said = debug_lines_of("link", [] {
    MemifPair pair({}, {.address = "m"}, false);
    memif::Init init{.id = 7};
    init.name.fill('n');
    ASSERT_TRUE(pair.client().tell(MemifClient::init_message(init)));
    pair.serve();
    memif::Disconnect last{.code = 0x41414141};
    last.reason.fill('r');
    ASSERT_TRUE(pair.client().tell(memif::make_message(MessageType::disconnect, last)));
    pair.serve();
    EXPECT_EQ(pair.last().error, Errc::link_ended);
  });
  EXPECT_EQ(said,
            "m: a client connects; frames of up to 1522 bytes\n"
            "m: the client calls itself \"" +
                std::string(32, 'n') +
                "\", interface 7\n"
                "m: the client takes its leave: \"" +
                std::string(96, 'r') + "\"\n");
}

TEST(MemifMessage, OfAFrameBothTooLongAndUnfinishedTheWorkIsNamed) {
  MemifPair pair({}, {.max_frame_bytes = 1522});
  const Bytes frame = make_frame(1523, 1), least = make_frame(14, 2), most = make_frame(1522, 3);
  FrameView view(frame.data(), frame.size());
  EXPECT_EQ(pair.link().send({&view, 1}).error, Errc::frame_too_long);
  view.offload.flags = Offload::kNeedsChecksum;
  EXPECT_EQ(pair.link().send({&view, 1}).error, Errc::not_supported);
  const std::vector<Bytes> good{least, most};
  EXPECT_EQ(pair.link().send(views(good)).taken, 2U);
  EXPECT_TRUE(same_frames(good, pair.client().frames()));
  ASSERT_EQ(pair.client().send(good), 2U);
  EXPECT_TRUE(same_frames(good, collect(pair.link(), 2)));
}

// The other one stays as it is.
TEST(MemifMessage, EachRingMayBeginAtATailOfItsOwn) {
  MemifPair pair({}, {}, false);
  MemifClient& client = pair.client();
  client.send_ring.given = 0xffff;
  client.send_ring.header().head = client.send_ring.header().tail = 0xffff;
  client.receive_ring.given = client.receive_ring.taken = 7;
  client.receive_ring.header().head = client.receive_ring.header().tail = 7;
  ASSERT_TRUE(client.start());
  for (unsigned i = 0; i < 3; ++i) {
    ASSERT_EQ(client.send({make_frame(60, i)}), 1U);
    EXPECT_TRUE(same_frames({make_frame(60, i)}, collect(pair.link(), 1)));
    ASSERT_EQ(pair.link().send(views({make_frame(61, i)})).taken, 1U);
    EXPECT_TRUE(same_frames({make_frame(61, i)}, client.frames()));
  }
  EXPECT_EQ(client.send_ring.tail(), 2U);
  EXPECT_EQ(client.receive_ring.tail(), 10U);
}

}  // namespace
}  // namespace shmif::test
