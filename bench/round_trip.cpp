// Round trips of a small message between two processes, with different carriers and wake-ups.
//
//   shmif_bench_round_trip --kind port_epoll --turns 5000 [--one-cpu 1] [--means inotify]
//                          [--pause-us 200]
//
// Yardsticks, and the corresponding use of the library:
//   line     a number in a cache line that both poll             port_spin    ports that poll
//   ring     the least work of a ring with a lock, unchecked
//   futex    a number, and a futex on it to wait                 port_wait    ports in Port::wait
//   eventfd, inotify    what makes an epoll return               port_epoll   ports in an epoll
//                                                                port_level   by level_descriptor()
// The ports send frames of 64 B. `--means` leaves port_epoll only inotify, or only the helper
// thread (thread): it falls back to these if io_uring is not available. A trial is cut into fifty
// pieces; the result is the median of their averages, so that one interruption does not count. With
// `--pause-us` each side sleeps that long before it sends, so the other side has long been asleep.
// Then only the time from sending to receiving counts, the sum of both directions.

#include <fcntl.h>
#include <linux/futex.h>
#include <sched.h>
#include <seccomp.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <fstream>
#include <map>

#include "bench/frame.hpp"
#include "bench/trial.hpp"
#include "shmif/port.hpp"

namespace {

using namespace shmif;
using namespace shmif::bench;
using Clock = std::chrono::steady_clock;

constexpr unsigned kPieces = 50;

struct alignas(128) Word {
  std::atomic<std::uint32_t> value{0};
};

/// Records of a header and 60 bytes, one behind the other. The word of a record is one more than
/// the number of records before it. There are so many records that the last write to each is long
/// past.
struct BareRing {
  struct alignas(32) Record {
    std::atomic<std::uint64_t> word{0};
    std::array<std::uint64_t, 3> rest{};
    std::array<std::byte, 60> frame{};
  };
  static constexpr std::size_t kRecords = 8192;
  alignas(128) std::atomic<std::uint64_t> lock{0};
  std::atomic<std::uint64_t> last{0};  // written by the holder of the lock
  std::array<Record, kRecords> records;
};

struct Shared {
  BareRing ring;
  Word ready;
  std::array<Word, 2> turn;  // for each side, the number of the turn that it was sent
  std::array<std::atomic<Clock::rep>, 2> spoke_at{};      // both use one clock
  std::array<std::array<double, kPieces>, 2> piece_us{};  // as measured by each side
};

struct Setting {
  std::string path;
  std::string means;
  Shared* shared = nullptr;
  unsigned turns = 0;
  unsigned pause_us = 0;
  bool one_cpu = false;
};

void forbid_io_uring() {
  const scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
  const bool done =
      filter != nullptr &&
      seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(io_uring_setup), 0) == 0 &&
      seccomp_load(filter) == 0;
  seccomp_release(filter);
  if (!done) give_up("io_uring cannot be forbidden here");
}

void exhaust_inotify() {
  const std::string uid_map = "0 " + std::to_string(geteuid()) + " 1";
  if (unshare(CLONE_NEWUSER) != 0) give_up("user namespaces cannot be made here");
  std::ofstream("/proc/self/setgroups") << "deny";
  std::ofstream("/proc/self/uid_map") << uid_map;
  std::ofstream limit("/proc/sys/user/max_inotify_instances");
  limit << "0" << std::flush;
  if (!limit.good()) give_up("inotify cannot be forbidden here");
}

/// Forbids the better means of waking an epoll. The helper thread remains if all else is forbidden.
void leave_only(const std::string& means) {
  if (means == "thread") exhaust_inotify();
  if (means == "thread" || means == "inotify") forbid_io_uring();
}

int epoll_on(int fd) {
  const int epoll = epoll_create1(EPOLL_CLOEXEC);
  epoll_event event{.events = EPOLLIN, .data = {}};
  if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) != 0) give_up("epoll takes no such descriptor");
  return epoll;
}

void wait_on(int epoll) {
  epoll_event event{};
  while (epoll_wait(epoll, &event, 1, -1) < 0) {
  }
}

long futex(std::atomic<std::uint32_t>& word, int operation, std::uint32_t value) {
  return syscall(SYS_futex, &word, operation, value, nullptr, nullptr, 0);
}

