#pragma once
// A kernel whose events count what the test says, when the test says it, and whose every call can
// fail or meet a race.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "instruments/counters/event.hpp"
#include "instruments/counters/kernel_counters.hpp"
#include "instruments/counters/sample.hpp"
#include "instruments/counters/session.hpp"

namespace shmif::perf::test {

/// Threads of the fake kernel.
inline constexpr pid_t kTask = 4711;
inline constexpr pid_t kOther = 4712;

enum class KernelCall { open, control, read, map, open_task, hold, release };

class FakeCounters final : public KernelCounters {
 public:
  struct Event {
    EventAttr attr;
    pid_t task = -1;
    int cpu = -1;
    int group = -1;
    bool enabled = false;
    std::uint64_t value = 0, enabled_ns = 0, running_ns = 0, id = 0, period = 0;
    std::uint64_t lost = 0;  ///< records
    int limit = 0;           ///< overflows until it stops by itself; 0: never
    int output = -1;
    std::vector<std::byte> ring{};
  };
  /// Asked before each call. Below 0: the call fails so. May do what another program does then.
  std::function<int(KernelCall, int nth)> before;
  std::function<void()> looked_after;  ///< called whenever the session looks whether it has ended
  /// Called once, when an event has just been let count up to an overflow.
  std::function<void()> refreshed;
  std::set<pid_t> ended;
  std::map<pid_t, std::uint64_t> started;         ///< ticks; others have 7
  int unreadable = 0;                             ///< errno of reading when a task was started
  std::map<pid_t, uid_t> owners;                  ///< of tasks of other users
  std::map<pid_t, std::vector<pid_t>> processes;  ///< others have one thread
  std::map<pid_t, int> stopped_by;  ///< the signal with which a thread stops when it is held
  std::map<int, Event> events;
  std::vector<Event> opened;     ///< all that ever were, in this order
  std::vector<int> closed;       ///< descriptors of events, in the order in which they were closed
  std::vector<std::string> log;  ///< holds and releases
  ssize_t cut_reads = 0;         ///< bytes that reads give too few
  bool tells_lost = true;        ///< knows PERF_FORMAT_LOST, as Linux 6.0
  std::vector<int> online{0, 1};
  std::optional<std::uint32_t> refused;  ///< a type that is permitted in user space only

  ~FakeCounters() override {
    for (const auto& [file, event] : events) ::close(file);
    for (const auto& [file, task] : task_files_) ::close(file);
  }

  /// The task runs: its enabled events count `each` of their config, in the share of the time that
  /// the PMU has room for them.
  void run(pid_t task, std::uint64_t ns, const std::map<std::uint64_t, std::uint64_t>& counts = {},
           double share = 1) {
    for (auto& [file, event] : events) {
      const Event& leader = event.group < 0 ? event : events.at(event.group);
      if (event.task != task || !leader.enabled || !event.enabled) continue;
      event.enabled_ns += ns;
      const bool clock = event.attr.base.config == PERF_COUNT_SW_DUMMY;
      event.running_ns += clock ? ns : static_cast<std::uint64_t>(static_cast<double>(ns) * share);
      const auto count = counts.find(event.attr.base.config);
      if (count == counts.end()) continue;
      event.value += static_cast<std::uint64_t>(static_cast<double>(count->second) * share);
    }
  }
  /// The program is executed that enable_on_exec waits for.
  void exec(pid_t task) {
    for (auto& [file, event] : events) {
      if (event.task == task && event.attr.base.enable_on_exec) event.enabled = true;
    }
  }
  /// The event of this config overflows: a sample comes, and its group stops if it was to.
  void overflow(std::uint64_t config, std::uint64_t ip = 0x1000, std::uint64_t time_ns = 0) {
    for (auto& [file, event] : events) {
      const bool on = event.group < 0 ? event.enabled : events.at(event.group).enabled;
      if (event.attr.base.config != config || event.attr.base.sample_type == 0 || !on) continue;
      std::vector<std::uint64_t> body{event.id, ip, 0x2a0000002aU};
      if ((event.attr.base.sample_type & PERF_SAMPLE_TIME) != 0) body.push_back(time_ns);
      put(event.output >= 0 ? event.output : file, PERF_RECORD_SAMPLE,
          std::as_bytes(std::span(body)));
      if (event.limit > 0 && --event.limit == 0) event.enabled = false;
    }
  }
  /// Samples of this config find no room, on each CPU.
  void lose(std::uint64_t config, std::uint64_t samples) {
    for (auto& [file, event] : events) {
      if (event.attr.base.config == config) event.lost += samples;
    }
  }
  /// A record of any type in the ring of this event.
  void put(int file, std::uint32_t type, std::span<const std::byte> body, std::uint16_t misc = 2) {
    Event& event = events.at(file);
    auto* const page = reinterpret_cast<perf_event_mmap_page*>(event.ring.data());
    const std::size_t header = kPage;
    const std::size_t bytes = event.ring.size() - header;
    perf_event_header head{type, misc, static_cast<std::uint16_t>(sizeof head + body.size())};
    std::vector<std::byte> record(sizeof head);
    std::memcpy(record.data(), &head, sizeof head);
    record.insert(record.end(), body.begin(), body.end());
    for (const std::byte each : record) {
      event.ring[header + page->data_head % bytes] = each;
      page->data_head = page->data_head + 1;
    }
    ::eventfd_write(file, 1);
  }
  void end(pid_t task) {
    ended.insert(task);
    for (const auto& [file, its] : task_files_) {
      if (its == task) ::eventfd_write(file, 1);
    }
  }
  std::size_t open_files() const { return events.size() + task_files_.size() + maps_.size(); }
  const Event* event_of(std::uint64_t config) const {
    for (const auto& [file, event] : events) {
      if (event.attr.base.config == config) return &event;
    }
    return nullptr;
  }
  /// The leader counts, and so do its members.
  bool counts(std::uint64_t config) const {
    const Event* const event = event_of(config);
    return event != nullptr &&
           (event->group < 0 ? event->enabled : events.at(event->group).enabled);
  }

