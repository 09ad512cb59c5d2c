#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "bus/netbsd/layout.hpp"
#include "shmif/bus.hpp"
#include "shmif/port.hpp"
#include "tests/fuzz/bus_image.hpp"
#include "tests/fuzz/targets.hpp"

namespace shmif::fuzz {
namespace {

/// Of what one operation reads or writes of the shared memory, at most: a repair after a second of
/// looks at a lock.
constexpr std::uint64_t kMaxNetbsdAccesses = 60'000'000;

/// A bus whose ring has gone round, so that a frame straddles the end. Made once.
class NetbsdImage {
 public:
  static NetbsdImage& get() {
    static NetbsdImage image;
    return image;
  }
  NetbsdImage() {
    std::string folder = "/dev/shm/shmif-fuzz-XXXXXX";
    if (mkdtemp(folder.data()) == nullptr) failed("no folder for a bus");
    folder_ = folder;
    path_ = folder + "/bus";
    Bus::create(path_, {.format = BusFormat::netbsd}).value();
    Port port;
    port.attach(path_).value();
    static_cast<void>(port.up());
    std::array<std::byte, 1514> frame{};
    std::fill_n(frame.begin(), 6, std::byte{0xff});
    for (unsigned i = 0; i < 1000; ++i)
      static_cast<void>(port.send(FrameView(frame.data(), 900 + i % 600)));
    const int fd = ::open(path_.c_str(), O_RDWR | O_CLOEXEC);
    base_ = static_cast<std::byte*>(
        mmap(nullptr, bus::kNetbsdFileBytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
    ::close(fd);
    pristine_.assign(base_, base_ + bus::kNetbsdFileBytes);
    const std::uint32_t first = field(16);
    for (std::uint32_t at = first; headers_.size() < 2000;) {
      headers_.push_back(at);
      if (at == field(20)) break;
      at = (at + 24 + length_at(at)) % bus::kNetbsdDataBytes;
    }
  }
  NetbsdImage(const NetbsdImage&) = delete;
  NetbsdImage& operator=(const NetbsdImage&) = delete;
  ~NetbsdImage() {
    munmap(base_, bus::kNetbsdFileBytes);
    std::error_code ignored;
    std::filesystem::remove_all(folder_, ignored);
  }

  const std::string& path() const noexcept { return path_; }
  void reset() noexcept { std::memcpy(base_, pristine_.data(), pristine_.size()); }

  /// A word of the header, the header of a frame, or anything.
  void scribble(Input& in) noexcept {
    const std::uint8_t what = in.byte();
    if (what < 120) {
      constexpr std::array<std::uint32_t, 7> kFields{0, 4, 8, 12, 16, 20, 24};
      return store(kFields[what % kFields.size()], value(in));
    }
    if (what < 220) {
      const std::uint32_t header = headers_[in.below(headers_.size())];
      const auto field = static_cast<std::uint32_t>(in.below(6)) * 4;
      return store_wrapped(header + field, value(in));
    }
    store_wrapped(static_cast<std::uint32_t>(in.word(3)), value(in));
  }

 private:
  static std::uint32_t value(Input& in) noexcept {
    constexpr std::array<std::uint32_t, 12> kTelling{0,
                                                     1,
                                                     2,
                                                     13,
                                                     14,
                                                     24,
                                                     1514,
                                                     1515,
                                                     4096,
                                                     0xffffffff,
                                                     bus::kNetbsdDataBytes,
                                                     bus::kNetbsdDataBytes - 1};
    const std::uint8_t which = in.byte();
    if (which < 160) return kTelling[which % kTelling.size()];
    return static_cast<std::uint32_t>(in.word(which < 210 ? 2 : 4));
  }
  std::uint32_t field(std::uint32_t at) const noexcept {
    std::uint32_t value = 0;
    std::memcpy(&value, base_ + at, sizeof value);
    return value;
  }
  std::uint32_t length_at(std::uint32_t offset) const noexcept {
    std::uint32_t length = 0;
    for (unsigned i = 0; i < 4; ++i)
      length |= std::to_integer<std::uint32_t>(base_[32 + (offset + i) % bus::kNetbsdDataBytes])
                << 8 * i;
    return length;
  }
  void store(std::uint32_t at, std::uint32_t value) noexcept {
    std::memcpy(base_ + at, &value, sizeof value);
  }
  void store_wrapped(std::uint32_t offset, std::uint32_t value) noexcept {
    for (unsigned i = 0; i < 4; ++i)
      base_[32 + (offset + i) % bus::kNetbsdDataBytes] = static_cast<std::byte>(value >> 8 * i);
  }

  std::string folder_, path_;
  std::byte* base_ = nullptr;
  std::vector<std::byte> pristine_;
  std::vector<std::uint32_t> headers_;
};

void send_on_netbsd(Port& port, Input& in) {
  std::array<std::byte, 1600> payload{};
  for (std::size_t i = 0; i < 12; ++i) payload[i] = static_cast<std::byte>(in.byte());
  std::array<FrameView, 40> frames;
  const std::size_t count = in.below(frames.size()) + 1;
  const std::size_t size = in.below(payload.size() + 1);
  for (std::size_t i = 0; i < count; ++i)
    frames[i] = FrameView(payload.data(), i % 2 == 0 ? size : 60);
  const SendResult sent = port.send(std::span(frames).first(count));
  require(sent.taken <= count && (sent.taken == count || sent.error), "frames forgotten");
}

void check_netbsd_batch(const FrameBatch& batch, std::size_t frames) {
  require(frames == batch.size(), "frames received are not the frames counted");
  for (const FrameView& frame : batch.frames())
    require(frame.size() <= bus::kNetbsdMaxFrame, "a frame that is too long");
}

void poll_on_netbsd(Port& port) {
  const WaitHint hint = port.prepare_wait();
  if (!hint.ready) {
    pollfd entry{port.descriptor(), POLLIN, 0};
    poll(&entry, 1, 1);
  }
  port.finish_wait();
}

void look_at_netbsd(const std::string& path, Input& in) {
  auto bus = Bus::open(path);
  if (!bus) return;
  if ((in.byte() & 1U) != 0) {
    const BusInfo info = bus->info();
    require(info.netbsd.has_value() && info.ports.empty(), "ports on a bus without a table");
  } else {
    require(bus->audit().records <= bus::kNetbsdDataBytes / bus::kNetbsdOldPacketHeaderBytes,
            "more records than fit");
  }
}

/// Afterwards there is traffic again, unless somebody goes on overwriting.
void repair_netbsd(const std::string& path) {
  const auto done = Bus::repair(path, {.force = true});
  if (!done) return;
  require(done->frames_kept <= bus::kNetbsdDataBytes / 26, "more frames kept than fit");
}

}  // namespace

void netbsd(Bytes bytes) {
  NetbsdImage& image = NetbsdImage::get();
  image.reset();
  Input in(bytes);
  const std::uint8_t options = in.byte();
  for (unsigned n = options >> 6U; n > 0; --n) image.scribble(in);
  std::optional<Ambush> ambush;
  if ((options & 32U) != 0)
    ambush.emplace(in, [](Input& input) { NetbsdImage::get().scribble(input); });
  Port port({.start = (options & 1U) != 0 ? Start::oldest : Start::now,
             .resume = (options & 2U) != 0 ? Resume::newest : Resume::first,
             .promiscuous = (options & 4U) != 0,
             .learn = (options & 8U) != 0});
  std::optional<Follower> follower;
  FrameBatch wide;
  FrameBatch narrow(3, 2000);
  FrameBatch& batch = (options & 16U) != 0 ? narrow : wide;
  static_cast<void>(port.attach(image.path()));
  static_cast<void>(port.up());
  while (!in.empty()) {
    const AccessLimit limit(kMaxNetbsdAccesses);
    batch.clear();
    switch (in.byte() % 14) {
      case 0: static_cast<void>(port.up()); break;
      case 1: static_cast<void>(port.down()); break;
      case 2:
      case 3: send_on_netbsd(port, in); break;
      case 4: check_netbsd_batch(batch, port.receive(batch).frames); break;
      case 5: port.wait(std::chrono::milliseconds(in.byte())); break;
      case 6: poll_on_netbsd(port); break;
      case 7:
        static_cast<void>(port.down());
        static_cast<void>(port.detach());
        static_cast<void>(port.attach(image.path()));
        static_cast<void>(port.up());
        break;
      case 8:
        check_netbsd_batch(batch, port.receive_in_place(batch).frames);
        if ((in.byte() & 1U) != 0) image.scribble(in);
        require(port.release() <= batch.size(), "torn and not shown");
        break;
      case 9:
        if (auto f = Follower::open(image.path(), Start::oldest)) follower.emplace(*std::move(f));
        break;
      case 10:
        if (follower) check_netbsd_batch(batch, follower->receive(batch).frames);
        if (follower) follower->wait(std::chrono::milliseconds(3));
        break;
      case 11: look_at_netbsd(image.path(), in); break;
      case 12: repair_netbsd(image.path()); break;
      default: image.scribble(in); break;
    }
  }
  if (ambush) return;
  // Whatever was overwritten: a repair makes a bus of it on which frames go.
  if (!Bus::repair(image.path(), {.force = true})) return;  // the magic or the version is gone
  Port one;
  Port other;
  if (!one.attach(image.path()) || !other.attach(image.path())) return;
  require(!one.up() && !other.up(), "a repaired bus without ports");
  std::array<std::byte, 60> frame{};
  std::fill_n(frame.begin(), 6, std::byte{0xff});
  batch.clear();
  require(one.send(FrameView(frame.data(), frame.size())).taken == 1, "a repaired bus takes none");
  require(other.receive(batch).frames == 1, "a repaired bus brings none");
}

}  // namespace shmif::fuzz
