#include "perf/remote/remote_host.hpp"

#include <poll.h>

#include "instruments/watch/clock.hpp"
#include "perf/report/table.hpp"
#include "shmif/debug/debug.hpp"

namespace shmif::perf {

namespace {

using namespace std::chrono_literals;

constexpr auto kConnectTime = 5s;
constexpr auto kGreetTime = 5s;
/// Time until its jobs are ready. A server gives them 2 min, and 10 s more to end.
constexpr auto kPreparedBy = 180s;
/// Time from `go`, which is sent shortly before the start, until the server says that it started.
constexpr auto kStartTime = 60s;
/// Time for a server to end a run after it has given the reason; it needs less.
constexpr auto kNoticeTime = 60s;
/// Time without an answer to a ping while other bytes arrive: on a slow line, progress comes first.
constexpr auto kAnswerTime = 120s;
/// Time from the first byte of a message to its end: a server has as long to send a result.
constexpr auto kMessageTime = 10min;
/// A longer message can only be a result. It is read when the client waits for no other server.
constexpr std::size_t kMaxLiveBytes = 16U << 20U;
/// How many pings to make before the start, one right after the other.
constexpr int kAnswersWanted = 8;
constexpr std::size_t kMaxReasonsShown = 20;
/// Limit for all states of one server together, because they are kept until the end.
constexpr std::size_t kMaxAllStatesBytes = 64U << 20U;

}  // namespace

int RemoteHost::descriptor() const noexcept {
  return connection_ ? connection_->descriptor() : -1;
}

short RemoteHost::events() const noexcept {
  if (stage_ == Stage::connecting) return POLLOUT;
  return connection_->events();
}

// ---- To the server ----

void RemoteHost::connect() {
  const auto address = parse_server_address(name_);
  if (!address) return fail(address.error().message);
  auto all = addresses_of(*address);
  if (!all) return fail(all.error().message);
  addresses_ = *std::move(all);
  try_next_address("no address");
}

void RemoteHost::try_next_address(const std::string& why) {
  connection_.reset();
  if (addresses_.empty()) {
    return fail("cannot reach it: " + why +
                " (is 'shmifperf server' running there, with --listen at that address?)");
  }
  const SocketAddress address = addresses_.front();
  addresses_.erase(addresses_.begin());
  debug(Debug::remote, [&] { return "connects to " + name_ + " at " + address.to_string(); });
  auto socket = begin_connecting(address);
  if (!socket) return try_next_address(socket.error().message);
  connection_ = std::make_unique<Connection>(*std::move(socket), kMaxJobsBytes);
  deadline_ = Clock::now() + kConnectTime;
}

void RemoteHost::finish_connecting(Clock::time_point now) {
  pollfd entry{connection_->descriptor(), POLLOUT, 0};
  if (::poll(&entry, 1, 0) == 0) {
    if (now > *deadline_) try_next_address("no answer within 5 s");
    return;
  }
  if (const auto done = connected(connection_->descriptor()); !done) {
    return try_next_address(done.error().message);
  }
  stage_ = Stage::greeting;
  deadline_ = now + kGreetTime;
  answered_ = now;
  // The answer shows whether the jobs should be sent.
  connection_->send(hello_);
}

void RemoteHost::go(std::uint64_t start_ns) {
  if (stage_ != Stage::prepared) return;
  stage_ = Stage::going;
  ordered_ns_ = start_ns;
  debug(Debug::remote, [&] { return name_ + " is told to start its jobs"; });
  deadline_ = Clock::now() + kStartTime;
  connection_->send(GoMessage{clock_.to_theirs(start_ns)});
}

bool RemoteHost::may_have_started() const noexcept {
  return started_ns_ || (ordered_ns_ && now_ns() >= *ordered_ns_);
}

void RemoteHost::stop(Stop how, int signal) {
  const bool hard = how == Stop::at_once;
  const bool has_run =
      stage_ == Stage::preparing || stage_ == Stage::prepared || stage_ == Stage::going;
  if (has_run) {
    debug(Debug::remote, [&] { return name_ + " is told to stop" + (hard ? " at once" : ""); });
    return connection_->send(StopMessage{hard, signal});
  }
  if (!over()) give_up("");
}

void RemoteHost::trigger() {
  if (stage_ != Stage::going) return;
  debug(Debug::remote, [&] { return name_ + " is told to fire its trigger"; });
  connection_->send(TriggerMessage{});
}

void RemoteHost::sender_ended(const std::string& job, std::uint64_t frames) {
  if (stage_ != Stage::going) return;
  debug(Debug::remote, [&] {
    return name_ + " is told that " + job + " was sent " + std::to_string(frames) + " frames";
  });
  connection_->send(SenderEndedMessage{job, frames});
}

void RemoteHost::give_up(const std::string& why) {
  if (over()) return;
  if (!why.empty()) return fail(why);
  connection_.reset();
  stage_ = Stage::over;
}

bool RemoteHost::can_take_jobs() const noexcept {
  return stage_ == Stage::greeted && clock_.answers() >= kAnswersWanted;
}

void RemoteHost::send_jobs(Clock::time_point now) {
  stage_ = Stage::preparing;
  deadline_ = now + kPreparedBy;
  connection_->send(jobs_);
}

bool RemoteHost::can_go() const noexcept {
  return stage_ == Stage::prepared && clock_.answers() >= kAnswersWanted;
}

void RemoteHost::fail(std::string why) {
  debug(Debug::remote, [&] { return name_ + ": " + why; });
  failures_.push_back(std::move(why));
  connection_.reset();
  stage_ = Stage::over;
}

// ---- From the server ----

void RemoteHost::look(Clock::time_point now) {
  if (over() || !connection_) return;
  if (stage_ == Stage::connecting) return finish_connecting(now);
  connection_->pump();
  const auto messages = connection_->receive(now);
  if (!messages) {
    return fail(stage_ == Stage::greeting
                    ? "it is not a shmifperf server: " + messages.error().message
                    : "the connection was lost: " + messages.error().message +
                          " (was the server killed, or the network cut? start it again)");
  }
  for (const std::string& text : *messages) {
    if (text.size() > kMaxLiveBytes) {
      last_message_ = text;
      connection_.reset();
      stage_ = Stage::over;
      return;
    }
    const auto message = decode(text);
    if (!message) return fail(message.error().message);
    hear(*message, now);
    if (over()) return;
  }
  if (std::string why = lateness(now); !why.empty()) return fail(std::move(why));
  ping(now);
}

std::string RemoteHost::lateness(Clock::time_point now) const {
  // A server whose clock is known waits for others, which have their own deadlines.
  if (deadline_ && now > *deadline_ && !can_take_jobs()) {
    if (stage_ == Stage::greeting) return "it said nothing for 5 s (is that a shmifperf server?)";
    if (stage_ == Stage::greeted)
      return "its clock could not be compared within 5 s (is it overloaded? start it again)";
    return std::string("it is connected, but did not ") +
           (stage_ == Stage::preparing ? "prepare the jobs" : "start them") +
           " and did not say why (is it overloaded? start it again)";
  }
  if (now > connection_->heard() + kSilence) {
    return "it no longer answers (does its machine hang, or is the network cut? its jobs end by "
           "themselves)";
  }
  const auto begun = connection_->begun();
  if (begun && now > *begun + kMessageTime) {
    return "it has been sending one message for 10 min (is the network too slow for its result? "
           "ask "
           "for fewer intervals or jobs)";
  }
  if (!begun && stage_ != Stage::greeting && now > answered_ + kAnswerTime) {
    return "it sends messages, but has not answered a ping for 2 min (start it again)";
  }
  return {};
}

void RemoteHost::ping(Clock::time_point now) {
  if (stage_ == Stage::greeting) return;
  const bool compares = stage_ == Stage::prepared || stage_ == Stage::greeted;
  // A server whose jobs send to another one is asked again at once when they have started: it may
  // be over before the next second.
  const bool compares_again = stage_ == Stage::going && jobs_go_ == JobsGo::when_told &&
                              now_ns() >= ordered_ns_.value_or(0) &&
                              clock_since_start_.answers() < kAnswersWanted;
  const bool in_a_hurry = (compares && clock_.answers() < kAnswersWanted) || compares_again;
  if ((in_a_hurry && !pong_due_) || now > pinged_ + kPingEvery) {
    pinged_ = now;
    pong_due_ = true;
    connection_->send(PingMessage{now_ns()});
  }
}

void RemoteHost::hear_hello(const HelloMessage& hello, Clock::time_point now) {
  const std::string why = mismatch(hello_, "this client", hello, "the server");
  if (!why.empty()) return fail("cannot work with it: " + why);
  answered_ = now;
  clock_identity_ = hello.clock;
  connection_->allow(kMaxResultBytes);
  if (jobs_go_ == JobsGo::at_once) return send_jobs(now);
  stage_ = Stage::greeted;
  deadline_ = now + kGreetTime;
}

std::optional<Report> RemoteHost::read_report(const std::function<bool()>& stop) {
  if (!last_message_.empty()) {
    const auto message = decode(last_message_, stop);
    last_message_.clear();
    const auto* const finished = message ? std::get_if<FinishedMessage>(&*message) : nullptr;
    if (finished != nullptr) {
      result_ = finished->result;
      halves_ = finished->halves;
    } else {
      failures_.push_back(message ? "it sent a message that is too long" : message.error().message);
    }
  }
  if (result_.empty()) return std::nullopt;
  auto report = Report::parse(result_, "of " + name_, stop);
  if (report) return *std::move(report);
  failures_.push_back(report.error().message);
  return std::nullopt;
}

/// An interval that nobody has taken becomes the beginning of the next one.
void RemoteHost::add_newest_interval() {
  if (!newest_interval_) return;
  const RunProgress before = std::exchange(interval_, *std::move(newest_interval_));
  newest_interval_.reset();
  for (JobProgress& job : interval_.jobs) {
    const auto old = std::ranges::find(before.jobs, job.name, &JobProgress::name);
    if (!has_interval_ || old == before.jobs.end()) continue;
    const IntervalResult newest = std::exchange(job.last, old->last);
    extend(job.last, newest);
  }
  has_interval_ = true;
}

void RemoteHost::hear_state(const StateMessage& state) {
  state_bytes_ += state.state.size();
  if (state_bytes_ <= kMaxAllStatesBytes && states_.size() < kMaxItems) {
    return states_.push_back(state);
  }
  states_lost_ = true;
}

std::vector<std::string> RemoteHost::failures_at_end() const {
  std::vector<std::string> all = failures_;
  if (states_lost_) {
    all.emplace_back(
        "its verification states are more than the client keeps; the rest stay in its directory "
        "(copy them)");
  }
  return all;
}

void RemoteHost::hear(const Message& message, Clock::time_point now) {
  debug(Debug::remote, [&] { return name_ + " says \"" + type_of(message) + '"'; });
  if (const auto* hello = std::get_if<HelloMessage>(&message)) {
    if (stage_ == Stage::greeting) hear_hello(*hello, now);
  } else if (const auto* pong = std::get_if<PongMessage>(&message)) {
    pong_due_ = false;
    answered_ = now;
    const std::uint64_t heard = now_ns();
    clock_.note(pong->sent_ns, heard, pong->clock_ns);
    const bool is_later = stage_ == Stage::going && pong->sent_ns >= ordered_ns_.value_or(0);
    if (is_later) clock_since_start_.note(pong->sent_ns, heard, pong->clock_ns);
  } else if (const auto* progress = std::get_if<ProgressMessage>(&message)) {
    progress_ = progress->progress;
    add_newest_interval();
    if (progress->interval) newest_interval_ = progress->progress;
  } else if (const auto* run = std::get_if<RunMessage>(&message)) {
    run_ = printable(run->what);
  } else if (std::holds_alternative<PreparedMessage>(message)) {
    if (stage_ != Stage::preparing) return;
    stage_ = Stage::prepared;
    deadline_.reset();
  } else if (const auto* started = std::get_if<StartedMessage>(&message)) {
    if (stage_ != Stage::going) return;
    started_ns_ = clock_.to_ours(started->start_ns);
    deadline_.reset();
  } else if (const auto* notice = std::get_if<NoticeMessage>(&message)) {
    if (failures_.size() < kMaxReasonsShown) failures_.push_back(printable(notice->what));
    // Only once. Otherwise a server could stay for ever by giving more reasons.
    if (deadline_ && !noticed_) deadline_ = std::max(*deadline_, now + kNoticeTime);
    noticed_ = true;
  } else if (const auto* triggered = std::get_if<TriggeredMessage>(&message)) {
    if (stage_ == Stage::going) triggered_ = printable(triggered->what);
  } else if (const auto* state = std::get_if<StateMessage>(&message)) {
    answered_ = now;  // a server that sends its result answers no pings
    if (stage_ == Stage::going) hear_state(*state);
  } else if (const auto* finished = std::get_if<FinishedMessage>(&message)) {
    result_ = finished->result;
    halves_ = finished->halves;
    connection_.reset();
    stage_ = Stage::over;
  } else if (const auto* busy = std::get_if<BusyMessage>(&message)) {
    fail("it is busy with a run of " + printable(busy->by) + " since " + printable(busy->since) +
         " (try again later)");
  } else if (const auto* refused = std::get_if<RefusedMessage>(&message)) {
    std::vector<std::string> why = refused->why;
    if (why.empty()) why.emplace_back("it gave no reason");
    why.resize(std::min(why.size(), kMaxReasonsShown));
    // A run that was on was not refused.
    const std::string what = may_have_started() ? "its run ended early: " : "refused: ";
    for (const std::string& reason : why) failures_.push_back(what + printable(reason));
    refused_with_ = refused->exit_code;
    connection_.reset();
    stage_ = Stage::over;
  }
}

}  // namespace shmif::perf