/// Plays all turns once both sides are ready. Side 0 sends first and measures the time. With
/// pauses, each side measures what it receives.
template <typename Speak, typename Hear>
void play(const Setting& s, int side, const Speak& speak, const Hear& hear) {
  const auto me = static_cast<std::size_t>(side);
  ++s.shared->ready.value;
  while (s.shared->ready.value < 2) sched_yield();
  const unsigned piece = s.turns / kPieces;
  const auto speak_late = [&](std::uint32_t turn) {
    if (s.pause_us != 0) usleep(s.pause_us);
    s.shared->spoke_at.at(me) = Clock::now().time_since_epoch().count();
    speak(turn);
  };
  for (unsigned p = 0; p < kPieces; ++p) {
    const Clock::time_point begin = Clock::now();
    Clock::duration under_way{0};
    for (unsigned i = 1; i <= piece; ++i) {
      const std::uint32_t turn = p * piece + i;
      if (s.pause_us == 0) {
        if (side == 0) speak(turn);
        hear(turn);
        if (side == 1) speak(turn);
        continue;
      }
      if (side == 0) speak_late(turn);
      hear(turn);
      under_way +=
          Clock::now().time_since_epoch() - Clock::duration(s.shared->spoke_at.at(1 - me).load());
      if (side == 1) speak_late(turn);
    }
    if (s.pause_us == 0 && side == 0) under_way = Clock::now() - begin;
    const std::chrono::duration<double, std::micro> took = under_way;
    s.shared->piece_us.at(me).at(p) = took.count() / piece;
  }
}

struct Sides {
  Sides(const Setting& s, int side)
      : mine(s.shared->turn.at(static_cast<std::size_t>(side)).value),
        theirs(s.shared->turn.at(static_cast<std::size_t>(1 - side)).value) {}
  std::atomic<std::uint32_t>& mine;
  std::atomic<std::uint32_t>& theirs;
};

void play_line(const Setting& s, int side) {
  const Sides sides(s, side);
  play(
      s, side, [&](std::uint32_t turn) { sides.theirs.store(turn, std::memory_order_release); },
      [&](std::uint32_t turn) {
        while (sides.mine.load(std::memory_order_acquire) != turn) {
        }
      });
}

void play_ring(const Setting& s, int side) {
  BareRing& ring = s.shared->ring;
  const std::array<std::byte, 60> out{};
  std::array<std::byte, 60> in{};
  std::uint64_t next = 0;  // the first record that this side has not seen
  play(
      s, side,
      [&](std::uint32_t) {
        std::uint64_t free = 0;
        while (!ring.lock.compare_exchange_weak(free, 1)) free = 0;
        const std::uint64_t at = ring.last.load(std::memory_order_relaxed);
        BareRing::Record& record = ring.records.at(at % BareRing::kRecords);
        record.frame = out;
        record.rest = {};
        std::uint64_t before = record.word.load(std::memory_order_relaxed);
        record.word.compare_exchange_strong(before, at + 1);
        ring.last.store(at + 1, std::memory_order_relaxed);
        ring.lock.exchange(0);
        next = at + 1;
      },
      [&](std::uint32_t) {
        const BareRing::Record& record = ring.records.at(next % BareRing::kRecords);
        while (record.word.load(std::memory_order_acquire) != next + 1) {
        }
        in = record.frame;
        ++next;
      });
}

void play_futex(const Setting& s, int side) {
  const Sides sides(s, side);
  play(
      s, side,
      [&](std::uint32_t turn) {
        sides.theirs.store(turn);
        futex(sides.theirs, FUTEX_WAKE, 1);
      },
      [&](std::uint32_t turn) {
        while (sides.mine.load() != turn) futex(sides.mine, FUTEX_WAIT, turn - 1);
      });
}

/// Made before the fork, because an eventfd has no name by which to open it.
std::array<int, 2> events{-1, -1};

void play_eventfd(const Setting& s, int side) {
  const int mine = events.at(static_cast<std::size_t>(side));
  const int theirs = events.at(static_cast<std::size_t>(1 - side));
  const int epoll = epoll_on(mine);
  const std::uint64_t one = 1;
  std::uint64_t count = 0;
  play(
      s, side, [&](std::uint32_t) { (void)!write(theirs, &one, sizeof one); },
      [&](std::uint32_t) {
        wait_on(epoll);
        (void)!read(mine, &count, sizeof count);
      });
}

