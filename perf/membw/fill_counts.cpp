#include "perf/membw/fill_counts.hpp"

#include <fcntl.h>
#include <linux/futex.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <ctime>
#include <utility>

namespace shmif::perf {

FillCounts::FillCounts(base::SharedMemory memory, UniqueFd file) noexcept
    : memory_(std::move(memory)), file_(std::move(file)) {}

// New memory is all 0, and this is a valid initial value for slots and turns.
Result<FillCounts> FillCounts::create() {
  const std::string name = "the counts of the load";
  UniqueFd file(::memfd_create("shmifperf-fill", MFD_CLOEXEC));
  if (!file || ::ftruncate(file.get(), kBytes) != 0) {
    return Error::from_errno(errno, "cannot make " + name);
  }
  auto memory = base::SharedMemory::of_file(file.get(), kBytes, "cannot map " + name);
  if (!memory) return memory.error();
  return FillCounts(std::move(*memory), std::move(file));
}

Result<FillCounts> FillCounts::open(const std::string& path) {
  const UniqueFd file(::open(path.c_str(), O_RDWR | O_CLOEXEC));
  if (!file) return Error::from_errno(errno, "cannot open " + path);
  struct stat now{};
  if (::fstat(file.get(), &now) != 0) return Error::from_errno(errno, "cannot use " + path);
  if (static_cast<std::size_t>(now.st_size) != kBytes) {
    return Error(Errc::bad_argument, path + " was not made by shmifperf membw for its load");
  }
  auto memory = base::SharedMemory::of_file(file.get(), kBytes, "cannot map " + path);
  if (!memory) return memory.error();
  return FillCounts(std::move(*memory), {});
}

std::string FillCounts::path() const {
  if (!file_) return {};
  return "/proc/" + std::to_string(::getpid()) + "/fd/" + std::to_string(file_.get());
}

void FillCounts::set(unsigned thread, const FillProgress& progress) noexcept {
  if (thread >= kMaxThreads) return;
  Slot& slot = shared().slots[thread];
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
    const Slot& slot = shared().slots[thread];
    if (slot.changes.load() == 0) break;  // a load numbers its threads from 0
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

void FillCounts::set_turn(FillTurn turn) noexcept {
  shared().turn.store(static_cast<std::uint32_t>(turn));
  ::syscall(SYS_futex, &shared().turn, FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0);
}

void FillCounts::begin_round(std::uint64_t now_ns) noexcept {
  shared().began_ns.store(now_ns);
  set_turn(FillTurn::running);
}

void FillCounts::wait_while(FillTurn turn, std::chrono::nanoseconds time) const noexcept {
  const auto seconds = std::chrono::floor<std::chrono::seconds>(time);
  const timespec longest{seconds.count(), (time - seconds).count()};
  ::syscall(SYS_futex, &shared().turn, FUTEX_WAIT, turn, &longest, nullptr, 0);
}

}  // namespace shmif::perf
