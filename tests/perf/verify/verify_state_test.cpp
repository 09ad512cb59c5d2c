#include "perf/verify/verify_state.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <random>

#include "perf/frame/crc32c.hpp"
#include "shmif/bus.hpp"
#include "tests/support/temp_bus.hpp"
#include "tests/support/temp_dir.hpp"

namespace {

/// What is looked at when this program writes a file to the disk, or looks at an open file.
void (*g_look)(const char* call, int fd) = nullptr;
bool g_fsync_fails = false;

}  // namespace

extern "C" int fsync(int fd) {
  if (g_look != nullptr) g_look("fsync", fd);
  if (g_fsync_fails) {
    errno = EIO;
    return -1;
  }
  return static_cast<int>(::syscall(SYS_fsync, fd));
}
extern "C" int fstat(int fd, struct stat* into) noexcept {
  if (g_look != nullptr) g_look("fstat", fd);
  return ::fstatat(fd, "", into, AT_EMPTY_PATH);
}

namespace shmif::perf {
namespace {

using Bytes = std::vector<std::byte>;

/// Makes the checksum of a changed file right again.
void seal(std::span<std::byte> file) {
  const std::uint32_t crc = crc32c(file.subspan(16));
  std::memcpy(&file[12], &crc, sizeof crc);
}

/// A flow of some chunks: complete ones, gaps, and a beginning that is missing.
SequenceLedger some_ledger(std::uint64_t seed) {
  std::mt19937_64 random(seed);
  SequenceLedger ledger;
  for (std::uint64_t n = 0; n < 65'536; ++n) ledger.note(n);
  for (std::uint64_t n = 70'000; n < 300'000; ++n) {
    if (random() % 1000 != 0) ledger.note(n);
    if (random() % 1000 == 0) ledger.note(n - random() % 2000);
  }
  return ledger;
}

VerifyState some_state() {
  VerifyState state;
  state.job = "voip";
  state.options_hash = 0x1234;
  for (std::uint32_t i = 0; i < 3; ++i) {
    state.flows.push_back({.from = "sender" + std::to_string(i),
                           .seed = 100 + i,
                           .next_sequence = 300'000 + i,
                           .random_position = 7 * i,
                           .received = i == 2 ? SequenceLedger() : some_ledger(i)});
  }
  return state;
}

void expect_equal(const SequenceLedger& a, const SequenceLedger& b) {
  EXPECT_EQ(a.end(), b.end());
  EXPECT_EQ(a.gaps(0, 310'000, 10'000), b.gaps(0, 310'000, 10'000));
}

void expect_equal(const VerifyState& a, const VerifyState& b) {
  EXPECT_EQ(a.job, b.job);
  EXPECT_EQ(a.options_hash, b.options_hash);
  ASSERT_EQ(a.flows.size(), b.flows.size());
  for (std::size_t i = 0; i < a.flows.size(); ++i) {
    EXPECT_EQ(a.flows[i].from, b.flows[i].from);
    EXPECT_EQ(a.flows[i].seed, b.flows[i].seed);
    EXPECT_EQ(a.flows[i].next_sequence, b.flows[i].next_sequence);
    EXPECT_EQ(a.flows[i].random_position, b.flows[i].random_position);
    expect_equal(a.flows[i].received, b.flows[i].received);
  }
}

std::size_t files_in(const std::string& directory) {
  std::size_t count = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(directory)) ++count;
  return count;
}

TEST(VerifyState, IsLoadedAsItWasSaved) {
  const test::TempDir dir;
  const std::string path = verify_state_path(dir.path(), "voip");
  EXPECT_EQ(path, dir.path() + "/voip-verify.state");
  const VerifyState saved = some_state();
  save_verify_state(path, saved).value();
  expect_equal(load_verify_state(path, "voip", 0x1234).value(), saved);
  save_verify_state(path, {.job = "voip"}).value();
  EXPECT_TRUE(load_verify_state(path, "voip", 0).value().flows.empty()) << "a new one replaces it";
  EXPECT_EQ(files_in(dir.path()), 1U) << "nothing else is left";
}

TEST(VerifyState, CutShortOrDamagedItIsRefused) {
  VerifyState state = some_state();
  state.flows.resize(1);
  const Bytes bytes = encode_verify_state(state);
  for (std::size_t size = 0; size < bytes.size(); size += size < 200 ? 1 : 997) {
    Bytes cut(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(size));
    ASSERT_FALSE(decode_verify_state(cut, "state")) << size;
    if (size < 16) continue;
    seal(cut);  // by someone who means it
    ASSERT_FALSE(decode_verify_state(cut, "state")) << size;
  }
  std::mt19937_64 random(1);
  for (int i = 0; i < 500; ++i) {
    Bytes other = bytes;
    const std::size_t bit = i < 300 ? static_cast<std::size_t>(i) : random() % (bytes.size() * 8);
    other[bit / 8] ^= static_cast<std::byte>(1U << bit % 8);
    ASSERT_FALSE(decode_verify_state(other, "state")) << "bit " << bit;
  }
  Bytes longer = bytes;
  longer.push_back({});
  EXPECT_FALSE(decode_verify_state(longer, "state"));
  seal(longer);
  const auto more = decode_verify_state(longer, "state");
  ASSERT_FALSE(more);
  EXPECT_EQ(more.error().message,
            "cannot load verify state state: it has bytes after its end (begin anew without "
            "verify_state_load)");
}

TEST(VerifyState, ALedgerThatNoLedgerWritesIsRefused) {
  const auto refused = [](auto change) {
    VerifyState state{.job = "a"};
    state.flows.emplace_back();
    state.flows[0].received.note(5);
    Bytes bytes = encode_verify_state(state);
    constexpr std::size_t kChunks = 16 + 8 + 9 + 8 + 32;  // where their number stands
    change(std::span(bytes).subspan(kChunks));
    seal(bytes);
    return !decode_verify_state(bytes, "state");
  };
  EXPECT_FALSE(refused([](std::span<std::byte>) {}));
  EXPECT_TRUE(refused([](auto at) { at[7] = std::byte{0x7f}; })) << "more chunks than bytes";
  EXPECT_TRUE(refused([](auto at) { at[15] = std::byte{0xff}; })) << "an index beyond all numbers";
  EXPECT_TRUE(refused([](auto at) { at[16] = std::byte{2}; })) << "neither complete nor not";
  EXPECT_TRUE(refused([](auto at) { at[17] = std::byte{0}; })) << "a chunk of nothing";
}

TEST(VerifyState, AChunkWithoutItsIndexIsRefused) {
  VerifyState state{.job = "a"};
  state.flows.emplace_back();
  for (std::uint64_t n = 0; n < 65'536; ++n) state.flows[0].received.note(n);
  Bytes bytes = encode_verify_state(state);
  bytes.erase(bytes.end() - 9, bytes.end() - 1);  // what is left says that it is complete
  seal(bytes);
  EXPECT_FALSE(decode_verify_state(bytes, "state"));
}

TEST(VerifyState, AFullDiskLeavesTheOneBefore) {
  const test::TempDir dir;
  const std::string path = dir.file("state");
  save_verify_state(path, {.job = "before"}).value();
  // No file may grow beyond 1000 bytes: what a full disk looks like, for this process alone.
  std::signal(SIGXFSZ, SIG_IGN);
  rlimit usual{};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &usual), 0);
  const rlimit small{.rlim_cur = 1000, .rlim_max = usual.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
  const auto saved = save_verify_state(path, some_state());
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &usual), 0);
  ASSERT_FALSE(saved);
  EXPECT_EQ(saved.error().code, std::errc::file_too_large);
  EXPECT_EQ(load_verify_state(path, "before", 0).value().job, "before");
  EXPECT_EQ(files_in(dir.path()), 1U);
}

