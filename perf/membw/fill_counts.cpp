#include "perf/membw/fill_counts.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

namespace shmif::perf {

Result<FillCounts> FillCounts::map(int file, const std::string& name) {
  constexpr std::size_t kBytes = kMaxThreads * sizeof(Slot);
  struct stat now{};
  if (::fstat(file, &now) != 0) return Error::from_errno(errno, "cannot use " + name);
  if (static_cast<std::size_t>(now.st_size) != kBytes) {
    return Error(Errc::bad_argument, name + " was not made by shmifperf membw for its load");
  }
  void* const memory = ::mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  if (memory == MAP_FAILED) return Error::from_errno(errno, "cannot map " + name);
  // New memory is 0, and so are new slots.
  return FillCounts(file, static_cast<Slot*>(memory));
}

Result<FillCounts> FillCounts::create() {
  const std::string name = "the counts of the load";
  const int file = ::memfd_create("shmifperf-fill", MFD_CLOEXEC);
  if (file < 0) return Error::from_errno(errno, "cannot make " + name);
  if (::ftruncate(file, kMaxThreads * sizeof(Slot)) != 0) {
    const int number = errno;
    ::close(file);
    return Error::from_errno(number, "cannot make " + name);
  }
  auto mapped = map(file, name);
  if (!mapped) ::close(file);
  return mapped;
}

Result<FillCounts> FillCounts::open(const std::string& path) {
  const int file = ::open(path.c_str(), O_RDWR | O_CLOEXEC);
  if (file < 0) return Error::from_errno(errno, "cannot open " + path);
  auto mapped = map(file, path);
  ::close(file);
  if (mapped) mapped->file_ = -1;
  return mapped;
}

FillCounts::FillCounts(FillCounts&& other) noexcept
    : file_(std::exchange(other.file_, -1)), slots_(std::exchange(other.slots_, nullptr)) {}

FillCounts::~FillCounts() {
  if (slots_ != nullptr) ::munmap(slots_, kMaxThreads * sizeof(Slot));
  if (file_ >= 0) ::close(file_);
}

std::string FillCounts::path() const {
  if (file_ < 0) return {};
  return "/proc/" + std::to_string(::getpid()) + "/fd/" + std::to_string(file_);
}

void FillCounts::set(unsigned thread, const FillProgress& progress) noexcept {
  if (thread >= kMaxThreads) return;
  Slot& slot = slots_[thread];
  const std::uint64_t changes = slot.changes.load(std::memory_order_relaxed);
  slot.changes.store(changes + 1);
  slot.time_ns.store(progress.time_ns);
  slot.read.store(progress.read);
  slot.written.store(progress.written);
  slot.changes.store(changes + 2);
}

std::vector<std::optional<FillProgress>> FillCounts::look() const {
  std::vector<std::optional<FillProgress>> all;
  for (unsigned thread = 0; thread < kMaxThreads; ++thread) {
    const Slot& slot = slots_[thread];
    if (slot.changes.load() == 0) break;  // the threads of a load have the first numbers
    std::optional<FillProgress>& found = all.emplace_back();
    constexpr int kTries = 100;
    for (int tries = 0; tries < kTries && !found; ++tries) {
      const std::uint64_t before = slot.changes.load();
      const FillProgress progress{slot.time_ns.load(), slot.read.load(), slot.written.load()};
      if (before % 2 == 0 && slot.changes.load() == before) found = progress;
    }
  }
  return all;
}

}  // namespace shmif::perf
