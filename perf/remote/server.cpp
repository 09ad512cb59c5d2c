#include "perf/remote/server.hpp"

#include <poll.h>
#include <sys/socket.h>
#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <ctime>
#include <utility>

#include "instruments/watch/clock.hpp"
#include "perf/remote/pinned_directory.hpp"
#include "perf/remote/served_run.hpp"
#include "perf/report/table.hpp"
#include "shmif/debug/debug.hpp"

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

/// Whether there are as many droppable visitors as the server has room for.
bool is_crowded(const Visitors& visitors) {
  const auto count =
      std::ranges::count_if(visitors, [](const auto& each) { return each->may_be_dropped(); });
  return static_cast<std::size_t>(count) >= kMaxStrangers;
}

/// The visitor to drop for a new one: first those that have not said hello, then those that have,
/// then those that are leaving; among equals the oldest. Null if no visitor may be dropped.
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

namespace {

using Clock = Connection::Clock;

/// Progress for a slow client is kept up to this size, then dropped.
constexpr std::size_t kMaxWaitingProgress = 1U << 20U;
/// Pause after a failed accept(), for example because of too many open files.
constexpr int kAcceptPause = 100;

std::string time_now() {
  const std::time_t now = std::time(nullptr);
  std::tm utc{};
  ::gmtime_r(&now, &utc);
  char text[32];
  const std::size_t size = std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &utc);
  return {text, size};
}

/// The plan of a client's jobs, or why the server does not run them.
RunPlan plan_within(const ServerLimits& limits, const JobTexts& texts) {
  RunPlan plan;
  if (limits.keeps_directory()) {
    if (const auto pinned = pin_directory(limits.directory); !pinned) {  // D1
      plan.problems.push_back(pinned.error().message);
      return plan;
    }
  }
  JobSet set = job_set_of(texts, limits, plan.problems);
  if (plan.problems.empty()) plan.problems = apply_limits(limits, set);
  if (!plan.problems.empty()) return plan;
  Planning planning = plan_of(set);
  plan.problems = std::move(planning.problems);
  if (!plan.problems.empty()) return plan;
  const std::string why = too_much_memory(limits, planning.jobs, set.run);
  if (!why.empty()) plan.problems.push_back(why);
  plan.options = std::move(set.run);
  plan.jobs = std::move(planning.jobs);
  return plan;
}

}  // namespace

struct Server::Impl {
  ServerOptions options;
  SocketAddress address;
  UniqueFd listener;
  Visitors visitors;
  std::unique_ptr<ServedRun> run;
  Visitor* owner = nullptr;
  bool closed = false;                      ///< to new visitors
  std::optional<Clock::time_point> ending;  ///< when a signal told it to end

  void log(const std::string& line) const { options.log(time_now() + ' ' + line); }

  void serve(int stop_descriptor, const std::function<int()>& stop_signal);
  void wait(int stop_descriptor);
  void accept_all();
  void make_room();
  void attend(Visitor& visitor);
  void hear(Visitor& visitor, const Message& message);
  void greet(Visitor& visitor, const HelloMessage& hello);
  void take_jobs(Visitor& visitor, const JobsMessage& jobs);
  void say_busy(Visitor& visitor);
  void refuse(Visitor& visitor, std::vector<std::string> why);
  void leave(Visitor& visitor, bool with_result = false);
  void lose(Visitor& visitor, const std::string& why);
  void look_at_run();
  void end(int signal);
  void close(const std::string& why);
};

// ---- Visitors come and go ----

void Server::Impl::accept_all() {
  if (!listener) return;
  for (int i = 0; i < 16; ++i) {
    SocketAddress from;
    from.size = sizeof from.storage;
    const int fd = ::accept4(listener.get(), reinterpret_cast<sockaddr*>(&from.storage), &from.size,
                             SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0) {
      if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS) {
        make_room();
        ::poll(nullptr, 0, kAcceptPause);
      }
      return;
    }
    if (is_crowded(visitors)) make_room();
    debug(Debug::remote, [&] { return from.to_string() + " connects"; });
    visitors.push_back(std::make_unique<Visitor>(UniqueFd(fd), from.to_string()));
  }
}

void Server::Impl::make_room() {
  Visitor* const visitor = whom_to_drop(visitors);
  if (visitor == nullptr) return;
  const bool stranger = visitor->stage == Visitor::Stage::stranger;
  lose(*visitor, stranger ? "others came, and it had sent nothing yet"
                          : "others came, and it had sent no jobs yet");
}

