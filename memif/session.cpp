#include "memif/session.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <span>
#include <utility>

#include "base/descriptors.hpp"
#include "shmif/foreign/foreign.hpp"

namespace shmif::memif {
namespace {

/// Makes a client's eventfd non-blocking, so that a write does not wait. Result: false if it is not
/// an eventfd, or if that failed.
bool prepare_eventfd(int descriptor) noexcept {
  return base::kind_of_descriptor(descriptor) == base::DescriptorKind::eventfd &&
         ::fcntl(descriptor, F_SETFL, O_NONBLOCK) == 0;
}

}  // namespace

std::array<std::byte, kMessageBytes> make_message(MessageType type) noexcept {
  std::array<std::byte, kMessageBytes> bytes{};
  std::memcpy(bytes.data(), &type, sizeof type);
  return bytes;
}

MessageStatus read_message(base::ForeignSocket& socket, Message& into) {
  using Kind = base::DescriptorKind;
  constexpr base::DescriptorWish kWish{
      .kinds = Kind::memory | Kind::eventfd,
      .most = 1,
      .name = "file in memory (memfd, tmpfs or hugetlbfs) or eventfd"};
  into.descriptors.clear();
  const auto got = socket.receive(into.bytes, kWish, into.descriptors);
  const MessageStatus status = status_of(got.status);
  if (status != MessageStatus::whole) return status;
  return got.bytes == kMessageBytes && !got.was_cut ? status : MessageStatus::malformed;
}

bool send_message(int socket, const std::array<std::byte, kMessageBytes>& bytes,
                  int descriptor) noexcept {
  // sendmsg only reads, but iovec has no const.
  iovec part{const_cast<std::byte*>(bytes.data()), bytes.size()};
  return send_whole(socket, {&part, 1}, {&descriptor, descriptor >= 0 ? 1U : 0U});
}

void Session::Lane::notify() const noexcept {
  const std::uint64_t one = 1;
  (void)!::write(interrupt.get(), &one, sizeof one);  // full: the client has not looked yet
}

Session::Answer Session::refuse(std::string why) {
  why_ = std::move(why);
  return Answer::refused;
}

Session::Answer Session::handle(Message& message) {
  const MessageType type = message.type();
  const std::string number = std::to_string(static_cast<unsigned>(type));
  switch (type) {
    case MessageType::ack: return Answer::none;
    case MessageType::disconnect: return Answer::gone;
    case MessageType::init:
    case MessageType::add_region:
    case MessageType::add_ring:
    case MessageType::connect: break;
    case MessageType::hello:
    case MessageType::connected: return refuse("message " + number + " is for servers to send");
    default: return refuse("message " + number + " is not known");
  }
  if (is_connected()) return refuse("message " + number + " came after CONNECT");
  if ((type == MessageType::init) != (state_ == State::greeted))
    return refuse(type == MessageType::init ? "INIT came twice"
                                            : "message " + number + " came before INIT");
  const bool brings_one = type == MessageType::add_region || type == MessageType::add_ring;
  if (message.descriptors.size() != (brings_one ? 1U : 0U)) {
    return refuse("message " + number + " came with " + std::to_string(message.descriptors.size()) +
                  " descriptors");
  }
  switch (type) {
    case MessageType::init: return init(message);
    case MessageType::add_region: return add_region(message);
    case MessageType::add_ring: return add_ring(message);
    default: return connect();
  }
}

Session::Answer Session::init(const Message& message) {
  const auto fields = message.as<Init>();
  if (fields.version != kVersion)
    return refuse("version " + std::to_string(fields.version >> 8U) + '.' +
                  std::to_string(fields.version & 0xffU) + " of memif, and not 2.0");
  if (fields.mode != kEthernet)
    return refuse("mode " + std::to_string(fields.mode) + ", which is not Ethernet");
  state_ = State::described;  // any id will do: each connection is an interface of its own
  return Answer::ack;
}

Session::Answer Session::add_region(const Message& message) {
  const auto fields = message.as<AddRegion>();
  if (fields.index != memory_.regions())
    return refuse("memory region " + std::to_string(fields.index) + " is not the next one");
  if (fields.index >= kMaxRegions)
    return refuse("more than " + std::to_string(kMaxRegions) + " memory regions");
  auto added = memory_.add(message.descriptors.front().get(), fields.bytes);
  if (!added) return refuse(std::move(added).error().message);
  return Answer::ack;
}

Session::Answer Session::add_ring(Message& message) {
  const auto fields = message.as<AddRing>();
  const bool from_client = (fields.flags & AddRing::kFromClient) != 0;
  if (fields.index > kMaxRingIndex)
    return refuse("ring " + std::to_string(fields.index) + ", where each direction has one");
  if (fields.size_log2 > kMaxRingSizeLog2)
    return refuse("a ring of 2^" + std::to_string(fields.size_log2) + " buffers");
  Lane& lane = lanes_[from_client ? kFromClient : kToClient];
  if (lane.interrupt) return refuse("a second ring for one direction");
  UniqueFd interrupt = std::move(message.descriptors.front());
  if (!prepare_eventfd(interrupt.get()) || (from_client && !watch_wakeups(epoll_, interrupt.get())))
    return refuse("an interrupt descriptor that is no eventfd");
  lane.interrupt = std::move(interrupt);
  lane.place = {.region = fields.region, .offset = fields.offset, .size_log2 = fields.size_log2};
  return Answer::ack;
}

Session::Answer Session::connect() {
  for (const RingNumber number : {kToClient, kFromClient}) {
    Lane& lane = lanes_[number];
    const std::string name = number == kFromClient ? "its send ring " : "its receive ring ";
    if (!lane.interrupt) return refuse(name + "is missing");
    if (const char* const why = lane.ring.start(memory_, lane.place, number == kFromClient);
        why != nullptr) {
      return refuse(name + why);
    }
  }
  state_ = State::connected;
  return Answer::connected;
}

}  // namespace shmif::memif
