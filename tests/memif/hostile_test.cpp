// Clients that write what no correct one writes. Each costs its own connection, is told why, and
// nothing else.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <functional>
#include <thread>
#include <vector>

#include "bus/file/sigbus_guard.hpp"
#include "tests/memif/client.hpp"
#include "tests/support/child_process.hpp"
#include "tests/support/fuse_files.hpp"
#include "tests/support/rights.hpp"
#include "tests/support/temp_dir.hpp"

namespace shmif::test {
namespace {

using memif::Descriptor;
using memif::MessageType;

/// The link of this client ends, says so once, and the client is told.
void expect_end(MemifPair& pair, const std::string& why) {
  SCOPED_TRACE(why);
  if (!pair.last().error) pair.serve();
  if (!pair.last().error) pair.serve();
  EXPECT_EQ(pair.last().frames, 0U);
  EXPECT_EQ(pair.last().error, Errc::corrupt);
  EXPECT_EQ(pair.link().why(), why);
  pair.serve();
  EXPECT_EQ(pair.last().error, Errc::link_ended) << "told once";
  EXPECT_EQ(pair.link().send(views({make_frame(60, 1)})).error, Errc::link_ended);
  EXPECT_EQ(pair.client().reason(), why);
}

constexpr const char* kWrongKind =
    "it sent a descriptor that is no file in memory (memfd, tmpfs or hugetlbfs) or eventfd";

struct Case {
  const char* why;
  std::function<void(MemifClient&)> spoil;
};

// Messages.

void expect_each(const std::vector<Case>& cases, bool describes) {
  for (const auto& [why, spoil] : cases) {
    MemifPair pair({}, {}, false);
    if (describes) {
      ASSERT_TRUE(pair.client().describe());
    } else {
      ASSERT_EQ(pair.client().reply_type(), MessageType::hello);
    }
    spoil(pair.client());
    expect_end(pair, why);
  }
}

/// Sends a message of any length, with any descriptors.
void tell_raw(const MemifClient& client, std::size_t bytes, const std::vector<int>& descriptors) {
  const std::vector<std::byte> content(bytes, std::byte{3});
  EXPECT_TRUE(send_with_rights(client.socket.get(), content, descriptors));
}

Case message_of_type(const char* why, unsigned type) {
  return {why, [type](MemifClient& c) {
            EXPECT_TRUE(c.tell(memif::make_message(static_cast<MessageType>(type))));
          }};
}

TEST(HostileClient, OneThatReadsNoRepliesIsCutOff) {
  auto sockets = memif_sockets();
  const int few = 1;  // the kernel makes a few kilobytes of it
  ASSERT_EQ(::setsockopt(sockets[1].get(), SOL_SOCKET, SO_SNDBUF, &few, sizeof few), 0);
  auto link = memif::MemifLink::adopt(std::move(sockets[1]), {}).value();
  const MemifClient client(std::move(sockets[0]), {});
  FrameBatch batch;
  std::error_code error;
  ASSERT_TRUE(client.tell(MemifClient::init_message()));
  for (std::uint16_t i = 0; i < 64 && !error; ++i) {
    EXPECT_EQ(link.receive(batch).error, std::error_code()) << i;
    ASSERT_TRUE(
        client.tell(MemifClient::region_message(i, client.rings.size()), client.rings.file()));
    error = link.receive(batch).error;
  }
  EXPECT_EQ(error, Errc::corrupt);
  EXPECT_EQ(link.why(), "it reads no replies");
}

TEST(HostileClient, MessagesOfAWrongKindEndTheLink) {
  expect_each({{"an invalid message of memif", [](MemifClient& c) { tell_raw(c, 127, {}); }},
               {"an invalid message of memif", [](MemifClient& c) { tell_raw(c, 129, {}); }},
               {"it sent 2 descriptors with one message, which brings 1 at most",
                [](MemifClient& c) { tell_raw(c, 128, {1, 1}); }},
               {"it sent 16 descriptors with one message, which brings 1 at most",
                [](MemifClient& c) { tell_raw(c, 128, std::vector<int>(16, 1)); }},
               message_of_type("message 0 is not known", 0),
               message_of_type("message 9 is not known", 9),
               message_of_type("message 65535 is not known", 0xffff),
               message_of_type("message 2 is for servers to send", 2),
               message_of_type("message 7 is for servers to send", 7),
               message_of_type("message 4 came before INIT", 4),
               message_of_type("message 5 came before INIT", 5),
               message_of_type("message 6 came before INIT", 6)},
              false);
}

/// Says INIT, and then this.
Case after_init(const char* why, const std::function<void(MemifClient&)>& spoil) {
  return {why, [spoil](MemifClient& c) {
            ASSERT_TRUE(c.tell(MemifClient::init_message()) && c.acknowledged());
            spoil(c);
          }};
}

TEST(HostileClient, AnInterfaceOfAnotherKindEndsTheLink) {
  expect_each(
      {{"version 1.0 of memif, and not 2.0",
        [](MemifClient& c) { c.tell(MemifClient::init_message({.version = 0x100})); }},
       {"version 2.1 of memif, and not 2.0",
        [](MemifClient& c) { c.tell(MemifClient::init_message({.version = 0x201})); }},
       {"mode 1, which is not Ethernet",
        [](MemifClient& c) { c.tell(MemifClient::init_message({.mode = 1})); }},
       {"message 3 came with 1 descriptors",
        [](MemifClient& c) { c.tell(MemifClient::init_message(), c.rings.file()); }},
       after_init("INIT came twice", [](MemifClient& c) { c.tell(MemifClient::init_message()); })},
      false);
}

TEST(HostileClient, WhoseFilesNeverAnswerKeepsNoProcess) {
  const TempDir directory;
  std::vector<std::array<UniqueFd, 2>> pairs;
  for (unsigned i = 0; i < 2; ++i) pairs.push_back(memif_sockets());
  const auto give = [&](int file) {
    const auto region = MemifClient::region_message(0, 4096);
    const auto ring = MemifClient::ring_message({.flags = memif::AddRing::kFromClient});
    return memif::send_message(pairs[0][0].get(), region, file) &&
           memif::send_message(pairs[1][0].get(), ring, file);
  };
  const auto met = meet_silent_file(directory.path(), give, [&] {
    for (std::size_t i = 0; i < pairs.size(); ++i) {
      auto link = memif::MemifLink::adopt(std::move(pairs[i][1]), {}).value();
      FrameBatch batch;
      (void)link.receive(batch);
      if (link.why() != kWrongKind) return static_cast<int>(i) + 1;
    }
    return 0;
  });
  if (!met.could_mount) GTEST_SKIP() << "cannot mount a file system of FUSE";
  EXPECT_EQ(met.code, 0);
  EXPECT_TRUE(met.never_answered) << "the file system had ended before";
}

TEST(HostileClient, ARegionThatIsNoneEndsTheLink) {
  std::array<int, 2> pipe{-1, -1};
  ASSERT_EQ(::pipe(pipe.data()), 0);
  const UniqueFd from(pipe[0]), to(pipe[1]), event(::eventfd(0, EFD_CLOEXEC));
  const auto add = [](std::uint16_t index, std::uint64_t bytes, std::optional<int> file = {}) {
    return [=](MemifClient& c) {
      c.tell(MemifClient::region_message(index, bytes), file.value_or(c.rings.file()));
    };
  };
  const auto too_many = [](MemifClient& c) {
    for (std::uint16_t i = 0; i < 64; ++i) {
      ASSERT_TRUE(c.tell(MemifClient::region_message(i, c.rings.size()), c.rings.file()));
      ASSERT_TRUE(c.acknowledged()) << i;
    }
    c.tell(MemifClient::region_message(64, c.rings.size()), c.rings.file());
  };
  const char* const kNoMemory =
      "memory region 0 is in no file in memory (memfd, tmpfs or hugetlbfs)";
  const char* const kSize = "memory region 0 is not in a file of that size";
  expect_each({after_init("message 4 came with 0 descriptors", add(0, 4096, -1)),
               after_init("memory region 1 is not the next one", add(1, 4096)),
               after_init("memory region 65535 is not the next one", add(0xffff, 4096)),
               after_init("memory region 0 is empty", add(0, 0)),
               after_init(kSize, add(0, MemifClient({}, {}).rings.size() + 1)),
               after_init(kSize, add(0, std::uint64_t{1} << 45U)),
               after_init("its memory asks for 4194304 TiB, and the limit for one peer is 32 TiB",
                          add(0, std::uint64_t{1} << 62U)),
               after_init("its memory asks for 16777216 TiB, and the limit for one peer is 32 TiB",
                          add(0, ~0ULL)),
               after_init(kNoMemory, add(0, 4096, event.get())),
               after_init(kWrongKind, add(0, 4096, from.get())),
               after_init("more than 64 memory regions", too_many)},
              false);
}

TEST(HostileClient, RegionsThatUseUpAllAddressesEndTheLink) {
  const UniqueFd vast(::memfd_create("vast", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  constexpr std::uint64_t kBytes = std::uint64_t{1} << 20U;
  ASSERT_EQ(::ftruncate(vast.get(), static_cast<off_t>(kBytes)), 0);
  MemifPair first({}, {.max_memory_bytes = 2 * kBytes}, false);
  MemifPair other({}, {.max_memory_bytes = 2 * kBytes}, false);
  const auto greet = [](MemifClient& c) {
    return c.reply_type() == MessageType::hello && c.tell(MemifClient::init_message()) &&
           c.acknowledged();
  };
  ASSERT_TRUE(greet(first.client()) && greet(other.client()));
  for (std::uint16_t i = 0; i < 2; ++i) {  // all that it may have
    first.client().tell(MemifClient::region_message(i, kBytes), vast.get());
    ASSERT_TRUE(first.client().acknowledged()) << i;
  }
  first.client().tell(MemifClient::region_message(2, 1), vast.get());
  expect_end(first, "its memory asks for 3 MiB, and the limit for one peer is 2 MiB");
  other.client().tell(MemifClient::region_message(0, 2 * kBytes - 1), first.client().rings.file());
  expect_end(other, "memory region 0 is not in a file of that size");  // judged by itself
}

TEST(HostileClient, ARingThatIsNoneEndsTheLink) {
  const auto add = [](const std::function<void(memif::AddRing&)>& change,
                      std::optional<int> interrupt = {}, bool is_send_ring = true) {
    return [=](MemifClient& c) {
      memif::AddRing fields = c.ring_fields(is_send_ring);
      change(fields);
      c.tell(MemifClient::ring_message(fields), interrupt.value_or(c.send_ring.interrupt.get()));
    };
  };
  const auto same = [](memif::AddRing&) {};
  const UniqueFd file(::memfd_create("no eventfd", MFD_CLOEXEC));
  const UniqueFd device(::open("/dev/null", O_RDWR | O_CLOEXEC));
  expect_each(
      {after_init("message 5 came with 0 descriptors", add(same, -1)),
       after_init("an interrupt descriptor that is no eventfd", add(same, file.get())),
       after_init("an interrupt descriptor that is no eventfd", add(same, file.get(), false)),
       after_init(kWrongKind, add(same, device.get())),
       after_init(kWrongKind, add(same, device.get(), false)),
       after_init("ring 1, where each direction has one", add([](auto& f) { f.index = 1; })),
       after_init("ring 65535, where each direction has one",
                  add([](auto& f) { f.index = 0xffff; })),
       after_init("a ring of 2^15 buffers", add([](auto& f) { f.size_log2 = 15; })),
       after_init("a ring of 2^255 buffers", add([](auto& f) { f.size_log2 = 255; }))},
      false);
  expect_each({{"a second ring for one direction", add(same)},
               {"a second ring for one direction", add(same, {}, false)},
               {"message 6 came with 1 descriptors",
                [](MemifClient& c) { c.tell(MemifClient::connect_message(), c.rings.file()); }}},
              true);
}

/// Adds the send ring as changed, and the receive ring, and connects.
void connect_with(MemifClient& c, const std::function<void(memif::AddRing&)>& change) {
  ASSERT_TRUE(c.tell(MemifClient::init_message()) && c.acknowledged());
  ASSERT_TRUE(c.tell(MemifClient::region_message(0, c.rings.size()), c.rings.file()));
  ASSERT_TRUE(c.acknowledged());
  memif::AddRing fields = c.ring_fields(true);
  change(fields);
  c.tell(MemifClient::ring_message(fields), c.send_ring.interrupt.get());
  ASSERT_TRUE(c.acknowledged());
  c.tell(MemifClient::ring_message(c.ring_fields(false)), c.receive_ring.interrupt.get());
  ASSERT_TRUE(c.acknowledged());
  c.tell(MemifClient::connect_message());
}

Case placed(const char* why, const std::function<void(memif::AddRing&)>& change) {
  return {why, [change](MemifClient& c) { connect_with(c, change); }};
}

TEST(HostileClient, ARingInAWrongPlaceEndsTheLink) {
  const char* const kOutside = "its send ring is outside of its region";
  expect_each({placed(kOutside, [](auto& f) { f.region = 1; }),
               placed(kOutside, [](auto& f) { f.region = 0x100; }),
               placed(kOutside, [](auto& f) { f.region = 0xffff; }),
               placed(kOutside, [](auto& f) { f.offset = 0xffff'fff0; }),
               placed(kOutside, [](auto& f) { f.offset = 5000; }),  // its end
               placed(kOutside, [](auto& f) { f.offset = 4240; }),  // its last descriptor
               placed(kOutside, [](auto& f) { f.size_log2 = 14; }),
               placed("its send ring is not aligned", [](auto& f) { f.offset = 2; }),
               placed("its send ring has no cookie", [](auto& f) { f.offset = 64; })},
              false);
  const auto connect = [](MemifClient& c) { c.tell(MemifClient::connect_message()); };
  const auto connect_with_one = [](bool from_client) {
    return [from_client](MemifClient& c) {
      ASSERT_TRUE(c.tell(MemifClient::region_message(0, c.rings.size()), c.rings.file()));
      ASSERT_TRUE(c.acknowledged());
      const int interrupt = (from_client ? c.send_ring : c.receive_ring).interrupt.get();
      ASSERT_TRUE(c.tell(MemifClient::ring_message(c.ring_fields(from_client)), interrupt));
      ASSERT_TRUE(c.acknowledged());
      c.tell(MemifClient::connect_message());
    };
  };
  expect_each({after_init("its receive ring is missing", connect),
               after_init("its receive ring is missing", connect_with_one(true)),
               after_init("its send ring is missing", connect_with_one(false))},
              false);
  expect_each({{"its receive ring has no cookie",
                [&](MemifClient& c) {
                  c.receive_ring.header().cookie ^= 0x100U;
                  connect(c);
                }},
               {"message 6 came after CONNECT",
                [&](MemifClient& c) {
                  connect(c);
                  EXPECT_EQ(c.reply_type(), MessageType::connected);
                  connect(c);
                }},
               {"message 3 came after CONNECT",
                [&](MemifClient& c) {
                  connect(c);
                  EXPECT_EQ(c.reply_type(), MessageType::connected);
                  c.tell(MemifClient::init_message());
                }},
               {"message 5 came after CONNECT",
                [&](MemifClient& c) {
                  connect(c);
                  EXPECT_EQ(c.reply_type(), MessageType::connected);
                  c.tell(MemifClient::ring_message(c.ring_fields(true)),
                         c.send_ring.interrupt.get());
                }},
               {"message 4 came after CONNECT",
                [&](MemifClient& c) {
                  connect(c);
                  EXPECT_EQ(c.reply_type(), MessageType::connected);
                  c.tell(MemifClient::region_message(2, 4096), c.rings.file());
                }}},
              true);
}

// Rings.

/// What the link says when the client has done this to its send ring of 16 buffers.
void expect_fault(const std::string& why, const std::function<void(MemifClient&)>& spoil) {
  MemifPair pair({.size_log2 = 4, .buffer_bytes = 512});
  spoil(pair.client());
  pair.client().send_ring.show();
  expect_end(pair, "send ring: " + why);
}

constexpr const char* kOutside = "a buffer is outside of the memory";
constexpr const char* kTooMany = "more buffers are given than the ring has";

TEST(HostileClient, NumbersThatDoNotExistBreakARing) {
  expect_fault(kTooMany, [](MemifClient& c) { c.send_ring.given += 17; });
  expect_fault(kTooMany, [](MemifClient& c) { c.send_ring.given -= 1; });
  expect_fault(kTooMany, [](MemifClient& c) { c.send_ring.given += 0x8000; });
  expect_fault("a frame has more buffers than the ring", [](MemifClient& c) {
    for (unsigned i = 0; i < 16; ++i) c.send_ring.descriptor(i).flags = Descriptor::kNext;
    c.send_ring.given += 16;
  });
  expect_fault(kTooMany, [](MemifClient& c) {  // found in the middle of a frame
    c.send_ring.descriptor(0).flags = Descriptor::kNext;
    c.send_ring.given += 17;
  });
}

TEST(HostileClient, AFrameOfTooManyBuffersBreaksARing) {
  MemifPair pair({.size_log2 = 11, .buffer_bytes = 64});
  for (unsigned i = 0; i < 1025; ++i)
    pair.client().send_ring.descriptor(i) = {.flags = Descriptor::kNext, .region = 1, .bytes = 1};
  pair.client().send_ring.given += 1026;
  pair.client().send_ring.show();
  expect_end(pair, "send ring: a frame has too many buffers");
  for (const unsigned buffers : {1024U, 1025U}) {  // with their end
    MemifPair other({.size_log2 = 11, .buffer_bytes = 64});
    for (unsigned i = 0; i < buffers; ++i) {
      const auto flags = i + 1 < buffers ? Descriptor::kNext : std::uint16_t{0};
      other.client().send_ring.descriptor(i) = {.flags = flags, .region = 1, .bytes = 1};
    }
    other.client().send_ring.given = static_cast<std::uint16_t>(buffers);
    other.client().send_ring.show();
    if (buffers > 1024) {
      expect_end(other, "send ring: a frame has too many buffers");
      continue;
    }
    FrameBatch batch;
    ASSERT_EQ(other.link().receive(batch).frames, 1U) << other.link().why();
    EXPECT_EQ(batch[0].size(), buffers);
  }
}

TEST(HostileClient, BuffersOutsideOfTheMemoryBreakARing) {
  struct Place {
    std::uint16_t region;
    std::uint32_t bytes, offset;
  };
  const std::uint32_t end = 2 * 512 * 16;  // of the region of buffers
  for (const Place& place :
       {Place{2, 60, 0}, Place{256, 60, 0}, Place{257, 60, 0}, Place{0xffff, 60, 0},
        Place{1, 60, end}, Place{1, 60, end - 59}, Place{1, end + 1, 0}, Place{1, 0xffff'ffff, 0},
        Place{1, 60, 0xffff'ffff}, Place{1, 0xffff'ffff, 0xffff'ffff}, Place{1, 0, end + 1},
        Place{2, 0, 0}}) {
    SCOPED_TRACE(testing::Message() << place.region << ' ' << place.bytes << ' ' << place.offset);
    const auto spoil = [&](Descriptor& d) {
      d = {.region = place.region, .bytes = place.bytes, .offset = place.offset};
    };
    expect_fault(kOutside, [&](MemifClient& c) {
      spoil(c.send_ring.descriptor(0));
      c.send_ring.given += 1;
    });
    MemifPair pair({.size_log2 = 4, .buffer_bytes = 512});
    spoil(pair.client().receive_ring.descriptor(0));
    const SendResult sent = pair.link().send(views({make_frame(60, 1)}));
    EXPECT_EQ(sent.taken, 0U);
    EXPECT_EQ(sent.error, Errc::link_ended);
    EXPECT_TRUE(pair.link().prepare_wait().ready) << "receive() has something to report";
    expect_end(pair, std::string("receive ring: ") + kOutside);
  }
}

TEST(HostileClient, WhatOnlyTheServerWritesIsNotReadAgain) {
  MemifPair pair;
  MemifClient& client = pair.client();
  for (unsigned i = 0; i < 10; ++i) {
    for (ClientRing* ring : {&client.send_ring, &client.receive_ring}) {
      ring->header().cookie = 0;
      ring->header().flags = 0xfffe;
      ring->descriptor(i).metadata = ~0U;
    }
    ASSERT_EQ(client.send({make_frame(60, i)}), 1U);
    ASSERT_TRUE(same_frames({make_frame(60, i)}, collect(pair.link(), 1)));
    ASSERT_EQ(pair.link().send(views({make_frame(61, i)})).taken, 1U);
    ASSERT_TRUE(same_frames({make_frame(61, i)}, client.frames()));
    client.send_ring.header().tail ^= 0x1234;
    ASSERT_EQ(client.send_ring.given, i + 1U);
    client.send_ring.header().tail = client.send_ring.given;
  }
}

TEST(HostileClient, AFrameOfMoreThanFourGigabytesIsNotTakenForAShortOne) {
  MemifPair pair({.size_log2 = 11});
  MemifClient& client = pair.client();
  constexpr std::uint32_t kEach = 4'198'404, kLast = 64, kBuffers = 1024;
  static_assert(std::uint64_t{kBuffers - 1} * kEach + kLast == (std::uint64_t{1} << 32U) + 60);
  ASSERT_GE(client.buffers.size(), kEach);
  for (unsigned i = 0; i < kBuffers; ++i) {  // all at the same place
    const bool last = i + 1 == kBuffers;
    client.send_ring.descriptor(i) = {.flags = last ? std::uint16_t{0} : Descriptor::kNext,
                                      .region = 1,
                                      .bytes = last ? kLast : kEach};
  }
  client.send_ring.given += kBuffers;
  client.send_ring.show();
  pair.serve();
  EXPECT_EQ(pair.last().frames, 0U);
  EXPECT_FALSE(pair.last().error) << pair.link().why();
  EXPECT_EQ(pair.link().drops().too_long, 1U);
  EXPECT_EQ(client.send_ring.tail(), kBuffers) << "it has its buffers again";
}

// What the client changes between a check and a use must not matter.
TEST(HostileClient, DescriptorsThatChangeAtAnyTimeDoNoHarm) {
  MemifPair pair({.size_log2 = 4, .buffer_bytes = 512});
  MemifClient& client = pair.client();
  const Descriptor good{.region = 1, .bytes = 88};
  for (unsigned i = 0; i < 16; ++i) client.send_ring.descriptor(i) = good;
  std::atomic<bool> stop{false};
  std::jthread changer([&] {
    for (unsigned i = 0; !stop; i = (i + 1) % 16) {
      volatile Descriptor& d = client.send_ring.descriptor(i);
      d.bytes = 0x7fff'ffff;
      d.offset = 0xffff'fff0;
      d.region = 77;
      d.region = good.region;
      d.offset = good.offset;
      d.bytes = good.bytes;
    }
  });
  bool ended = false;
  for (unsigned i = 0; i < 2000 && !ended; ++i) {
    client.send_ring.given = static_cast<std::uint16_t>(client.send_ring.tail() + 16);
    client.send_ring.show();
    FrameBatch batch;
    ended = static_cast<bool>(pair.link().receive(batch).error);
    for (const FrameView& f : batch.frames()) EXPECT_EQ(f.size(), 88U);
  }
  stop = true;
  if (ended) {
    EXPECT_EQ(pair.link().why(), std::string("send ring: ") + kOutside);
  }
}

TEST(HostileClient, WhoseInterruptIsFullDoesNotKeepTheCaller) {
  Child child([] {
    alarm(30);
    MemifPair pair({}, {}, false);
    MemifClient& client = pair.client();
    client.receive_ring.interrupt = UniqueFd(::eventfd(0, EFD_CLOEXEC));  // a write may wait
    if (!client.start()) return 1;
    const std::uint64_t most = ~std::uint64_t{0} - 1;
    if (::write(client.receive_ring.interrupt.get(), &most, sizeof most) != sizeof most) return 2;
    return pair.link().send(views({make_frame(60, 1)})).taken == 1 ? 0 : 3;
  });
  EXPECT_EQ(child.wait(), 0);
}

TEST(HostileClient, ThatTruncatesItsMemoryEndsItsLinkAndNoProcess) {
  Child child([] {
    alarm(30);
    signal(SIGBUS, SIG_DFL);  // sanitizers have a handler
    if (!bus::install_sigbus_guard()) return 1;
    for (const bool sends : {false, true}) {
      for (const bool rings : {false, true}) {
        MemifPair pair;
        MemifClient& client = pair.client();
        if (client.send({make_frame(60, 1)}) != 1) return 2;
        if (::ftruncate(rings ? client.rings.file() : client.buffers.file(), 0) != 0) return 3;
        // The frame may be taken before anybody sees that it went nowhere. Then there is nothing
        // that an error could be about: receive() tells why the link ends.
        if (sends) {
          const SendResult sent = pair.link().send(views({make_frame(60, 2)}));
          const bool has_error = sent.error == Errc::link_ended;
          if (sent.taken != (rings ? 0U : 1U) || has_error != rings) return 4;
        }
        FrameBatch batch;
        const ReceiveResult got = pair.link().receive(batch);
        if (got.frames != 0 || got.error != Errc::corrupt) return 5;
        if (pair.link().why() != "its memory was truncated") return 6;
      }
    }
    return 0;
  });
  EXPECT_EQ(child.wait(), 0);
}

}  // namespace
}  // namespace shmif::test
