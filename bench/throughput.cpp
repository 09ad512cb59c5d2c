// Throughput: some senders send as fast as they can, or at a given rate, and some listeners
// receive.
//
//   shmif_bench_throughput --wire shmif --bytes 60 --batch 32 --senders 1 --listeners 1 --seconds 1
//
// Every sender and every listener is a process. One sender and one listener each get their own CPU,
// unless `--pin 0`; if there are more, the scheduler places them. After a quarter of a second to
// warm up, the trial counts for `seconds`. The CPU time is that of all these processes in the same
// time.

#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <chrono>
#include <map>
#include <thread>

#include "bench/trial.hpp"
#include "bench/wire.hpp"

namespace {

using namespace shmif::bench;
using Clock = std::chrono::steady_clock;

constexpr unsigned kMaxProcesses = 64;
constexpr auto kWarmUp = std::chrono::milliseconds(250);
constexpr unsigned kSecondsToBeReady = 10;

struct alignas(64) Count {
  std::atomic<std::uint64_t> frames{0};
  std::atomic<std::uint64_t> lost{0};
};

struct Shared {
  std::atomic<unsigned> ready{0};
  std::atomic<bool> go{false};
  std::atomic<bool> stop{false};
  std::array<Count, kMaxProcesses> counts;
};

struct Setting {
  std::string wire;
  Work work;
  unsigned senders = 1;
  unsigned listeners = 1;
  double seconds = 1;
  double rate = 0;  // frames per second of each sender; 0: as fast as it can
  bool pin = true;
};

const std::map<std::string, std::unique_ptr<Wire> (*)(const Work&)> kWires{
    {"shmif", make_shmif_wire},   {"locking", make_locking_wire},
    {"unix", make_unix_wire},     {"packet", make_packet_wire},
    {"vde", make_vde_wire},       {"packet_ring", make_packet_ring_wire},
    {"stream", make_stream_wire}, {"dgram", make_datagram_wire},
    {"copy", make_copy_wire},
};

void add(std::atomic<std::uint64_t>& to, std::uint64_t what) {
  to.store(to.load(std::memory_order_relaxed) + what, std::memory_order_relaxed);
}

void listen(Wire& wire, const Setting& s, unsigned number, Shared& shared, Count& count) {
  pin(s.pin ? 1 : -1);
  const std::unique_ptr<Listener> listener = wire.listener(number);
  ++shared.ready;
  while (!shared.stop.load(std::memory_order_relaxed)) {
    const Heard heard = listener->hear();
    add(count.frames, heard.frames);
    add(count.lost, heard.lost);
  }
}

void send(Wire& wire, const Setting& s, unsigned number, Shared& shared, Count& count) {
  pin(s.pin ? 0 : -1);
  const std::unique_ptr<Sender> sender = wire.sender(number);
  ++shared.ready;
  while (!shared.go) usleep(100);
  const Clock::time_point begin = Clock::now();
  std::uint64_t sent = 0;
  while (!shared.stop.load(std::memory_order_relaxed)) {
    const std::chrono::duration<double> elapsed = Clock::now() - begin;
    if (s.rate > 0 && static_cast<double>(sent) > elapsed.count() * s.rate) {
      usleep(50);  // then sends several batches at once; spinning would take a listener's CPU
      continue;
    }
    const std::size_t taken = sender->send();
    sent += taken;
    add(count.frames, taken);
  }
}

double cpu_seconds(const std::vector<pid_t>& processes) {
  double sum = 0;
  for (const pid_t process : processes) {
    clockid_t clock{};
    timespec time{};
    if (clock_getcpuclockid(process, &clock) != 0 || clock_gettime(clock, &time) != 0) continue;
    sum += static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) * 1e-9;
  }
  return sum;
}

struct Snapshot {
  Clock::time_point time = Clock::now();
  double cpu = 0;
  std::uint64_t sent = 0, heard = 0, lost = 0;
};