TEST(VerifyState, WhatIsNoFileOrFarTooLongIsNotRead) {
  const test::TempDir dir;
  ASSERT_EQ(mkfifo(dir.file("pipe").c_str(), 0600), 0);
  for (const std::string& path : {dir.path(), dir.file("pipe")}) {
    EXPECT_EQ(load_verify_state(path, "a", 0).error().message,
              "cannot load verify state \"" + path + "\": it is no regular file");
  }
  // Should it be read, it does not take the memory of the machine.
  std::uint64_t pages = 0;
  std::ifstream("/proc/self/statm") >> pages;
  rlimit usual{};
  ASSERT_EQ(getrlimit(RLIMIT_AS, &usual), 0);
  const rlimit little{.rlim_cur = pages * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE)) +
                                  (std::uint64_t{4} << 30U),
                      .rlim_max = usual.rlim_max};
  const std::string path = dir.file("long");
  std::ofstream{path};
  std::filesystem::resize_file(path, (std::uint64_t{16} << 30U) + 1);  // nothing of it is there
  ASSERT_EQ(setrlimit(RLIMIT_AS, &little), 0);
  const auto loaded = load_verify_state(path, "a", 0);
  ASSERT_EQ(setrlimit(RLIMIT_AS, &usual), 0);
  ASSERT_FALSE(loaded);
  EXPECT_EQ(loaded.error().code, Errc::bad_argument);
  EXPECT_EQ(loaded.error().message,
            "cannot load verify state \"" + path + "\": it is too long to be one");
}

