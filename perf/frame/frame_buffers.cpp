#include "perf/frame/frame_buffers.hpp"

#include <sys/mman.h>

#include <cerrno>
#include <cstdint>
#include <fstream>
#include <string>
#include <system_error>
#include <utility>

namespace shmif::perf {
namespace {

constexpr std::size_t kPageBytes = 4096;
constexpr std::size_t kHugeBytes = std::size_t{2} << 20U;

std::size_t rounded(std::size_t bytes, std::size_t unit) noexcept {
  return (bytes + unit - 1) / unit * unit;
}

/// Result: empty if there is no such memory.
std::span<std::byte> map(std::size_t bytes, int flags) noexcept {
  void* const at =
      ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);
  if (at == MAP_FAILED) return {};
  return {static_cast<std::byte*>(at), bytes};
}

[[noreturn]] void fail(const std::string& what) {
  throw std::system_error(errno, std::generic_category(), what);
}

/// The kernel shows the setting in brackets: "always [madvise] never".
bool has_transparent_huge_pages() {
  std::ifstream file("/sys/kernel/mm/transparent_hugepage/enabled");
  std::string line;
  return std::getline(file, line) && line.find("[never]") == std::string::npos;
}

}  // namespace

FrameBuffers::FrameBuffers(std::size_t bytes, bool huge) {
  if (!huge) {
    memory_ = mapping_ = map(rounded(bytes, kPageBytes), MAP_POPULATE);
    if (mapping_.empty())
      fail("cannot get memory for " + std::to_string(bytes) + " bytes of frames");
    return;
  }
  const std::size_t whole = rounded(bytes, kHugeBytes);
  memory_ = mapping_ = map(whole, MAP_HUGETLB);
  if (!mapping_.empty()) return;
  if (!has_transparent_huge_pages()) {
    errno = ENOTSUP;
    fail(
        "hugepages: no huge pages are reserved (vm.nr_hugepages), and transparent huge pages are "
        "off (/sys/kernel/mm/transparent_hugepage/enabled)");
  }
  // Huge pages need memory aligned to their size.
  mapping_ = map(whole + kHugeBytes, 0);
  if (mapping_.empty()) fail("cannot get memory for " + std::to_string(bytes) + " bytes of frames");
  const auto at = reinterpret_cast<std::uintptr_t>(mapping_.data());
  memory_ = mapping_.subspan(rounded(at, kHugeBytes) - at, whole);
  if (::madvise(memory_.data(), whole, MADV_HUGEPAGE) != 0) {
    const int error = errno;
    ::munmap(mapping_.data(), mapping_.size());
    errno = error;
    fail("hugepages: the kernel refuses huge pages");
  }
}

FrameBuffers::FrameBuffers(FrameBuffers&& other) noexcept
    : mapping_(std::exchange(other.mapping_, {})), memory_(std::exchange(other.memory_, {})) {}

FrameBuffers::~FrameBuffers() {
  if (!mapping_.empty()) ::munmap(mapping_.data(), mapping_.size());
}

}  // namespace shmif::perf
