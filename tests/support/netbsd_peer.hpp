#pragma once
// A second implementation of docs/netbsd.md, as the other side in tests. It shares no code with
// bus/: it maps the file itself, computes with offsets and a generation as NetBSD's kernels do,
// copies byte by byte, takes the lock to read, and is as trusting as they are.

#include <fcntl.h>
#include <sched.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <cstring>
#include <ctime>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

namespace shmif::test {

class NetbsdPeer {
 public:
  static constexpr std::uint32_t kFile = 1024 * 1024;
  static constexpr std::uint32_t kData = 1048544;
  using Bytes = std::vector<unsigned char>;

  /// What a reader does when it joins: it begins with the newest frame, which it thus gets again.
  explicit NetbsdPeer(const std::string& path, std::uint64_t sender = 0x0123456789abcdef,
                      std::uint32_t version = 3)
      : fd_(::open(path.c_str(), O_RDWR | O_CLOEXEC)),
        sender_(sender),
        version_(version),
        header_(version == 2 ? 12 : 24) {
    if (fd_ < 0 || ftruncate(fd_, kFile) != 0) throw std::runtime_error("no bus at " + path);
    void* const p = mmap(nullptr, kFile, PROT_READ | PROT_WRITE, MAP_SHARED, fd_, 0);
    if (p == MAP_FAILED) throw std::runtime_error("cannot map " + path);
    base_ = static_cast<unsigned char*>(p);
    if (word(0) != 0xca11d054) throw std::runtime_error(path + " is not magical");
    inotify_ = inotify_init1(IN_CLOEXEC);
    if (inotify_add_watch(inotify_, path.c_str(), IN_MODIFY) < 0)
      throw std::runtime_error("cannot watch " + path);
    lock();
    join();
    unlock();
  }
  NetbsdPeer(const NetbsdPeer&) = delete;
  NetbsdPeer& operator=(const NetbsdPeer&) = delete;
  ~NetbsdPeer() {
    munmap(base_, kFile);
    close(fd_);
    close(inotify_);
  }

  // ---- The header ----

  std::uint32_t word(std::uint32_t at) const {
    return __atomic_load_n(reinterpret_cast<const std::uint32_t*>(base_ + at), __ATOMIC_SEQ_CST);
  }
  void set_word(std::uint32_t at, std::uint32_t value) {
    __atomic_store_n(reinterpret_cast<std::uint32_t*>(base_ + at), value, __ATOMIC_SEQ_CST);
  }
  std::uint64_t generation() const {
    return __atomic_load_n(reinterpret_cast<const std::uint64_t*>(base_ + 8), __ATOMIC_SEQ_CST);
  }
  void set_generation(std::uint64_t value) {
    __atomic_store_n(reinterpret_cast<std::uint64_t*>(base_ + 8), value, __ATOMIC_SEQ_CST);
  }
  std::uint32_t first() const { return word(16); }
  std::uint32_t last() const { return word(20); }
  unsigned char* data() { return base_ + 32; }

