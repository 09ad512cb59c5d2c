#include "shmif/vde_link.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <utility>
#include <vector>

#include "base/loaded_library.hpp"
#include "base/standard_streams.hpp"
#include "shmif/debug/debug.hpp"
#include "shmif/frame_check.hpp"

namespace shmif {
namespace {

constexpr const char* kLibrary = "libvdeplug.so.2";
constexpr int kInterfaceVersion = 1;
/// Room for the longest frame of a VDE network, with an MTU of 9216. A frame that fills it was
/// truncated.
constexpr std::size_t kRoomBytes = 9216 + 18;
/// How many frames one call takes, so that a flood does not keep the caller.
constexpr unsigned kMaxFrames = 64;

/// The functions of libvdeplug(3). A connection is opaque.
struct Library {
  void* (*open)(char* url, char* description, int version, void* more) = nullptr;
  ssize_t (*receive)(void* connection, void* buffer, std::size_t room, int flags) = nullptr;
  ssize_t (*send)(void* connection, const void* frame, std::size_t bytes, int flags) = nullptr;
  int (*data_descriptor)(void* connection) = nullptr;
  int (*control_descriptor)(void* connection) = nullptr;
  int (*close)(void* connection) = nullptr;
};

Result<Library> load() {
  const LoadedLibrary library(kLibrary);
  Library found;
  if (library.find("vde_open_real", found.open) && library.find("vde_recv", found.receive) &&
      library.find("vde_send", found.send) && library.find("vde_datafd", found.data_descriptor) &&
      library.find("vde_ctlfd", found.control_descriptor) &&
      library.find("vde_close", found.close)) {
    return found;
  }
  return Error(Errc::not_supported, std::string("cannot load ") + kLibrary +
                                        " (Debian's package libvdeplug2): " + ::dlerror());
}

bool has_event(int descriptor) noexcept {
  pollfd entry{.fd = descriptor, .events = POLLIN, .revents = 0};
  return descriptor >= 0 && ::poll(&entry, 1, 0) == 1;
}

}  // namespace

struct VdeLink::Impl {
  Library library;
  void* connection = nullptr;
  std::string url;
  std::size_t max_frame = 0;
  std::vector<std::byte> room = std::vector<std::byte>(kRoomBytes);
  bool ended = false;
  std::atomic<std::uint64_t> too_long{0}, too_short{0};

  Impl() = default;
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;
  ~Impl() {
    if (connection != nullptr) library.close(connection);
  }

  /// Result: bytes of the next frame; 0 if there is none now.
  std::size_t fetch() noexcept {
    // Some plugins ignore MSG_DONTWAIT and would wait, so we look first.
    while (!ended && has_event(library.data_descriptor(connection))) {
      const ssize_t n = library.receive(connection, room.data(), room.size(), MSG_DONTWAIT);
      if (n > 1) return static_cast<std::size_t>(n);
      if (n == 1) return 0;  // the plugin has no frame for us
      if (n < 0 && errno == EINTR) continue;
      if (n < 0 && errno == EAGAIN) return 0;
      end(n < 0 ? errno : 0);
    }
    look_for_end();
    return 0;
  }

  /// Once connected, a switch sends nothing to the control descriptor, but closes it when it ends.
  void look_for_end() noexcept {
    if (!ended && has_event(library.control_descriptor(connection))) end(0);
  }

  /// `number`: an errno; 0 if the network has closed.
  void end(int number) noexcept {
    if (std::exchange(ended, true)) return;
    debug(Debug::link, [&] {
      return "vde:" + url + ": ended: " +
             (number == 0 ? "the network has closed" : std::generic_category().message(number));
    });
  }

