// Opening the events of a session on its target, the descriptor that its users poll, and unloading.

#include <sys/epoll.h>
#include <sys/eventfd.h>

#include <cerrno>
#include <string>
#include <utility>

#include "instruments/counters/session_impl.hpp"
#include "shmif/debug/debug.hpp"

namespace shmif::perf {
namespace {

/// How often to try to open the events of a process while its threads keep starting or ending.
constexpr int kMaxOpenings = 16;

}  // namespace

Result<void> CounterSession::Impl::open_more(std::size_t first, std::optional<VectorFault>* fault) {
  auto opened = open_.open_more(first, target_, options_, fault);
  if (opened) opened = add_wakers();
  if (opened && counts()) opened = open_.enable_from(first);
  return opened;
}

Result<void> CounterSession::Impl::load(const CounterTarget& target,
                                        std::optional<VectorFault>* fault) {
  const Lock lock(mutex_);
  if (auto may = check(SessionCall::load); !may) return may;
  if (auto right = check_target(target, sets_.any_mask()); !right) return right;
  auto loaded = open_all(target, fault);
  if (loaded) {
    state_ = SessionState::loaded;
    tell("loaded");
  } else {
    close_all();
  }
  return loaded;
}

Result<void> CounterSession::Impl::open_all(const CounterTarget& target,
                                            std::optional<VectorFault>* fault) {
  if (auto bound = target_.bind(target); !bound) return bound;
  if (auto opened = open_settled(fault); !opened) return opened;
  // If the task has ended, another task may have got its number before the events were opened.
  if (target_.has_ended()) {
    return cannot_load(ESRCH, "task " + std::to_string(target_.target().task.number),
                       "it has just ended");
  }
  return open_wake();
}

/// A thread that starts while the events are being opened inherits all of them, some of them, or
/// not one. The kernel does not tell which, so the events are opened again, then for it, too (C6).
Result<void> CounterSession::Impl::open_settled(std::optional<VectorFault>* fault) {
  auto opened = open_.open(target_, options_, fault);
  if (!target_.is_process()) return opened;
  for (int left = kMaxOpenings - 1; left > 0; --left) {
    const bool more = target_.list_again();
    if (open_.is_whole() && (!more || !opened)) return opened;
    debug(Debug::counters,
          [&] { return "threads started while the events were opened: once more"; });
    open_.close();
    if (fault != nullptr) fault->reset();
    opened = open_.open(target_, options_, fault);
  }
  // If threads keep starting, some may not be counted. The events can be read all the same.
  if (!opened || open_.is_whole()) return opened;
  return cannot_load(EAGAIN, "process " + std::to_string(target_.target().task.number),
                     "its threads start faster than events can be opened (let it stand meanwhile: "
                     "kill -STOP, and then -CONT)");
}

Result<void> CounterSession::Impl::open_wake() {
  wake_.reset(::epoll_create1(EPOLL_CLOEXEC));
  if (has_switcher()) {
    news_.reset(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    if (!news_) return Error::from_errno(errno, "cannot make a wake descriptor");
  }
  return add_wakers();
}

/// Adds the descriptors that the wake descriptor watches. Existing entries remain.
Result<void> CounterSession::Impl::add_wakers() {
  bool added = static_cast<bool>(wake_);
  std::vector<int> files = samples_.files(!has_switcher());  // C4
  if (target_.descriptor() >= 0) files.push_back(target_.descriptor());
  if (news_) files.push_back(news_.get());
  for (const int file : files) {
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.fd = file;
    added =
        added && (::epoll_ctl(wake_.get(), EPOLL_CTL_ADD, file, &event) == 0 || errno == EEXIST);
  }
  if (!added) return Error::from_errno(errno, "cannot make a wake descriptor");
  return {};
}

/// Resets `news_`: the caller has learned of all overflows so far.
void CounterSession::Impl::forget_news() noexcept {
  eventfd_t ignored = 0;
  if (news_) (void)::eventfd_read(news_.get(), &ignored);
}

void CounterSession::Impl::close_all() noexcept {
  wake_.reset();
  news_.reset();
  open_.close();
  lost_ = {};
  target_.release();
}

/// Does not lock `mutex_`: at the fork, another thread of the parent may have held it.
void CounterSession::Impl::leave_to_parent() noexcept {
  (void)switcher_.release();  // its thread is in the parent and cannot be joined here
  samples_.forget_all();
  close_all();
}

Result<void> CounterSession::Impl::unload_now() {
  if (counts()) {
    open_.disable_all();
    end_turn();
  }
  // The counts remain. A count that can no longer be read keeps its value from before this load.
  sets_.want_all();
  auto read = open_.read_wanted();
  const auto clock = clock_now();
  sets_.keep_counts();
  if (clock) clock_before_ = *clock;
  state_ = SessionState::unloaded;
  close_all();
  return read;
}

Result<void> CounterSession::Impl::unload() {
  Lock lock(mutex_);
  if (auto may = check(SessionCall::unload); !may) return may;
  end_switcher(lock);
  // Checks again, because other threads may have made calls meanwhile.
  if (auto may = check(SessionCall::unload); !may) return may;
  return unload_now();
}

Result<void> CounterSession::Impl::close() {
  Lock lock(mutex_);
  if (auto may = check(SessionCall::close); !may) return may;
  end_switcher(lock);
  if (auto may = check(SessionCall::close); !may) return may;
  if (is_loaded()) (void)unload_now();
  state_ = SessionState::closed;
  return {};
}

}  // namespace shmif::perf
