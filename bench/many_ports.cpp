// Many ports on one bus, each in its own process, and nearly all asleep.
//
//   shmif_bench_many_ports --ports 100 --frames 500
//
// Measures how long an attach takes; the private memory of a process with a port (this program
// after its attach: Private_* of smaps_rollup); how long sending a frame to one sleeping port
// takes; and how many processes wake for it, by their voluntary context switches, which count their
// sleeps.

#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstring>
#include <fstream>
#include <numeric>
#include <string>
#include <thread>

#include "bench/frame.hpp"
#include "bench/trial.hpp"
#include "shmif/port.hpp"

namespace {

using namespace shmif;
using namespace shmif::bench;
using Clock = std::chrono::steady_clock;

constexpr unsigned kMaxPorts = 200;
constexpr auto kToSleepDeeply = std::chrono::milliseconds(1500);  // then no port wakes up to look
constexpr auto kToFallAsleep = std::chrono::milliseconds(2);

struct Shared {
  std::atomic<unsigned> ready{0};
  std::atomic<bool> stop{false};
  std::atomic<std::uint64_t> heard{0};
  std::array<double, kMaxPorts> attach_ms{};
  std::array<double, kMaxPorts> private_kib{};
};

MacAddress mac_of(unsigned number) {
  return MacAddress::from_u64(0x020000000000U + number);
}

double private_kib() {
  std::ifstream file("/proc/self/smaps_rollup");
  double sum = 0;
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("Private_")) sum += std::stod(line.substr(line.find(':') + 1));
  }
  return sum;
}

std::uint64_t sleeps_of(pid_t process) {
  std::ifstream file("/proc/" + std::to_string(process) + "/status");
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("voluntary_ctxt_switches:")) return std::stoull(line.substr(24));
  }
  return 0;
}

/// The first process makes this memory. The others inherit its descriptor, and get the number.
Shared& shared_by(int fd) {
  void* memory = mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (memory == MAP_FAILED) give_up("no memory to share");
  return *static_cast<Shared*>(memory);  // zeros are its initial state
}

void be_a_port(const std::string& path, unsigned number, Shared& shared) {
  PortOptions options;
  options.mac = mac_of(number);
  Port port(options);
  const Clock::time_point begin = Clock::now();
  port.attach(path).value();
  const std::chrono::duration<double, std::milli> took = Clock::now() - begin;
  if (const std::error_code error = port.up()) give_up(error.message());
  FrameBatch batch;
  static_cast<void>(port.receive(batch));
  shared.attach_ms.at(number) = took.count();
  shared.private_kib.at(number) = private_kib();
  ++shared.ready;
  while (!shared.stop) {
    port.wait(std::chrono::seconds(60));
    batch.clear();
    shared.heard += port.receive(batch).frames;
  }
}

template <typename Numbers>
double median(Numbers numbers) {
  std::sort(numbers.begin(), numbers.end());
  return numbers[numbers.size() / 2];
}

std::uint64_t all_sleeps(const std::vector<pid_t>& processes) {
  return std::accumulate(processes.begin(), processes.end(), std::uint64_t{0},
                         [](std::uint64_t sum, pid_t p) { return sum + sleeps_of(p); });
}

/// Sends frames to port 0, each when all processes are asleep. Result: the time of each send.
std::vector<double> send_to_one(Port& port, unsigned frames, Shared& shared) {
  std::vector<std::byte> bytes = make_frame(60);
  std::memcpy(bytes.data(), mac_of(0).bytes.data(), mac_of(0).bytes.size());
  const std::array<FrameView, 1> frame{FrameView(bytes)};
  std::vector<double> times;
  for (unsigned i = 1; i <= frames; ++i) {
    const Clock::time_point begin = Clock::now();
    if (const std::error_code error = port.send(frame).error) give_up(error.message());
    const std::chrono::duration<double, std::micro> took = Clock::now() - begin;
    times.push_back(took.count());
    while (shared.heard < i) usleep(50);
    usleep(std::chrono::microseconds(kToFallAsleep).count());
  }
  return times;
}

/// Executes this program again, as a port, because a mere fork would share its parent's memory.
void become_a_port(const std::string& path, unsigned number, int shared) {
  const std::string number_text = std::to_string(number);
  const std::string shared_text = std::to_string(shared);
  execl("/proc/self/exe", "port", "--join", path.c_str(), "--number", number_text.c_str(),
        "--shared", shared_text.c_str(), nullptr);
  give_up("cannot start this program again");
}

}  // namespace

int main(int argc, char** argv) {
  const Arguments arguments(argc, argv);
  alarm(60);  // ends the process even if it hangs
  if (const std::string join = arguments.text("join", ""); !join.empty()) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    be_a_port(join, arguments.count("number", 0),
              shared_by(static_cast<int>(arguments.count("shared", 0))));
    return 0;
  }
  const unsigned ports = std::min(arguments.count("ports", 100), kMaxPorts);
  const unsigned frames = std::max(arguments.count("frames", 500), 1U);
  const OwnFile bus("ports");
  Bus::create(bus.path(), {}).value();
  const int memory_fd = memfd_create("shmif-bench", 0);
  if (ftruncate(memory_fd, sizeof(Shared)) != 0) give_up("no memory to share");
  Shared& shared = shared_by(memory_fd);
  std::vector<pid_t> processes;
  for (unsigned i = 0; i < ports; ++i) {
    processes.push_back(start([&, i] { become_a_port(bus.path(), i, memory_fd); }));
    // One after another, so that each attach is measured without the others in its way.
    while (shared.ready <= i) {
      if (waitpid(processes.back(), nullptr, WNOHANG) != 0) return 3;
      usleep(100);
    }
  }
  Port sender;
  sender.attach(bus.path()).value();
  if (const std::error_code error = sender.up()) give_up(error.message());
  std::this_thread::sleep_for(kToSleepDeeply);
  const std::vector<pid_t> others(processes.begin() + 1, processes.end());
  const std::uint64_t one_before = sleeps_of(processes[0]);
  const std::uint64_t others_before = all_sleeps(others);
  const std::vector<double> times = send_to_one(sender, frames, shared);
  const std::uint64_t one_after = sleeps_of(processes[0]);
  const std::uint64_t others_after = all_sleeps(others);
  shared.stop = true;
  const std::vector<std::byte> bytes = make_frame(60);  // a broadcast: all wake and see `stop`
  const std::array<FrameView, 1> frame{FrameView(bytes)};
  if (const std::error_code error = sender.send(frame).error) give_up(error.message());
  if (!finish(processes)) return 3;

  const std::vector<double> attach(shared.attach_ms.begin(), shared.attach_ms.begin() + ports);
  const std::vector<double> memory(shared.private_kib.begin(), shared.private_kib.begin() + ports);
  std::printf(
      "{\"attach_ms\": %.4f, \"private_kib\": %.0f, \"send_us\": %.4f, \"wakes\": %.4f, "
      "\"wakes_of_others\": %.4f}\n",
      median(attach), *std::max_element(memory.begin(), memory.end()), median(times),
      static_cast<double>(one_after - one_before) / frames,
      static_cast<double>(others_after - others_before) / frames);
}
