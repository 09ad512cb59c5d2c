// A bus whose header was written over, and that no process has open any more, comes back; and what
// is no bus of this build does not become one.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <random>

#include "bus/file/liveness.hpp"
#include "tests/support/numbered_frames.hpp"
#include "tests/support/raw_bus.hpp"
#include "tests/support/super_frames.hpp"
#include "tests/support/temp_bus.hpp"

namespace shmif::test {
namespace {

using bus::BusHeader;

constexpr std::uint32_t kHeldFrames = 100;

void put(const std::string& path, std::size_t offset, const void* bytes, std::size_t size) {
  const UniqueFd fd(::open(path.c_str(), O_RDWR | O_CLOEXEC));
  ASSERT_TRUE(fd);
  ASSERT_EQ(pwrite(fd.get(), bytes, size, static_cast<off_t>(offset)), static_cast<ssize_t>(size));
}
template <class T>
void put(const std::string& path, std::size_t offset, T value) {
  put(path, offset, &value, sizeof value);
}

BusHeader header_of(const std::string& path) {
  BusHeader h{};
  std::ifstream(path, std::ios::binary).read(reinterpret_cast<char*>(&h), sizeof h);
  return h;
}
bool same_fixed_part(const BusHeader& a, const BusHeader& b) {
  return std::memcmp(&a, &b, bus::kFixedBytes) == 0;
}

std::string bytes_of(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

/// A bus that has frames in it and no port any more.
class HeaderRepair : public testing::Test {
 protected:
  explicit HeaderRepair(const BusOptions& options = small_ring()) : bus_(options) {
    Port sender = port_on(path());
    NumberedBatch frames(200);
    for (std::uint32_t n = 0; n < kHeldFrames; n += 10) {
      EXPECT_FALSE(sender.send(frames.make(1, n, 10)).error);
    }
    before_ = header_of(path());
  }
  const std::string& path() const { return bus_.path(); }

  /// Refused, and the file untouched; the message has all of `words`.
  void expect_refusal(const std::string& file, const RepairOptions& options, Errc code,
                      const std::vector<std::string>& words) const {
    const std::string bytes = bytes_of(file);
    const auto done = Bus::repair(file, options);
    ASSERT_FALSE(done) << file;
    EXPECT_EQ(done.error().code, code) << done.error().message;
    for (const std::string& word : words) {
      EXPECT_NE(done.error().message.find(word), std::string::npos)
          << word << " in: " << done.error().message;
    }
    EXPECT_EQ(bytes_of(file), bytes) << "the file was changed";
  }

  /// The bus is what it was, with all its frames, and new ones get through.
  void expect_all_is_back() const {
    EXPECT_TRUE(same_fixed_part(header_of(path()), before_));
    EXPECT_TRUE(is_clean(bus_.audit()));
    Port reader = port_on(path(), {.start = Start::oldest});
    Port sender = port_on(path());
    NumberedBatch frames(200);
    ASSERT_FALSE(sender.send(frames.make(1, kHeldFrames, 1)).error);
    FrameBatch batch(256, 64U << 10U);
    ASSERT_FALSE(reader.receive(batch).error);
    ASSERT_EQ(batch.size(), kHeldFrames + 1);
    for (std::uint32_t n = 0; n <= kHeldFrames; ++n) {
      const auto numbered = check_numbered(batch.frames()[n]);
      ASSERT_TRUE(numbered);
      EXPECT_EQ(numbered->sequence, n);
    }
  }

  TempBus bus_;
  BusHeader before_{};
};

struct Scribble {
  const char* field;
  std::size_t offset;
  std::uint64_t value;
  std::size_t bytes;
};

TEST_F(HeaderRepair, BringsBackAnyFieldThatWasWrittenOverAndNamesIt) {
  const std::vector<Scribble> scribbles{
      {"magic", offsetof(BusHeader, magic), 0x1122334455667788, 8},
      {"magic", offsetof(BusHeader, magic), 0, 8},
      {"layout_signature", offsetof(BusHeader, layout_signature), 0xdeadbeef, 4},
      {"layout_signature", offsetof(BusHeader, layout_signature), 0, 4},
      {"ready", offsetof(BusHeader, ready), 0, 4},
      {"ready", offsetof(BusHeader, ready), 77, 4},
      {"ring_bytes", offsetof(BusHeader, ring_bytes), 12345, 8},
      {"ring_offset", offsetof(BusHeader, ring_offset), 0, 4},
      {"slot_count", offsetof(BusHeader, slot_count), 999, 4},
      {"mtu to 1500", offsetof(BusHeader, mtu), 0, 4},
      {"mtu to 1500", offsetof(BusHeader, mtu), UINT32_MAX, 4},
      {"mtu to 1500, which is assumed", offsetof(BusHeader, mtu), 1400, 4},  // two that disagree
      {"max_record", offsetof(BusHeader, max_record), 7, 4},
      {"record_align", offsetof(BusHeader, record_align), 3, 4},
      {"flow", offsetof(BusHeader, flow), 2, 4},
  };
  for (const Scribble& s : scribbles) {
    SCOPED_TRACE(std::string(s.field) + " " + std::to_string(s.value));
    put(path(), s.offset, &s.value, s.bytes);
    ASSERT_FALSE(Bus::open(path()));
    const auto done = Bus::repair(path(), {});
    ASSERT_TRUE(done) << done.error().message;
    EXPECT_EQ(done->header_restored, std::vector<std::string>{s.field});
    EXPECT_FALSE(done->ring_rebuilt);
    EXPECT_TRUE(same_fixed_part(header_of(path()), before_));
  }
  expect_all_is_back();
}

TEST_F(HeaderRepair, BringsBackHalfAHeaderAndTheChainThatBrokeWithIt) {
  put(path(), 0, std::uint64_t{0});                         // magic
  put(path(), 8, std::uint64_t{0});                         // layout_signature, ready
  put(path(), offsetof(BusHeader, mtu), std::uint64_t{0});  // and max_record
  put(path(), offsetof(BusHeader, inode), std::uint64_t{4711});
  put(path(), offsetof(BusHeader, first), ~std::uint64_t{0});
  put(path(), offsetof(BusHeader, last), ~std::uint64_t{0});
  const auto done = Bus::repair(path(), {});
  ASSERT_TRUE(done) << done.error().message;
  EXPECT_EQ(done->header_restored.size(), 6U);
  EXPECT_EQ(done->header_restored[3], "mtu to 1500, which is assumed");
  EXPECT_NE(done->header_restored[5].find("from 4711"), std::string::npos);
  EXPECT_TRUE(done->ring_rebuilt);
  EXPECT_EQ(done->frames_kept, kHeldFrames);
  expect_all_is_back();
}

TEST(HeaderRepairOfABusThatPauses, KnowsItByTheFlowOrByThePatience) {
  const TempBus bus({.flow = Flow::pause, .patience = std::chrono::milliseconds(20)});
  static_cast<void>(port_on(bus.path()));
  put(bus.path(), offsetof(BusHeader, flow), std::uint32_t{77});
  EXPECT_TRUE(Bus::repair(bus.path(), {}));
  EXPECT_EQ(bus.info().flow, Flow::pause);
  EXPECT_EQ(bus.info().patience_ns, 20'000'000U);
  put(bus.path(), offsetof(BusHeader, patience_ns), std::uint64_t{77});
  EXPECT_TRUE(Bus::repair(bus.path(), {}));
  EXPECT_EQ(bus.info().flow, Flow::pause);
  EXPECT_EQ(bus.info().patience_ns, 10'000'000U);
}

TEST_F(HeaderRepair, OfAWholeHeaderTakesForce) {
  const std::vector<char> zeros(128);
  put(path(), 0, zeros.data(), offsetof(BusHeader, created_ns));
  expect_refusal(path(), {}, Errc::corrupt, {path(), "0 of 10 fields", "--force"});
  ASSERT_TRUE(Bus::repair(path(), {.force = true}));
  expect_all_is_back();
}

/// With --force, four right fields are enough evidence, and three are not.
TEST_F(HeaderRepair, OfFourRightFieldsWithoutARecordTakesForceAndOfThreeIsRefused) {
  const std::vector<char> junk(64U << 10U, 'x');
  put(path(), bus::kRingOffset, junk.data(), junk.size());
  put(path(), 0, junk.data(), offsetof(BusHeader, mtu));  // six of the ten
  put(path(), offsetof(BusHeader, layout_signature), std::uint64_t{0});
  expect_refusal(path(), {}, Errc::corrupt, {"4 of 10 fields", "--force"});
  put(path(), offsetof(BusHeader, record_align), std::uint32_t{3});
  expect_refusal(path(), {.force = true}, Errc::not_a_bus, {"3 of 10 fields"});
  put(path(), offsetof(BusHeader, record_align), bus::kRecordAlign);
  ASSERT_TRUE(Bus::repair(path(), {.force = true}));
  EXPECT_TRUE(same_fixed_part(header_of(path()), before_));
  EXPECT_TRUE(is_clean(bus_.audit()));
}

TEST_F(HeaderRepair, OfFlowAndPatienceThatAreBothWrongMakesABusThatDoesNotPause) {
  put(path(), offsetof(BusHeader, flow), std::uint32_t{77});
  put(path(), offsetof(BusHeader, patience_ns), std::uint64_t{77});
  const auto done = Bus::repair(path(), {});
  ASSERT_TRUE(done) << done.error().message;
  EXPECT_EQ(done->header_restored, (std::vector<std::string>{"flow", "patience_ns"}));
  expect_all_is_back();
}

TEST_F(HeaderRepair, OfABusOnWhichNothingWasEverSentWorksToo) {
  const std::string fresh = bus_.file("fresh");
  Bus::create(fresh, small_ring()).value();
  put(fresh, 0, std::uint64_t{0});
  ASSERT_TRUE(Bus::repair(fresh, {}));
  EXPECT_TRUE(Bus::open(fresh).value().audit().clean());
}

TEST_F(HeaderRepair, MakesNoBusOfAnotherFileNotEvenByForce) {
  std::mt19937_64 random(1);
  std::string noise(bus::file_bytes(64U << 10U), '\0');
  for (std::size_t i = 0; i < noise.size(); i += 8) {
    const std::uint64_t word = random();
    std::memcpy(noise.data() + i, &word, 8);
  }
  const std::string ring = bytes_of(path()).substr(bus::kRingOffset);
  const std::vector<std::pair<std::string, std::string>> files{
      {"noise", noise},
      {"zeros", std::string(noise.size(), '\0')},
      {"text", std::string(noise.size(), 'a')},
      {"magic", "shmifbus" + std::string(noise.size() - 8, '\0')},
      {"short", noise.substr(1)},
      {"a ring elsewhere", std::string(8, '\0') + ring + std::string((192U << 10U) - 8, '\0')},
  };
  for (const auto& [name, bytes] : files) {
    SCOPED_TRACE(name);
    const std::string file = bus_.file("file");
    std::ofstream(file, std::ios::binary | std::ios::trunc) << bytes;
    for (const bool force : {false, true}) {
      expect_refusal(file, {.force = force}, Errc::not_a_bus, {file});
    }
  }
}

TEST_F(HeaderRepair, OfAnotherFormatIsRefusedByName) {
  const std::uint32_t other = 2U << 24U | 0x123456U;
  put(path(), offsetof(BusHeader, layout_signature), other);
  expect_refusal(path(), {}, Errc::wrong_layout, {path(), "0x2123456", "this build speaks"});
  put(path(), 0, std::uint64_t{0});
  expect_refusal(path(), {}, Errc::wrong_layout, {path(), "0x2123456", "this build speaks"});
  ASSERT_TRUE(Bus::repair(path(), {.force = true})) << "it was this one's all the same";
  expect_all_is_back();
}

TEST_F(HeaderRepair, OfACopyTakesForceUnlessItsPortsLive) {
  const std::string copy = bus_.file("copy");
  std::filesystem::copy_file(path(), copy);
  expect_refusal(copy, {}, Errc::copied_file, {copy, "is a copy", "--force"});
  ASSERT_TRUE(Bus::repair(copy, {.force = true}));
  EXPECT_TRUE(Bus::open(copy).value().audit().clean());
  {
    const Port lives = port_on(path());
    put(path(), offsetof(BusHeader, inode), std::uint64_t{4711});
    ASSERT_FALSE(Bus::open(path(), Access::read_write));
    ASSERT_TRUE(Bus::repair(path(), {})) << "what has ports is no copy";
  }
  expect_all_is_back();
}

TEST_F(HeaderRepair, OfABusThatMayHaveBeenTruncatedTakesForce) {
  put(path(), offsetof(BusHeader, ring_bytes), std::uint64_t{1} << 20U);
  expect_refusal(path(), {}, Errc::wrong_size, {path(), "1M", "64K", "--force"});
  ASSERT_TRUE(Bus::repair(path(), {.force = true}));
  expect_all_is_back();
}

TEST_F(HeaderRepair, LeavesASoundHeaderAlone) {
  const auto done = Bus::repair(path(), {.mtu = 1500});
  ASSERT_TRUE(done);
  EXPECT_TRUE(done->header_restored.empty());
  expect_refusal(path(), {.mtu = 1400}, Errc::geometry_differs, {"1500", "1400", "--force"});
  expect_all_is_back();
}

/// Here `max_record` says nothing of the MTU.
class LargeHeaderRepair : public HeaderRepair {
 protected:
  LargeHeaderRepair() : HeaderRepair({.ring_bytes = 1U << 20U, .mtu = 9000}) {}
  void send_frame(std::size_t bytes) const {
    NumberedBatch frames(bytes);
    frames.fix_size(bytes);
    Port sender = port_on(path());
    ASSERT_FALSE(sender.send(frames.make(1, 0, 1)).error);
  }
  void lose_mtu() const { put(path(), offsetof(BusHeader, mtu), std::uint32_t{0}); }
  std::uint32_t mtu() const { return header_of(path()).mtu; }
};

TEST_F(LargeHeaderRepair, TakesTheMtuFromTheLargestFrameWhereNothingElseTells) {
  lose_mtu();
  ASSERT_TRUE(Bus::repair(path(), {}));
  EXPECT_EQ(mtu(), 1500U) << "the default will do for all that is there";
  put(path(), offsetof(BusHeader, mtu), std::uint32_t{9000});
  send_frame(9014);
  send_frame(100);
  lose_mtu();
  ASSERT_TRUE(Bus::repair(path(), {}));
  EXPECT_EQ(mtu(), 9000U);
  expect_refusal(path(), {.mtu = 1500, .force = true}, Errc::bad_mtu, {"1500", "9014"});
}

TEST_F(LargeHeaderRepair, MustBeToldTheMtuThatLivingPortsHave) {
  {
    const Port lives = port_on(path());
    lose_mtu();
    expect_refusal(path(), {}, Errc::corrupt, {path(), "--mtu"});
    ASSERT_TRUE(Bus::repair(path(), {.mtu = 9000}));
  }
  expect_all_is_back();
}

}  // namespace
}  // namespace shmif::test
