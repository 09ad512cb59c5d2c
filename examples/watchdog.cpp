// A watchdog follows a bus without being a port on it, in the poll() of its program. A fault of the
// program overwrites the memory of the bus. The watchdog notices that and repairs the bus, and the
// traffic goes on. Exit status 0: the watchdog heard the frames before and after the fault, and one
// repair was needed.

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include <shmif/log.hpp>
#include <shmif/port.hpp>

constexpr unsigned kFrames = 100, kFault = 50;

/// Waits and receives, as on any link. A program would have more descriptors in its poll(). This
/// one is a timer, which is due when the follower should look again.
shmif::ReceiveResult receive(shmif::Follower& follower, shmif::FrameBatch& into) {
  into.clear();
  const shmif::WaitHint hint = follower.prepare_wait();
  pollfd entry{follower.descriptor(), POLLIN, 0};
  if (!hint.ready) poll(&entry, 1, 5000);
  follower.finish_wait();
  return follower.receive(into);
}

int main() {
  if (!shmif::set_log_level("off")) return 1;  // otherwise the library warns of the corrupt bus
  const std::string path = "/dev/shm/watchdog." + std::to_string(getpid());
  const shmif::BusOptions options{.ring_bytes = 64U << 10U};
  shmif::Bus::create(path, options).value();  // if this fails, value() throws, with a message
  shmif::Port program({.name = "program"});
  program.attach(path).value();
  if (program.up()) return 1;
  // To follow a bus, a user needs to read its file. To repair it, a user needs more rights.
  auto follower = shmif::Follower::open(path, shmif::Start::now).value();
  auto bus = shmif::Bus::open(path, shmif::Access::read_write).value();
  const int file = open(path.c_str(), O_RDWR | O_CLOEXEC);
  unlink(path.c_str());  // users who have the bus open keep it, and can also repair it

  std::vector<std::byte> frame(60, std::byte{0xff});  // broadcast
  std::memcpy(&frame[6], program.mac().bytes.data(), 6);
  frame[12] = std::byte{0x88};  // EtherType 0x88B5 (IEEE 802: local experiments)
  frame[13] = std::byte{0xb5};
  shmif::FrameBatch arrived(16, 16 * follower.max_frame_bytes());
  unsigned heard = 0, repairs = 0;
  for (unsigned number = 0; number < kFrames; ++number) {
    if (number == kFault && repairs == 0) {
      const std::vector<std::byte> wrong(options.ring_bytes, std::byte{0xff});
      const off_t ring = lseek(file, 0, SEEK_END) - static_cast<off_t>(wrong.size());
      if (pwrite(file, wrong.data(), wrong.size(), ring) < 0) return 1;
    }
    frame[14] = static_cast<std::byte>(number);
    shmif::ReceiveResult result;
    if (program.send(shmif::FrameView(frame)).taken == 1) result = receive(follower, arrived);
    if (result.frames == 1 && arrived[0].bytes[14] == frame[14]) {
      ++heard;
      continue;
    }
    if (bus.audit().clean() || repairs == 1) break;
    bus.repair().value();
    ++repairs;
    --number;  // sends the same number once more
  }
  std::printf("%u frames sent, %u heard, %u repair\n", kFrames, heard, repairs);
  return heard == kFrames && repairs == 1 ? 0 : 1;
}
