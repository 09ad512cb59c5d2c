#include "vhost/backend.hpp"

#include <fcntl.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstring>
#include <optional>
#include <utility>

#include "base/descriptors.hpp"
#include "base/signals.hpp"
#include "shmif/foreign/foreign.hpp"

namespace shmif::vhost {
namespace {

using Kind = base::DescriptorKind;

constexpr std::uint64_t kProtocolReplyAck = bit(3);
/// This back-end sends no requests, but Linux in user mode needs the channel. Without it, version
/// 6.1 registers the queues' interrupts as number 0, which is the interrupt of its timer.
constexpr std::uint64_t kProtocolBackendChannel = bit(5);
constexpr std::uint64_t kProtocolOffered = kProtocolReplyAck | kProtocolBackendChannel;
/// In SET_VRING_KICK, CALL and ERR: no descriptor comes with the message.
constexpr std::uint64_t kNoDescriptor = bit(8);
constexpr std::uint64_t kQueueMask = 0xff;

bool is_kick(Kind kind) {
  return kind == Kind::eventfd || kind == Kind::pipe;
}
/// Linux in user mode sends a socket, all other front-ends send eventfds.
bool is_call(Kind kind) {
  return is_kick(kind) || kind == Kind::unix_socket;
}

}  // namespace

void Backend::Queue::notify() const noexcept {
  if (!call) return;
  std::optional<base::SignalGuard> guard;
  if (call_may_end) guard.emplace(SIGPIPE);
  const std::uint64_t one = 1;
  (void)!::write(call.get(), &one, sizeof one);  // if it is full, the driver has not looked yet
}

Backend::Answer Backend::refuse(std::string why) {
  why_ = std::move(why);
  Answer answer;
  answer.accepted = false;
  return answer;
}

Backend::Answer Backend::reply_with(std::uint64_t value) {
  Answer answer;
  answer.reply = true;
  std::memcpy(answer.value.data(), &value, sizeof value);
  return answer;
}

Backend::Queue* Backend::queue_of(std::uint64_t index) noexcept {
  return index < kQueues ? &queues_[index] : nullptr;
}

Backend::Answer Backend::handle(Message& message) {
  Answer answer = dispatch(message);
  if (answer.reply || !message.needs_reply() || (protocol_features_ & kProtocolReplyAck) == 0)
    return answer;
  const Answer acknowledged = reply_with(answer.accepted ? 0 : 1);
  answer.reply = true;
  answer.value = acknowledged.value;
  return answer;
}

Backend::Answer Backend::dispatch(Message& message) {
  switch (message.request()) {
    case Request::get_features: return reply_with(offered_);
    case Request::set_features: return set_features(message);
    case Request::get_protocol_features: return reply_with(kProtocolOffered);
    case Request::set_protocol_features: return set_protocol_features(message);
    case Request::get_queue_num: return reply_with(1);  // queue pairs
    case Request::set_owner: return {};
    case Request::reset_owner:
      for (Queue& queue : queues_) queue.ring.stop();
      return {};
    case Request::set_mem_table: return set_memory(message);
    case Request::set_vring_num:
    case Request::set_vring_base:
    case Request::set_vring_enable: return set_queue(message);
    case Request::set_vring_addr: return set_addresses(message);
    case Request::get_vring_base: return get_position(message);
    case Request::set_vring_kick:
    case Request::set_vring_call:
    case Request::set_vring_err: return set_descriptor(message);
    case Request::set_backend_channel:
      if (message.descriptors.size() != 1) return refuse("a channel without a descriptor");
      channel_ = std::move(message.descriptors.front());  // some front-ends must not see it closed
      return {};
  }
  return refuse("request " + std::to_string(message.header.request) + " is not known");
}

Backend::Answer Backend::set_features(const Message& message) {
  const auto features = message.as<std::uint64_t>();
  if (!features || (*features & ~offered_) != 0) return refuse("features that were not offered");
  const bool runs =
      std::ranges::any_of(queues_, [](const Queue& queue) { return queue.ring.is_running(); });
  // The features decide how long headers are, and where notifications are requested.
  if (runs && *features != features_) return refuse("other features for a queue that runs");
  features_ = *features;
  // Without this feature there are no messages that enable queues, so all are enabled from the
  // start.
  if (!has(Features::kProtocolFeatures)) {
    for (Queue& queue : queues_) queue.enabled = true;
  }
  return {};
}

Backend::Answer Backend::set_protocol_features(const Message& message) {
  const auto features = message.as<std::uint64_t>();
  if (!features || (*features & ~kProtocolOffered) != 0)
    return refuse("protocol features that were not offered");
  protocol_features_ = *features;
  return {};
}

Backend::Answer Backend::set_memory(const Message& message) {
  MemoryTable table;
  const std::span<const std::byte> bytes = message.bytes();
  constexpr std::size_t kBefore = offsetof(MemoryTable, regions);
  if (bytes.size() < kBefore || bytes.size() > sizeof table) return refuse("a wrong memory table");
  std::memcpy(&table, bytes.data(), bytes.size());
  // Some front-ends send all eight entries, even if fewer count.
  if (table.count > kMaxRegions || bytes.size() < kBefore + table.count * sizeof(MemoryRegion))
    return refuse("a wrong memory table");
  auto memory = GuestMemory::map(std::span(table.regions).first(table.count), message.descriptors,
                                 max_memory_bytes_);
  if (!memory) return refuse(std::move(memory).error().message);
  memory_ = *std::move(memory);
  was_given_memory_ = true;
  restart_queues();
  return {};
}

/// Looks for the running queues in the new memory. A queue that is not in it any more is stopped.
void Backend::restart_queues() noexcept {
  for (Queue& queue : queues_) {
    if (queue.ring.is_running() && !queue.ring.start(memory_, queue.layout)) queue.ring.stop();
  }
}

Backend::Answer Backend::set_queue(const Message& message) {
  const auto state = message.as<VringState>();
  Queue* const queue = state ? queue_of(state->index) : nullptr;
  if (queue == nullptr) return refuse("a queue that does not exist; give it queues=1");
  if (message.request() == Request::set_vring_enable) {
    queue->enabled = state->value != 0;
  } else if (message.request() == Request::set_vring_num) {
    if (queue->ring.is_running()) return refuse("a new size for a queue that runs");
    queue->layout.size = state->value;
  } else if (!queue->ring.is_running()) {
    // Only for a front-end that asks for the position before the start. From the start on, the used
    // ring says where to go on, as split_queue.cpp explains.
    queue->base = static_cast<std::uint16_t>(state->value);
  }
  return {};
}

Backend::Answer Backend::set_addresses(const Message& message) {
  const auto addresses = message.as<VringAddresses>();
  Queue* const queue = addresses ? queue_of(addresses->index) : nullptr;
  if (queue == nullptr) return refuse("addresses of a queue that does not exist; give it queues=1");
  queue->layout.descriptors = addresses->descriptors;
  queue->layout.available = addresses->available;
  queue->layout.used = addresses->used;
  if (queue->ring.is_running()) return start(*queue);
  return {};
}

Backend::Answer Backend::get_position(const Message& message) {
  const auto state = message.as<VringState>();
  Queue* const queue = state ? queue_of(state->index) : nullptr;
  if (queue == nullptr) return refuse("a queue that does not exist; give it queues=1");
  queue->ring.stop();
  (void)watch_kick(*queue, UniqueFd());
  queue->call.reset();
  queue->polled = false;
  const VringState reply{.index = state->index,
                         .value = queue->base.value_or(queue->ring.position())};
  static_assert(sizeof reply == sizeof(Answer::value));
  Answer answer;
  answer.reply = true;
  std::memcpy(answer.value.data(), &reply, sizeof reply);
  return answer;
}

Backend::Answer Backend::set_descriptor(Message& message) {
  const auto value = message.as<std::uint64_t>();
  Queue* const queue = value ? queue_of(*value & kQueueMask) : nullptr;
  if (queue == nullptr)
    return refuse("a descriptor for a queue that does not exist; give it queues=1");
  const bool none = (*value & kNoDescriptor) != 0;
  if (message.descriptors.size() != (none ? 0U : 1U))
    return refuse("a message with another number of descriptors than it says");
  UniqueFd descriptor = none ? UniqueFd() : std::move(message.descriptors.front());
  if (message.request() == Request::set_vring_err) return {};  // an error ends the connection
  const Kind kind = descriptor ? base::kind_of_descriptor(descriptor.get()) : Kind::eventfd;
  if (message.request() == Request::set_vring_call) {
    // A write to it must not wait.
    if (!is_call(kind) || (descriptor && ::fcntl(descriptor.get(), F_SETFL, O_NONBLOCK) != 0))
      return refuse("a call descriptor that is no eventfd, pipe or Unix socket");
    queue->call = std::move(descriptor);
    queue->call_may_end = kind != Kind::eventfd;
    if (queue->ring.is_running()) queue->notify();  // it may have missed a notice before
    return {};
  }
  if (!is_kick(kind)) return refuse("a kick descriptor that is no eventfd and no pipe");
  if (!watch_kick(*queue, std::move(descriptor)))
    return refuse("a kick descriptor that nobody can wait for");
  queue->polled = none;
  return start(*queue);
}

Backend::Answer Backend::start(Queue& queue) {
  queue.layout.event_index = has(Features::kEventIndex);
  queue.layout.indirect = has(Features::kIndirect);
  if (!queue.ring.start(memory_, queue.layout))
    return refuse("a queue of a wrong size, or outside of the memory");
  queue.base.reset();
  queue.ring.finish_wait();
  queue.notify();
  return {};
}

/// Replaces the old kick descriptor. The old one is removed from epoll, which would otherwise watch
/// it for as long as the front-end has it open. Result: whether the new one can be watched.
bool Backend::watch_kick(Queue& queue, UniqueFd descriptor) noexcept {
  const bool watched = &queue == &queues_[kSendQueue];
  if (watched && queue.kick) (void)::epoll_ctl(epoll_, EPOLL_CTL_DEL, queue.kick.get(), nullptr);
  queue.kick = std::move(descriptor);
  return !watched || !queue.kick || watch_wakeups(epoll_, queue.kick.get());
}

// Texts for debug lines.

namespace {

constexpr std::pair<std::uint64_t, const char*> kNames[] = {
    {Features::kCsum, "csum"},
    {Features::kGuestCsum, "guest-csum"},
    {Features::kMtu, "mtu"},
    {Features::kGuestTso4, "guest-tso4"},
    {Features::kGuestTso6, "guest-tso6"},
    {Features::kGuestEcn, "guest-ecn"},
    {Features::kHostTso4, "host-tso4"},
    {Features::kHostTso6, "host-tso6"},
    {Features::kHostEcn, "host-ecn"},
    {Features::kMergeable, "mergeable"},
    {Features::kIndirect, "indirect"},
    {Features::kEventIndex, "event-index"},
    {Features::kProtocolFeatures, "protocol-features"},
    {Features::kVersion1, "version-1"},
};

std::string names_of(std::uint64_t features) {
  std::string names;
  for (const auto& [feature, name] : kNames) {
    if ((features & feature) != 0) names += std::string(" ") + name;
  }
  return names.empty() ? " none" : names;
}

std::string told_memory(const Message& message) {
  MemoryTable table;
  const auto bytes = message.bytes();
  std::memcpy(&table, bytes.data(), std::min(bytes.size(), sizeof table));
  std::uint64_t all = 0;
  for (std::uint32_t i = 0; i < table.count; ++i) all += table.regions[i].bytes;
  return "shares " + std::to_string(all) +
         " bytes of memory, in regions: " + std::to_string(table.count);
}

const char* name_of(std::uint64_t queue) {
  return queue == Backend::kReceiveQueue ? "receive queue" : "send queue";
}

}  // namespace

std::string told(const Message& message, Backend& backend) {
  const VringState state = message.as<VringState>().value_or(VringState{});
  switch (message.request()) {
    case Request::set_features: return "agrees on features:" + names_of(backend.features());
    case Request::set_mem_table: return told_memory(message);
    case Request::reset_owner: return "stops its queues";
    case Request::set_vring_enable:
      return std::string(state.value != 0 ? "enables" : "disables") + " its " +
             name_of(state.index);
    case Request::get_vring_base: return std::string("stops its ") + name_of(state.index);
    case Request::set_vring_kick: {
      const std::uint64_t index = message.as<std::uint64_t>().value_or(0) & kQueueMask;
      const auto& queue = backend.queue(static_cast<Backend::QueueNumber>(index));
      return std::string("starts its ") + name_of(index) + ": " +
             std::to_string(queue.ring.size()) + " entries" + (queue.polled ? ", polled" : "");
    }
    default: return {};
  }
}

}  // namespace shmif::vhost
