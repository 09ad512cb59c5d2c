// Which sizes, MTUs and patiences a bus may have: both sides of each limit, and what is said of it.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <functional>
#include <sstream>
#include <string>
#include <vector>

#include "base/unique_fd.hpp"
#include "bus/file/file_system.hpp"
#include "bus/file/geometry.hpp"
#include "bus/file/memory.hpp"
#include "bus/file/parts.hpp"
#include "shmif/log.hpp"
#include "tests/support/child_process.hpp"
#include "tests/support/raw_bus.hpp"
#include "tests/support/temp_bus.hpp"

namespace shmif::bus {
namespace {

constexpr std::uint64_t kLarge = 1U << 20U;

TEST(Geometry, OfARingIsAPowerOfTwoFrom64KTo1G) {
  for (std::uint64_t bytes = kMinRingBytes; bytes <= kMaxRingBytes; bytes *= 2) {
    EXPECT_TRUE(check_geometry(bytes, 1500)) << bytes;
    EXPECT_EQ(check_geometry(bytes + 1, 1500).error().code, Errc::bad_size) << bytes;
  }
  for (const std::uint64_t bytes : {std::uint64_t{0}, kMinRingBytes / 2, kMaxRingBytes * 2}) {
    EXPECT_EQ(check_geometry(bytes, 1500).error().code, Errc::bad_size) << bytes;
  }
}

TEST(Geometry, OfAnMtuLiesBetweenItsLimits) {
  for (const std::uint32_t mtu : {68U, 65521U}) EXPECT_TRUE(check_geometry(kLarge, mtu)) << mtu;
  for (const std::uint32_t mtu : {0U, 67U, 65522U, UINT32_MAX}) {
    const auto refused = check_geometry(kLarge, mtu);
    ASSERT_FALSE(refused) << mtu;
    EXPECT_EQ(refused.error().code, Errc::bad_mtu);
    EXPECT_NE(refused.error().message.find("an MTU of " + std::to_string(mtu) + " "),
              std::string::npos);
  }
}

/// For every size of a ring: the largest MTU that it has room for, and one more.
TEST(Geometry, OfARingHoldsEightOfTheLargestFrame) {
  for (std::uint64_t bytes = kMinRingBytes; bytes <= kMaxRingBytes; bytes *= 2) {
    SCOPED_TRACE(bytes);
    const std::uint32_t max = max_mtu(bytes);
    EXPECT_TRUE(check_geometry(bytes, max));
    EXPECT_LE(kRecordsPerRing * record_bytes(max_frame_bytes(max)), bytes);
    if (max == kMaxMtu) continue;
    EXPECT_GT(kRecordsPerRing * record_bytes(max_frame_bytes(max + 1)), bytes);
    const auto refused = check_geometry(bytes, max + 1);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, Errc::ring_too_small);
    EXPECT_NE(refused.error().message.find("it needs at least " + size_text(2 * bytes)),
              std::string::npos)
        << refused.error().message;
  }
}

TEST(Geometry, OfAPatienceIsAMillisecondToASecondWhereABusPauses) {
  constexpr std::uint64_t kMs = 1'000'000;
  for (const std::uint64_t ns : {kMs, kMs + 1, 1000 * kMs}) EXPECT_TRUE(check_flow(kFlowPause, ns));
  for (const std::uint64_t ns : {std::uint64_t{0}, kMs - 1, 1000 * kMs + 1}) {
    EXPECT_EQ(check_flow(kFlowPause, ns).error().code, Errc::bad_patience) << ns;
  }
  EXPECT_TRUE(check_flow(kFlowEthernet, 0));
  EXPECT_FALSE(check_flow(kFlowEthernet, kMs)) << "nobody would have it";
  EXPECT_FALSE(check_flow(2, kMs)) << "no such flow";
  EXPECT_NE(check_flow(kFlowPause, 2'345'678'000).error().message.find("a patience of 2345678 us"),
            std::string::npos);
}

}  // namespace
}  // namespace shmif::bus

// File systems that few machines can mount: this program's own fstatfs tells the library that a
// file is on one. (Real mounts of those that most machines have:
// tests/tools/shmifctl/exec_security_test.cpp.)

namespace {
/// What fstatfs answers; 0: the truth.
std::uint64_t pretended_type = 0;
}  // namespace

// Takes the place of libc's for this program.
extern "C" int fstatfs(int fd, struct statfs* into) noexcept {
  const auto result = static_cast<int>(syscall(SYS_fstatfs, fd, into));
  if (result == 0 && pretended_type != 0) {
    into->f_type = static_cast<decltype(into->f_type)>(pretended_type);
  }
  return result;
}

