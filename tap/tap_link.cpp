#include "tap/tap_link.hpp"

#include <fcntl.h>
#include <linux/filter.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <utility>

#include "bus/offload.hpp"
#include "shmif/debug/debug.hpp"
#include "tap/netlink.hpp"
#include "tap/tap_keeper.hpp"
#include "tap/tap_writing.hpp"

namespace shmif::tap {
namespace {

constexpr const char* kTunPath = "/dev/net/tun";
constexpr const char* kAnyName = "tap%d";  // the kernel puts the next free number there
constexpr std::uint32_t kMinMtu = 68;      // RFC 791
constexpr std::uint32_t kMaxMtu = 65521;   // a TAP device's limit: 65535 less the Ethernet header

Error tun_open_error(int number, const std::string& what) {
  switch (number) {
    case ENOENT:
    case ENODEV:
    case ENXIO:
      return Error::from_errno(
          number, what,
          "there is no TUN driver: run 'modprobe tun', or pass the device into the container");
    case EACCES:
    case EPERM:
      return Error::from_errno(
          number, what,
          std::string("this user may not open the device: become root, or run 'chmod 0666 ") +
              kTunPath + "'");
    default: return Error::from_errno(number, what);
  }
}

Result<UniqueFd> open_tun(const std::string& path) {
  UniqueFd tun(::open(path.c_str(), O_RDWR | O_NONBLOCK | O_CLOEXEC));
  if (!tun) return tun_open_error(errno, "cannot open " + path);
  // A sandbox may put /dev/null, or a plain file, in the place of the node.
  unsigned features = 0;
  if (::ioctl(tun.get(), TUNGETFEATURES, &features) != 0) {
    return tun_open_error(ENODEV, "cannot use " + path + ", which is not the TUN device here");
  }
  return tun;
}

Error attach_error(int number, const std::string& name) {
  const std::string what = name == kAnyName
                               ? "cannot create a TAP device"
                               : "cannot create or attach to TAP device \"" + name + "\"";
  switch (number) {
    case EPERM:
    case EACCES:
      return Error::from_errno(number, what,
                               "needs CAP_NET_ADMIN in this network namespace; try 'shmifctl "
                               "exec', which needs no privileges");
    case EBUSY:
      return Error::from_errno(number, what,
                               "another process is attached to it; choose another name");
    case EINVAL:
      return Error::from_errno(
          number, what,
          "an interface of that name exists, and is not a TAP device or has another number of "
          "queues; choose another name");
    default: return Error::from_errno(number, what);
  }
}

/// Opens one queue of the device `name`, which may be a pattern. Result: the descriptor; `name`
/// becomes the name that the kernel chose.
Result<UniqueFd> attach_queue(std::string& name, const TapOptions& options) {
  auto tun = open_tun(options.tun_device);
  if (!tun) return tun;
  ifreq request{};
  const std::string pattern = name.empty() ? kAnyName : name;
  std::memcpy(request.ifr_name, pattern.data(), pattern.size());
  request.ifr_flags =
      static_cast<short>(IFF_TAP | IFF_NO_PI | (options.multi_queue ? IFF_MULTI_QUEUE : 0) |
                         (options.offload ? IFF_VNET_HDR : 0));
  if (::ioctl(tun->get(), TUNSETIFF, &request) != 0) return attach_error(errno, pattern);
  name = request.ifr_name;
  return tun;
}

/// The device may be persistent, and still have its routes from last time.
Result<void> add_gateways(Netlink& netlink, const std::string& name,
                          const std::vector<IpAddress>& gateways) {
  for (const IpAddress& gateway : gateways) {
    const auto added = netlink.add_default_route(name, gateway);
    if (added) continue;
    const auto there = netlink.default_route(gateway.family);
    if (!there || there->interface != name || there->gateway != gateway) return added;
  }
  return {};
}

Result<void> configure(const std::string& name, const TapOptions& options) {
  auto netlink = Netlink::open();
  if (!netlink) return std::move(netlink).error();
  // Set MAC and MTU first, so that addresses and neighbours get the final values.
  if (options.mac) {
    if (auto r = netlink->set_mac(name, *options.mac); !r) return r;
  }
  if (options.mtu) {
    if (auto r = netlink->set_mtu(name, *options.mtu); !r) return r;
  }
  for (const Cidr& address : options.addresses) {
    auto r = netlink->add_address(name, address);
    // A persistent device may still have the address from last time.
    if (!r && r.error().code != std::errc::file_exists) return r;
  }
  if (!options.up) return {};
  if (auto r = netlink->set_up(name); !r) return r;
  return add_gateways(*netlink, name, options.gateways);
}

/// Everything that must happen inside the target namespace. Result: the queues, and after them the
/// two descriptors of the keeper if there is one.
Result<std::vector<UniqueFd>> make_queues(const TapOptions& options, unsigned queues) {
  std::string name = options.name;
  std::vector<UniqueFd> fds;
  const std::optional<bool> had_header =
      options.put_back && !name.empty() ? tap_has_header(name) : std::nullopt;
  TapKeeper keeper;
  for (unsigned i = 0; i < queues; ++i) {
    auto fd = attach_queue(name, options);
    if (!fd) return std::move(fd).error();
    if (i == 0 && options.put_back) {
      auto started = start_tap_keeper(fd->get(), options.tun_device, had_header, options.persist,
                                      options.addresses, options.gateways);
      if (!started) return std::move(started).error();
      keeper = *std::move(started);
    }
    if (auto set = set_tap_offloads(fd->get(), name, options.offload); !set) return set.error();
    fds.push_back(std::move(*fd));
  }
  if (auto r = configure(name, options); !r) return std::move(r).error();
  // Last, so that a device whose configuration failed disappears with its descriptor.
  if (options.persist && ::ioctl(fds.front().get(), TUNSETPERSIST, 1UL) != 0) {
    return Error::from_errno(errno, "cannot make TAP device \"" + name + "\" persistent");
  }
  debug(Debug::link, [&] {
    return "tap:" + name + ": opened; MTU " +
           (options.mtu ? std::to_string(*options.mtu) : "as it was") +
           ", queues: " + std::to_string(queues) + (options.persist ? ", persistent" : "") +
           (options.up ? "" : ", not set up");
  });
  if (keeper.link) {
    fds.push_back(std::move(keeper.link));
    fds.push_back(std::move(keeper.process));
  }
  return fds;
}

Result<void> check(const TapOptions& options, unsigned queues) {
  if (!options.name.empty() && !is_interface_name(options.name)) {
    return Error(Errc::bad_argument,
                 "\"" + options.name +
                     "\" is not a name for a TAP device: 1 to 15 characters without "
                     "'/', ':', '%' and blanks");
  }
  if (options.mtu && (*options.mtu < kMinMtu || *options.mtu > kMaxMtu)) {
    return Error(Errc::bad_mtu, "a TAP device cannot have an MTU of " +
                                    std::to_string(*options.mtu) + "; write 68 to 65521");
  }
  if (options.mac && !options.mac->is_unicast()) {
    return Error(
        Errc::bad_argument,
        options.mac->to_string() +
            " is not a unicast MAC address: its first byte must be even, and not all zero");
  }
  if (queues < 1 || queues > 16) {
    return Error(Errc::bad_argument, "a TAP device is opened with 1 to 16 queues");
  }
  return {};
}

}  // namespace

struct TapLink::Impl {
  Impl() = default;
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;
  ~Impl() {
    tun.reset();
    if (keeper.link) end_tap_keeper(keeper);
  }