  /// Counts a frame of `bytes` if it is not valid for this link. Result: whether it was not valid.
  bool drop(std::size_t bytes) noexcept {
    const bool is_short = bytes < kEthernetHeaderBytes;
    if (!is_short && bytes <= max_frame && bytes < room.size()) return false;
    (is_short ? too_short : too_long).fetch_add(1, std::memory_order_relaxed);
    return true;
  }
};

namespace {

std::string advice_about_plugin(const std::string& url) {
  const std::string name = url.substr(0, url.find("://"));
  return "libvdeplug finds no plugin of that name: install Debian's package libvdeplug-" + name +
         (name == "slirp" ? ", or use 'shmifctl gateway', which needs none" : "") +
         "; where VDEPLUGIN_PATH is set, it looks only there";
}

}  // namespace

VdeLink::VdeLink(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
VdeLink::VdeLink(VdeLink&&) noexcept = default;
VdeLink::~VdeLink() = default;

Result<VdeLink> VdeLink::open(const std::string& url, std::size_t max_frame_bytes) {
  auto library = load();
  if (!library) return std::move(library).error();
  auto impl = std::make_unique<Impl>();
  impl->library = *library;
  impl->url = url;
  impl->max_frame = max_frame_bytes;
  std::string copy = url;  // the library may write to it
  std::string description = "shmifctl bridge";
  {
    const base::StandardStreamsTaken taken;  // the library opens sockets, and keeps them
    impl->connection = library->open(copy.data(), description.data(), kInterfaceVersion, nullptr);
  }
  if (impl->connection == nullptr) {
    return Error::from_errno(errno, "cannot connect to the VDE network " + url,
                             errno == EPROTONOSUPPORT ? advice_about_plugin(url) : "");
  }
  // Otherwise a switch that has stopped would block our send().
  const int data = library->data_descriptor(impl->connection);
  if (const int flags = ::fcntl(data, F_GETFL); flags >= 0)
    (void)::fcntl(data, F_SETFL, flags | O_NONBLOCK);
  debug(Debug::link, [&] {
    return "vde:" + url + ": connected by " + kLibrary + "; frames of up to " +
           std::to_string(max_frame_bytes) + " bytes";
  });
  return VdeLink(std::move(impl));
}

SendResult VdeLink::send(std::span<const FrameView> frames) noexcept {
  Impl& self = *impl_;
  std::error_code refused;
  const std::size_t good = count_good(frames, self.max_frame, refused);
  for (std::size_t sent = 0; sent < good;) {
    if (self.ended) return {sent, Errc::link_ended};
    const FrameView& frame = frames[sent];
    const ssize_t n = self.library.send(self.connection, frame.bytes.data(), frame.size(), 0);
    if (n >= 0) {
      ++sent;
      continue;
    }
    if (errno == EINTR) continue;
    if (errno == EAGAIN || errno == ENOBUFS) return {sent, {}};
    if (errno == ECONNREFUSED || errno == ENOTCONN || errno == EPIPE || errno == ECONNRESET) {
      self.end(errno);
      continue;
    }
    return {sent, std::error_code(errno, std::generic_category())};
  }
  return {good, refused};
}

ReceiveResult VdeLink::receive(FrameBatch& into) noexcept {
  Impl& self = *impl_;
  ReceiveResult result;
  for (unsigned i = 0; i < kMaxFrames && !into.full(); ++i) {
    if (!into.has_room_for(self.room.size())) return result;
    const std::span<std::byte> room = into.room();
    const std::size_t bytes = self.fetch();
    if (bytes == 0) break;
    if (self.drop(bytes)) continue;
    FrameView frame(room.data(), std::min(bytes, room.size()));
    if (bytes > frame.size()) frame.true_bytes = static_cast<std::uint32_t>(bytes);
    std::memcpy(room.data(), self.room.data(), frame.size());
    into.push(frame);
    ++result.frames;
  }
  if (self.ended && result.frames == 0) result.error = Errc::link_ended;
  return result;
}

int VdeLink::descriptor() noexcept {
  return impl_->library.data_descriptor(impl_->connection);
}
WaitHint VdeLink::prepare_wait() noexcept {
  // The end of a switch shows only at a second descriptor, which the caller does not watch.
  constexpr std::chrono::seconds kLookForEnd{1};
  impl_->look_for_end();
  return {.ready = impl_->ended, .at_most = kLookForEnd};
}
void VdeLink::finish_wait() noexcept {}
std::size_t VdeLink::max_frame_bytes() noexcept {
  return impl_->max_frame;
}
std::string VdeLink::address() {
  return "vde:" + impl_->url;
}
VdeDrops VdeLink::drops() const noexcept {
  return {.too_long = impl_->too_long.load(std::memory_order_relaxed),
          .too_short = impl_->too_short.load(std::memory_order_relaxed)};
}

}  // namespace shmif
