// What a client of several servers makes of them: the test says what each server says.

#include <gtest/gtest.h>
#include <poll.h>
#include <unistd.h>
#include <array>
#include <chrono>
#include <filesystem>
#include <functional>
#include <future>
#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>
#include <utility>

#include "instruments/watch/clock.hpp"
#include "perf/option/job_file.hpp"
#include "perf/remote/client.hpp"
#include "perf/remote/connection.hpp"
#include "perf/report/report.hpp"
#include "perf/report/table.hpp"
#include "perf/verify/verify_state.hpp"
#include "tests/perf/report/sample_results.hpp"
#include "tests/support/temp_dir.hpp"

namespace shmif::perf::remote_client {
namespace {

using namespace std::chrono_literals;
using Texts = std::vector<std::string>;

/// A server whose clock is some seconds ahead. It answers pings, and keeps what else it hears.
class OneServer {
 public:
  explicit OneServer(std::uint64_t ahead_ns, std::chrono::milliseconds slow = 0ms)
      : ahead_ns_(ahead_ns), slow_(slow) {
    listener_ = listen_at(parse_socket_address("127.0.0.1:0").value()).value();
    name_ = address_of(listener_.get()).value().to_string();
  }
  const std::string& name() const { return name_; }
  std::uint64_t ahead_ns() const { return ahead_ns_; }
  /// When its answers were sent, by the clock of the client.
  const std::vector<std::uint64_t>& answers_ns() const { return answers_ns_; }
  const std::vector<Message>& heard() const { return heard_; }
  bool is_closed() const { return closed_; }

  void say(const Message& message) { connection_->send(message); }
  void look() {
    if (!connection_) {
      UniqueFd fd(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
      if (!fd) return;
      connection_ = std::make_unique<Connection>(std::move(fd), kMaxResultBytes);
    }
    connection_->pump();
    const auto texts = connection_->receive();
    if (!texts) closed_ = true;
    if (!texts) return;
    for (const std::string& text : *texts) {
      const Message message = decode(text).value();
      if (const auto* const ping = std::get_if<PingMessage>(&message)) {
        answer(*ping);
      } else {
        heard_.push_back(message);
      }
    }
  }
  template <class T>
  std::vector<T> all() const {
    std::vector<T> found;
    for (const Message& message : heard_) {
      if (const T* const one = std::get_if<T>(&message)) found.push_back(*one);
    }
    return found;
  }

 private:
  void answer(const PingMessage& ping) {
    ::poll(nullptr, 0, static_cast<int>(slow_.count()));
    const std::uint64_t now = now_ns();
    answers_ns_.push_back(now);
    // Its clock in the middle of the way, as a client takes it to be.
    say(PongMessage{ping.sent_ns, ping.sent_ns + (now - ping.sent_ns) / 2 + ahead_ns_});
  }

  std::uint64_t ahead_ns_;
  std::chrono::milliseconds slow_;
  UniqueFd listener_;
  std::string name_;
  std::unique_ptr<Connection> connection_;
  std::vector<std::uint64_t> answers_ns_;
  std::vector<Message> heard_;
  bool closed_ = false;
};

/// What a client shows.
struct Shown {
  std::vector<RunProgress> progress, intervals, statuses;
  Texts runs;
};

class Watcher : public RunObserver {
 public:
  void on_run(const std::string& what) override { add(&Shown::runs, what); }
  void on_progress(const RunProgress& p) override { add(&Shown::progress, p); }
  void on_interval(const RunProgress& p) override { add(&Shown::intervals, p); }
  void on_status(const RunProgress& p) override { add(&Shown::statuses, p); }
  Shown shown() const {
    const std::lock_guard lock(mutex_);
    return shown_;
  }

