// engine=stream, dgram, vde: each end is a program's connection to another program, such as a
// bridge of shmifctl, a VDE switch or QEMU. So these media can be compared with all others.

#include <fcntl.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/text.hpp"
#include "base/unique_fd.hpp"
#include "perf/engine/link_end.hpp"
#include "shmif/datagram_link.hpp"
#include "shmif/socket_place.hpp"
#include "shmif/stream_link.hpp"
#include "shmif/vde_link.hpp"

namespace shmif::perf {
namespace {

constexpr std::size_t kProgramEnds = 2;
constexpr std::chrono::milliseconds kConnectPatience{10'000};

std::vector<std::string> places_of(const std::string& list) {
  const auto parts = base::split(list, ',');
  return {parts.begin(), parts.end()};
}

Error wrong_number(const JobOptions& job, const std::string& wanted) {
  return {Errc::bad_argument,
          job.socket.empty() ? std::string("engine=") + name_of(job.engine) + " needs " + wanted
                             : "socket=" + job.socket + ": give " + wanted};
}

/// The places of the ends: each has its own, or all have the same.
Result<std::vector<std::string>> one_for_each(const JobOptions& job, std::size_t ends,
                                              const std::string& wanted) {
  std::vector<std::string> places = places_of(job.socket);
  const bool named =
      std::none_of(places.begin(), places.end(), [](const auto& place) { return place.empty(); });
  if (!named || (places.size() != 1 && places.size() != ends)) return wrong_number(job, wanted);
  places.resize(kProgramEnds, places.front());
  return places;
}

/// Switches and bridges pass on frames only to addresses that they know, but an end that only
/// receives would never show its address. So each end sends one frame to itself, from which they
/// learn where it is. They deliver that frame to no other end. Its EtherType is that of the
/// Configuration Testing Protocol (0x9000).
template <Link L>
void announce(L& link, const MacAddress& mac) noexcept {
  std::array<std::byte, 60> frame{};
  std::ranges::copy(std::as_bytes(std::span(mac.bytes)), frame.begin());
  std::ranges::copy(std::as_bytes(std::span(mac.bytes)), frame.begin() + 6);
  frame[12] = std::byte{0x90};
  const FrameView view(frame.data(), frame.size());
  (void)link.send(std::span(&view, 1));
}

/// Makes an end whose frames other programs carry.
template <Link L, class Count>
Result<std::unique_ptr<End>> make_program_end(L link, const EndOptions& options, RoomWait room_wait,
                                              const Count& count) {
  announce(link, mac_of(options));
  return make_end(std::move(link), options, room_wait, count);
}

/// A wire whose ends share no state, so each end is made separately.
class ProgramWire : public Wire {
 public:
  ProgramWire(const Engine& engine, std::string address)
      : engine_(engine), address_(std::move(address)) {}

  Capabilities capabilities() const noexcept override { return engine_.capabilities; }
  std::string address() const override { return address_; }

  Result<std::unique_ptr<End>> open_end(const EndOptions& options) final {
    if (auto fits = check_index(options, kProgramEnds, address_); !fits)
      return std::move(fits).error();
    return open(options);
  }

 private:
  virtual Result<std::unique_ptr<End>> open(const EndOptions& options) = 0;

  const Engine& engine_;
  std::string address_;
};

// engine=stream

WireCounters counts_of_stream(const StreamLink& link) noexcept {
  const StreamDrops drops = link.drops();
  WireCounters counted;
  counted.dropped_frames = drops.too_long + drops.too_short;
  return counted;
}

/// Two connected sockets: the medium itself, without a program in between.
class StreamPair final : public ProgramWire {
 public:
  StreamPair(std::array<UniqueFd, kProgramEnds> sockets, std::size_t largest)
      : ProgramWire(kStreamEngine, "stream:"), sockets_(std::move(sockets)), largest_(largest) {}

 private:
  Result<std::unique_ptr<End>> open(const EndOptions& options) override {
    UniqueFd socket(::fcntl(sockets_[options.index].get(), F_DUPFD_CLOEXEC, 0));
    if (!socket) return Error::from_errno(errno, "cannot open an end of a pair of sockets");
    auto link =
        StreamLink::adopt(std::move(socket), {.max_frame_bytes = largest_, .address = address()});
    return make_end(std::move(link), options, RoomWait::poll, counts_of_stream);
  }

  std::array<UniqueFd, kProgramEnds> sockets_;
  std::size_t largest_;
};

class StreamsToPrograms final : public ProgramWire {
 public:
  StreamsToPrograms(std::vector<SocketPlace> places, std::size_t largest)
      : ProgramWire(kStreamEngine, "stream:" + places.front().text),
        places_(std::move(places)),
        largest_(largest) {}

 private:
  Result<std::unique_ptr<End>> open(const EndOptions& options) override {
    const SocketPlace& place = places_[options.index];
    auto socket = connect_stream(place, -1, kConnectPatience);
    if (!socket) {
      return Error(socket.error().code,
                   socket.error().message + " (start the program that listens there first)");
    }
    auto link = StreamLink::adopt(*std::move(socket),
                                  {.max_frame_bytes = largest_, .address = "stream:" + place.text});
    return make_program_end(std::move(link), options, RoomWait::poll, counts_of_stream);
  }

  std::vector<SocketPlace> places_;
  std::size_t largest_;
};

Result<std::unique_ptr<Wire>> make_stream_wire(const JobOptions& job, std::size_t ends) {
  const std::size_t largest = max_frame_bytes_of(job);
  if (job.socket.empty()) {
    std::array<int, kProgramEnds> pair{-1, -1};
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair.data()) != 0)
      return Error::from_errno(errno, "cannot make a pair of sockets");
    return std::unique_ptr<Wire>(
        std::make_unique<StreamPair>(std::array{UniqueFd(pair[0]), UniqueFd(pair[1])}, largest));
  }
  const auto texts =
      one_for_each(job, ends, "one place at which a program listens, or one for each job");
  if (!texts) return texts.error();
  std::vector<SocketPlace> places;
  places.reserve(texts->size());
  for (const std::string& text : *texts) {
    auto place = parse_socket_place(text);
    if (!place) return std::move(place).error();
    places.push_back(*std::move(place));
  }
  return std::unique_ptr<Wire>(std::make_unique<StreamsToPrograms>(std::move(places), largest));
}

// engine=dgram

/// Where an end receives, and where it sends.
struct DatagramPlaces {
  SocketPlace local, remote;
};

class DatagramsToPrograms final : public ProgramWire {
 public:
  DatagramsToPrograms(std::vector<DatagramPlaces> places, std::size_t largest)
      : ProgramWire(kDgramEngine, "dgram:" + places.front().local.text),
        places_(std::move(places)),
        largest_(largest) {}

