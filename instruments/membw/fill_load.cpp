#include "instruments/membw/fill_load.hpp"

#include <fcntl.h>
#include <linux/futex.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <barrier>
#include <cerrno>
#include <climits>
#include <cstring>
#include <ctime>
#include <thread>
#include <utility>

#include "base/quantity.hpp"
#include "base/text.hpp"
#include "instruments/watch/clock.hpp"

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

namespace {

using Clock = std::chrono::steady_clock;

/// Fresh pages. Each thread is the first to touch its own pages, so they lie on its node.
class Pages {
 public:
  explicit Pages(std::size_t bytes) : bytes_(bytes) {
    void* const at =
        ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED) return;
    at_ = static_cast<std::byte*>(at);
    ::madvise(at, bytes, MADV_HUGEPAGE);
  }
  Pages(Pages&& other) noexcept : at_(std::exchange(other.at_, nullptr)), bytes_(other.bytes_) {}
  Pages& operator=(Pages&&) = delete;
  ~Pages() {
    if (at_ != nullptr) ::munmap(at_, bytes_);
  }
  std::byte* data() const noexcept { return at_; }

 private:
  std::byte* at_ = nullptr;
  std::size_t bytes_;
};

unsigned own_cpus() {
  cpu_set_t allowed;
  if (::sched_getaffinity(0, sizeof allowed, &allowed) != 0) return 1;
  return std::max(1U, static_cast<unsigned>(CPU_COUNT(&allowed)));
}

std::uint64_t memory_of_machine() {
  const auto pages = static_cast<std::uint64_t>(std::max(::sysconf(_SC_PHYS_PAGES), 0L));
  return pages * static_cast<std::uint64_t>(std::max(::sysconf(_SC_PAGESIZE), 1L));
}

/// The size of the last-level cache; 0 if not known.
std::uint64_t last_cache_bytes() {
  return static_cast<std::uint64_t>(std::max(::sysconf(_SC_LEVEL3_CACHE_SIZE), 0L));
}

#if defined(__x86_64__) || defined(__i386__)
constexpr bool kCanFlush = true;
void flush_line(const std::byte* line) noexcept {
  __builtin_ia32_clflush(line);
}
void end_of_flush() noexcept {
  __builtin_ia32_mfence();
}
#elif defined(__aarch64__)
constexpr bool kCanFlush = true;
void flush_line(const std::byte* line) noexcept {
  asm volatile("dc civac, %0" : : "r"(line) : "memory");
}
void end_of_flush() noexcept {
  asm volatile("dsb sy" : : : "memory");
}
#else
constexpr bool kCanFlush = false;
void flush_line(const std::byte* /*line*/) noexcept {}
void end_of_flush() noexcept {}
#endif

/// Uses the words that it reads, so the compiler cannot omit a read.
void read_all(const std::byte* from, std::size_t bytes) noexcept {
  constexpr std::size_t kLanes = 8;
  using Words = std::array<std::uint64_t, kLanes>;
  Words sums{};
  std::size_t at = 0;
  for (; at + sizeof(Words) <= bytes; at += sizeof(Words)) {
    Words words;
    std::memcpy(&words, from + at, sizeof words);
    for (std::size_t lane = 0; lane < kLanes; ++lane) sums[lane] += words[lane];
  }
  for (; at < bytes; ++at) sums[0] += static_cast<std::uint64_t>(from[at]);
  asm volatile("" : : "r"(sums.data()) : "memory");
}

/// One thread's work on its buffer.
class Filler {
 public:
  Filler(unsigned thread, std::byte* buffer, std::size_t half, const FillOptions& options)
      : thread_(thread), buffer_(buffer), half_(half), options_(options) {}

  /// Touches all pages.
  void prepare() const noexcept {
    std::memset(buffer_, 1, 2 * half_);
    if (!options_.flush) return;
    constexpr std::size_t kLine = 64;
    for (std::size_t at = 0; at < 2 * half_; at += kLine) flush_line(buffer_ + at);
    end_of_flush();
  }
  void begin() noexcept { tell(0, 0); }
  void round(int pattern) noexcept {
    switch (options_.operation) {
      case FillOperation::read: read(2 * half_); break;
      case FillOperation::write: write(2 * half_, pattern); break;
      case FillOperation::copy:
        write(half_, pattern);
        copy();
        break;
    }
  }
  std::uint64_t bytes() const noexcept { return progress_.read + progress_.written; }

 private:
  /// The counts are published each time after this many bytes, so that short windows see them.
  static constexpr std::size_t kStep = std::size_t{16} << 20U;