namespace shmif::test {
namespace {

struct Kind {
  const char* name;
  std::uint64_t type;  ///< as statfs(2) lists it
};
void PrintTo(const Kind& kind, std::ostream* out) {
  *out << kind.name;
}

class FileSystemKind : public testing::TestWithParam<Kind> {
 protected:
  void TearDown() override { pretended_type = 0; }
};

using Network = FileSystemKind;

TEST_P(Network, TakesNoBusAndNoPort) {
  const TempBus bus(small_ring());
  pretended_type = GetParam().type;
  const std::string on = std::string(" on ") + GetParam().name + ":";

  const Result<void> made = Bus::create(bus.file("fresh"), small_ring());
  ASSERT_FALSE(made);
  EXPECT_EQ(made.error().code, Errc::unsupported_file_system);
  EXPECT_NE(made.error().message.find(bus.file("fresh") + on), std::string::npos)
      << made.error().message;
  EXPECT_FALSE(std::filesystem::exists(bus.file("fresh")));

  Port port;
  const Result<void> attached = port.attach(bus.path());
  ASSERT_FALSE(attached);
  EXPECT_EQ(attached.error().code, Errc::unsupported_file_system);
  EXPECT_NE(attached.error().message.find(bus.path() + on), std::string::npos)
      << attached.error().message;
  EXPECT_FALSE(Bus::open(bus.path(), Access::read_write));
}

TEST_P(Network, LetsOneLookWithAWarningAndRemoveByForce) {
  ASSERT_TRUE(set_log_level("off"));
  const TempBus bus(small_ring());
  pretended_type = GetParam().type;
  const std::string on = std::string(" is on ") + GetParam().name + ":";
  EXPECT_NE(Bus::open(bus.path()).value().warning().find(on), std::string::npos);
  EXPECT_TRUE(Follower::open(bus.path(), Start::now));
  const Result<void> removed = Bus::destroy(bus.path(), false);
  ASSERT_FALSE(removed);
  EXPECT_EQ(removed.error().code, Errc::unsupported_file_system);
  EXPECT_TRUE(Bus::destroy(bus.path(), true));
  EXPECT_FALSE(std::filesystem::exists(bus.path()));
  ASSERT_TRUE(set_log_level("warning"));
}

INSTANTIATE_TEST_SUITE_P(FileSystems, Network,
                         testing::Values(Kind{"nfs", 0x6969}, Kind{"9p", 0x01021997},
                                         Kind{"fuse", 0x65735546}, Kind{"overlay", 0x794c7630},
                                         Kind{"cifs", 0xff534d42}, Kind{"smb2", 0xfe534d42},
                                         // as where f_type is a signed word of 32 bits
                                         Kind{"smb2", 0xfffffffffe534d42}, Kind{"ceph", 0x00c36400},
                                         Kind{"afs", 0x5346414f}));

using Local = FileSystemKind;

/// What `act` logs, which goes to standard error.
template <class Act>
std::string logged_by(const Act& act) {
  testing::internal::CaptureStderr();
  act();
  return testing::internal::GetCapturedStderr();
}

TEST_P(Local, TakesABusAndSaysOnceWhenItIsMadeThatItsPagesAreWritten) {
  pretended_type = GetParam().type;
  const TempDir dir;
  const std::string warning = std::string(" is on ") + GetParam().name + ", not on tmpfs";
  const auto create = [](const std::string& path) { Bus::create(path, small_ring()).value(); };
  const auto provide = [](const std::string& path) {
    const Bus bus = Bus::create_if_missing(path, small_ring(), false, false).value();
    EXPECT_TRUE(Port().attach(bus));
  };
  std::ofstream(dir.file("empty")).close();
  for (const auto& [name, make] :
       {std::pair<const char*, std::function<void(const std::string&)>>{"created", create},
        {"provided", provide},
        {"empty", provide}}) {
    const std::string path = dir.file(name);
    const std::string said = logged_by([&, &how = make] { how(path); });
    EXPECT_NE(said.find(path + warning), std::string::npos) << name << ": " << said;
    EXPECT_EQ(logged_by([&] {
                EXPECT_TRUE(Port().attach(path));
                provide(path);
                EXPECT_EQ(Bus::open(path).value().warning(), "");
                EXPECT_EQ(Bus::open(path, Access::read_write).value().warning(), "");
                EXPECT_TRUE(Bus::destroy(path, false));
              }),
              "")
        << name;
  }
}

TEST_P(Local, IsTheSameUnderEachPathButNotForTheNextBusThere) {
  pretended_type = GetParam().type;
  const TempDir dir;
  const std::string path = dir.file("bus");
  const std::string link = dir.file("way/bus");
  const std::string warning = " is on " + std::string(GetParam().name) + ", not on tmpfs";
  Bus::create(path, small_ring()).value();
  std::filesystem::create_directory_symlink(dir.path(), dir.file("way"));
  std::filesystem::create_hard_link(path, dir.file("other"));
  for (const std::string& other :
       {link, dir.file("./bus"), std::filesystem::relative(path).string(), dir.file("other")}) {
    EXPECT_EQ(logged_by([&] {
                EXPECT_TRUE(Port().attach(other)) << other;
                EXPECT_TRUE(Bus::create_if_missing(other, small_ring(), false, false));
              }),
              "")
        << other;
  }
  EXPECT_TRUE(Bus::destroy(link, true));
  std::filesystem::remove(path);
  std::filesystem::remove(dir.file("other"));
  const std::string said = logged_by([&] { Bus::create(dir.file("new"), small_ring()).value(); });
  EXPECT_NE(said.find("the bus " + dir.file("new") + warning), std::string::npos) << said;
}

INSTANTIATE_TEST_SUITE_P(FileSystems, Local,
                         testing::Values(Kind{"ext4", 0xef53}, Kind{"xfs", 0x58465342},
                                         Kind{"btrfs", 0x9123683e}, Kind{"f2fs", 0xf2f52010},
                                         Kind{"file system 0x2fc12fc1", 0x2fc12fc1}));

TEST(FileSystem, OfMemoryNeedsNoWarning) {
  for (const std::uint64_t type : {0x01021994U, 0x858458f6U}) {
    EXPECT_EQ(bus::harm_on_file_system(type), nullptr);
    EXPECT_FALSE(bus::writes_to_disk(type)) << bus::file_system_name(type);
  }
}

// What lies around a mapped bus. Nothing else would notice a guard that is gone: what runs out of
// the bus would only sometimes meet something that it harms.

/// One line of /proc/self/maps.
struct Area {
  std::uintptr_t begin = 0, end = 0;
  std::string permissions, file;
};

std::vector<Area> areas() {
  std::vector<Area> all;
  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line);) {
    std::istringstream fields(line);
    Area a;
    char dash = 0;
    std::string offset;
    std::string device;
    std::string inode;
    fields >> std::hex >> a.begin >> dash >> a.end >> a.permissions >> offset >> device >> inode;
    std::getline(fields >> std::ws, a.file);
    all.push_back(std::move(a));
  }
  return all;
}

