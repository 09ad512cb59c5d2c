#pragma once
// The bytes that software copied, as the copying software counted them. Each of these sources
// counts different copies, so their values are never added.

#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "instruments/membw/source.hpp"
#include "instruments/watch/kernel_files.hpp"

namespace shmif::perf {

/// The bytes that one counter saw read and written.
struct CopiedBytes {
  std::uint64_t read = 0, written = 0;
};

/// The lines rchar and wchar of /proc/PID/io. Errors: Errc::bad_argument for other text.
Result<CopiedBytes> read_process_io(std::string_view text);
/// The bytes that each device in /proc/net/dev received (as `read`) and sent (as `written`).
/// Errors: Errc::bad_argument for other text.
Result<std::map<std::string, CopiedBytes>> read_net_devices(std::string_view text);

/// A source that compares counters at the begin and at the end of a window.
class CountedSource : public MemorySource {
 public:
  explicit CountedSource(MonotonicClock clock) : clock_(std::move(clock)) {}

  std::string name() const override { return "software"; }
  MemoryLevel level() const override { return MemoryLevel::copied; }
  Result<void> open(const std::vector<pid_t>& processes) override;
  Result<void> enable() override;
  Result<void> disable() override;
  MemoryReading read() override;
  Result<void> close() override { return {}; }

 protected:
  /// All counters by name, at one moment.
  struct Snapshot {
    std::uint64_t time_ns = 0;
    std::map<std::string, CopiedBytes> counters;
    std::map<std::string, CopiedBytes> ended;  ///< ended before now; only `written` is known
    std::string failure;
  };
  virtual Result<void> look(Snapshot& snapshot) = 0;
  const std::vector<pid_t>& processes() const noexcept { return processes_; }

 private:
  Snapshot take();

  MonotonicClock clock_;
  std::vector<pid_t> processes_;
  Snapshot begin_, end_;
};

/// What the watched processes and their descendants read and wrote by system calls such as read(2)
/// and write(2): files, pipes, TAP devices, and sockets used in that way. It does not count send(2)
/// and recv(2).
class ProcessIoSource final : public CountedSource {
 public:
  /// `misses_all`: why these counts miss all bytes of the processes; empty if they do not. The
  /// source has no figures then, because 0 would be wrong.
  explicit ProcessIoSource(KernelFiles files, MonotonicClock clock = now_ns,
                           std::string misses_all = {})
      : CountedSource(std::move(clock)),
        files_(std::move(files)),
        misses_all_(std::move(misses_all)) {}
  std::string part() const override { return "io"; }
  std::string origin() const override { return files_.path("/proc/PID/io"); }
  MemoryScope scope() const override { return MemoryScope::group; }
  Result<void> open(const std::vector<pid_t>& processes) override;

 protected:
  Result<void> look(Snapshot& snapshot) override;

 private:
  Result<bool> add(pid_t process, CopiedBytes& sum) const;

  KernelFiles files_;
  std::string misses_all_;
};

/// What the jobs of a run sent and received through sockets, as they counted it themselves: the
/// kernel does not count send(2) and recv(2) per process.
class SocketSource final : public CountedSource {
 public:
  /// The bytes of each job so far, by a name that stays the same. May be called by any thread.
  using Counts = std::function<std::map<std::string, CopiedBytes>()>;

  explicit SocketSource(Counts counts, MonotonicClock clock = now_ns)
      : CountedSource(std::move(clock)), counts_(std::move(counts)) {}
  std::string part() const override { return "sockets"; }
  std::string origin() const override { return "the frames that the jobs counted"; }
  MemoryScope scope() const override { return MemoryScope::group; }

 protected:
  Result<void> look(Snapshot& snapshot) override;

 private:
  Counts counts_;
};

/// What went through the network devices in the watched processes' network namespace, with TAP
/// devices and the loopback. Without processes, it counts those in our own namespace.
class DeviceSource final : public CountedSource {
 public:
  enum class Where : std::uint8_t { at_processes, in_own_namespace };
  explicit DeviceSource(KernelFiles files, MonotonicClock clock = now_ns,
                        Where where = Where::at_processes)
      : CountedSource(std::move(clock)), files_(std::move(files)), where_(where) {}
  std::string part() const override { return "devices"; }
  std::string origin() const override;
  MemoryScope scope() const override { return MemoryScope::machine; }

 protected:
  Result<void> look(Snapshot& snapshot) override;

 private:
  bool is_own() const noexcept { return where_ == Where::in_own_namespace || processes().empty(); }

  KernelFiles files_;
  Where where_;
};

/// What the ports of a bus read from the bus and wrote to it.
class BusSource final : public CountedSource {
 public:
  explicit BusSource(std::string path, MonotonicClock clock = now_ns)
      : CountedSource(std::move(clock)), path_(std::move(path)) {}
  std::string part() const override { return "bus"; }
  std::string origin() const override { return path_; }
  MemoryScope scope() const override { return MemoryScope::machine; }

 protected:
  Result<void> look(Snapshot& snapshot) override;

 private:
  std::string path_;
};

}  // namespace shmif::perf
