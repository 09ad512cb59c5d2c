// A yardstick: little more than the least work of a wire that copies frames, for one sender and one
// listener.
//
// It is a ring in shared memory. The sender copies each frame into the ring, and after a batch it
// stores how many bytes it has ever written. The listener reads the first word of each frame ("in
// place"), or copies the frame into its own memory, and then stores its own position. The sender
// waits for room. There are no locks, checks, numbers or wake-ups, and all frames have the same
// length, which both sides know.

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <new>

#include "bench/frame.hpp"
#include "bench/trial.hpp"
#include "bench/wire.hpp"
#include "bus/file/memory.hpp"

namespace shmif::bench {
namespace {

constexpr std::uint64_t kRingBytes = 4U << 20U;
constexpr std::size_t kLineBytes = 64;
constexpr std::size_t kMaxFrames = 256;  // most frames that a listener takes at once

struct Memory {
  alignas(128) std::atomic<std::uint64_t> written{0};  // bytes ever written
  alignas(128) std::atomic<std::uint64_t> read{0};
  std::byte* ring() noexcept { return reinterpret_cast<std::byte*>(this + 1); }
};

/// How far apart frames are. Short ones begin at cache lines. Long ones are as far apart as on a
/// bus (docs/bus-format.md): multiples of 512 bytes would crowd into an eighth of a cache, and fall
/// out of it by themselves.
constexpr std::uint64_t step_of(std::uint64_t frame_bytes) noexcept {
  constexpr std::uint64_t kLongest = 512, kHeaderBytes = 32, kAlign = 32;
  if (frame_bytes > kLongest) return (kHeaderBytes + frame_bytes + kAlign - 1) / kAlign * kAlign;
  return std::max<std::uint64_t>(1, (frame_bytes + kLineBytes - 1) / kLineBytes) * kLineBytes;
}

/// Where frames are in the ring. None crosses its end.
struct Layout {
  explicit Layout(const Work& work)
      : step(step_of(work.frame_bytes)),
        bytes((work.ring_bytes != 0 ? work.ring_bytes : kRingBytes) / step * step) {
    if (work.frame_bytes == 0 || work.batch == 0) give_up("there is nothing to send");
    if (bytes < work.batch * step) give_up("the ring has no room for a batch");
  }
  std::uint64_t step;
  std::uint64_t bytes;
};

/// A place in the ring.
class Cursor {
 public:
  explicit Cursor(const Layout& layout) : layout_(layout) {}
  void advance() noexcept {
    passed_ += layout_.step;
    at_ += layout_.step;
    if (at_ == layout_.bytes) at_ = 0;
  }
  std::uint64_t at() const noexcept { return at_; }
  std::uint64_t passed() const noexcept { return passed_; }  // bytes since the beginning

 private:
  Layout layout_;
  std::uint64_t at_ = 0;
  std::uint64_t passed_ = 0;
};

class CopySender final : public Sender {
 public:
  CopySender(Memory& memory, const Work& work)
      : memory_(memory), layout_(work), frame_(make_frame(work.frame_bytes)), batch_(work.batch) {}
  std::size_t send() override {
    const std::uint64_t end = cursor_.passed() + batch_ * layout_.step;
    if (end - read_ > layout_.bytes) {
      read_ = memory_.read.load(std::memory_order_acquire);
      if (end - read_ > layout_.bytes) return 0;
    }
    for (; cursor_.passed() < end; cursor_.advance())
      std::memcpy(memory_.ring() + cursor_.at(), frame_.data(), frame_.size());
    memory_.written.store(end, std::memory_order_release);
    return batch_;
  }

 private:
  Memory& memory_;
  Layout layout_;
  std::vector<std::byte> frame_;
  std::size_t batch_;
  Cursor cursor_{layout_};
  std::uint64_t read_ = 0;  // the listener's position when last read
};

class CopyListener final : public Listener {
 public:
  CopyListener(Memory& memory, const Work& work)
      : memory_(memory),
        layout_(work),
        own_(kMaxFrames * work.frame_bytes),
        frame_bytes_(work.frame_bytes),
        in_place_(work.in_place),
        looks_(work.look) {}
  Heard hear() override {
    const std::uint64_t most = cursor_.passed() + kMaxFrames * layout_.step;
    if (written_ < most) written_ = memory_.written.load(std::memory_order_acquire);
    const std::uint64_t end = std::min(written_, most);
    Heard heard;
    for (; cursor_.passed() < end; cursor_.advance()) {
      const std::byte* frame = memory_.ring() + cursor_.at();
      if (in_place_) {
        look_at({frame, looks_ ? frame_bytes_ : sizeof(std::uint64_t)});
      } else {
        std::memcpy(own_.data() + heard.frames * frame_bytes_, frame, frame_bytes_);
        asm volatile("" : : "r"(own_.data()) : "memory");
      }
      ++heard.frames;
    }
    if (heard.frames != 0) memory_.read.store(end, std::memory_order_release);
    return heard;
  }

 private:
  Memory& memory_;
  Layout layout_;
  std::vector<std::byte> own_;
  std::size_t frame_bytes_;
  bool in_place_;
  bool looks_;
  Cursor cursor_{layout_};
  std::uint64_t written_ = 0;  // the sender's position when last read
};

/// Maps a new file, like a bus in huge pages if possible.
void* map_file(const std::string& path, std::size_t bytes) {
  const int fd = open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (fd < 0 || ftruncate(fd, static_cast<off_t>(bytes)) != 0) give_up("cannot make " + path);
  bus::gather_in_huge_pages(fd, bytes);
  void* const reserved = mmap(nullptr, bytes + bus::kHugePageBytes, PROT_NONE,
                              MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (reserved == MAP_FAILED) give_up("no addresses for " + path);
  void* const memory = mmap(bus::align_for_huge_pages(static_cast<std::byte*>(reserved)), bytes,
                            PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0);
  if (memory == MAP_FAILED) give_up("cannot map " + path);
  close(fd);
  return memory;
}

class CopyWire final : public Wire {
 public:
  explicit CopyWire(const Work& work)
      : work_(work),
        memory_(*new(map_file(file_.path(), sizeof(Memory) + Layout(work).bytes)) Memory) {}
  std::unique_ptr<Listener> listener(unsigned number) override {
    if (number != 0) give_up("a bare copy has one listener");
    return std::make_unique<CopyListener>(memory_, work_);
  }
  std::unique_ptr<Sender> sender(unsigned number) override {
    if (number != 0) give_up("a bare copy has one sender");
    return std::make_unique<CopySender>(memory_, work_);
  }

 private:
  OwnFile file_{"copy"};
  Work work_;
  Memory& memory_;
};

}  // namespace

std::unique_ptr<Wire> make_copy_wire(const Work& work) {
  return std::make_unique<CopyWire>(work);
}

}  // namespace shmif::bench