TEST(VerifyState, IsOnTheDiskBeforeItReplacesTheOneBeforeAndNoProgramInheritsIt) {
  static std::string calls;
  static std::string path;
  calls = {};
  const test::TempDir dir;
  path = dir.file("state");
  save_verify_state(path, {.job = "before"}).value();
  const auto before = std::filesystem::file_size(path);
  // Of each call: on what, whether programs would inherit it, and whether the new one is in place.
  static std::uintmax_t replaced;
  replaced = before;
  g_look = [](const char* call, int fd) {
    if ((fcntl(fd, F_GETFL) & O_PATH) != 0) return;  // it only finds out where the path leads
    const std::string of =
        std::filesystem::read_symlink("/proc/self/fd/" + std::to_string(fd)).string();
    const bool is_state = of.starts_with(path);
    if (!is_state && path != of + "/state") return;
    calls += std::string(call) + (is_state ? " state" : " directory");
    if ((fcntl(fd, F_GETFD) & FD_CLOEXEC) == 0) calls += " inherited";
    calls += std::filesystem::file_size(path) == replaced ? " before; " : " after; ";
  };
  const auto saved = save_verify_state(path, some_state());
  const auto loaded = load_verify_state(path, "voip", 0x1234);
  g_look = nullptr;
  EXPECT_TRUE(saved && loaded);
  EXPECT_EQ(calls, "fsync state before; fsync directory after; fstat state after; ");
}

TEST(VerifyState, ReplacesNoBus) {
  const test::TempBus bus;
  const auto saved = save_verify_state(bus.path(), some_state());
  ASSERT_FALSE(saved);
  EXPECT_EQ(saved.error().code, Errc::exists);
  EXPECT_EQ(saved.error().message.find("cannot save verify state \"" + bus.path() + "\": "), 0U)
      << saved.error().message;
  EXPECT_TRUE(Bus::open(bus.path()));
}

TEST(VerifyState, AJobNameWithASlashStaysInTheDirectory) {
  EXPECT_EQ(verify_state_path("", "a/../b"), "a_.._b-verify.state");
}

TEST(OptionsHash, ChangesWithWhateverChangesFrames) {
  const JobOptions job;
  const std::uint64_t hash = options_hash(job);
  EXPECT_EQ(options_hash(job), hash);
  const auto differs = [&](auto change) {
    JobOptions other;
    change(other);
    return options_hash(other) != hash;
  };
  EXPECT_TRUE(differs([](JobOptions& j) { j.bs.tx.parts[0].max = 65; }));
  EXPECT_TRUE(differs([](JobOptions& j) { j.bs.tx.parts[0].min = 63; }));
  EXPECT_TRUE(differs([](JobOptions& j) { j.bs.rx.parts[0].weight = 2; }));
  EXPECT_TRUE(differs([](JobOptions& j) { j.bs.tx = imix_sizes(); }));
  EXPECT_TRUE(differs([](JobOptions& j) { j.randseed = 2; }));
  EXPECT_TRUE(differs([](JobOptions& j) { j.payload = Payload::zero; }));
  EXPECT_TRUE(differs([](JobOptions& j) { j.buffer_pattern = {std::byte{1}}; }));
  EXPECT_TRUE(differs([](JobOptions& j) { j.buffer_compress_percentage = 3; }));
  EXPECT_TRUE(differs([](JobOptions& j) { j.vlan = 0; }));
  EXPECT_TRUE(differs([](JobOptions& j) { j.vlan = 1; }));
  JobOptions zero, one;
  zero.vlan = 0;
  one.vlan = 1;
  EXPECT_NE(options_hash(zero), options_hash(one));
  zero = one = job;
  zero.buffer_pattern = {std::byte{1}, std::byte{2}};
  one.buffer_pattern = {std::byte{2}, std::byte{1}};
  EXPECT_NE(options_hash(zero), options_hash(one)) << "of the same length";
  EXPECT_TRUE(differs([](JobOptions& j) { j.iodepth_batch = 128; }));
  EXPECT_TRUE(differs([](JobOptions& j) { j.rw = Role::txrx; }));
  EXPECT_FALSE(differs([](JobOptions& j) { j.rate_fps.tx = 7; })) << "no frame looks different";
}

}  // namespace
}  // namespace shmif::perf