  void read(std::size_t bytes) noexcept {
    for (std::size_t at = 0; at < bytes; at += kStep) {
      const std::size_t part = std::min(kStep, bytes - at);
      read_all(buffer_ + at, part);
      tell(part, 0);
    }
  }
  void write(std::size_t bytes, int pattern) noexcept {
    for (std::size_t at = 0; at < bytes; at += kStep) {
      const std::size_t part = std::min(kStep, bytes - at);
      std::memset(buffer_ + at, pattern, part);
      keep();
      tell(0, part);
    }
  }
  void copy() noexcept {
    for (std::size_t at = 0; at < half_; at += kStep) {
      const std::size_t part = std::min(kStep, half_ - at);
      std::memcpy(buffer_ + half_ + at, buffer_ + at, part);
      keep();
      tell(part, part);
    }
  }
  /// Makes the compiler write the buffer although nobody reads it.
  void keep() const noexcept { asm volatile("" : : "r"(buffer_) : "memory"); }
  void tell(std::uint64_t read, std::uint64_t written) noexcept {
    progress_.read += read;
    progress_.written += written;
    progress_.time_ns = now_ns();
    if (options_.counts != nullptr) options_.counts->set(thread_, progress_);
  }

  unsigned thread_;
  std::byte* buffer_;
  std::size_t half_;
  const FillOptions& options_;
  FillProgress progress_;
};

/// Sets the turn, and waits until the observer changes it. Blocks: at most `time`.
void wait_for_observer(FillCounts& counts, FillTurn turn, std::chrono::nanoseconds time) noexcept {
  const auto latest = Clock::now() + time;
  counts.set_turn(turn);
  while (counts.turn() == turn && Clock::now() < latest) {
    counts.wait_while(turn, latest - Clock::now());
  }
}

constexpr std::array<std::pair<std::string_view, FillOperation>, 3> kOperations{
    {{"read", FillOperation::read},
     {"write", FillOperation::write},
     {"copy", FillOperation::copy}}};

Error not_a_load(std::string_view text, const std::string& why) {
  return Error(Errc::bad_argument, '"' + std::string(text) + "\" is not a load (" + why + ")");
}

/// Reads one setting of a load. Result: what is wrong with it; empty if it is right.
std::string read_setting(std::string_view setting, FillOptions& options) {
  constexpr std::uint64_t kLeast = std::uint64_t{64} << 10U;
  constexpr std::string_view kSize = "size=";
  constexpr std::string_view kOperation = "op=";
  if (setting == "once") return options.once = true, std::string();
  if (setting == "flush") return options.flush = true, std::string();
  if (setting.starts_with(kSize)) {
    const auto size = base::read_size(setting.substr(kSize.size()));
    if (!size) return size.why(setting.substr(kSize.size()), std::string(kSize));
    if (*size < kLeast) return "size must be at least 64k per thread";
    options.buffer_bytes = *size;
    return {};
  }
  if (setting.starts_with(kOperation)) {
    for (const auto& [word, operation] : kOperations) {
      if (setting.substr(kOperation.size()) == word) return options.operation = operation, "";
    }
    return "op must be read, write or copy";
  }
  return "use size=SIZE, op=read|write|copy, once and flush";
}

}  // namespace

std::uint64_t usual_fill_buffer(std::uint64_t cache_bytes, std::uint64_t machine_bytes,
                                unsigned threads) noexcept {
  constexpr std::uint64_t kLeast = std::uint64_t{64} << 20U;
  constexpr std::uint64_t kMax = std::uint64_t{512} << 20U;
  constexpr std::uint64_t kTimesCache = 8;
  const std::uint64_t share = kTimesCache * cache_bytes / threads;
  // All buffers together take at most a quarter of the memory.
  const std::uint64_t most = std::max(machine_bytes / 4 / threads, std::uint64_t{1} << 20U);
  return std::min(std::clamp(share, kLeast, kMax), most);
}

Result<FillOptions> read_fill_load(std::string_view text) {
  constexpr std::string_view kName = "fill";
  FillOptions options;
  if (text == kName) return options;
  if (!text.starts_with("fill:")) return not_a_load(text, "write fill, or fill:size=250M,op=read");
  for (const std::string_view setting : base::split(text.substr(kName.size() + 1), ',')) {
    const std::string wrong = read_setting(setting, options);
    if (!wrong.empty()) return not_a_load(text, wrong);
  }
  return options;
}

std::string fill_load_text(const FillOptions& options) {
  std::string text = "fill";
  const auto add = [&](const std::string& setting) {
    text += (text == "fill" ? ':' : ',') + setting;
  };
  if (options.buffer_bytes != 0) add("size=" + std::to_string(options.buffer_bytes));
  for (const auto& [word, operation] : kOperations) {
    if (options.operation == operation && operation != FillOperation::copy) {
      add("op=" + std::string(word));
    }
  }
  if (options.once) add("once");
  if (options.flush) add("flush");
  return text;
}

