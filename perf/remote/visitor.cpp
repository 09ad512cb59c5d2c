#include "perf/remote/visitor.hpp"

#include <algorithm>
#include <utility>

namespace shmif::perf {

namespace {

using namespace std::chrono_literals;
using Stage = Visitor::Stage;

/// Time for hello, which a program can send at once.
constexpr auto kHelloTime = 5s;
/// Time from hello to jobs: the client sends these without waiting for its user, but it may first
/// compare the clocks of all its servers, of which others may be slow to connect and to greet.
constexpr auto kJobsTime = 20s;
/// Limits on the time in which a client reads the last message: without progress, and in all.
constexpr auto kFarewellTime = 5s;
constexpr auto kLongestFarewell = 10min;
/// The same while the server is ending: in all, and without progress.
constexpr auto kEndingTime = 10s;
constexpr auto kEndingSilence = 2s;
constexpr std::size_t kMaxStrangers = 32;
/// Most bytes that wait for a visitor that does not read. Progress, which may wait up to 1 MiB, is
/// included.
constexpr std::size_t kMaxWaitingAnswers = 4U << 20U;

}  // namespace

Visitor::Visitor(UniqueFd socket, std::string address)
    : connection(std::move(socket), kMaxHelloBytes),
      name(std::move(address)),
      deadline_(Clock::now() + kHelloTime) {}

void Visitor::welcome() {
  stage = Stage::known;
  deadline_ = Clock::now() + kJobsTime;
  connection.allow(kMaxJobsBytes);
}

void Visitor::leave(bool with_result) {
  stage = Stage::leaving;
  has_result_ = with_result;
  left_ = Clock::now();
  deadline_ = left_ + kFarewellTime;
}

bool Visitor::may_be_dropped() const noexcept {
  return stage != Stage::gone && stage != Stage::owner && !has_result_;
}

std::optional<std::string> Visitor::look(Clock::time_point now,
                                         std::optional<Clock::time_point> ending) {
  if (!has_result_ && connection.waiting_bytes() > kMaxWaitingAnswers) {
    return "it does not read its messages";
  }
  switch (stage) {
    case Stage::stranger:
    case Stage::known:
      if (now > deadline_) return "it did not send its jobs in time";
      break;
    case Stage::owner:
      if (now > connection.heard() + kSilence) return "it no longer answers";
      break;
    case Stage::leaving:
      if (has_left(now, ending)) stage = Stage::gone;
      break;
    case Stage::gone: break;
  }
  return std::nullopt;
}

bool Visitor::has_left(Clock::time_point now, std::optional<Clock::time_point> ending) const {
  // The side that closes first loses what the other has not read, so the client must close first.
  const bool told = connection.waiting_bytes() == 0;
  if (ending) {
    const auto since = std::max(left_, *ending);
    const auto silent = (told ? since : std::max(since, connection.moved())) + kEndingSilence;
    return now > std::min(silent, since + kEndingTime);
  }
  const auto deadline = told ? deadline_ : std::max(deadline_, connection.moved() + kSilence);
  return now > std::min(deadline, left_ + kLongestFarewell);
}

bool is_crowded(const Visitors& visitors) {
  const auto count =
      std::ranges::count_if(visitors, [](const auto& each) { return each->may_be_dropped(); });
  return static_cast<std::size_t>(count) >= kMaxStrangers;
}

Visitor* whom_to_drop(const Visitors& visitors) {
  for (const Stage stage : {Stage::stranger, Stage::known, Stage::leaving}) {
    // In the order of arrival.
    const auto it = std::ranges::find_if(visitors, [stage](const auto& each) {
      return each->stage == stage && each->may_be_dropped();
    });
    if (it != visitors.end()) return it->get();
  }
  return nullptr;
}

}  // namespace shmif::perf
