// Where a borrowed call finds room, and how its way back looks, without any process.

#include "perf/inject/stub_room.hpp"

#include <elf.h>
#include <gtest/gtest.h>
#include <sys/syscall.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <functional>
#include <vector>

#include "perf/inject/machine.hpp"
#include "tests/perf/inject/stub_places.hpp"

namespace shmif::perf::stub_rooms {
namespace {

using Bytes = std::vector<std::uint8_t>;

constexpr std::uint64_t kBase = 0x7f0000001000;
const base::MappedRange kMapped = [] {
  base::MappedRange range;
  range.begin = kBase;
  range.end = kBase + 4096;
  return range;
}();

/// A mapping with an ELF file in it: the head, two parts, and sections that end at byte 1000.
Bytes mapping(const std::function<void(Elf64_Ehdr&, std::array<Elf64_Phdr, 2>&)>& change =
                  [](Elf64_Ehdr&, std::array<Elf64_Phdr, 2>&) {}) {
  Elf64_Ehdr head{};
  std::memcpy(&head.e_ident[0], ELFMAG, SELFMAG);
  head.e_ident[EI_CLASS] = ELFCLASS64;
  head.e_phoff = sizeof head;
  head.e_phentsize = sizeof(Elf64_Phdr);
  head.e_phnum = 2;
  head.e_shoff = 800;
  head.e_shentsize = 50;
  head.e_shnum = 4;
  std::array<Elf64_Phdr, 2> parts{};
  parts[0].p_filesz = parts[0].p_memsz = 900;
  parts[1].p_offset = 300;
  parts[1].p_filesz = parts[1].p_memsz = 100;
  change(head, parts);
  Bytes bytes(4096);
  std::memcpy(bytes.data(), &head, sizeof head);
  std::memcpy(&bytes[sizeof head], parts.data(), sizeof parts);
  return bytes;
}

TEST(StubRooms, LieBehindTheImageAtTheNextLineOfTheCache) {
  auto room = StubRoom::behind(kMapped, mapping());
  ASSERT_TRUE(room);
  const auto places = test::stub_places(kMapped, mapping());
  ASSERT_EQ(places.size(), 16U);
  for (std::size_t i = 0; i < 16; ++i) EXPECT_EQ(places[i], kBase + 1024 + i * kStubBytes);
  EXPECT_FALSE(room->contains(kBase + 999));
  EXPECT_TRUE(room->contains(kBase + 1000));
  EXPECT_TRUE(room->contains(kBase + 4095));
  EXPECT_FALSE(room->contains(kBase + 4096));
}

TEST(StubRooms, LieBehindWhateverOfTheImageIsLast) {
  const auto first = [](const std::function<void(Elf64_Ehdr&, std::array<Elf64_Phdr, 2>&)>& how) {
    const auto places = test::stub_places(kMapped, mapping(how));
    return places.empty() ? 0 : places[0] - kBase;
  };
  EXPECT_EQ(first([](auto&, auto& parts) { parts[1].p_filesz = 2000; }), 2304U);
  EXPECT_EQ(first([](auto&, auto& parts) { parts[1].p_memsz = 2000; }), 2304U);
  EXPECT_EQ(first([](auto&, auto& parts) { parts[0].p_memsz = 2048; }), 2048U);
  EXPECT_EQ(first([](auto& head, auto&) { head.e_shnum = 0; }), 960U);
  // As much room as one of them needs, and a byte less.
  EXPECT_EQ(first([](auto&, auto& parts) { parts[0].p_memsz = 4096 - kStubBytes; }), 3904U);
  EXPECT_EQ(first([](auto&, auto& parts) { parts[0].p_memsz = 4097 - kStubBytes; }), 0U);
}

TEST(StubRooms, AreNotWhereNoImageIs) {
  const auto is_room = [](const std::function<void(Elf64_Ehdr&, std::array<Elf64_Phdr, 2>&)>& how) {
    return StubRoom::behind(kMapped, mapping(how)).has_value();
  };
  EXPECT_FALSE(is_room([](auto& head, auto&) { head.e_ident[1] = 'e'; }));
  EXPECT_FALSE(is_room([](auto& head, auto&) { head.e_ident[EI_CLASS] = ELFCLASS32; }));
  EXPECT_FALSE(is_room([](auto& head, auto&) { head.e_phentsize = sizeof(Elf32_Phdr); }));
  EXPECT_FALSE(is_room([](auto& head, auto&) { head.e_shoff = 4097; }));
  EXPECT_FALSE(is_room([](auto& head, auto&) { head.e_shnum = 66; })) << "ends at 4100";
  EXPECT_FALSE(is_room([](auto& head, auto&) { head.e_phoff = 4096 - sizeof(Elf64_Phdr); }))
      << "the second part is beyond the end";
  EXPECT_FALSE(is_room([](auto& head, auto&) { head.e_phoff = UINT64_MAX; }));
  EXPECT_FALSE(is_room([](auto&, auto& parts) { parts[1].p_offset = 4097; }));
  EXPECT_FALSE(is_room([](auto&, auto& parts) { parts[1].p_memsz = UINT64_MAX; }));
  EXPECT_FALSE(is_room([](auto&, auto& parts) { parts[1].p_filesz = UINT64_MAX; }));
  EXPECT_FALSE(is_room([](auto&, auto& parts) { parts[1].p_filesz = 3797; })) << "ends at 4097";
  EXPECT_TRUE(is_room([](auto&, auto& parts) { parts[1].p_filesz = 3796; })) << "ends at 4096";
  EXPECT_FALSE(StubRoom::behind(kMapped, Bytes(sizeof(Elf64_Ehdr) - 1)));
  EXPECT_FALSE(StubRoom::behind(kMapped, {}));
}

TEST(StubRooms, HaveAPlaceWhereNothingIsToTheLastByte) {
  Bytes bytes = mapping();
  const auto empty = [&] { return StubRoom::behind(kMapped, bytes).value().empty_place(); };
  EXPECT_EQ(empty(), kBase + 1024);
  bytes[1023] = 1;
  EXPECT_EQ(empty(), kBase + 1024) << "it is before it";
  bytes[1024 + kStubBytes - 1] = 1;
  EXPECT_EQ(empty(), kBase + 1024 + kStubBytes);
  bytes[1024 + kStubBytes] = 1;
  EXPECT_EQ(empty(), kBase + 1024 + 2 * kStubBytes);
  std::fill(bytes.begin() + 1024, bytes.end(), std::uint8_t{0xcc});
  EXPECT_EQ(empty(), std::nullopt);
}

TEST(StubRooms, KnowWhatWasLeftBehindByItsHead) {
  if (!can_borrow_calls()) GTEST_SKIP() << "calls are borrowed on x86-64 only";
  Bytes bytes = mapping();
  const Bytes stub = stub_for({});
  ASSERT_GT(stub.size(), kStubHeadBytes);
  ASSERT_LE(stub.size(), kStubBytes);
  const auto left = [&] { return StubRoom::behind(kMapped, bytes).value().left_behind(); };
  EXPECT_EQ(left(), std::vector<std::uint64_t>());
  for (const std::size_t place : {1U, 15U}) {
    const auto at = bytes.begin() + static_cast<std::ptrdiff_t>(1024 + place * kStubBytes);
    std::copy(stub.begin(), stub.begin() + kStubHeadBytes, at);
  }
  EXPECT_EQ(left(), (std::vector<std::uint64_t>{kBase + 1024 + kStubBytes,
                                                kBase + 1024 + 15 * kStubBytes}));
  bytes[1024 + kStubBytes + kStubHeadBytes - 1] ^= 1;
  EXPECT_EQ(left(), std::vector<std::uint64_t>{kBase + 1024 + 15 * kStubBytes});
}

TEST(VdsoOfAProcess, IsTheLineOfThatName) {
  const std::string vdso = "7ffd1000-7ffd3000 r-xp 00000000 00:00 0                  [vdso]\n";
  const std::string other = "400000-401000 r-xp 00000000 08:01 42 /bin/x\n";
  for (const std::string& maps : {vdso, other + vdso, vdso + other, other + vdso + other}) {
    const auto found = vdso_in(maps);
    ASSERT_TRUE(found) << maps;
    EXPECT_EQ(found->begin, 0x7ffd1000U);
    EXPECT_EQ(found->end, 0x7ffd3000U);
  }
  EXPECT_FALSE(vdso_in(other));
  EXPECT_FALSE(vdso_in(""));
}

#if defined(__x86_64__)

/// Where a stub leads, and what is in rax there.
struct Back {
  std::uint64_t rip = 0, rax = 0;
  bool operator==(const Back&) const = default;
};
void PrintTo(const Back& back, std::ostream* out) {
  *out << "to " << back.rip << " with " << back.rax;
}

Back way_back(long call, long value) {
  ThreadState state;
  state.registers.rip = 1000;
  state.registers.orig_rax = static_cast<unsigned long long>(call);
  state.registers.rax = static_cast<unsigned long long>(value);
  const Bytes code = stub_for(state);
  const auto number_behind = [&](const Bytes& mark) {
    const auto at = std::search(code.begin(), code.end(), mark.begin(), mark.end());
    std::uint64_t number = 0;
    const auto begin = static_cast<std::size_t>(at - code.begin()) + mark.size();
    if (begin + sizeof number <= code.size()) std::memcpy(&number, &code[begin], sizeof number);
    return number;
  };
  return {number_behind({0xff, 0x25, 0, 0, 0, 0}), number_behind({0x48, 0xb8})};
}

TEST(WayBackOfAStub, RestartsCallsAsTheKernelDoes) {
  for (const long restarts : {-512L, -513L, -514L}) {
    EXPECT_EQ(way_back(SYS_read, restarts), (Back{998, SYS_read})) << restarts;
  }
  EXPECT_EQ(way_back(SYS_nanosleep, -516), (Back{998, SYS_restart_syscall}));
  constexpr long kX32 = 1L << 30;
  EXPECT_EQ(way_back(kX32 | SYS_nanosleep, -516),
            (Back{998, static_cast<std::uint64_t>(kX32 | SYS_restart_syscall)}));
  for (const long value : {-515L, -511L, -517L, long{-EINTR}, 0L, 7L}) {
    EXPECT_EQ(way_back(SYS_read, value), (Back{1000, static_cast<std::uint64_t>(value)})) << value;
  }
  EXPECT_EQ(way_back(-1, -512), (Back{1000, static_cast<std::uint64_t>(-512L)}))
      << "it is in no call";
}

TEST(WayBackOfAStub, HasTheRegistersAndTheBlockedSignalsOfItsThread) {
  ThreadState state;
  ThreadRegisters& r = state.registers;
  r.orig_rax = static_cast<unsigned long long>(-1);
  r.rax = 0x1111111111111101;
  r.rcx = 0x1111111111111102;
  r.rdx = 0x1111111111111103;
  r.rsi = 0x1111111111111104;
  r.rdi = 0x1111111111111105;
  r.r10 = 0x1111111111111106;
  r.r11 = 0x1111111111111107;
  r.rip = 0x1111111111111108;
  state.blocked = 0x1111111111111109;
  const Bytes code = stub_for(state);
  const auto has = [&](Bytes mark, std::uint64_t number) {
    for (std::size_t i = 0; i < sizeof number; ++i) {
      mark.push_back(static_cast<std::uint8_t>(number >> (8 * i)));
    }
    return std::search(code.begin(), code.end(), mark.begin(), mark.end()) != code.end();
  };
  EXPECT_TRUE(has({0x48, 0xb8}, r.rax));
  EXPECT_TRUE(has({0x48, 0xb9}, r.rcx));
  EXPECT_TRUE(has({0x48, 0xba}, r.rdx));
  EXPECT_TRUE(has({0x48, 0xbe}, r.rsi));
  EXPECT_TRUE(has({0x48, 0xbf}, r.rdi));
  EXPECT_TRUE(has({0x49, 0xba}, r.r10));
  EXPECT_TRUE(has({0x49, 0xbb}, r.r11));
  EXPECT_TRUE(has({0xff, 0x25, 0, 0, 0, 0}, r.rip));
  std::uint64_t last = 0;
  std::memcpy(&last, &code[code.size() - sizeof last], sizeof last);
  EXPECT_EQ(last, state.blocked);
  EXPECT_EQ(at_address(r, 77).rip, 77U);
  EXPECT_EQ(at_address(r, 77).rax, r.rax);
  EXPECT_EQ(call_of(at_address(r, 77)).call, -1);
}

#endif

}  // namespace
}  // namespace shmif::perf::stub_rooms