  int open(const EventAttr& attr, pid_t task, int cpu, int group) noexcept override {
    if (const int error = ask(KernelCall::open); error < 0) return error;
    if (ended.contains(task)) return -ESRCH;
    if (attr.base.type == refused && !attr.base.exclude_kernel) return -EACCES;
    if (!tells_lost && (attr.base.read_format & kFormatLost) != 0) return -EINVAL;
    if (cpu >= 0 && std::ranges::find(online, cpu) == online.end()) return -ENODEV;
    const int file = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    Event event{attr, task, cpu, group};
    event.enabled = attr.base.disabled == 0;
    event.id = ++last_id_;
    event.period = attr.base.sample_period;
    events.emplace(file, event);
    opened.push_back(event);
    return file;
  }
  int control(int file, unsigned long request, std::uintptr_t argument) noexcept override {
    if (const int error = ask(KernelCall::control); error < 0) return error;
    Event& event = events.at(file);
    switch (request) {
      case PERF_EVENT_IOC_ENABLE: event.enabled = true; return 0;
      case PERF_EVENT_IOC_DISABLE: event.enabled = false; return 0;
      case PERF_EVENT_IOC_REFRESH:
        event.limit += static_cast<int>(argument);
        event.enabled = true;
        if (refreshed) std::exchange(refreshed, {})();
        return 0;
      case PERF_EVENT_IOC_ID: *reinterpret_cast<std::uint64_t*>(argument) = event.id; return 0;
      case PERF_EVENT_IOC_PERIOD:
        event.period = *reinterpret_cast<std::uint64_t*>(argument);
        return 0;
      case PERF_EVENT_IOC_SET_OUTPUT: event.output = static_cast<int>(argument); return 0;
      default: return -ENOTTY;
    }
  }
  ssize_t read(int file, void* to, std::size_t bytes) noexcept override {
    const Event& leader = events.at(file);
    const auto format = leader.attr.base.read_format;
    std::vector<std::uint64_t> words;
    const auto put_number = [&](const Event& event) {
      if ((format & PERF_FORMAT_ID) != 0) words.push_back(event.id);
      if ((format & kFormatLost) != 0) words.push_back(event.lost);
    };
    if ((format & PERF_FORMAT_GROUP) == 0) {
      words = {leader.value, leader.enabled_ns, leader.running_ns};
      put_number(leader);
    } else {
      words = {0, leader.enabled_ns, leader.running_ns};
      for (const auto& [number, event] : events) {
        if (number != file && event.group != file) continue;
        ++words[0];
        words.push_back(event.value);
        put_number(event);
      }
    }
    const std::size_t size = words.size() * sizeof(std::uint64_t);
    // The kernel looks at the room before it adds up anything.
    if (bytes < size) return -ENOSPC;
    if (const int error = ask(KernelCall::read); error < 0) return error;
    std::memcpy(to, words.data(), size);
    return static_cast<ssize_t>(size) - cut_reads;
  }
  int map(int file, std::size_t bytes, void** at) noexcept override {
    if (const int error = ask(KernelCall::map); error < 0) return error;
    std::vector<std::byte>& ring = events.at(file).ring;
    ring.resize(bytes);
    *at = ring.data();
    maps_[*at] = bytes;
    return 0;
  }
  /// A part of a mapping that is left counts as an open file.
  void unmap(void* at, std::size_t bytes) noexcept override {
    const auto map = maps_.find(at);
    if (map != maps_.end() && map->second == bytes) maps_.erase(map);
  }
  void close(int file) noexcept override {
    if (events.contains(file)) closed.push_back(file);
    if (events.erase(file) + task_files_.erase(file) == 1) ::close(file);
  }
  int open_task(pid_t task, bool /*thread*/) noexcept override {
    if (const int error = ask(KernelCall::open_task); error < 0) return error;
    if (ended.contains(task)) return -ESRCH;
    const int file = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    task_files_[file] = task;
    return file;
  }
  bool has_ended(int /*file*/, pid_t task) noexcept override {
    if (looked_after) looked_after();
    return ended.contains(task);
  }
  std::uint64_t start_ticks(pid_t task) override {
    if (unreadable != 0) {
      errno = unreadable;
      return 0;
    }
    constexpr std::uint64_t kUsual = 7;
    return started.contains(task) ? started.at(task) : kUsual;
  }
  std::vector<pid_t> threads(pid_t process) override {
    if (ended.contains(process)) return {};
    return processes.contains(process) ? processes.at(process) : std::vector<pid_t>{process};
  }
  std::vector<int> online_cpus() override { return online; }
  std::optional<uid_t> other_owner(pid_t task) override {
    return owners.contains(task) ? std::optional(owners.at(task)) : std::nullopt;
  }
  int hold(pid_t thread) noexcept override {
    if (const int error = ask(KernelCall::hold); error < 0) return error;
    log.push_back("hold " + std::to_string(thread));
    return stopped_by.contains(thread) ? stopped_by.at(thread) : 0;
  }
  void release(pid_t thread, int signal) noexcept override {
    const std::string with = signal == 0 ? "" : " with signal " + std::to_string(signal);
    log.push_back("release " + std::to_string(thread) + with);
  }