 private:
  template <class T>
  void add(std::vector<T> Shown::* list, const T& what) {
    const std::lock_guard lock(mutex_);
    (shown_.*list).push_back(what);
  }
  mutable std::mutex mutex_;
  Shown shown_;
};

/// A client of two servers, of which the first is slow to answer.
struct Two {
  OneServer first{5'000'000'000, 10ms};
  OneServer second{9'000'000'000};
  Watcher watcher;
  RunControl control;
  const shmif::test::TempDir states;
  const shmif::test::InDirectory here{states.path()};
  std::future<std::vector<HostResult>> results;

  /// A job of one server that sends to one of the other.
  static JobSet one_for_each(const OneServer& from, const OneServer& to, bool asks = false) {
    JobSet set;
    const std::string jobs =
        std::string("[global]\nruntime=1\n") + (asks ? "engine=bus\nbus=/x\n" : "engine=udp\n") +
        "[j]\nrw=" + (asks ? "pingpong" : "tx") + "\nto=k\nserver=" + from.name() +
        "\n[k]\nrw=" + (asks ? "echo" : "rx\nport=7") + "\nserver=" + to.name() + "\n";
    EXPECT_TRUE(read_job_text("x.job", jobs, set).empty());
    return set;
  }
  struct OneEach {};
  explicit Two(OneEach) { begin(one_for_each(first, second)); }
  /// The job of the first asks, and that of the second answers.
  struct Asking {};
  explicit Two(Asking) { begin(one_for_each(first, second, true)); }
  Two() {
    JobSet set;
    const char* const jobs = "[global]\nrepeat=2\nrw=tx\nsize=1k\n[a]\n[b]\n[c]\n";
    EXPECT_TRUE(read_job_text("x.job", jobs, set).empty());
    // A name that no file can have, and that is a way out of a directory.
    set.jobs.push_back(set.jobs.front());
    set.jobs.back().name = "a/../.sink";
    begin(set);
  }
  void begin(const JobSet& set) {
    RemoteOptions options{
        .servers = {first.name(), second.name()}, .version = "1.2.3", .command = {"c"}};
    results = std::async(std::launch::async, [this, options, set] {
      return run_on_servers(options, set, &watcher, control);
    });
  }
  std::array<OneServer*, 2> both() { return {&first, &second}; }
  bool until(const std::function<bool()>& holds) {
    for (int i = 0; i < 10'000 && !holds(); ++i) {
      for (OneServer* const server : both()) server->look();
      ::poll(nullptr, 0, 1);
    }
    return holds();
  }
  template <class T>
  bool until_both_heard(std::size_t times = 1) {
    return until([&] { return first.all<T>().size() >= times && second.all<T>().size() >= times; });
  }
  void greet(const std::string& clock = "") {
    ASSERT_TRUE(until_both_heard<HelloMessage>());
    for (OneServer* const server : both())
      server->say(HelloMessage{.version = "1.2.3", .host = "", .clock = clock});
    ASSERT_TRUE(until_both_heard<JobsMessage>());
  }
  void start() {
    ASSERT_NO_FATAL_FAILURE(greet());
    for (OneServer* const server : both()) server->say(PreparedMessage{2});
    ASSERT_TRUE(until_both_heard<GoMessage>());
  }
  /// Says that, and waits until it is shown.
  void show(OneServer& server, double at_seconds) {
    RunProgress progress;
    progress.at_seconds = at_seconds;
    server.say(ProgressMessage{progress, false});
    EXPECT_TRUE(until([&] {
      const Shown shown = watcher.shown();
      return !shown.progress.empty() && shown.progress.back().at_seconds == at_seconds;
    }));
  }
  void finish(OneServer& server) {
    server.say(FinishedMessage{to_json(shmif::test::quiet_sample(), Bins::with)});
    EXPECT_TRUE(until([&] { return server.is_closed(); }));
  }
  std::vector<HostResult> end() {
    for (OneServer* const server : both()) {
      if (!server->is_closed()) finish(*server);
    }
    return results.get();
  }
};

RunProgress progress_of(double at, double share, double left, const std::string& peer_of) {
  RunProgress progress{.at_seconds = at, .share = share, .left_seconds = left, .jobs = {}};
  JobProgress job;
  job.name = "j";
  job.group = "g";
  job.peer_of = peer_of;
  job.pid = 4711;
  job.tx_frames = static_cast<std::uint64_t>(at);
  progress.jobs = {job};
  return progress;
}

TEST(ClientOfServers, StartsAllAtOnceByTheClockOfEachAndFarEnoughAheadForTheSlowest) {
  Two run;
  ASSERT_NO_FATAL_FAILURE(run.start());
  std::array<char, 256> here{};
  ASSERT_EQ(::gethostname(here.data(), here.size() - 1), 0);
  std::vector<std::uint64_t> starts;
  for (OneServer* const server : run.both()) {
    EXPECT_EQ(server->all<HelloMessage>().at(0).host, here.data());
    EXPECT_EQ(server->all<JobsMessage>().at(0).set.run, (OptionTexts{{"repeat", "2"}}));
    starts.push_back(server->all<GoMessage>().at(0).start_ns - server->ahead_ns());
  }
  // The clocks are seconds apart, and compared to within the time that an answer takes.
  EXPECT_NEAR(static_cast<double>(starts[0]), static_cast<double>(starts[1]), 5e8);
  // Answers of the first take 10 ms, so that its clock is known to 5 ms at best: 20 ms and four
  // times that, less what the other's clock may be wrong by.
  EXPECT_GE(starts[1], run.first.answers_ns().at(7) + 35'000'000);
  // The first one begins a second late, and who began first is where others are counted from.
  run.first.say(StartedMessage{run.first.all<GoMessage>()[0].start_ns + 1'000'000'000});
  run.second.say(StartedMessage{run.second.all<GoMessage>()[0].start_ns});
  const auto results = run.end();
  ASSERT_EQ(results.size(), 2U);
  EXPECT_EQ(results[0].name, run.first.name());
  EXPECT_NEAR(static_cast<double>(results[0].start_offset_ns.value()), 1e9, 5e8);
  EXPECT_EQ(results[1].start_offset_ns, 0U);
  EXPECT_GE(results[0].clock_error_ns.value(), 5'000'000U);
  EXPECT_TRUE(results[1].clock_error_ns);
}

TEST(ClientOfServers, DoesNotBelieveThatTwoReadOneClockIfTheyAnswerDifferentTimes) {
  Two two{Two::OneEach{}};
  ASSERT_NO_FATAL_FAILURE(two.greet("one clock"));
  const JobTexts::Job receiver = two.second.all<JobsMessage>().at(0).set.jobs.at(0);
  EXPECT_EQ(receiver.name, "k");
  EXPECT_EQ(receiver.clock_shift_ns, std::nullopt)
      << "they are 4 s apart, and the first one's answers take too long to tell how far exactly";
  for (OneServer* const server : two.both()) two.finish(*server);
  two.results.get();
}

TEST(ClientOfServers, ShowsTheJobsOfAllUnderTheNamesOfTheirServers) {
  Two run;
  ASSERT_NO_FATAL_FAILURE(run.start());
  run.first.say(ProgressMessage{progress_of(3, 0.25, 9, "p"), false});
  run.second.say(ProgressMessage{progress_of(2, 0.5, 4, ""), false});
  ASSERT_TRUE(run.until([&] {
    const Shown shown = run.watcher.shown();
    return !shown.progress.empty() && shown.progress.back().jobs.size() == 2;
  }));
  const RunProgress all = run.watcher.shown().progress.back();
  EXPECT_EQ(all.at_seconds, 3);
  EXPECT_EQ(all.share, 0.25);
  EXPECT_EQ(all.left_seconds, 9);
  for (const std::size_t i : {0U, 1U}) {
    const std::string prefix = run.both()[i]->name() + '/';
    EXPECT_EQ(all.jobs[i].name, prefix + 'j');
    EXPECT_EQ(all.jobs[i].group, prefix + 'g');
    EXPECT_EQ(all.jobs[i].peer_of, i == 0 ? prefix + 'p' : "");
    EXPECT_EQ(all.jobs[i].pid, 0) << "it means nothing here";
    EXPECT_EQ(all.jobs[i].tx_frames, i == 0 ? 3U : 2U);
  }
  // The status is shown once for each time that somebody asks for it.
  for (std::size_t asked = 1; asked <= 2; ++asked) {
    run.control.status = true;
    ASSERT_TRUE(run.until([&] { return run.watcher.shown().statuses.size() == asked; }));
    run.show(run.first, 10 + static_cast<double>(asked));
    EXPECT_EQ(run.watcher.shown().statuses.size(), asked);
  }
  EXPECT_EQ(run.watcher.shown().statuses[0].jobs.size(), 2U);
  run.first.say(RunMessage{"run 2 of 5"});
  ASSERT_TRUE(run.until([&] { return !run.watcher.shown().runs.empty(); }));
  run.show(run.first, 20);
  EXPECT_EQ(run.watcher.shown().runs, Texts{run.first.name() + ": run 2 of 5"});
  // Of one that is over nothing is left to wait for.
  run.first.say(ProgressMessage{progress_of(21, 0.25, 9, "p"), false});
  ASSERT_TRUE(run.until([&] { return run.watcher.shown().progress.back().share == 0.25; }));
  EXPECT_EQ(run.watcher.shown().progress.back().left_seconds, 9);
  run.finish(run.first);
  ASSERT_TRUE(run.until([&] { return run.watcher.shown().progress.back().share == 0.5; }));
  EXPECT_EQ(run.watcher.shown().progress.back().left_seconds, 4);
  (void)run.end();
}

std::vector<std::byte> bytes_in(const std::string& path) {
  return read_verify_state(path, 1U << 20U).value();
}

TEST(ClientOfServers, KeepsNothingThatIsNoStateOfThatJob) {
  Two run;
  ASSERT_NO_FATAL_FAILURE(run.start());
  run.first.say(StartedMessage{now_ns() + run.first.ahead_ns()});
  run.first.say(StateMessage{"a", {}});
  run.first.say(StateMessage{"b", {std::byte{'#'}, std::byte{'!'}}});
  run.first.say(StateMessage{"c", encode_verify_state({.job = "d", .options_hash = 1})});
  run.show(run.first, 1);
  run.second.say(StartedMessage{now_ns() + run.second.ahead_ns()});
  const auto results = run.end();
  EXPECT_EQ(results[0].failures,
            (Texts{"the verification state of job \"a\" was not sent: it is longer than 4 MiB, all "
                   "states of the run than 16 MiB, or it cannot be read; it stays in the server's "
                   "directory (copy it)",
                   "cannot load verify state of job \"b\": it is no such file (begin anew without "
                   "verify_state_load)",
                   "the verification state of job \"c\" is that of job \"d\""}));
  EXPECT_EQ(results[0].states, Texts{});
  EXPECT_TRUE(std::filesystem::is_empty(run.states.path()));
}

TEST(ClientOfServers, KeepsOneStateOfEachJobThatItHasSentAndLeavesAServerOfNonsense) {
  Two run;
  ASSERT_NO_FATAL_FAILURE(run.start());
  for (OneServer* const server : run.both())
    server->say(StartedMessage{now_ns() + server->ahead_ns()});
  const auto state_of = [](const std::string& job, std::uint64_t hash) {
    return StateMessage{job, encode_verify_state({.job = job, .options_hash = hash})};
  };
  run.first.say(state_of("a.sink", 1));
  run.first.say(state_of("a.sink", 2));
  run.first.say(state_of("a.1", 1));
  run.first.say(state_of(std::string("a\0", 2), 1));
  for (int i = 0; i < 30; ++i) run.second.say(state_of("x" + std::to_string(i), 1));
  run.second.say(state_of("a", 1));
  const auto results = run.end();
  const std::string path = results[0].name + "-a.sink-verify.state";
  const auto unsent = [](const std::string& job) {
    return "it sent a verification state of job \"" + job +
           "\", which was not sent to it (is that a shmifperf server?)";
  };
  EXPECT_EQ(results[0].states, Texts{path});
  EXPECT_EQ(bytes_in(path), state_of("a.sink", 1).state);
  EXPECT_EQ(results[0].failures,
            (Texts{"the verification state of job \"a.sink\" would overwrite \"" + path +
                       "\", which this run has written (choose another name)",
                   unsent("a.1"), unsent(printable(std::string("a\0", 2)))}));
  EXPECT_EQ(results[1].states, Texts{});
  ASSERT_EQ(results[1].failures.size(), 20U);
  EXPECT_EQ(results[1].failures.back(), unsent("x19"));
}

TEST(ClientOfServers, StopsTheOthersWhenOneFailsAndTakesTheirResults) {
  Two run;
  ASSERT_NO_FATAL_FAILURE(run.start());
  run.first.say(NoticeMessage{"it is ended"});
  ASSERT_TRUE(run.until([&] { return !run.second.all<StopMessage>().empty(); }));
  EXPECT_FALSE(run.second.all<StopMessage>()[0].hard);
  EXPECT_EQ(run.second.all<StopMessage>()[0].signal, 0) << "no signal is the reason";
  const auto results = run.end();
  EXPECT_EQ(results[0].failures, Texts{"it is ended"});
  EXPECT_FALSE(results[0].passed());
  EXPECT_EQ(results[0].exit_code(), 1);
  EXPECT_TRUE(results[1].passed());
  EXPECT_TRUE(results[1].report);
}

TEST(ClientOfServers, LetsTheOthersGoWhenOneRefuses) {
  Two run;
  ASSERT_NO_FATAL_FAILURE(run.greet());
  run.first.say(PreparedMessage{2});
  run.second.say(RefusedMessage{{"no TAP devices"}, 77});
  ASSERT_TRUE(run.until([&] { return run.first.is_closed() && run.second.is_closed(); }));
  const auto results = run.results.get();
  EXPECT_EQ(results[0].failures, Texts{});
  EXPECT_EQ(results[0].exit_code(), 0);
  EXPECT_EQ(results[0].start_offset_ns, std::nullopt);
  EXPECT_EQ(results[0].clock_error_ns, std::nullopt);
  EXPECT_EQ(results[1].failures, Texts{"refused: no TAP devices"});
  EXPECT_EQ(results[1].exit_code(), 77);
  EXPECT_TRUE(run.first.all<GoMessage>().empty());
  EXPECT_TRUE(run.watcher.shown().progress.empty()) << "there is no run to be shown";
}

TEST(ClientOfServers, StartsNothingAfterAStop) {
  Two run;
  ASSERT_NO_FATAL_FAILURE(run.greet());
  run.control.signal = 2;
  run.control.stops = 1;
  ASSERT_TRUE(run.until_both_heard<StopMessage>());
  for (OneServer* const server : run.both()) server->say(PreparedMessage{2});
  const auto known = [](const OneServer* server) { return server->answers_ns().size() >= 9; };
  ASSERT_TRUE(run.until([&] { return known(&run.first) && known(&run.second); }))
      << "their clocks are known well enough";
  for (const HostResult& result : run.end()) EXPECT_EQ(result.start_offset_ns, std::nullopt);
  for (const OneServer* const server : run.both()) {
    EXPECT_TRUE(server->all<GoMessage>().empty());
    EXPECT_EQ(server->all<StopMessage>().size(), 1U);
  }
}

TEST(ClientOfServers, TellsAReceiverHowManyFramesItsSenderSentUnlessThatWasKilled) {
  for (const std::uint64_t window_end : {0U, 5U}) {
    Two run{Two::OneEach{}};
    ASSERT_NO_FATAL_FAILURE(run.start());
    FinishedMessage finished{to_json(shmif::test::quiet_sample(), Bins::without)};
    finished.halves = {{"j", {.first_number = 3, .end_number = 10, .window_end_ns = window_end}}};
    run.first.say(finished);
    ASSERT_TRUE(run.until([&] { return run.first.is_closed(); }));
    const std::size_t times = window_end == 0 ? 0 : 1;
    const auto told = [&] { return run.second.all<SenderEndedMessage>(); };
    ASSERT_TRUE(run.until([&] { return told().size() >= times; }));
    run.show(run.second, 7);
    ASSERT_EQ(told().size(), times);
    for (const SenderEndedMessage& m : told()) {
      EXPECT_EQ(m.job + std::to_string(m.frames), "k7");
    }
    run.finish(run.second);
    (void)run.results.get();
  }
}

// ---- Intervals ----

/// Of one job that has sent a thousand frames, or received 900 of them.
Message finished_of(const std::string& job, bool sends) {
  nlohmann::json result =
      nlohmann::json::parse(to_json(shmif::test::quiet_sample(), Bins::without));
  for (nlohmann::json& each : result.at("jobs")) {
    if (each.at("jobname") != (sends ? "bulk" : "bulk.peer")) continue;
    each.at("jobname") = job;
    if (sends) each.at("tx").at("frames") = 1000;
    if (sends) continue;
    nlohmann::json& loss = each.at("loss");
    for (const char* const key : {"lost_frames", "corrupt_frames", "truncated_frames",
                                  "late_frames", "cancelled_frames", "unverified_frames"})
      loss.at(key) = 0;
    loss.at("sent_frames") = loss.at("received_frames") = 900;
  }
  return FinishedMessage{result.dump()};
}

TEST(ClientOfServers, ShowsWhatWasLostAtTheEndInTheLastInterval) {
  Two run{Two::OneEach{}};
  ASSERT_NO_FATAL_FAILURE(run.start());
  const auto tell = [](OneServer& server, const std::string& job, double at, std::uint64_t lost,
                       std::uint64_t all_lost) {
    RunProgress progress = progress_of(at, 0.1, 1, "");
    progress.jobs[0].name = job;
    progress.jobs[0].last.seconds = 1;
    progress.jobs[0].last.rx_frames = 100;
    progress.jobs[0].last.lost_frames = lost;
    progress.jobs[0].lost_frames = all_lost;
    server.say(ProgressMessage{progress, true});
  };
  const auto go_on = [](OneServer& server) { server.say(ProgressMessage{{}, false}); };
  const auto intervals = [&] { return run.watcher.shown().intervals; };
  tell(run.second, "k", 1, 3, 3);
  tell(run.first, "j", 1, 0, 0);
  run.show(run.first, 1.5);
  EXPECT_EQ(intervals().size(), 0U) << "that of the other may be its last one";
  go_on(run.second);
  ASSERT_TRUE(run.until([&] { return intervals().size() == 1; }));
  EXPECT_EQ(intervals()[0].jobs.at(1).last.lost_frames, 3U);
  // Two of one server before one of the other.
  tell(run.second, "k", 2, 4, 7);
  go_on(run.second);
  tell(run.second, "k", 3, 5, 12);
  run.second.say(finished_of("k", false));
  ASSERT_TRUE(run.until([&] { return run.second.is_closed(); }));
  tell(run.first, "j", 2, 0, 0);
  go_on(run.first);
  ASSERT_TRUE(run.until([&] { return intervals().size() == 2; }));
  EXPECT_EQ(intervals()[1].jobs.size(), 1U) << "the losses of the other are not known yet";
  run.first.say(finished_of("j", true));
  ASSERT_TRUE(run.until([&] { return run.first.is_closed(); }));
  (void)run.results.get();
  const RunProgress last = intervals().back();
  ASSERT_EQ(intervals().size(), 3U);
  ASSERT_EQ(last.jobs.size(), 1U);
  EXPECT_EQ(last.jobs[0].name, run.second.name() + "/k");
  EXPECT_EQ(last.jobs[0].lost_frames, 100U);
  EXPECT_EQ(last.jobs[0].last.lost_frames, 97U);
  EXPECT_EQ(last.jobs[0].last.rx_frames, 200U) << "of both intervals";
  EXPECT_EQ(last.jobs[0].last.seconds, 2);
}

TEST(ClientOfServers, ShowsNoReplyAsLostIfItsRequestWas) {
  Two run{Two::Asking{}};
  ASSERT_NO_FATAL_FAILURE(run.start());
  const auto tell = [](OneServer& server, const std::string& job, std::uint64_t all_lost) {
    RunProgress progress = progress_of(1, 0.1, 1, "");
    progress.jobs[0].name = job;
    progress.jobs[0].last.lost_frames = progress.jobs[0].lost_frames = all_lost;
    server.say(ProgressMessage{progress, true});
    server.say(ProgressMessage{progress, false});
  };
  const auto intervals = [&] { return run.watcher.shown().intervals; };
  const auto lost = [&](std::size_t line) {
    std::vector<std::uint64_t> all;
    for (const JobProgress& job : intervals().at(line).jobs) {
      all.push_back(job.last.lost_frames);
      all.push_back(job.lost_frames);
    }
    return all;
  };
  using Counts = std::vector<std::uint64_t>;
  tell(run.second, "k", 3);
  tell(run.first, "j", 5);
  ASSERT_TRUE(run.until([&] { return intervals().size() == 1; }));
  EXPECT_EQ(lost(0), (Counts{2, 2, 3, 3}));
  tell(run.second, "k", 7);
  tell(run.first, "j", 8);
  ASSERT_TRUE(run.until([&] { return intervals().size() == 2; }));
  EXPECT_EQ(lost(1), (Counts{0, 1, 4, 7})) << "one that was shown as lost was not";
  (void)run.end();
}

}  // namespace

}  // namespace shmif::perf::remote_client

namespace shmif::perf::stop_patience {

// How long a client waits for its servers after a stop. The tests say what time it is.

namespace {

using namespace std::chrono_literals;

constexpr StopPatience::Clock::time_point kBegin{1000s};
constexpr auto kDrain = 7s;
const std::string kNoEnd = "it did not end within 10 s of a hard stop";

TEST(StopPatience, AServerThatHasNotStartedItsJobsIsLeftEightSecondsAfterASignal) {
  StopPatience patience(kDrain);
  EXPECT_EQ(patience.why_given_up(false, kBegin + 24h), "") << "nobody has asked for a stop";
  patience.note_signals(1, kBegin);
  patience.note_signals(1, kBegin + 5s);  // each look notes it again
  EXPECT_EQ(patience.why_given_up(false, kBegin + 8s - 1ns), "");
  EXPECT_EQ(patience.why_given_up(false, kBegin + 8s),
            "it neither started its jobs nor ended within 8 s of a stop");
  EXPECT_EQ(patience.why_given_up(true, kBegin + 8s), "") << "it has a result";
}

TEST(StopPatience, ASecondSignalLeavesItAtOnce) {
  StopPatience patience(kDrain);
  patience.note_signals(1, kBegin);
  ASSERT_EQ(patience.why_given_up(false, kBegin + 1s), "");
  patience.note_signals(2, kBegin + 1s);
  EXPECT_EQ(patience.why_given_up(false, kBegin + 1s),
            "a second signal ended the wait for it: its jobs had not started");
  EXPECT_EQ(patience.why_given_up(true, kBegin + 1s), "");
  patience.note_signals(3, kBegin + 1s);
  EXPECT_EQ(patience.why_given_up(true, kBegin + 1s),
            "a third signal ended the wait for its result");
  StopPatience both_at_once(kDrain);
  both_at_once.note_signals(2, kBegin);
  EXPECT_NE(both_at_once.why_given_up(false, kBegin), "");
}

TEST(StopPatience, AServerWithAResultIsStoppedHardAfterItsDrainAndLeftTenSecondsLater) {
  StopPatience patience(kDrain);
  EXPECT_FALSE(patience.take_hard(kBegin + 24h));
  patience.note_signals(1, kBegin);
  EXPECT_FALSE(patience.take_hard(kBegin + 37s));
  EXPECT_TRUE(patience.take_hard(kBegin + 37s + 1ns));
  EXPECT_FALSE(patience.take_hard(kBegin + 38s)) << "once";
  EXPECT_EQ(patience.why_given_up(true, kBegin + 47s), "");
  EXPECT_EQ(patience.why_given_up(true, kBegin + 47s + 1ns), kNoEnd);
}

TEST(StopPatience, ASecondSignalIsAHardStopAtOnce) {
  StopPatience patience(kDrain);
  patience.note_signals(1, kBegin);
  patience.note_signals(2, kBegin + 3s);
  EXPECT_TRUE(patience.take_hard(kBegin + 3s));
  EXPECT_EQ(patience.why_given_up(true, kBegin + 13s - 1ns), "");
  EXPECT_EQ(patience.why_given_up(true, kBegin + 13s), kNoEnd);
}

TEST(StopPatience, AFailureOfAnotherServerIsAStopAndTheFirstOneCounts) {
  StopPatience patience(kDrain);
  patience.note_failure(kBegin);
  EXPECT_EQ(patience.signals(), 0);
  patience.note_failure(kBegin + 4s);
  patience.note_signals(1, kBegin + 5s);
  EXPECT_EQ(patience.why_given_up(false, kBegin + 8s - 1ns), "");
  EXPECT_NE(patience.why_given_up(false, kBegin + 8s), "");
  EXPECT_TRUE(patience.take_hard(kBegin + 37s + 1ns));
}

}  // namespace

}  // namespace shmif::perf::stop_patience