  void lock() {
    for (unsigned looks = 0; !try_lock();) {
      if (++looks > 1001) {
        const timespec nap{0, 1'000'000};
        nanosleep(&nap, nullptr);
        looks = 0;
      }
    }
  }
  bool try_lock() {
    std::uint32_t free = 0;
    return __atomic_compare_exchange_n(reinterpret_cast<std::uint32_t*>(base_ + 24), &free, 1U,
                                       false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
  }
  void unlock() {
    const std::uint32_t was =
        __atomic_exchange_n(reinterpret_cast<std::uint32_t*>(base_ + 24), 0U, __ATOMIC_SEQ_CST);
    if (was != 1) throw std::runtime_error("the lock had a stray value");
  }
  void ring() {
    if (pwrite(fd_, &version_, 4, 4) != 4) throw std::runtime_error("cannot ring");
  }

  // ---- Sending ----

  /// The steps of a sender, for tests that stop or kill it between two of them.
  enum Step { locked, moved_last, wrote_header, wrote_half, wrote_all, unlocked, rang, kSteps };
  struct Nothing {
    void operator()(Step) const {}
  };

  template <class Hook = Nothing>
  void send(const Bytes& frame, const Hook& at = {}) {
    send_quietly(frame, at);
    ring();
    at(rang);
  }
  /// As send(), but wakes nobody.
  template <class Hook = Nothing>
  void send_quietly(const Bytes& frame, const Hook& at = {}) {
    lock();
    at(locked);
    const std::uint32_t offset = after(last());
    set_word(20, offset);
    at(moved_last);
    bool wraps = false;
    unsigned char header[24] = {};
    const auto length = static_cast<std::uint32_t>(frame.size());
    timespec now{};
    clock_gettime(CLOCK_MONOTONIC, &now);
    const auto seconds = static_cast<std::uint32_t>(now.tv_sec);
    const auto microseconds = static_cast<std::uint32_t>(now.tv_nsec / 1000);
    std::memcpy(header, &length, 4);
    std::memcpy(header + 4, &seconds, 4);
    std::memcpy(header + 8, &microseconds, 4);
    std::memcpy(header + 16, &sender_, 8);
    make_room(offset, header_ + length);
    std::uint32_t to = put(offset, header, header_, wraps);
    at(wrote_header);
    to = put(to, frame.data(), length / 2, wraps);
    at(wrote_half);
    put(to, frame.data() + length / 2, length - length / 2, wraps);
    at(wrote_all);
    if (wraps) set_generation(generation() + 1);
    unlock();
    at(unlocked);
  }

  // ---- Receiving ----

  /// Begins with the newest frame.
  void join() {
    cursor_ = last();
    cursor_generation_ = generation();
  }
  /// The next frame of somebody else; empty: there is none. Frames of less than 14 bytes and its
  /// own are passed over, as NetBSD's kernels do.
  std::optional<Bytes> receive() {
    for (;;) {
      lock();
      if (generation() < cursor_generation_) {
        unlock();
        throw std::runtime_error("the generation went back: a diagnostic kernel ends here");
      }
      if (generation() == cursor_generation_ && after(last()) == cursor_) {
        unlock();
        return std::nullopt;
      }
      if (!is_valid()) {
        ++overruns_;
        cursor_ = first();
        cursor_generation_ = first() > last() ? generation() - 1 : generation();
      }
      bool wraps = false;
      unsigned char header[24] = {};
      std::uint32_t from = get(cursor_, header, header_, wraps);
      std::uint32_t length = 0;
      std::uint64_t sender = 0;
      std::memcpy(&length, header, 4);
      std::memcpy(&sender, header + 16, 8);
      if (length > 1514) {
        unlock();
        throw std::runtime_error("a frame of " + std::to_string(length) +
                                 " bytes: a diagnostic kernel ends here");
      }
      Bytes frame(length);
      cursor_ = get(from, frame.data(), length, wraps);
      unlock();
      if (wraps) ++cursor_generation_;
      if (length < 14) continue;
      const bool is_own = version_ == 2 ? source_of(frame) == sender_ : sender == sender_;
      if (!is_own) return frame;
    }
  }
  std::uint64_t overruns() const { return overruns_; }

  /// Waits for a wakeup, as long as it takes.
  void wait() {
    char events[4096];
    if (read(inotify_, events, sizeof events) <= 0) throw std::runtime_error("cannot wait");
  }
  int descriptor() const { return inotify_; }

 private:
  std::uint32_t length_at(std::uint32_t offset) {
    std::uint32_t length = 0;
    for (unsigned i = 0; i < 4; ++i) length |= std::uint32_t{data()[(offset + i) % kData]} << 8 * i;
    return length;
  }
  /// Behind the record at `offset`.
  std::uint32_t after(std::uint32_t offset) {
    return (offset + header_ + length_at(offset)) % kData;
  }
  static std::uint64_t source_of(const Bytes& frame) {
    std::uint64_t source = 0;
    for (unsigned i = 6; i < 12; ++i) source = source << 8U | frame[i];
    return source;
  }

  /// Lets `first` pass what `bytes` bytes from `offset` on overwrite.
  void make_room(std::uint32_t offset, std::uint32_t bytes) {
    if (first() == kData) {  // a new bus: all that is there lies before `offset`
      if (offset + bytes < kData) return;
      set_word(16, after(0));
    }
    // The ring is never empty: if the oldest record begins at `offset`, it is full.
    while (bytes > (first() + kData - offset) % kData) set_word(16, after(first()));
  }

  std::uint32_t put(std::uint32_t offset, const unsigned char* from, std::uint32_t bytes,
                    bool& wraps) {
    for (std::uint32_t i = 0; i < bytes; ++i) {
      data()[offset] = from[i];
      if (++offset == kData) {
        offset = 0;
        wraps = true;
      }
    }
    return offset;
  }
  std::uint32_t get(std::uint32_t offset, unsigned char* to, std::uint32_t bytes, bool& wraps) {
    if (offset == kData) {  // `first` of a new bus
      offset = 0;
      wraps = true;
    }
    for (std::uint32_t i = 0; i < bytes; ++i) {
      to[i] = data()[offset];
      if (++offset == kData) {
        offset = 0;
        wraps = true;
      }
    }
    return offset;
  }

  /// Whether first <= cursor <= end, on a ring of twice the size.
  bool is_valid() {
    const std::uint64_t behind = generation() - cursor_generation_;
    if (behind > 1) return false;
    std::uint64_t end = after(last());
    std::uint64_t place = cursor_;
    if (first() >= end) {
      end += kData;
      if (behind == 0) place += kData;
    } else if (behind != 0) {
      return false;
    }
    return place >= first() && place <= end;
  }

  int fd_;
  std::uint64_t sender_;  ///< of version 2: its MAC address
  std::uint32_t version_, header_;
  unsigned char* base_ = nullptr;
  int inotify_ = -1;
  std::uint32_t cursor_ = 0;
  std::uint64_t cursor_generation_ = 0;
  std::uint64_t overruns_ = 0;
};

}  // namespace shmif::test