void play_inotify(const Setting& s, int side) {
  const std::string mine = s.path + (side == 0 ? "a" : "b");
  const std::string theirs = s.path + (side == 0 ? "b" : "a");
  const int inotify = inotify_init1(IN_NONBLOCK);
  std::ofstream(mine) << "*";
  if (inotify_add_watch(inotify, mine.c_str(), IN_MODIFY) < 0) give_up("no inotify");
  const int epoll = epoll_on(inotify);
  int other = -1;
  std::array<char, 4096> notices{};
  play(
      s, side,
      [&](std::uint32_t) {
        if (other < 0) other = open(theirs.c_str(), O_WRONLY);  // exists: both sides are ready
        (void)!pwrite(other, "*", 1, 0);
      },
      [&](std::uint32_t) {
        wait_on(epoll);
        (void)!read(inotify, notices.data(), notices.size());
      });
  unlink(mine.c_str());
}

/// `hear(port, in)` returns when it has received a frame.
template <typename Hear>
void play_ports(const Setting& s, int side, const Hear& hear) {
  leave_only(s.means);
  PortOptions options;
  options.promiscuous = true;
  Port port(options);
  port.attach(s.path).value();
  if (const std::error_code error = port.up()) give_up(error.message());
  const std::vector<std::byte> bytes = make_frame(60);
  const std::array<FrameView, 1> frame{FrameView(bytes)};
  FrameBatch in;
  play(
      s, side, [&](std::uint32_t) { static_cast<void>(port.send(frame)); },
      [&](std::uint32_t) {
        in.clear();
        hear(port, in);
      });
}

/// Calls `wait` while there is no frame to receive.
template <typename Wait>
void play_waiting_ports(const Setting& s, int side, const Wait& wait) {
  play_ports(s, side, [&](Port& port, FrameBatch& in) {
    while (port.receive(in).frames == 0) wait(port);
  });
}

void play_port_spin(const Setting& s, int side) {
  play_waiting_ports(s, side, [](Port&) {});
}

void play_port_wait(const Setting& s, int side) {
  play_waiting_ports(s, side, [](Port& port) { port.wait(std::chrono::seconds(1)); });
}

void play_port_epoll(const Setting& s, int side) {
  int epoll = -1;
  play_waiting_ports(s, side, [&](Port& port) {
    if (epoll < 0) epoll = epoll_on(port.descriptor());
    if (!port.prepare_wait().ready) wait_on(epoll);  // without a limit: the other side is alive
    port.finish_wait();
  });
}

/// Like an event loop: sleeps first, then receives.
void play_port_level(const Setting& s, int side) {
  int epoll = -1;
  play_ports(s, side, [&](Port& port, FrameBatch& in) {
    if (epoll < 0) epoll = epoll_on(port.level_descriptor().value());
    do {
      wait_on(epoll);
    } while (port.receive(in).frames == 0);
  });
}

const std::map<std::string, void (*)(const Setting&, int)> kKinds{
    {"line", play_line},
    {"ring", play_ring},
    {"futex", play_futex},
    {"eventfd", play_eventfd},
    {"inotify", play_inotify},
    {"port_spin", play_port_spin},
    {"port_wait", play_port_wait},
    {"port_epoll", play_port_epoll},
    {"port_level", play_port_level},
};

}  // namespace

int main(int argc, char** argv) {
  const Arguments arguments(argc, argv);
  const auto kind = kKinds.find(arguments.text("kind", "port_epoll"));
  if (kind == kKinds.end()) give_up("there is no such kind");
  alarm(60);  // ends the process even if it hangs
  const OwnFile bus("turns");
  Bus::create(bus.path(), {}).value();
  Setting s;
  s.path = bus.path();
  s.means = arguments.text("means", "");
  s.turns = std::max(arguments.count("turns", 5000), kPieces);
  s.pause_us = arguments.count("pause-us", 0);
  s.one_cpu = arguments.count("one-cpu", 0) != 0;
  s.shared = new (shared_memory(sizeof(Shared))) Shared;
  for (int& event : events) event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  std::vector<pid_t> sides;
  for (const int side : {0, 1}) {
    sides.push_back(start([&, side] {
      pin(s.one_cpu ? 0 : side);
      kind->second(s, side);
    }));
  }
  if (!finish(sides)) return 3;
  std::array<double, kPieces>& pieces = s.shared->piece_us[0];
  for (unsigned p = 0; p < kPieces; ++p) pieces.at(p) += s.shared->piece_us[1].at(p);
  std::sort(pieces.begin(), pieces.end());
  std::printf("{\"us\": %.4f, \"least_us\": %.4f, \"most_us\": %.4f}\n", pieces[kPieces / 2],
              pieces.front(), pieces.back());
}
