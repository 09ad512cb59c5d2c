#pragma once
// A client of several servers, and what the test says for each server.

#include <gtest/gtest.h>
#include <poll.h>

#include <array>
#include <chrono>
#include <cstdint>
#include <functional>
#include <future>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "instruments/watch/clock.hpp"
#include "perf/option/job_file.hpp"
#include "perf/remote/address.hpp"
#include "perf/remote/client.hpp"
#include "perf/remote/connection.hpp"
#include "perf/report/table.hpp"
#include "tests/perf/report/sample_results.hpp"
#include "tests/support/in_directory.hpp"
#include "tests/support/temp_dir.hpp"

namespace shmif::perf::remote_client {

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

inline RunProgress progress_of(double at, double share, double left, const std::string& peer_of) {
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

}  // namespace shmif::perf::remote_client