  UniqueFd tun;
  TapKeeper keeper;  ///< of the device; the first of its links has it
  std::string name;
  std::atomic<bool> ended{false};
  DeviceCounts counts;
  bool vnet = false;  ///< an Offload precedes each frame, both ways
  std::size_t largest = kMaxFrameBytes;
  /// Takes the part of a frame that does not fit into the batch, so that the frame's length is
  /// known.
  std::unique_ptr<std::byte[]> overflow =
      std::make_unique_for_overwrite<std::byte[]>(kMaxSuperFrameBytes);

  BatchWriter writer;
  /// Whether runs of datagrams are merged. Kernels before 6.2 refuse the super-frame (EINVAL). The
  /// first run is a trial: it is written alone, so that no frame overtakes its frames.
  enum class Merging { off, untried, on } merging = Merging::off;
  static constexpr std::size_t kMaxWrites = BatchWriter::kMaxFrames;
  std::array<MergedHead, kMaxWrites / 2> heads;  // of the batch that is written

  /// What one call passes to the kernel.
  struct Writes {
    std::size_t count = 0;
    std::array<std::size_t, kMaxWrites> runs;  ///< how many frames each of them has
    std::array<std::span<const iovec>, kMaxWrites> buffers;
    /// A frame has at most four parts. A run has one part more than it has frames.
    std::array<iovec, 4 * kMaxWrites> parts;
    std::array<Offload, kMaxWrites> offloads;
    std::array<bus::FinishedDatagram, kMaxWrites> finished;
  };

