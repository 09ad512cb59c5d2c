#include "perf/verify/verify_queue.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "instruments/watch/clock.hpp"

namespace shmif::perf {
namespace {

constexpr std::size_t kFramesWithoutBacklog = 64;

/// Frames that one thread checks one after the other.
struct Group {
  struct Entry {
    FrameView frame;  // set when the bytes no longer move
    std::size_t at = 0;
    std::size_t size = 0;
    std::uint64_t arrived_ns = 0;
    ProbeReading reading;
    bool checked = false;
  };
  enum class State : std::uint8_t { filling, waiting, taken, done };

  std::vector<std::byte> bytes;
  std::vector<Entry> entries;
  State state = State::filling;  // under the mutex

  void put(const FrameView& frame, std::uint64_t arrived_ns) {
    entries.push_back({.frame = frame,
                       .at = bytes.size(),
                       .size = frame.size(),
                       .arrived_ns = arrived_ns,
                       .reading = {}});
    bytes.insert(bytes.end(), frame.bytes.begin(), frame.bytes.end());
  }
  void close() noexcept {
    for (Entry& entry : entries) entry.frame.bytes = std::span(bytes).subspan(entry.at, entry.size);
  }
  void clear() noexcept {
    bytes.clear();
    entries.clear();
    state = State::filling;
  }
};

}  // namespace

struct VerifyQueue::Impl {
  Options options;
  Check check;
  Deliver deliver;
  std::size_t group_frames = 0;

  // A ring: groups from `front` on are waiting, taken or done, in order. The group behind them,
  // filling(), belongs only to the receiving thread.
  std::vector<Group> groups;
  std::size_t front = 0;
  std::size_t in_use = 0;  // without the group that is being filled
  std::uint64_t undelivered = 0;

  std::mutex mutex;  // guards the states of all groups
  std::condition_variable work;
  std::condition_variable done;
  bool closing = false;                // under the mutex: no more groups will come
  std::atomic<bool> given_up = false;  // time ran out: check no more frames
  std::vector<std::thread> workers;

  Group& filling() noexcept { return groups[(front + in_use) % groups.size()]; }

  /// Checks a group that this thread has taken, until time runs out.
  void check_all(Group& group, std::uint64_t deadline_ns = UINT64_MAX) {
    for (Group::Entry& entry : group.entries) {
      if (given_up.load(std::memory_order_relaxed)) return;
      if (deadline_ns != UINT64_MAX && now_ns() >= deadline_ns) return;
      entry.reading = check(entry.frame);
      entry.checked = true;
    }
  }

  void run_worker() {
    std::unique_lock lock(mutex);
    while (true) {  // until the queue is closed
      Group* const group = next_waiting();
      if (group == nullptr) {
        if (closing) return;
        work.wait(lock);
        continue;
      }
      group->state = Group::State::taken;
      lock.unlock();
      check_all(*group);
      lock.lock();
      group->state = Group::State::done;
      done.notify_one();
    }
  }

  /// Call with the mutex held. A worker does not know `front`, so it searches all groups for one
  /// that waits. Their order does not affect the result.
  Group* next_waiting() noexcept {
    const auto found = std::ranges::find(groups, Group::State::waiting, &Group::state);
    return found == groups.end() ? nullptr : &*found;
  }

  void close_group() {
    Group& group = filling();
    group.close();
    {
      const std::lock_guard lock(mutex);
      group.state = Group::State::waiting;
    }
    work.notify_one();
    ++in_use;
  }

  /// Finishes the front group and delivers it. Checks it in this thread if no worker has taken it.
  void finish_front(std::uint64_t deadline_ns) {
    Group& group = groups[front];
    std::unique_lock lock(mutex);
    if (group.state == Group::State::waiting) {
      group.state = Group::State::taken;
      lock.unlock();
      check_all(group, deadline_ns);
      lock.lock();
      group.state = Group::State::done;
    }
    while (group.state != Group::State::done) {
      if (deadline_ns == UINT64_MAX || given_up) {
        done.wait(lock);
      } else if (now_ns() >= deadline_ns) {
        given_up = true;  // the worker stops after its current frame
      } else {
        done.wait_for(lock, std::chrono::nanoseconds(deadline_ns - now_ns()));
      }
    }
    lock.unlock();
    hand_on(group);
  }

