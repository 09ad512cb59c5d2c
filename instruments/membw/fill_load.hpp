#pragma once
// The built-in load on the memory: threads fill buffers larger than the caches, as fast as they can
// (fill_memory()). They publish how many bytes they have read and written (FillCounts), and that
// count is a source of memory bandwidth (LoadSource).

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"
#include "base/shared_memory.hpp"
#include "base/unique_fd.hpp"
#include "instruments/membw/source.hpp"

namespace shmif::perf {

/// The progress of one thread of the load at the end of its last phase. In a phase the thread fills
/// one half of its buffer, or copies that half to the other.
struct FillProgress {
  std::uint64_t time_ns = 0;  ///< of CLOCK_MONOTONIC; 0 before it begins
  std::uint64_t read = 0;     ///< bytes, since it began
  std::uint64_t written = 0;
};

/// The state of a load that has a single round. Its observer opens a window around that round only.
enum class FillTurn : std::uint32_t {
  preparing,  ///< the load fills its buffers for the first time
  ready,      ///< the load waits for its observer
  running,    ///< the round runs; the observer sets this
  done,       ///< the round has ended; the process waits, so that its observer can still look at it
};

/// How much the load has copied so far, in memory that it shares with its observer.
///
/// Threads: each thread number has one writer; any thread may read.
class FillCounts {
 public:
  static constexpr unsigned kMaxThreads = 512;

  /// Makes a file in memory, which has a path as long as this object lives. Errors: an errno.
  static Result<FillCounts> create();
  /// Maps the memory of another process.
  static Result<FillCounts> open(const std::string& path);

  /// The path of the file, for processes of the same user; empty if open() made this object.
  std::string path() const;
  /// Ignores threads from number kMaxThreads on.
  void set(unsigned thread, const FillProgress& progress) noexcept;
  /// The progress of each thread; empty if the thread was writing at each look.
  std::vector<std::optional<FillProgress>> look() const;

  FillTurn turn() const noexcept { return FillTurn{shared().turn.load()}; }
  /// Sets the turn, and wakes all that wait in wait_while().
  void set_turn(FillTurn turn) noexcept;
  /// Starts the round. `now_ns`: the time of CLOCK_MONOTONIC at which it begins.
  void begin_round(std::uint64_t now_ns) noexcept;
  /// When begin_round() started the round; 0 if it was not called.
  std::uint64_t round_began_ns() const noexcept { return shared().began_ns.load(); }
  /// Waits for another turn. Blocks: while it is `turn`, at most for `time`; it may return earlier.
  void wait_while(FillTurn turn, std::chrono::nanoseconds time) const noexcept;

 private:
  /// While `changes` is odd, the other words are being written.
  struct alignas(64) Slot {
    std::atomic<std::uint64_t> changes{0}, time_ns{0}, read{0}, written{0};
  };
  struct Shared {
    std::array<Slot, kMaxThreads> slots;
    std::atomic<std::uint32_t> turn{0};  ///< a FillTurn, and a futex
    std::atomic<std::uint64_t> began_ns{0};
  };
  static constexpr std::size_t kBytes = sizeof(Shared);
  FillCounts(base::SharedMemory memory, UniqueFd file) noexcept;
  Shared& shared() const noexcept { return *static_cast<Shared*>(memory_.data()); }

  base::SharedMemory memory_;
  UniqueFd file_;
};

/// What a thread does in a round.
enum class FillOperation {
  copy,   ///< fills one half of its buffer with a pattern, and copies it to the other half
  read,   ///< reads its buffer
  write,  ///< fills its buffer with a pattern
};

struct FillOptions {
  unsigned threads = 0;  ///< 0: one for each CPU that this process may use
  std::uint64_t buffer_bytes =
      0;  ///< of each thread; 0: well above its share of the last-level cache
  FillCounts* counts = nullptr;  ///< null if there is no observer
  FillOperation operation = FillOperation::copy;
  bool once = false;   ///< one round, however long it takes
  bool flush = false;  ///< first write the buffers back to memory and drop them from the caches
  /// With `once` and `counts`: the round begins when the observer calls FillCounts::begin_round.
  /// fill_memory() does not return at once after the round, so that the observer can look at the
  /// process.
  bool takes_turns = false;
};
struct FillResult {
  std::uint64_t bytes = 0;  ///< read and written, together
  double seconds = 0;
  unsigned threads = 0;
  std::uint64_t buffer_bytes = 0;
};

/// Reads the description of a load: "fill:size=250M,op=read,once,flush". "fill" alone is the usual
/// load. Errors: Errc::bad_argument for other text.
Result<FillOptions> read_fill_load(std::string_view text);
/// The text from which read_fill_load() makes these options, without threads and counts.
std::string fill_load_text(const FillOptions& options);
/// The default size of each thread's buffer. `cache_bytes`: of the last-level cache; 0: not known.
std::uint64_t usual_fill_buffer(std::uint64_t cache_bytes, std::uint64_t machine_bytes,
                                unsigned threads) noexcept;
/// Checks that the buffers fit into this machine's memory, and that its processor supports the
/// options. Errors: ENOMEM; Errc::not_supported.
Result<void> check_fill(const FillOptions& options);

/// Each thread works on its own buffer, again and again. FillOperation::copy writes two bytes for
/// each byte that it reads. Blocks: for `time`, and until the rounds in progress have ended; with
/// `takes_turns`, at most `time` before the round and at most `time` after it. Errors: those of
/// check_fill().
Result<FillResult> fill_memory(std::chrono::nanoseconds time, const FillOptions& options = {});

/// Each thread of the load publishes its bytes and the time at the end of each phase. Its rate is
/// measured from the last phase that ended before the window began to the last phase that ended
/// before the window ended. The rates of all threads are added.
class LoadSource final : public MemorySource {
 public:
  /// `counts` must outlive it.
  explicit LoadSource(const FillCounts& counts, MonotonicClock clock = now_ns)
      : counts_(counts), clock_(std::move(clock)) {}

  std::string name() const override { return "software"; }
  std::string part() const override { return "load"; }
  std::string origin() const override { return "the load's own count"; }
  MemoryScope scope() const override { return MemoryScope::group; }
  MemoryLevel level() const override { return MemoryLevel::copied; }

  Result<void> open(const std::vector<pid_t>& /*processes*/) override { return {}; }
  Result<void> enable() override;
  Result<void> disable() override;
  MemoryReading read() override;
  Result<void> close() override { return {}; }

 private:
  using Threads = std::vector<std::optional<FillProgress>>;

  const FillCounts& counts_;
  MonotonicClock clock_;
  std::uint64_t begin_ns_ = 0, end_ns_ = 0;
  Threads begin_, end_;
};

}  // namespace shmif::perf