/// The counts of listeners come first.
Snapshot look(const Setting& s, const Shared& shared, const std::vector<pid_t>& processes) {
  Snapshot seen;
  for (unsigned i = 0; i < s.listeners + s.senders; ++i) {
    const Count& count = shared.counts[i];
    (i < s.listeners ? seen.heard : seen.sent) += count.frames;
    seen.lost += count.lost;
  }
  seen.cpu = cpu_seconds(processes);
  return seen;
}

void wait_until_ready(const Shared& shared, unsigned processes) {
  for (unsigned i = 0; shared.ready < processes; ++i) {
    if (waitpid(-1, nullptr, WNOHANG) > 0) std::exit(3);  // it has printed the reason
    if (i > kSecondsToBeReady * 1000) give_up("not all processes became ready");
    usleep(1000);
  }
}

int run(const Setting& s) {
  const auto found = kWires.find(s.wire);
  if (found == kWires.end()) give_up("there is no wire called " + s.wire);
  const std::unique_ptr<Wire> wire = found->second(s.work);
  auto& shared = *new (shared_memory(sizeof(Shared))) Shared;
  std::vector<pid_t> processes;
  for (unsigned i = 0; i < s.listeners + s.senders; ++i) {
    Count& count = shared.counts.at(i);
    processes.push_back(start([&, i] {
      if (i < s.listeners) {
        listen(*wire, s, i, shared, count);
      } else {
        send(*wire, s, i - s.listeners, shared, count);
      }
    }));
    if (i + 1 == s.listeners) wait_until_ready(shared, s.listeners);
  }
  wait_until_ready(shared, s.listeners + s.senders);
  shared.go = true;
  std::this_thread::sleep_for(kWarmUp);
  const Snapshot begin = look(s, shared, processes);
  std::this_thread::sleep_for(std::chrono::duration<double>(s.seconds));
  const Snapshot end = look(s, shared, processes);
  shared.stop = true;
  if (!finish(processes)) return 3;

  const std::chrono::duration<double> elapsed = end.time - begin.time;
  const auto per_second = [&](std::uint64_t from, std::uint64_t to) {
    return static_cast<double>(to - from) / elapsed.count();
  };
  const double heard = per_second(begin.heard, end.heard);
  const double lost = per_second(begin.lost, end.lost);
  std::printf(
      "{\"sent_per_s\": %.0f, \"heard_per_s\": %.0f, \"lost_share\": %.6f, \"cpus\": %.3f}\n",
      per_second(begin.sent, end.sent), heard, heard + lost > 0 ? lost / (heard + lost) : 0.0,
      (end.cpu - begin.cpu) / elapsed.count());
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  const Arguments arguments(argc, argv);
  Setting s;
  s.wire = arguments.text("wire", "shmif");
  s.work.frame_bytes = arguments.count("bytes", 60);
  s.work.imix = arguments.count("imix", 0) != 0;
  s.work.batch = arguments.count("batch", 32);
  s.work.pause = arguments.count("pause", 0) != 0;
  s.work.in_place = arguments.count("in-place", 0) != 0;
  s.work.look = arguments.count("look", 0) != 0;
  s.work.sleep = arguments.count("sleep", 0) != 0;
  s.work.directly = arguments.count("directly", 0) != 0;
  s.work.ring_bytes = static_cast<std::uint64_t>(arguments.number("ring", 0));
  s.work.place = arguments.text("place", "");
  s.senders = arguments.count("senders", 1);
  s.listeners = arguments.count("listeners", 1);
  s.seconds = arguments.number("seconds", 1);
  s.rate = arguments.number("rate", 0);
  s.pin = arguments.count("pin", s.senders + s.listeners <= 2 ? 1 : 0) != 0;
  if (s.senders + s.listeners > kMaxProcesses) give_up("too many processes");
  alarm(kSecondsToBeReady + static_cast<unsigned>(s.seconds) + 10);  // ends a process that hangs
  return run(s);
}