/// Bytes from `address` on that nobody may read, write or execute.
std::size_t forbidden_from(std::uintptr_t address) {
  const std::uintptr_t begin = address;
  for (const Area& a : areas()) {
    if (a.begin <= address && address < a.end && a.permissions.rfind("---", 0) == 0)
      address = a.end;
  }
  return address - begin;
}

/// Bytes of address space that a mapping takes, in use or reserved: of files, and forbidden. Under
/// sanitizers only of files, because they reserve memory, too, and make it accessible later.
std::size_t taken() {
  std::size_t bytes = 0;
  for (const Area& a : areas()) {
    const bool forbidden = !kSanitized && a.permissions.rfind("---", 0) == 0;
    if (forbidden || a.permissions.ends_with('s')) bytes += a.end - a.begin;
  }
  return bytes;
}

TEST(Mapping, HasGuardsOnBothSidesThatAreWiderThanTheLargestRecord) {
  const TempBus file(small_ring());
  const RawBus bus(file.path());
  const auto header = reinterpret_cast<std::uintptr_t>(&bus.header());
  const std::uintptr_t end = header + bus::kRingOffset + 2 * bus.ring().bytes();
  const std::size_t largest = bus::kRecordHeaderBytes + bus::kSuperFrameRecord;
  EXPECT_GT(forbidden_from(end), largest) << "behind the second view of the ring";
  EXPECT_GE(forbidden_from(header - largest), largest) << "in front of the header";
}

TEST(Mapping, HasThePartsThatProgramsAreToldOf) {
  const TempBus file(small_ring());
  const RawBus bus(file.path());
  const auto begin = reinterpret_cast<std::uintptr_t>(&bus.header());
  const std::uint64_t ring = bus.ring().bytes();
  const bus::FileParts parts = bus::parts_of_file(ring);
  EXPECT_EQ(parts.header.begin, 0U);
  EXPECT_EQ(parts.header.bytes(), sizeof bus.header());
  EXPECT_EQ(begin + parts.ports.begin, reinterpret_cast<std::uintptr_t>(&bus.slot(0)));
  EXPECT_EQ(parts.ports.bytes(), bus::kSlots * sizeof bus.slot(0));
  EXPECT_EQ(begin + parts.ring.begin, reinterpret_cast<std::uintptr_t>(&bus.ring().record(0)));
  EXPECT_EQ(parts.ring.bytes(), ring);
  EXPECT_EQ(parts.ring.end, std::filesystem::file_size(file.path()));

  const bus::Mapping mapping = bus::Mapping::map(bus.fd(), ring, Access::read_only).value();
  EXPECT_EQ(bus::mapped_bytes(ring), mapping.bytes().size());
  EXPECT_EQ(bus::ring_bytes_of_mapping(mapping.bytes().size()), ring);
  EXPECT_FALSE(bus::ring_bytes_of_mapping(mapping.bytes().size() + 1)) << "one ring is longer";
  EXPECT_FALSE(bus::ring_bytes_of_mapping(parts.ring.begin)) << "no ring";
  EXPECT_EQ(bus::format_signature(), bus.header().layout_signature);
}

