// A program that uses the library, built by several compilers with several flags: peers on one bus
// exchange frames that prove themselves, wake each other, and take the lock over from each other.
//
//   peer create BUS
//   peer exchange BUS INDEX PEERS futex|descriptor   all peers at once, INDEX from 0
//   peer takeover BUS VICTIM                          VICTIM is another peer program
//   peer flood BUS                                    until a signal ends it in the middle
//   peer audit BUS
//   peer refuse BUS                                   attaching must fail; says why
//
// Exits 0 when all went well, and says on standard error what did not.

#include <poll.h>
#include <spawn.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "shmif/bus.hpp"
#include "shmif/port.hpp"
#include "tests/support/numbered_frames.hpp"

namespace {

using shmif::Port;
using shmif::test::NumberedBatch;

constexpr unsigned kRounds = 500;
constexpr unsigned kBatch = 16;
constexpr std::size_t kLargest = 1514;
/// Longer than a port looks up while it sleeps: from then on, only a bell wakes it.
constexpr std::chrono::milliseconds kUntilAllSleepDeeply{1500};

void require(bool holds, const std::string& what) {
  if (!holds) throw std::runtime_error(what);
}

Port port_on(const std::string& path, const std::string& name) {
  Port port({.name = name});
  port.attach(path).value();
  require(!port.up(), "cannot go up");
  return port;
}

/// One of several peers that send in rounds: none begins a round before it has all frames of the
/// round before from all others. So every frame must arrive, in order and whole.
class Peer {
 public:
  Peer(const std::string& path, unsigned index, unsigned peers, bool by_descriptor)
      : path_(path),
        index_(index),
        by_descriptor_(by_descriptor),
        port_(port_on(path, "peer" + std::to_string(index))),
        next_(peers, 0) {
    // A port in the table need not be up yet, and a port that is down misses frames.
    while (ports_up() < peers) std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }

  void exchange() {
    for (unsigned round = 0; round < kRounds; ++round) {
      send(kBatch);
      await((round + 1) * kBatch);
    }
  }
  /// Each in turn wakes the others, who sleep until a bell rings.
  void wake_in_turn() {
    for (unsigned turn = 0; turn < next_.size(); ++turn) {
      if (turn == index_) {
        std::this_thread::sleep_for(kUntilAllSleepDeeply);
        send(1);
      } else {
        await_from(turn, next_[turn] + 1);
      }
    }
  }
  void finish() {
    const shmif::PortCounters c = port_.counters();
    require(c.lost_frames == 0 && c.corrupt == 0, "frames were lost or corrupt");
    require(c.wakeups > 0 && c.doorbells > 0, "nobody slept");
  }

 private:
  std::size_t ports_up() const {
    const std::vector<shmif::PortInfo> ports = shmif::Bus::open(path_).value().info().ports;
    return static_cast<std::size_t>(std::ranges::count_if(ports, &shmif::PortInfo::up));
  }
  void send(unsigned count) {
    const shmif::SendResult sent = port_.send(frames_.make(index_, sent_, count));
    require(!sent.error && sent.taken == count, "cannot send: " + sent.error.message());
    sent_ += count;
  }
  void await(std::uint32_t count) {
    for (unsigned from = 0; from < next_.size(); ++from) {
      if (from != index_) await_from(from, count);
    }
  }
  void await_from(unsigned from, std::uint32_t count) {
    while (next_[from] < count) {
      batch_.clear();
      const shmif::ReceiveResult got = port_.receive(batch_);
      require(!got.error, "cannot receive: " + got.error.message());
      for (const shmif::FrameView& f : batch_.frames()) check(f);
      if (batch_.empty()) sleep();
    }
  }
  void check(const shmif::FrameView& frame) {
    const auto n = shmif::test::check_numbered(frame);
    require(n.has_value(), "a torn frame");
    require(n->sender != index_, "its own frame came back");
    require(n->sender < next_.size() && n->sequence == next_[n->sender],
            "a frame is missing, or came twice");
    ++next_[n->sender];
  }
  void sleep() {
    if (!by_descriptor_) {
      port_.wait(std::chrono::nanoseconds::max());
      return;
    }
    pollfd entry{.fd = port_.descriptor(), .events = POLLIN, .revents = 0};
    require(entry.fd >= 0, "no descriptor");
    const shmif::WaitHint hint = port_.prepare_wait();
    const bool deep = hint.at_most == std::chrono::nanoseconds::max();
    if (!hint.ready) poll(&entry, 1, deep ? -1 : 50);
    port_.finish_wait();
  }