  void hand_on(Group& group) {
    for (const Group::Entry& entry : group.entries) {
      const std::size_t at = probe_offset(entry.frame.bytes);
      deliver({.frame = entry.frame,
               .arrived_ns = entry.arrived_ns,
               .reading = entry.checked ? entry.reading : peek_probe(entry.frame.bytes, at),
               .checked = entry.checked});
    }
    undelivered -= group.entries.size();
    front = (front + 1) % groups.size();
    --in_use;
    const std::lock_guard lock(mutex);
    group.clear();
  }

  bool front_is_done() {
    const std::lock_guard lock(mutex);
    return groups[front].state == Group::State::done;
  }

  void stop_workers() {
    {
      const std::lock_guard lock(mutex);
      closing = true;
    }
    work.notify_all();
    for (std::thread& worker : workers) worker.join();
    workers.clear();
  }
};

VerifyQueue::VerifyQueue(std::unique_ptr<Impl> impl) noexcept : impl_(std::move(impl)) {}

Result<std::unique_ptr<VerifyQueue>> VerifyQueue::start(const Options& options, Check check,
                                                        Deliver deliver) {
  auto impl = std::make_unique<Impl>();
  impl->options = options;
  impl->check = std::move(check);
  impl->deliver = std::move(deliver);
  impl->group_frames = options.backlog != 0 ? options.backlog : kFramesWithoutBacklog;
  // One group is filled, while each worker has one and finds another.
  impl->groups.resize(2 * options.threads + 2);
  std::unique_ptr<VerifyQueue> queue(new VerifyQueue(std::move(impl)));
  try {
    for (std::size_t i = 0; i < options.threads; ++i) {
      queue->impl_->workers.emplace_back([impl = queue->impl_.get()] { impl->run_worker(); });
    }
  } catch (const std::system_error& failure) {
    return Error(failure.code(), "cannot start " + std::to_string(options.threads) +
                                     " threads for verification: " + failure.code().message() +
                                     " (set verify_async to a lower number)");
  }
  return queue;
}

VerifyQueue::~VerifyQueue() {
  impl_->given_up = true;
  impl_->stop_workers();
}

void VerifyQueue::put(const FrameView& frame, std::uint64_t arrived_ns) {
  Impl& impl = *impl_;
  if (impl.in_use == impl.groups.size()) impl.finish_front(UINT64_MAX);
  Group& group = impl.filling();
  group.put(frame, arrived_ns);
  ++impl.undelivered;
  if (group.entries.size() < impl.group_frames && group.bytes.size() < impl.options.group_bytes) {
    return;
  }
  impl.close_group();
  if (impl.workers.empty()) impl.finish_front(UINT64_MAX);
}

void VerifyQueue::flush() {
  Impl& impl = *impl_;
  const bool has_room = impl.in_use < impl.groups.size();
  if (impl.options.backlog == 0 && has_room && !impl.filling().entries.empty()) impl.close_group();
  while (impl.in_use > 0 && (impl.workers.empty() || impl.front_is_done())) {
    impl.finish_front(UINT64_MAX);
  }
}

void VerifyQueue::catch_up() {
  Impl& impl = *impl_;
  if (impl.in_use < impl.groups.size() && !impl.filling().entries.empty()) impl.close_group();
  while (impl.in_use > 0) impl.finish_front(UINT64_MAX);
}

std::uint64_t VerifyQueue::finish(std::uint64_t deadline_ns) {
  Impl& impl = *impl_;
  if (impl.in_use < impl.groups.size() && !impl.filling().entries.empty()) impl.close_group();
  std::uint64_t unverified = 0;
  Deliver deliver = std::exchange(impl.deliver, nullptr);
  impl.deliver = [&](const CheckedFrame& frame) {
    unverified += frame.checked ? 0 : 1;
    deliver(frame);
  };
  while (impl.in_use > 0) impl.finish_front(deadline_ns);
  impl.deliver = std::move(deliver);
  impl.stop_workers();
  return unverified;
}

std::uint64_t VerifyQueue::waiting() const noexcept {
  return impl_->undelivered;
}

}  // namespace shmif::perf