void Server::Impl::lose(Visitor& visitor, const std::string& why) {
  if (visitor.stage == Visitor::Stage::owner && run) {
    log(visitor.name + " is gone (" + why + "), its run is stopped");
    run->abandon(Clock::now());
  } else if (visitor.stage != Visitor::Stage::leaving) {
    log(visitor.name + " was dropped: " + why);
  }
  if (owner == &visitor) owner = nullptr;
  visitor.stage = Visitor::Stage::gone;
}

/// Lets a visitor read its last message.
void Server::Impl::leave(Visitor& visitor, bool with_result) {
  if (visitor.stage == Visitor::Stage::gone) return;
  if (owner == &visitor) owner = nullptr;
  visitor.leave(with_result);
}

void Server::Impl::refuse(Visitor& visitor, std::vector<std::string> why) {
  log(visitor.name + " was refused: " + printable(why.front()));
  visitor.connection.send(RefusedMessage{std::move(why)});
  leave(visitor);
}

void Server::Impl::say_busy(Visitor& visitor) {
  log(visitor.name + " was told that the server is busy");
  visitor.connection.send(BusyMessage{run->client(), run->since()});
  leave(visitor);
}

// ---- Their messages ----

void Server::Impl::attend(Visitor& visitor) {
  if (visitor.stage == Visitor::Stage::gone) return;
  visitor.connection.pump();
  const auto messages = visitor.connection.receive();
  if (!messages) {
    const bool nonsense = messages.error().code == Errc::bad_argument;
    if (nonsense && visitor.stage == Visitor::Stage::stranger) {
      return refuse(visitor,
                    {"this is a shmifperf server, and that was not a message of shmifperf: " +
                     messages.error().message});
    }
    return lose(visitor, messages.error().message);
  }
  for (const std::string& text : *messages) {
    if (visitor.stage == Visitor::Stage::leaving || visitor.stage == Visitor::Stage::gone) return;
    const auto message = decode(text);
    if (!message) {
      if (visitor.stage == Visitor::Stage::owner) return lose(visitor, message.error().message);
      return refuse(visitor, {message.error().message});
    }
    hear(visitor, *message);
  }
}

void Server::Impl::hear(Visitor& visitor, const Message& message) {
  debug(Debug::remote, [&] { return visitor.name + " says \"" + type_of(message) + '"'; });
  if (const auto* ping = std::get_if<PingMessage>(&message)) {
    if (visitor.stage == Stage::stranger)
      return refuse(visitor, {"the first message must be \"hello\""});
    return visitor.connection.send(PongMessage{ping->sent_ns, now_ns()});
  }
  const auto* const hello = std::get_if<HelloMessage>(&message);
  if (visitor.stage == Stage::stranger && hello != nullptr) return greet(visitor, *hello);
  const auto* const jobs = std::get_if<JobsMessage>(&message);
  if (visitor.stage == Stage::known && jobs != nullptr) return take_jobs(visitor, *jobs);
  if (visitor.stage == Stage::owner && run) {
    if (const auto* go = std::get_if<GoMessage>(&message)) return run->go(go->start_ns);
    if (std::holds_alternative<TriggerMessage>(message)) return run->trigger();
    if (const auto* ended = std::get_if<SenderEndedMessage>(&message)) {
      return run->sender_ended(ended->job, ended->frames);
    }
    if (const auto* stop = std::get_if<StopMessage>(&message)) {
      if (stop->hard) return run->stop_hard(stop->signal, Clock::now());
      return run->stop(stop->signal, "", Clock::now());
    }
  }
  const std::string why = std::string("\"") + type_of(message) + "\" is not allowed at this point";
  if (visitor.stage == Stage::owner) return lose(visitor, why);
  refuse(visitor, {why});
}

void Server::Impl::greet(Visitor& visitor, const HelloMessage& hello) {
  HelloMessage ours;
  ours.version = options.version;
  ours.clock = identity_of_clock();
  visitor.connection.send(ours);
  const std::string host = printable(hello.host);
  if (!host.empty()) visitor.name += " (" + host + ')';
  const std::string why = mismatch(ours, "this server", hello, "the client");
  if (!why.empty()) return refuse(visitor, {why});
  if (run) return say_busy(visitor);
  visitor.welcome();
}

