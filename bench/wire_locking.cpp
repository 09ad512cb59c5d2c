// The algorithm of shmif's ancestor, written anew: senders and readers all take one lock.
//
// It is a ring in a file. Senders and readers take the lock word for every frame: after 1001 failed
// compare-and-swaps they sleep for 1 ms and try again. A sender that reaches the oldest frame moves
// `first`. A reader that was lapped continues with the oldest frame. After a batch the sender
// writes to the file, which wakes readers through inotify. There is no other wake-up, and no
// takeover of the lock. A record is 4 bytes of length and the frame; records follow each other, and
// may cross the end of the ring.

#include <fcntl.h>
#include <poll.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstring>

#include "bench/frame.hpp"
#include "bench/trial.hpp"
#include "bench/wire.hpp"

namespace shmif::bench {
namespace {

constexpr std::uint64_t kRingBytes = 4U << 20U;
constexpr unsigned kSpins = 1001;
constexpr timespec kCooldown{.tv_sec = 0, .tv_nsec = 1'000'000};

struct Header {
  std::atomic<std::uint32_t> lock{0};
  std::uint32_t version = 0;  // written to wake readers
  std::uint64_t first = 0;    // where the oldest frame begins, in bytes ever written
  std::uint64_t last = 0;     // where the newest frame ends
  std::uint64_t oldest = 0;   // number of the oldest frame
  std::uint64_t newest = 0;   // number of the next frame to be sent
};

struct File {
  Header header;
  alignas(64) std::byte ring[kRingBytes];
};

void take(std::atomic<std::uint32_t>& lock) {
  for (unsigned spins = 0;;) {
    std::uint32_t free = 0;
    if (lock.compare_exchange_strong(free, 1)) return;
    if (++spins > kSpins) {
      nanosleep(&kCooldown, nullptr);
      spins = 0;
    }
  }
}

void give_back(std::atomic<std::uint32_t>& lock) {
  lock.exchange(0);
}

void copy_in(File& file, std::uint64_t position, const void* from, std::size_t bytes) {
  const std::size_t at = position % kRingBytes;
  const std::size_t head = std::min<std::size_t>(bytes, kRingBytes - at);
  std::memcpy(file.ring + at, from, head);
  std::memcpy(file.ring, static_cast<const std::byte*>(from) + head, bytes - head);
}

void copy_out(const File& file, std::uint64_t position, void* to, std::size_t bytes) {
  const std::size_t at = position % kRingBytes;
  const std::size_t head = std::min<std::size_t>(bytes, kRingBytes - at);
  std::memcpy(to, file.ring + at, head);
  std::memcpy(static_cast<std::byte*>(to) + head, file.ring, bytes - head);
}

class LockingSender final : public Sender {
 public:
  LockingSender(File& file, int fd, const Work& work)
      : file_(file), fd_(fd), frame_(make_frame(work.frame_bytes)), batch_(work.batch) {}
  std::size_t send() override {
    for (std::size_t i = 0; i < batch_; ++i) append();
    (void)!pwrite(fd_, &one_, sizeof one_, offsetof(File, header.version));
    return batch_;
  }

 private:
  void append() {
    Header& header = file_.header;
    const auto size = static_cast<std::uint32_t>(frame_.size());
    take(header.lock);
    while (header.last + sizeof size + size - header.first > kRingBytes) {
      std::uint32_t oldest = 0;
      copy_out(file_, header.first, &oldest, sizeof oldest);
      header.first += sizeof oldest + oldest;
      ++header.oldest;
    }
    copy_in(file_, header.last, &size, sizeof size);
    copy_in(file_, header.last + sizeof size, frame_.data(), size);
    header.last += sizeof size + size;
    ++header.newest;
    give_back(header.lock);
  }
  File& file_;
  int fd_;
  std::uint32_t one_ = 1;
  std::vector<std::byte> frame_;
  std::size_t batch_;
};

class LockingListener final : public Listener {
 public:
  LockingListener(File& file, const std::string& path)
      : file_(file), inotify_(inotify_init1(IN_NONBLOCK)), buffer_(65536) {
    if (inotify_add_watch(inotify_, path.c_str(), IN_MODIFY) < 0) give_up("no inotify");
    take(file_.header.lock);
    position_ = file_.header.last;
    number_ = file_.header.newest;
    give_back(file_.header.lock);
  }
  Heard hear() override {
    Heard heard;
    while (read_one(heard)) {
      if (heard.frames == 256) return heard;
    }
    pollfd ready{.fd = inotify_, .events = POLLIN, .revents = 0};
    if (poll(&ready, 1, 50) > 0) (void)!read(inotify_, buffer_.data(), buffer_.size());
    return heard;
  }

 private:
  bool read_one(Heard& heard) {
    Header& header = file_.header;
    take(header.lock);
    if (position_ < header.first) {
      position_ = header.first;
      heard.lost += header.oldest - number_;
      number_ = header.oldest;
    }
    const bool there = position_ < header.last;
    if (there) {
      std::uint32_t size = 0;
      copy_out(file_, position_, &size, sizeof size);
      copy_out(file_, position_ + sizeof size, buffer_.data(), size);
      position_ += sizeof size + size;
      ++number_;
      ++heard.frames;
    }
    give_back(header.lock);
    return there;
  }
  File& file_;
  int inotify_;
  std::uint64_t position_ = 0;
  std::uint64_t number_ = 0;
  std::vector<std::byte> buffer_;
};

class LockingWire final : public Wire {
 public:
  explicit LockingWire(const Work& work)
      : work_(work), fd_(open(bus_.path().c_str(), O_RDWR | O_CREAT | O_EXCL, 0600)) {
    if (ftruncate(fd_, sizeof(File)) != 0) give_up("cannot make " + bus_.path());
    void* memory =
        mmap(nullptr, sizeof(File), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd_, 0);
    if (memory == MAP_FAILED) give_up("cannot map " + bus_.path());
    file_ = static_cast<File*>(memory);  // zeros mean a ring without frames
  }
  LockingWire(const LockingWire&) = delete;
  LockingWire& operator=(const LockingWire&) = delete;
  ~LockingWire() override { close(fd_); }
  std::unique_ptr<Listener> listener(unsigned) override {
    return std::make_unique<LockingListener>(*file_, bus_.path());
  }
  std::unique_ptr<Sender> sender(unsigned) override {
    return std::make_unique<LockingSender>(*file_, fd_, work_);
  }

 private:
  OwnFile bus_{"locking"};
  Work work_;
  int fd_;
  File* file_ = nullptr;
};

}  // namespace

std::unique_ptr<Wire> make_locking_wire(const Work& work) {
  return std::make_unique<LockingWire>(work);
}

}  // namespace shmif::bench
