// Reads the frames of one TAP device on four threads. The example makes a device with four queues
// in its own network namespace, so it needs no root. The kernel gives each flow to one of the
// queues. Exit status 0: all frames of a flow arrived, in one queue and in order.

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <mutex>
#include <set>
#include <thread>
#include <utility>
#include <vector>

#include <shmif/tap/netns.hpp>
#include <shmif/tap/tap_link.hpp>

using shmif::tap::NetNamespace;
using shmif::tap::TapLink;

constexpr unsigned kQueues = 4, kFlows = 16, kDatagrams = 50;  // datagrams of each flow
constexpr std::uint16_t kPort = 9;
constexpr std::size_t kSourcePort = 34, kData = 42;  // offsets in a frame of IPv4 and UDP

/// Does what a program in the namespace would do: sends datagrams of many flows to all hosts. The
/// flows differ in their source ports. Each datagram has its number in its flow.
shmif::Result<std::vector<shmif::UniqueFd>> send_datagrams() {
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(kPort);
  to.sin_addr.s_addr = htonl(0xc61200ff);  // 198.18.0.255
  for (unsigned flow = 0; flow < kFlows; ++flow) {
    const shmif::UniqueFd socket(::socket(AF_INET, SOCK_DGRAM, 0));
    const int on = 1;
    setsockopt(socket.get(), SOL_SOCKET, SO_BROADCAST, &on, sizeof on);
    for (unsigned number = 0; number < kDatagrams; ++number)
      sendto(socket.get(), &number, sizeof number, 0, reinterpret_cast<sockaddr*>(&to), sizeof to);
  }
  return std::vector<shmif::UniqueFd>();
}

/// What has arrived. The threads share it.
struct Arrived {
  std::mutex mutex;
  std::set<std::pair<unsigned, unsigned>> queues_of_flows;  ///< source port, queue
  std::set<unsigned> queues;
  std::vector<unsigned> next = std::vector<unsigned>(65536);  ///< next number of each flow
  unsigned frames = 0, in_order = 0;
};

void take(const shmif::FrameView& frame, unsigned queue, Arrived& arrived) {
  std::uint16_t ports[2];
  unsigned number = 0;
  if (frame.bytes.size() < kData + sizeof number) return;
  std::memcpy(ports, &frame.bytes[kSourcePort], sizeof ports);
  std::memcpy(&number, &frame.bytes[kData], sizeof number);
  if (ntohs(ports[1]) != kPort) return;  // a message of the kernel itself
  const std::scoped_lock lock(arrived.mutex);
  ++arrived.frames;
  if (arrived.next[ports[0]]++ == number) ++arrived.in_order;
  arrived.queues.insert(queue);
  arrived.queues_of_flows.emplace(ports[0], queue);
}

int main() {
  // If this fails, value() throws, with a message.
  const NetNamespace where = NetNamespace::create().value();
  shmif::tap::TapOptions options;
  options.name = "tap0";
  options.addresses = {shmif::tap::Cidr::parse("198.18.0.1/24").value()};
  options.where = &where;
  std::vector<TapLink> links = TapLink::open_queues(options, kQueues).value();

  Arrived arrived;
  std::atomic<bool> ends = false;
  std::vector<std::thread> threads;
  for (unsigned queue = 0; queue < kQueues; ++queue) {
    threads.emplace_back([&, queue] {
      shmif::FrameBatch batch;
      while (!ends) {
        pollfd entry{links[queue].descriptor(), POLLIN, 0};
        poll(&entry, 1, 10);
        batch.clear();
        if (links[queue].receive(batch).error) return;
        for (const shmif::FrameView& frame : batch.frames()) take(frame, queue, arrived);
      }
    });
  }
  shmif::tap::run_in(where, send_datagrams).value();
  for (int i = 0; i < 1000; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
    const std::scoped_lock lock(arrived.mutex);
    if (arrived.frames == kFlows * kDatagrams) break;
  }
  ends = true;
  for (std::thread& thread : threads) thread.join();

  std::printf("%u datagrams of %zu flows, %u in order, in %zu queues\n", arrived.frames,
              arrived.queues_of_flows.size(), arrived.in_order, arrived.queues.size());
  const bool all = arrived.frames == kFlows * kDatagrams && arrived.in_order == arrived.frames;
  return all && arrived.queues_of_flows.size() == kFlows ? 0 : 1;
}