void Server::Impl::take_jobs(Visitor& visitor, const JobsMessage& jobs) {
  if (run) return say_busy(visitor);
  const auto make_plan = [&] { return plan_within(options.limits, jobs.set); };
  auto child = RunChild::start(make_plan, {options.version, jobs.command});
  if (!child) return refuse(visitor, {child.error().message});
  run = std::make_unique<ServedRun>(*std::move(child), visitor.name, time_now(),
                                    options.limits.max_runtime);
  visitor.stage = Visitor::Stage::owner;
  owner = &visitor;
}

// ---- The run and the clock ----

void Server::Impl::look_at_run() {
  if (!run) return;
  for (Told& told : run->look(Clock::now())) {
    if (owner == nullptr) continue;
    const std::string json = std::move(told.json);  // freed before the next one is queued
    const bool drop = told.progress && owner->connection.waiting_bytes() > kMaxWaitingProgress;
    if (!drop) owner->connection.send_text(json);
  }
  if (const auto jobs = run->take_jobs(); jobs != 0) {
    log(run->client() + " has the server for " + std::to_string(jobs) +
        (jobs == 1 ? " job" : " jobs"));
  }
  if (run->take_start()) log(run->client() + ": the jobs begin");
  // If the server is ending, its log already has the reason.
  if (const auto why = run->take_reason(); !why.empty() && !ending)
    log(run->client() + ": its run is stopped: " + why);
  if (!run->over()) return;
  const bool refused = !run->refusal().empty();
  if (refused && !run->abandoned()) {
    log(run->client() + " was refused: " + printable(run->refusal()));
  } else {
    log(run->client() + (run->abandoned() ? ": its run was stopped" : " has its result") +
        ", the server is free");
  }
  run.reset();
  if (owner != nullptr) leave(*owner, !refused);
  if (options.once && !refused) close("the server ends after one run");
}

void Server::Impl::end(int signal) {
  if (ending) return;
  ending = Clock::now();
  const std::string why = std::string("the server is ended by signal ") + std::to_string(signal) +
                          " (" + ::strsignal(signal) + ')';
  log(why);
  if (run) run->end(signal, why, Clock::now());
  close(why);
}

/// Accepts no new visitors. The owner of the run and leaving visitors may stay to the end.
void Server::Impl::close(const std::string& why) {
  closed = true;
  listener.reset();
  for (const auto& visitor : visitors) {
    if (visitor->stage == Visitor::Stage::known) refuse(*visitor, {why});
    if (visitor->stage == Visitor::Stage::stranger) visitor->stage = Visitor::Stage::gone;
  }
}

void Server::Impl::wait(int stop_descriptor) {
  std::vector<pollfd> entries{{listener.get(), POLLIN, 0}};
  // After the stop was noticed, the descriptor stays readable.
  if (!ending) entries.push_back({stop_descriptor, POLLIN, 0});
  if (run) entries.push_back({run->descriptor(), POLLIN, 0});
  for (const auto& visitor : visitors) {
    entries.push_back({visitor->connection.descriptor(), visitor->connection.events(), 0});
  }
  const bool quiet = !run && visitors.empty() && !closed;
  const int max = quiet ? -1 : run && run->is_starting() ? 10 : 200;
  ::poll(entries.data(), entries.size(), max);
}

void Server::Impl::serve(int stop_descriptor, const std::function<int()>& stop_signal) {
  while (!closed || run || !visitors.empty()) {  // runs until it must end
    wait(stop_descriptor);
    if (const int signal = stop_signal(); signal != 0) end(signal);
    accept_all();
    for (const auto& visitor : visitors) attend(*visitor);
    look_at_run();
    const auto now = Clock::now();
    for (const auto& visitor : visitors) {
      if (const auto why = visitor->look(now, ending)) lose(*visitor, *why);
    }
    std::erase_if(visitors,
                  [](const auto& visitor) { return visitor->stage == Visitor::Stage::gone; });
  }
}

Server::Server(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Server::~Server() = default;

Result<std::unique_ptr<Server>> Server::create(ServerOptions options) {
  auto impl = std::make_unique<Impl>();
  auto listener = listen_at(options.address);
  if (!listener) return std::move(listener).error();
  auto address = address_of(listener->get());
  if (!address) return std::move(address).error();
  impl->options = std::move(options);
  impl->listener = *std::move(listener);
  impl->address = *address;
  return std::unique_ptr<Server>(new Server(std::move(impl)));
}

const SocketAddress& Server::address() const noexcept {
  return impl_->address;
}

void Server::serve(int stop_descriptor, const std::function<int()>& stop_signal) {
  impl_->serve(stop_descriptor, stop_signal);
}

}  // namespace shmif::perf