Result<void> check_fill(const FillOptions& options) {
  if (options.flush && !kCanFlush) {
    return Error(Errc::not_supported, "the setting flush of --load works only on x86 and arm64");
  }
  const unsigned threads = options.threads != 0 ? options.threads : own_cpus();
  if (options.buffer_bytes <= memory_of_machine() / threads) return {};
  return Error::from_errno(ENOMEM,
                           "cannot fill " + base::size_text(options.buffer_bytes) + " in each of " +
                               std::to_string(threads) + " threads",
                           "take a smaller size, or --cpu for one thread");
}

Result<FillResult> fill_memory(std::chrono::nanoseconds time, const FillOptions& options) {
  const auto possible = check_fill(options);
  if (!possible) return possible.error();
  FillResult result;
  result.threads = options.threads != 0 ? options.threads : own_cpus();
  result.buffer_bytes =
      options.buffer_bytes != 0
          ? options.buffer_bytes
          : usual_fill_buffer(last_cache_bytes(), memory_of_machine(), result.threads);
  const std::size_t half = std::max<std::size_t>(result.buffer_bytes / 2, 1);
  std::vector<Pages> buffers;
  for (unsigned each = 0; each < result.threads; ++each) {
    buffers.emplace_back(2 * half);
    if (buffers.back().data() == nullptr) return Error::from_errno(errno, "cannot fill memory");
  }
  FillCounts* const turns = options.takes_turns ? options.counts : nullptr;
  std::atomic<std::uint64_t> bytes = 0;
  Clock::time_point begin;
  std::barrier ready(static_cast<std::ptrdiff_t>(result.threads), [&]() noexcept {
    if (turns != nullptr) wait_for_observer(*turns, FillTurn::ready, time);
    begin = Clock::now();
  });
  const auto work = [&](unsigned thread, std::byte* buffer) {
    Filler filler(thread, buffer, half, options);
    filler.prepare();
    if (turns != nullptr) filler.begin();  // an observer's window begins before the round
    ready.arrive_and_wait();
    filler.begin();
    int pattern = 2;
    do {
      filler.round(pattern);
      pattern = (pattern + 1) % 256;
    } while (!options.once && Clock::now() - begin < time);
    bytes.fetch_add(filler.bytes(), std::memory_order_relaxed);
  };
  std::vector<std::jthread> threads;
  threads.reserve(buffers.size());
  for (unsigned each = 0; each < result.threads; ++each) {
    threads.emplace_back(work, each, buffers[each].data());
  }
  threads.clear();  // waits for all threads
  result.seconds = std::chrono::duration<double>(Clock::now() - begin).count();
  result.bytes = bytes;
  if (turns != nullptr) wait_for_observer(*turns, FillTurn::done, time);
  return result;
}

Result<void> LoadSource::enable() {
  begin_ = counts_.look();
  begin_ns_ = clock_();
  return {};
}

Result<void> LoadSource::disable() {
  end_ = counts_.look();
  end_ns_ = clock_();
  return {};
}

MemoryReading LoadSource::read() {
  MemoryReading reading;
  reading.begin_ns = begin_ns_;
  reading.end_ns = end_ns_;
  double read = 0;
  double written = 0;
  for (std::size_t at = 0; at < end_.size(); ++at) {
    const bool known = at < begin_.size() && begin_[at] && end_[at] && begin_[at]->time_ns != 0;
    // A load of one round published its first time, and then waited for its observer. So its work
    // began later, at round_began_ns().
    const std::uint64_t began =
        known ? std::max(begin_[at]->time_ns, counts_.round_began_ns()) : std::uint64_t{0};
    if (!known || end_[at]->time_ns <= began) {
      reading.reason = "thread " + std::to_string(at) +
                       " of the load did not end a round in this window (take a longer --window)";
      return reading;
    }
    constexpr double kSeconds = 1e-9;
    const double seconds = static_cast<double>(end_[at]->time_ns - began) * kSeconds;
    read += static_cast<double>(end_[at]->read - begin_[at]->read) / seconds;
    written += static_cast<double>(end_[at]->written - begin_[at]->written) / seconds;
  }
  if (end_.empty()) {
    reading.reason = "the load has not begun to fill its buffers";
    return reading;
  }
  reading.reads = read;
  reading.writes = written;
  reading.total = read + written;
  return reading;
}

}  // namespace shmif::perf
