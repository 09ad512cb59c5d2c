// What lies around a mapped bus. Nothing else would notice a guard that is gone: what runs out of
// the bus would only sometimes meet something that it harms.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "base/unique_fd.hpp"
#include "bus/file/memory.hpp"
#include "bus/file/parts.hpp"
#include "tests/support/child_process.hpp"
#include "tests/support/raw_bus.hpp"
#include "tests/support/temp_bus.hpp"

namespace shmif::test {
namespace {

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
