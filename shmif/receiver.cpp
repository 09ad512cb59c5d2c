#include "shmif/receiver.hpp"

#include <atomic>
#include <exception>
#include <mutex>
#include <string>
#include <thread>

#include "shmif/log.hpp"

namespace shmif {
namespace {

constexpr std::chrono::milliseconds kPauseAfterFailure{10};
constexpr unsigned kFailuresInARow = 100;

}  // namespace

struct Receiver::Impl {
  Impl(Port& p, Callback c) : port(p), callback(std::move(c)) {}

  void run(const std::stop_token& stop) noexcept;
  bool deliver(std::span<const FrameView> frames) noexcept;

  Port& port;
  Callback callback;
  FrameBatch batch;  ///< a member, so that lack of memory shows when a receiver is made
  std::atomic<bool> running{true};
  std::atomic<std::uint64_t> failed_receives{0};
  mutable std::mutex mutex;         ///< guards error
  std::mutex join_mutex;            ///< two threads may call stop()
  std::atomic<std::thread::id> id;  ///< of the thread, which sets it itself: a join would erase it
  std::error_code error;
  std::jthread thread;  ///< last: it uses all of the above
};

Receiver::Receiver(Port& port, Callback callback)
    : impl_(std::make_unique<Impl>(port, std::move(callback))) {
  impl_->thread =
      std::jthread([impl = impl_.get()](const std::stop_token& stop) { impl->run(stop); });
}

Receiver::~Receiver() {
  stop();
}  // must not run inside the callback

void Receiver::Impl::run(const std::stop_token& stop) noexcept {
  id = std::this_thread::get_id();
  const std::stop_callback wake(stop, [this] { port.interrupt_receiver(); });
  unsigned failures = 0;
  std::error_code why;
  while (!stop.stop_requested()) {
    batch.clear();
    const ReceiveResult got = port.receive(batch);
    if (!batch.empty() && !deliver(batch.frames())) {
      why = Errc::link_ended;
      break;
    }
    if (got.error) {
      // A corrupt bus may be repaired, and a held lock released. So these errors are tried again
      // for a while. Other errors do not go away.
      ++failed_receives;
      const bool may_end = got.error == Errc::corrupt || got.error == Errc::lock_held;
      if (!may_end || ++failures == kFailuresInARow) {
        why = got.error;
        break;
      }
      std::this_thread::sleep_for(kPauseAfterFailure);
      continue;
    }
    failures = 0;
    if (!batch.empty() || stop.stop_requested()) continue;
    if (port.is_up()) {
      port.wait(std::chrono::nanoseconds::max());
    } else if (!port.wait_until_up() && !stop.stop_requested()) {
      // Somebody else interrupted the port, or the bus is lost; receive() reports the latter.
      std::this_thread::sleep_for(kPauseAfterFailure);
    }
  }
  const std::lock_guard guard(mutex);
  error = why;
  running = false;
}

bool Receiver::Impl::deliver(std::span<const FrameView> frames) noexcept {
  try {
    callback(frames);
    return true;
  } catch (const std::exception& e) {
    log_if_possible(
        [&] { log_error("the callback of a receiver threw: " + std::string(e.what())); });
  } catch (...) {
    log_if_possible([] {
      log_error("the callback of a receiver threw something that is not a std::exception");
    });
  }
  return false;
}

void Receiver::stop() noexcept {
  impl_->thread.request_stop();
  if (impl_->id.load() == std::this_thread::get_id()) return;  // inside the callback: join later
  const std::lock_guard guard(impl_->join_mutex);
  if (impl_->thread.joinable()) impl_->thread.join();
}

std::stop_token Receiver::stop_token() const noexcept {
  return impl_->thread.get_stop_token();
}
bool Receiver::running() const noexcept {
  return impl_->running;
}
std::error_code Receiver::error() const noexcept {
  const std::lock_guard guard(impl_->mutex);
  return impl_->error;
}
std::uint64_t Receiver::failed_receives() const noexcept {
  return impl_->failed_receives;
}

}  // namespace shmif