  std::string path_;
  unsigned index_;
  bool by_descriptor_;
  Port port_;
  NumberedBatch frames_{kLargest};
  shmif::FrameBatch batch_;
  std::uint32_t sent_ = 0;
  std::vector<std::uint32_t> next_;  // of each peer, the sequence that must come next
};

void exchange(const std::string& path, unsigned index, unsigned peers, const std::string& way) {
  alarm(60);  // a lost wakeup would last for ever
  Peer peer(path, index, peers, way == "descriptor");
  peer.exchange();
  peer.wake_in_turn();
  peer.finish();
}

/// Sends until an alarm ends the process wherever it is.
void flood(const std::string& path) {
  Port port = port_on(path, "victim");
  NumberedBatch frames(60);
  itimerval soon{};
  soon.it_value.tv_usec = static_cast<suseconds_t>(500 + std::random_device{}() % 2000);
  setitimer(ITIMER_REAL, &soon, nullptr);
  for (std::uint32_t n = 0;; ++n)
    static_cast<void>(port.send(frames.make(0, n, 1)));  // until the alarm
}

void run_flood(const std::string& victim, const std::string& path) {
  std::string arguments[] = {victim, "flood", path};
  char* pointers[] = {arguments[0].data(), arguments[1].data(), arguments[2].data(), nullptr};
  pid_t pid = 0;
  require(posix_spawn(&pid, victim.c_str(), nullptr, nullptr, pointers, environ) == 0,
          "cannot run " + victim);
  int status = 0;
  waitpid(pid, &status, 0);
  require(WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM, victim + " ended by itself");
}

/// Reads all that there is, and forgets it.
void pass_over(Port& reader, shmif::FrameBatch& batch) {
  do {
    batch.clear();
  } while (reader.receive(batch).lost != 0 || !batch.empty());
}

/// Until a victim of the other build has died with the lock, and this one sent all the same.
void take_over(const std::string& path, const std::string& victim) {
  alarm(60);
  Port sender = port_on(path, "sender");
  Port reader = port_on(path, "reader");
  NumberedBatch frames(300);
  shmif::FrameBatch batch;
  const auto taken = [&] { return shmif::Bus::open(path).value().info().takeovers_dead; };
  const std::uint64_t before = taken();
  for (std::uint32_t n = 0; taken() == before; ++n) {
    run_flood(victim, path);
    pass_over(reader, batch);
    require(!sender.send(frames.make(1, n, 1)).error, "cannot send after a victim's death");
    batch.clear();
    require(!reader.receive(batch).error && batch.size() == 1,
            "the frame that was sent then did not arrive");
    const auto got = shmif::test::check_numbered(batch[0]);
    require(got && got->sender == 1 && got->sequence == n, "it arrived torn");
  }
  require(shmif::Bus::open(path).value().audit().clean(), "the bus is not sound");
}

}  // namespace

int main(int argc, char** argv) {
  try {
    const std::vector<std::string> a(argv + 1, argv + argc);
    require(a.size() >= 2, "usage: peer create|exchange|takeover|flood|audit|refuse BUS ...");
    const std::string& what = a[0];
    if (what == "create") {
      shmif::Bus::create(a[1], {.ring_bytes = 1U << 20U}).value();
    } else if (what == "exchange") {
      exchange(a.at(1), static_cast<unsigned>(std::stoul(a.at(2))),
               static_cast<unsigned>(std::stoul(a.at(3))), a.at(4));
    } else if (what == "takeover") {
      take_over(a[1], a.at(2));
    } else if (what == "flood") {
      flood(a[1]);
    } else if (what == "audit") {
      const shmif::AuditReport report = shmif::Bus::open(a[1]).value().audit();
      require(report.clean(), report.clean() ? "" : report.findings.front().what);
    } else if (what == "refuse") {
      const auto attached = Port().attach(a[1]);
      require(!attached && attached.error().code == shmif::Errc::wrong_layout,
              "it was not refused");
      std::puts(attached.error().message.c_str());
    } else {
      throw std::runtime_error("no such task: " + what);
    }
    return 0;
  } catch (const std::exception& e) {
    std::fprintf(stderr, "%s: %s\n", argv[0], e.what());
    return 1;
  }
}