  void end() noexcept;
  std::error_code refusal_of(const FrameView& frame) const noexcept;
  void gather(std::span<const FrameView> frames, Writes& writes) noexcept;
  std::size_t write(std::span<const FrameView> frames) noexcept;
  void note(std::int32_t result, std::span<const FrameView> run) noexcept;
};

// Call it also to switch offloads off: a persistent device may still have those of its last user.
Result<void> set_tap_offloads(int tun, const std::string& name, bool on) {
  // Linux 6.2 can split UDP; the names for it came with the headers of that version.
  constexpr unsigned long kUso = 0x20 | 0x40;
  constexpr unsigned long kBasic = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN;
  const auto tell = [&](const char* offloads) {
    debug(Debug::link, [&] { return "tap:" + name + ": offloads: " + offloads; });
    return Result<void>();
  };
  if (on && ::ioctl(tun, TUNSETOFFLOAD, kBasic | kUso) == 0) return tell("checksums, TCP and UDP");
  if (::ioctl(tun, TUNSETOFFLOAD, on ? kBasic : 0UL) == 0)
    return tell(on ? "checksums and TCP; this kernel has none for UDP" : "none");
  return Error::from_errno(errno, "cannot set the offloads of TAP device \"" + name + "\"");
}

Result<void> check_tun_device(const std::string& path) {
  auto tun = open_tun(path);
  if (!tun) return std::move(tun).error();
  return {};
}

TapLink::TapLink(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
TapLink::TapLink(TapLink&&) noexcept = default;
TapLink& TapLink::operator=(TapLink&&) noexcept = default;
TapLink::~TapLink() = default;

Result<std::vector<TapLink>> TapLink::open_all(const TapOptions& options, unsigned queues) {
  if (auto r = check(options, queues); !r) return std::move(r).error();
  const auto make = [&] { return make_queues(options, queues); };
  const bool here = options.where == nullptr || options.where->is_current();
  auto fds = here ? make() : run_in(*options.where, make);
  if (!fds) return std::move(fds).error();
  std::vector<TapLink> links;
  TapKeeper keeper;
  if (fds->size() > queues) keeper = {std::move((*fds)[queues]), std::move(fds->back())};
  fds->resize(queues);
  for (UniqueFd& fd : *fds) {
    auto link = adopt(std::move(fd));
    if (!link) return std::move(link).error();
    links.push_back(std::move(*link));
  }
  links.front().impl_->keeper = std::move(keeper);
  return links;
}

Result<TapLink> TapLink::open(const TapOptions& options) {
  auto links = open_all(options, 1);
  if (!links) return std::move(links).error();
  return std::move(links->front());
}

Result<std::vector<TapLink>> TapLink::open_queues(TapOptions options, unsigned queues) {
  options.multi_queue = true;
  return open_all(options, queues);
}

namespace {

/// Whether the device puts a header of four bytes before each frame. TUNGETIFF uses one bit for two
/// facts: for IFF_NO_PI, which means that there is no such header, and for IFF_NOFILTER, which
/// means that no filter is attached. So this attaches a filter for a moment, one that lets
/// everything pass. A device that has had a filter counts as without the header.
bool has_packet_info(int tun, int flags) {
  if ((flags & IFF_NO_PI) == 0) return true;
  sock_fprog filter{};
  if (::ioctl(tun, TUNGETFILTER, &filter) != 0 || filter.len != 0) return false;
  sock_filter all = BPF_STMT(BPF_RET | BPF_K, UINT32_MAX);
  filter = {1, &all};
  if (::ioctl(tun, TUNATTACHFILTER, &filter) != 0) return false;
  ifreq request{};
  const bool answered = ::ioctl(tun, TUNGETIFF, &request) == 0;
  (void)::ioctl(tun, TUNDETACHFILTER, &filter);
  // The kernel remembers the last filter. It refuses to attach this one, because it is empty.
  filter = {};
  (void)::ioctl(tun, TUNATTACHFILTER, &filter);
  return answered && (static_cast<unsigned short>(request.ifr_flags) & IFF_NO_PI) == 0;
}

}  // namespace

Result<TapLink> TapLink::adopt(UniqueFd tun) {
  ifreq request{};
  if (::ioctl(tun.get(), TUNGETIFF, &request) != 0) {
    return Error(Errc::bad_argument,
                 "the descriptor given for a TAP device is not attached to one");
  }
  const int flags = static_cast<unsigned short>(request.ifr_flags);
  if ((flags & IFF_TAP) == 0 || has_packet_info(tun.get(), flags)) {
    return Error(Errc::bad_argument, std::string("the device \"") + request.ifr_name +
                                         "\" must be a TAP device opened with IFF_NO_PI");
  }
  int header_bytes = sizeof(Offload);
  if ((flags & IFF_VNET_HDR) != 0 && ::ioctl(tun.get(), TUNSETVNETHDRSZ, &header_bytes) != 0) {
    return Error::from_errno(errno, "cannot set the header size of the TAP device");
  }
  const int status = ::fcntl(tun.get(), F_GETFL);
  if (status < 0 || ::fcntl(tun.get(), F_SETFL, status | O_NONBLOCK) != 0) {
    return Error::from_errno(errno, "cannot make the TAP device's descriptor non-blocking");
  }
  auto impl = std::make_unique<Impl>();
  impl->tun = std::move(tun);
  impl->name = request.ifr_name;
  impl->vnet = (flags & IFF_VNET_HDR) != 0;
  if (impl->vnet) {
    impl->largest = kMaxSuperFrameBytes;
    impl->merging = Impl::Merging::untried;
  }
  const bool batches = impl->writer.open();  // without it frames are written singly
  debug(Debug::link, [&] {
    return "tap:" + impl->name + ": attached; frames of up to " + std::to_string(impl->largest) +
           " bytes, written " + (batches ? "in batches" : "one by one");
  });
  return TapLink(std::move(impl));
}

void TapLink::Impl::end() noexcept {
  if (ended.exchange(true)) return;
  debug(Debug::link, [this] { return "tap:" + name + ": ended: the device was deleted"; });
}

std::error_code TapLink::Impl::refusal_of(const FrameView& frame) const noexcept {
  if (frame.size() < kEthernetHeaderBytes) return Errc::frame_too_short;
  if (frame.size() > largest) return Errc::frame_too_long;
  if (frame.offload.pending() && !vnet) return Errc::not_supported;
  return {};
}

/// Gathers what one call writes: single frames, and runs of frames merged into one. A trial of
/// merging must be written alone. So gather() stops before a trial, or after it if the trial comes
/// first.
void TapLink::Impl::gather(std::span<const FrameView> frames, Writes& writes) noexcept {
  std::size_t used = 0;
  std::size_t merged = 0;
  for (std::size_t at = 0; at < frames.size();) {
    std::size_t run = 1;
    if (merging != Merging::off) run = merge_datagrams(frames.subspan(at), heads[merged]);
    const bool trial = run > 1 && merging == Merging::untried;
    if (trial && writes.count > 0) break;
    const std::size_t begin = used;
    std::size_t skip = 0;
    // writev only reads, but iovec has no const.
    const auto add = [&](std::span<const std::byte> bytes) {
      writes.parts[used++] = {const_cast<std::byte*>(bytes.data()), bytes.size()};
    };
    if (run > 1) {
      const MergedHead& head = heads[merged++];
      add(head.used());
      skip = head.payload_at();
    } else if (vnet) {
      Offload& offload = writes.offloads[writes.count];
      offload = frames[at].offload;
      add(std::as_bytes(std::span(&offload, 1)));
    }
    if (run == 1 && vnet && bus::is_unfinished_datagram(frames[at])) {
      writes.offloads[writes.count] = {};
      bus::FinishedDatagram& finished = writes.finished[writes.count];
      finished = bus::finish_datagram(frames[at]);
      add(finished.before);
      add(finished.checksum_bytes());
      if (!finished.after.empty()) add(finished.after);
    } else {
      for (const FrameView& frame : frames.subspan(at, run)) add(frame.bytes.subspan(skip));
    }
    writes.buffers[writes.count] = std::span(writes.parts).subspan(begin, used - begin);
    writes.runs[writes.count++] = run;
    if (trial) break;
    at += run;
  }
}

/// Writes some frames, together if possible. Frames that the device cannot take now are dropped, as
/// any network card does. Result: how many frames were written or dropped, up to the end of the
/// link.
std::size_t TapLink::Impl::write(std::span<const FrameView> frames) noexcept {
  Writes writes;
  gather(frames.first(std::min(frames.size(), kMaxWrites)), writes);
  std::array<std::int32_t, kMaxWrites> results;
  std::size_t written = 0;
  if (writes.count > 1)
    written = writer.write(tun.get(), {writes.buffers.data(), writes.count}, results);
  if (written == 0) {
    const std::span<const iovec> first = writes.buffers[0];
    ssize_t n = 0;
    do {
      n = ::writev(tun.get(), first.data(), static_cast<int>(first.size()));
    } while (n < 0 && errno == EINTR);
    results[0] = n < 0 ? -errno : static_cast<std::int32_t>(n);
    written = 1;
  }
  if (merging == Merging::untried && writes.runs[0] > 1) {
    if (results[0] == -EINVAL) {
      merging = Merging::off;
      debug(Debug::link,
            [this] { return "tap:" + name + ": this kernel takes no merged datagrams"; });
      return 0;
    }
    if (results[0] >= 0) merging = Merging::on;
  }
  std::size_t done = 0;
  for (std::size_t i = 0; i < written; ++i) {
    note(results[i], frames.subspan(done, writes.runs[i]));
    if (ended) break;
    done += writes.runs[i];
  }
  return done;
}

void TapLink::Impl::note(std::int32_t result, std::span<const FrameView> run) noexcept {
  if (result >= 0) {
    counts.sent_frames.add(run.size());
    for (const FrameView& frame : run) counts.sent_bytes.add(frame.size());
    return;
  }
  switch (-result) {
    case EIO:  // the interface is down
    case ENETDOWN: counts.dropped_down.add(run.size()); break;
    case EAGAIN:
    case ENOBUFS:
    case ENOMEM: counts.dropped_full.add(run.size()); break;
    case EBADFD: end(); break;
    default: counts.corrupt_sent.add(run.size()); break;  // EINVAL: the offload does not fit
  }
}

SendResult TapLink::send(std::span<const FrameView> frames) noexcept {
  Impl& self = *impl_;
  std::error_code refused;
  std::size_t good = 0;
  while (good < frames.size() && !(refused = self.refusal_of(frames[good]))) ++good;
  std::size_t taken = 0;
  while (taken < good && !self.ended) taken += self.write(frames.subspan(taken, good - taken));
  if (self.ended && taken < frames.size()) return {taken, Errc::link_ended};
  return {taken, refused};
}

ReceiveResult TapLink::receive(FrameBatch& into) noexcept {
  Impl& self = *impl_;
  ReceiveResult result;
  while (!into.full()) {
    if (!into.has_room_for(self.largest)) break;
    const std::span<std::byte> room = into.room();
    Offload offload;
    const std::array<iovec, 3> parts{{{&offload, sizeof offload},
                                      {room.data(), room.size()},
                                      {self.overflow.get(), self.largest}}};
    const int skip = self.vnet ? 0 : 1;
    const int count = room.size() < self.largest ? 3 : 2;
    const ssize_t n = ::readv(self.tun.get(), parts.data() + skip, count - skip);
    if (n < 0) {
      if (errno == EINTR) continue;
      // EBADFD: the device was deleted; EFAULT: it is being deleted just now.
      if (errno == EBADFD || errno == EFAULT) self.end();
      break;
    }
    const std::size_t header_bytes = self.vnet ? sizeof offload : 0;
    const auto length = static_cast<std::size_t>(n) -
                        std::min<std::size_t>(static_cast<std::size_t>(n), header_bytes);
    if (length < kEthernetHeaderBytes) {
      self.counts.corrupt_received.add();
      continue;
    }
    FrameView frame(room.data(), std::min(length, room.size()));
    if (length > room.size()) frame.true_bytes = static_cast<std::uint32_t>(length);
    if (offload.pending()) frame.offload = offload;
    into.push(frame);
    ++result.frames;
    self.counts.received_frames.add();
    self.counts.received_bytes.add(length);
  }
  if (self.ended && result.frames == 0) result.error = Errc::link_ended;
  return result;
}

int TapLink::descriptor() noexcept {
  return impl_->tun.get();
}

// A deleted device polls as POLLERR, which wakes every waiter. `ready` covers the time before.
WaitHint TapLink::prepare_wait() noexcept {
  return {.ready = impl_->ended};
}

void TapLink::finish_wait() noexcept {}

std::size_t TapLink::max_frame_bytes() noexcept {
  return impl_->largest;
}

std::string TapLink::address() {
  return "tap:" + impl_->name;
}

bool TapLink::takes_offloads() const noexcept {
  return impl_->vnet;
}

const std::string& TapLink::name() const noexcept {
  return impl_->name;
}

DeviceCounters TapLink::counters() const noexcept {
  return impl_->counts.snapshot();
}

}  // namespace shmif::tap
