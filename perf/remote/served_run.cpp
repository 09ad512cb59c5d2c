#include "perf/remote/served_run.hpp"

#include <algorithm>
#include <iterator>
#include <utility>

#include "instruments/watch/clock.hpp"
#include "perf/job/values.hpp"

namespace shmif::perf {

namespace {

using namespace std::chrono_literals;

/// Time to read and check the options of the client's jobs and to plan them: a few milliseconds,
/// and longer if they name frames of a long capture.
constexpr auto kPlanTime = 20s;
/// Time for jobs to be ready, or to fail by their own deadlines (startup_timeout).
constexpr auto kPrepareTime = 120s;
/// Time between being ready and `go`: other servers of the client may be slow.
constexpr auto kHeldTime = 180s;
/// How long a run that the server stops may drain, also when the server ends, and how long a hard
/// stop may take. The runner gives its jobs one second of that.
constexpr auto kSoftTime = 5s;
constexpr auto kEndingSoftTime = 1s;
constexpr auto kHardStopTime = 5s;
constexpr int kLastReadings = 16;
/// A later start is a mistake or malicious.
constexpr std::uint64_t kFarthestStart = 10'000'000'000;

}  // namespace

void ServedRun::go(std::uint64_t start_ns) {
  if (gone_) return;
  gone_ = Clock::now();
  child_->go(std::min(start_ns, now_ns() + kFarthestStart));
}

void ServedRun::stop(int signal, const std::string& why, Clock::time_point now) {
  child_->stop(signal);
  if (jobs_ == 0) kill_planner("the run was stopped before its jobs were planned");
  if (why.empty()) return;
  tell(NoticeMessage{why});
  reason_ = why;
  if (!stopped_) stopped_ = now;
  if (!hard_at_) hard_at_ = now + kSoftTime;
}

void ServedRun::end(int signal, const std::string& why, Clock::time_point now) {
  stop(signal, why, now);
  hard_at_ = std::min(*hard_at_, now + kEndingSoftTime);
}

void ServedRun::stop_hard(int signal, Clock::time_point now) {
  child_->stop_hard(signal);
  if (jobs_ == 0) kill_planner("the run was stopped before its jobs were planned");
  if (!hard_) hard_ = now;
}

/// Kills the process while it plans: it does not yet read orders, and has no results to report.
void ServedRun::kill_planner(const std::string& why) {
  if (killed_ || !last_words_.empty()) return;
  killed_ = true;
  refusal_ = why;
  child_->kill();
}

void ServedRun::abandon(Clock::time_point now) {
  abandoned_ = true;
  stop_hard(0, now);
}

void ServedRun::listen() {
  auto messages = child_->messages().receive();
  if (!messages) return;  // closed; the exit status of the process tells why
  for (std::string& text : *messages) {
    const auto message = decode(text);
    if (!message) continue;
    if (const auto* const planned = std::get_if<PreparedMessage>(&*message)) {
      jobs_ = jobs_to_tell_ = planned->jobs;
      continue;
    }
    const auto* const refused = std::get_if<RefusedMessage>(&*message);
    if (refused != nullptr && jobs_ == 0 && !refused->why.empty()) refusal_ = refused->why.front();
    if (refused != nullptr || std::holds_alternative<FinishedMessage>(*message)) {
      last_words_ = std::move(text);
    } else if (std::holds_alternative<StateMessage>(*message)) {
      states_.push_back({std::move(text)});
    } else {
      told_.push_back({std::move(text), std::holds_alternative<ProgressMessage>(*message)});
    }
  }
}

void ServedRun::watch_the_clock(Clock::time_point now) {
  if (!ready_ && jobs_ != 0 && child_->ready()) {
    ready_ = now;
    tell(PreparedMessage{jobs_});
  }
  if (gone_ && !told_start_ && child_->started_ns() != 0) {
    told_start_ = true;
    tell(StartedMessage{child_->started_ns()});
  }
  if (hard_ || stopped_) return;
  if (jobs_ == 0 && now > made_ + kPlanTime) {
    kill_planner("the jobs were not planned within " + time_text(kPlanTime) +
                 " (name a frame nearer to the beginning of its capture in headers, or ask for "
                 "fewer jobs)");
  } else if (!ready_ && now > made_ + kPrepareTime) {
    stop(0,
         "the jobs were not ready after " + time_text(kPrepareTime) +
             " (is an exec_prerun still waiting? otherwise ask for fewer jobs)",
         now);
  } else if (ready_ && !gone_ && now > *ready_ + kHeldTime) {
    stop(0,
         "the client did not say when to start within " + time_text(kHeldTime) +
             " (another of its servers may be slow: run it again, or without that one)",
         now);
  } else if (gone_ && now > *gone_ + max_runtime_) {
    stop(0,
         "the run was stopped, because it took longer than the server's --max-runtime, " +
             time_text(max_runtime_),
         now);
  }
}

void ServedRun::escalate(Clock::time_point now) {
  if (hard_at_ && !hard_ && now > *hard_at_) stop_hard(0, now);
  if (hard_ && !killed_ && now > *hard_ + kHardStopTime) {
    killed_ = true;
    child_->kill();
  }
}

std::vector<Told> ServedRun::look(Clock::time_point now) {
  const bool ended = child_->ended();  // before reading, so that no last message is missed
  // The rest from an ended process fits a socket's buffer, so a few reads get all of it.
  for (int i = 0; i == 0 || (ended && last_words_.empty() && i < kLastReadings); ++i) listen();
  watch_the_clock(now);
  escalate(now);
  if (ended) {
    if (!refusal_.empty() && last_words_.empty()) {
      tell(RefusedMessage{{refusal_}});
    } else if (last_words_.empty()) {
      const std::string how = child_->how().empty() ? "ended without a result" : child_->how();
      tell(RefusedMessage{{"the process of the run " + how}});
    } else {
      // Sends states with the result, so that the client has as much time to read them.
      std::ranges::move(states_, std::back_inserter(told_));
      // Once the client has the result, the server is free.
      told_.push_back({std::move(last_words_)});
    }
    over_ = true;
  }
  return std::exchange(told_, {});
}

}  // namespace shmif::perf
