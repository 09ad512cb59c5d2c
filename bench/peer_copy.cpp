// The least work of a process between two TAP devices: it reads from one and writes to the other.
//
//   shmif_bench_peer_copy --a PID --b PID [--offload 1] [--seconds 600]
//
// Makes a device tap0 in the network namespaces of both processes, 198.18.0.1 and 198.18.0.2, and
// copies the frames of each to the other; with `--offload 1` as super-frames of up to 64 KiB behind
// a virtio header, which it does not read. Prints "ready", and ends when stopped or after the time.

#include <sys/epoll.h>
#include <unistd.h>

#include <array>
#include <vector>

#include "bench/trial.hpp"
#include "tap/tap_link.hpp"

namespace {

using namespace shmif;
using namespace shmif::bench;

constexpr std::size_t kMaxBytes = 65536 + 64;
constexpr unsigned kMaxAtOnce = 64;

tap::TapLink device_of(const Arguments& arguments, const char* side, const char* address) {
  const auto where =
      tap::NetNamespace::by_pid(static_cast<pid_t>(arguments.count(side, 0))).value();
  tap::TapOptions options;
  options.name = "tap0";
  options.addresses = {tap::Cidr::parse(address).value()};
  options.offload = arguments.count("offload", 0) != 0;
  options.where = &where;
  return tap::TapLink::open(options).value();
}

/// Copies the waiting frames, but only a limited number, so that the other direction gets its turn.
void carry(int from, int to) {
  static std::vector<std::byte> buffer(kMaxBytes);
  for (unsigned i = 0; i < kMaxAtOnce; ++i) {
    const ssize_t bytes = read(from, buffer.data(), buffer.size());
    if (bytes <= 0) return;
    (void)!write(to, buffer.data(), static_cast<std::size_t>(bytes));  // a full device drops it
  }
}

}  // namespace

int main(int argc, char** argv) {
  const Arguments arguments(argc, argv);
  alarm(arguments.count("seconds", 600));
  std::array<tap::TapLink, 2> devices{device_of(arguments, "a", "198.18.0.1/24"),
                                      device_of(arguments, "b", "198.18.0.2/24")};
  const std::array<int, 2> ends{devices[0].descriptor(), devices[1].descriptor()};
  const int epoll = epoll_create1(EPOLL_CLOEXEC);
  for (unsigned i = 0; i < 2; ++i) {
    epoll_event event{.events = EPOLLIN, .data = {.u32 = i}};
    epoll_ctl(epoll, EPOLL_CTL_ADD, ends[i], &event);
  }
  std::puts("ready");
  std::fflush(stdout);
  while (true) {  // runs until stopped
    std::array<epoll_event, 2> ready{};
    const int count = epoll_wait(epoll, ready.data(), 2, -1);
    for (int i = 0; i < count; ++i) {
      const unsigned side = ready.at(static_cast<std::size_t>(i)).data.u32;
      carry(ends.at(side), ends.at(1 - side));
    }
  }
}