 private:
  Result<std::unique_ptr<End>> open(const EndOptions& options) override {
    const DatagramPlaces& places = places_[options.index];
    auto bound = BoundSocket::bind(SOCK_DGRAM, places.local);
    if (!bound) return std::move(bound).error();
    // The path stays until the end of the link.
    const auto kept = std::make_shared<BoundSocket>(*std::move(bound));
    UniqueFd socket(::fcntl(kept->descriptor(), F_DUPFD_CLOEXEC, 0));
    if (!socket) return Error::from_errno(errno, "cannot open an end of " + address());
    enlarge_buffers(socket.get(), kUdpBufferBytes);
    auto link = DatagramLink::adopt(std::move(socket), {.max_frame_bytes = largest_,
                                                        .address = "dgram:" + places.local.text,
                                                        .peer_may_come = true,
                                                        .remote = places.remote.address,
                                                        .drops_too_long = true});
    return make_program_end(
        std::move(link), options, RoomWait::poll, [kept](const DatagramLink& l) {
          const DatagramDrops drops = l.drops();
          WireCounters counted;
          counted.dropped_frames =
              l.undelivered() + l.dropped().value_or(0) + drops.too_long + drops.too_short;
          return counted;
        });
  }

  std::vector<DatagramPlaces> places_;
  std::size_t largest_;
};

Result<std::unique_ptr<Wire>> make_dgram_wire(const JobOptions& job, std::size_t ends) {
  const std::vector<std::string> texts = places_of(job.socket);
  if (job.socket.empty() || texts.size() != 2 * ends) {
    return wrong_number(job,
                        "socket=LOCAL,REMOTE, with both for each job (engine=unix makes a "
                        "pair of datagram sockets)");
  }
  std::vector<DatagramPlaces> all;
  all.reserve(kProgramEnds);
  for (std::size_t i = 0; i < texts.size(); i += 2) {
    auto local = parse_socket_place(texts[i]);
    if (!local) return std::move(local).error();
    auto remote = parse_socket_place(texts[i + 1]);
    if (!remote) return std::move(remote).error();
    if (local->address.family() != remote->address.family()) {
      return Error(Errc::bad_argument, "socket=" + job.socket + ": " + texts[i] + " and " +
                                           texts[i + 1] + " are of different families");
    }
    all.push_back({*std::move(local), *std::move(remote)});
  }
  all.resize(kProgramEnds, all.front());
  return std::unique_ptr<Wire>(
      std::make_unique<DatagramsToPrograms>(std::move(all), max_frame_bytes_of(job)));
}

// engine=vde

class VdeWire final : public ProgramWire {
 public:
  VdeWire(std::vector<std::string> urls, std::size_t largest)
      : ProgramWire(kVdeEngine, "vde:" + urls.front()), urls_(std::move(urls)), largest_(largest) {}

 private:
  Result<std::unique_ptr<End>> open(const EndOptions& options) override {
    auto link = VdeLink::open(urls_[options.index], largest_);
    if (!link) return std::move(link).error();
    return make_program_end(*std::move(link), options, RoomWait::sleep,
                            [](const VdeLink&) { return WireCounters{}; });
  }

  std::vector<std::string> urls_;
  std::size_t largest_;
};

Result<std::unique_ptr<Wire>> make_vde_wire(const JobOptions& job, std::size_t ends) {
  auto urls = one_for_each(job, ends, "socket=URL of a VDE network, or one for each job");
  if (!urls) return std::move(urls).error();
  return std::unique_ptr<Wire>(
      std::make_unique<VdeWire>(*std::move(urls), max_frame_bytes_of(job)));
}

}  // namespace

const Engine kStreamEngine{
    .kind = EngineKind::stream,
    .name = "stream",
    .wire = "a pair of stream sockets, or one to a program for each job",
    .capabilities = {.addresses = false, .counts = true, .batches = true, .max_ends = kProgramEnds},
    .through = Through::sockets,
    .make_wire = make_stream_wire};

const Engine kDgramEngine{
    .kind = EngineKind::dgram,
    .name = "dgram",
    .wire = "a datagram socket for each job, with a program as its peer",
    .capabilities = {.addresses = false, .counts = true, .batches = true, .max_ends = kProgramEnds},
    .through = Through::sockets,
    .make_wire = make_dgram_wire};

const Engine kVdeEngine{.kind = EngineKind::vde,
                        .name = "vde",
                        .wire = "a connection to a VDE network for each job",
                        .capabilities = {.addresses = false, .max_ends = kProgramEnds},
                        .through = Through::sockets,
                        .make_wire = make_vde_wire};

}  // namespace shmif::perf