 private:
  static constexpr std::size_t kPage = 4096;
  int ask(KernelCall call) { return before ? before(call, ++asked_[call]) : 0; }

  std::map<KernelCall, int> asked_;
  std::map<int, pid_t> task_files_;
  std::uint64_t last_id_ = 100;
  std::map<void*, std::size_t> maps_;
};

/// A software event of the fake kernel, told from others by its config.
inline CounterEvent fake_event(std::uint64_t config) {
  CounterEvent event;
  event.name = "event" + std::to_string(config);
  event.type = PERF_TYPE_SOFTWARE;
  event.config = config;
  return event;
}

// A session on one thread or process of a scripted kernel, for the tests of sessions.

struct NoSink final : SampleSink {
  void sample(const Sample& /*sample*/) override {}
};

/// Whose sets are switched by hand only.
class ScriptedSession : public testing::Test {
 protected:
  std::size_t program(const std::vector<EventSetup>& events) {
    const auto first = session.program(events);
    EXPECT_TRUE(first) << first.error().message;
    return first ? *first : 0;
  }
  void start(const std::vector<EventSetup>& events, const CounterTarget& target) {
    program(events);
    const auto loaded = session.load(target);
    ASSERT_TRUE(loaded) << loaded.error().message;
    ASSERT_TRUE(session.start());
  }
  Reading read(std::size_t event, bool stop_target = false) {
    std::array readings{Reading{event}};
    const auto got = session.read(readings, stop_target);
    EXPECT_TRUE(got) << got.error().message;
    return readings[0];
  }
  SetQuery query(unsigned id) {
    std::array queries{SetQuery{id}};
    const auto got = session.query_sets(queries);
    EXPECT_TRUE(got) << got.error().message;
    return queries[0];
  }
  SampleCounts samples() {
    NoSink sink;
    return session.read_samples(sink).value();
  }
  /// Why it cannot be loaded; empty if it can.
  std::string why(const CounterTarget& target) {
    fault.reset();
    const auto loaded = session.load(target, &fault);
    EXPECT_EQ(kernel.open_files() == 0, !loaded.has_value());
    return loaded ? "" : loaded.error().message;
  }
  /// Fails the nth call of this kind from now on; 0: each.
  void refuse(KernelCall which, int error, int nth) {
    kernel.before = [which, error, nth, asked = 0](KernelCall call, int /*nth*/) mutable {
      return call == which && (++asked == nth || nth == 0) ? -error : 0;
    };
  }

  FakeCounters kernel;
  CounterSession session = session_over({.switch_by_itself = false}, kernel);
  const CounterTarget thread = CounterTarget::thread({kTask, 7});
  const CounterTarget process = CounterTarget::process({kTask, 7});
  std::optional<VectorFault> fault;
};

inline void expect_words(const std::string& text, const std::vector<std::string>& words) {
  for (const std::string& each : words) {
    EXPECT_NE(text.find(each), std::string::npos) << "no \"" << each << "\" in: " << text;
  }
}

inline Sample sample_of(std::uint64_t ip, bool in_kernel = false, pid_t process = 5) {
  Sample sample;
  sample.ip = ip;
  sample.process = process;
  sample.in_kernel = in_kernel;
  return sample;
}

}  // namespace shmif::perf::test