/// A large bus is gathered in huge pages through a view of its own when it is made.
TEST(Mapping, NothingOfItIsLeftWhenABusWasMade) {
  const TempDir dir;
  const std::size_t before = taken();
  Bus::create(dir.file("bus"), {.ring_bytes = 2 * bus::kHugePageBytes}).value();
  EXPECT_EQ(taken(), before);
}

/// The kernel's value of `key` for the mapping that begins at `address` (/proc/self/smaps).
std::string said_of_mapping(const void* address, const std::string& key) {
  std::ostringstream begin;
  begin << std::hex << reinterpret_cast<std::uintptr_t>(address) << '-';
  std::ifstream smaps("/proc/self/smaps");
  bool here = false;
  for (std::string line; std::getline(smaps, line);) {
    if (line.find(':') > line.find('-')) here = line.rfind(begin.str(), 0) == 0;
    if (here && line.rfind(key + ':', 0) == 0) return line.substr(key.size() + 1);
  }
  return {};
}

/// How many bytes of that mapping lie in huge pages.
std::size_t bytes_in_huge_pages(const void* address) {
  const std::string said = said_of_mapping(address, "ShmemPmdMapped");
  return said.empty() ? 0 : std::stoul(said) * 1024;
}

TEST(Mapping, IsInNoCoreFileAndInNoForkedChild) {
  const TempBus file(small_ring());
  const RawBus bus(file.path());
  const std::byte* const ring = reinterpret_cast<std::byte*>(&bus.header()) + bus::kRingOffset;
  // There are two mappings: the header with the first view of the ring, and the second view.
  for (const void* part : {static_cast<const void*>(&bus.header()),
                           static_cast<const void*>(ring + bus.ring().bytes())}) {
    const std::string flags = said_of_mapping(part, "VmFlags") + ' ';
    EXPECT_NE(flags.find(" dd "), std::string::npos) << flags;
    EXPECT_NE(flags.find(" dc "), std::string::npos) << flags;
  }
}

/// Whether the kernel puts a file of this directory into huge pages when asked to.
bool has_huge_pages(const std::string& path) {
  constexpr std::size_t kBytes = 2 * bus::kHugePageBytes;
  const UniqueFd fd(open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (!fd || posix_fallocate(fd.get(), 0, bus::kHugePageBytes) != 0) return false;
  constexpr int kCollapse = 25;  // MADV_COLLAPSE, from Linux 6.1
  void* const reserved = mmap(nullptr, kBytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (reserved == MAP_FAILED) return false;
  void* const view = bus::align_for_huge_pages(static_cast<std::byte*>(reserved));
  const bool has = mmap(view, bus::kHugePageBytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED,
                        fd.get(), 0) == view &&
                   (madvise(view, bus::kHugePageBytes, kCollapse) == 0 ||
                    madvise(view, bus::kHugePageBytes, kCollapse) == 0);  // as 6.1 needs it
  munmap(reserved, kBytes);
  return has;
}

TEST(Mapping, OfABusOfFourMebibytesUsesHugePages) {
  const TempBus file;
  if (!has_huge_pages(file.file("probe"))) GTEST_SKIP() << "no huge pages for files here";
  const RawBus bus(file.path());
  EXPECT_EQ(bytes_in_huge_pages(&bus.header()), 2 * bus::kHugePageBytes);
}

/// So the first lap of a writer meets no page fault under the lock.
TEST(Mapping, ForWritingHasAllPagesOfBothViewsAtOnce) {
  const TempBus file(small_ring());
  const RawBus bus(file.path());
  const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  const std::size_t bytes = bus::kRingOffset + 2 * bus.ring().bytes();
  std::vector<std::uint64_t> entries(bytes / page);
  const UniqueFd map(::open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC));
  const auto at = reinterpret_cast<std::uintptr_t>(&bus.header()) / page * sizeof(std::uint64_t);
  const auto wanted = static_cast<ssize_t>(entries.size() * sizeof(std::uint64_t));
  ASSERT_EQ(pread(map.get(), entries.data(), entries.size() * sizeof(std::uint64_t),
                  static_cast<off_t>(at)),
            wanted);
  for (std::size_t i = 0; i < entries.size(); ++i)
    EXPECT_NE(entries[i] >> 63U, 0U) << "page " << i << " is not there yet";
}

}  // namespace
}  // namespace shmif::test
