// How long a server and its client wait for each other, and what they make of what they hear. The
// tests say what time it is.

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <chrono>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>
#include <variant>

#include "instruments/watch/clock.hpp"
#include "perf/remote/connection.hpp"
#include "perf/remote/remote_host.hpp"
#include "perf/remote/server.hpp"
#include "perf/report/report.hpp"
#include "tests/perf/report/sample_results.hpp"

namespace shmif::perf::remote_clock {
namespace {

using namespace std::chrono_literals;
using Clock = Connection::Clock;
using Texts = std::vector<std::string>;

/// One end of a pair of sockets, and the other one as the test has it.
std::pair<UniqueFd, UniqueFd> pair_of_sockets() {
  int ends[2] = {-1, -1};
  EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
  return {UniqueFd(ends[0]), UniqueFd(ends[1])};
}

// ---- Who visits a server ----

/// A visitor that came between `before` and `after`, and changed its stage then.
struct Visit {
  UniqueFd other;
  Clock::time_point before, after;
  std::unique_ptr<Visitor> visitor;

  explicit Visit(const std::function<void(Visitor&)>& act = [](Visitor&) {}) {
    auto [ours, theirs] = pair_of_sockets();
    other = std::move(theirs);
    before = Clock::now();
    visitor = std::make_unique<Visitor>(std::move(ours), "visitor");
    act(*visitor);
    after = Clock::now();
  }
  std::optional<std::string> look(Clock::time_point now,
                                  std::optional<Clock::time_point> ending = {}) {
    return visitor->look(now, ending);
  }
  bool is_gone() const { return visitor->stage == Visitor::Stage::gone; }
};

TEST(VisitorTime, IsFiveSecondsForHelloTwentyForJobsAndEightOfSilence) {
  Visit stranger;
  EXPECT_EQ(stranger.look(stranger.before + 5s), std::nullopt);
  EXPECT_EQ(stranger.look(stranger.after + 5s + 1ns), "it did not send its jobs in time");
  Visit known([](Visitor& v) { v.welcome(); });
  EXPECT_EQ(known.visitor->stage, Visitor::Stage::known);
  EXPECT_EQ(known.look(known.before + 20s), std::nullopt);
  EXPECT_EQ(known.look(known.after + 20s + 1ns), "it did not send its jobs in time");
  Visit owner([](Visitor& v) { v.stage = Visitor::Stage::owner; });
  const auto heard = owner.visitor->connection.heard();
  EXPECT_EQ(owner.look(heard + 8s), std::nullopt);
  EXPECT_EQ(owner.look(heard + 8s + 1ns), "it no longer answers");
}

TEST(VisitorTime, ToReadTheLastWordsEndsWhenNothingMoves) {
  Visit told([](Visitor& v) { v.leave(false); });
  (void)told.look(told.before + 5s);
  EXPECT_FALSE(told.is_gone());
  (void)told.look(told.after + 5s + 1ns);
  EXPECT_TRUE(told.is_gone());
  Visit reads([](Visitor& v) {
    v.connection.send_text(std::string(3U << 20U, 'x'));  // more than the socket takes
    v.leave(true);
  });
  const auto moved = reads.visitor->connection.moved();
  (void)reads.look(moved + 8s);
  EXPECT_FALSE(reads.is_gone());
  (void)reads.look(moved + 8s + 1ns);
  EXPECT_TRUE(reads.is_gone());
}

TEST(VisitorRoom, IsForLongMessagesOnlyOfOneThatHasSaidHello) {
  const auto hears = [](bool welcome, std::size_t bytes) {
    Visit visit([&](Visitor& v) {
      if (welcome) v.welcome();
    });
    Connection other(std::move(visit.other), 64);
    other.send_text(std::string(bytes, 'x'));
    for (int i = 0; i < 1000; ++i) {
      other.pump();
      const auto messages = visit.visitor->connection.receive();
      if (!messages || !messages->empty()) return messages.has_value();
    }
    return false;
  };
  EXPECT_TRUE(hears(false, 4U << 10U));
  EXPECT_FALSE(hears(false, (4U << 10U) + 1));
  EXPECT_TRUE(hears(true, (4U << 10U) + 1));
  EXPECT_TRUE(hears(true, 4U << 20U));
  EXPECT_FALSE(hears(true, (4U << 20U) + 1));
}

// ---- A server as its client sees it ----

/// A server that says what the test says, at a port of the loopback.
class SaidServer {
 public:
  SaidServer() {
    auto any = parse_socket_address("127.0.0.1:0").value();
    listener_ = listen_at(any).value();
    name_ = address_of(listener_.get()).value().to_string();
  }
  const std::string& name() const { return name_; }
  void close() { listener_.reset(); }
  void hang_up() { connection_.reset(); }
  void say(const Message& message) { connection_->send(message); }
  void pump() { connection_->pump(); }
  /// Sends one more byte of a message that never ends.
  void drip() {
    const char length[4] = {0, 1, 0, 0};
    (void)::send(connection_->descriptor(), dripped_ ? " " : length, dripped_ ? 1 : 4, 0);
    dripped_ = true;
  }
  /// Waits until `host` is connected, and what it says first.
  HelloMessage accept(RemoteHost& host) {
    for (int i = 0; i < 2000 && !connection_; ++i) {
      UniqueFd fd(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
      if (fd) connection_ = std::make_unique<Connection>(std::move(fd), kMaxResultBytes);
      if (!fd) ::poll(nullptr, 0, 1);
    }
    for (int i = 0; i < 2000 && !has_heard<HelloMessage>(); ++i) {
      host.look(Clock::now());
      ::poll(nullptr, 0, 1);
    }
    return next_of<HelloMessage>();
  }
  /// Whether one of that kind has arrived that next_of() has not passed. Does not wait.
  template <class T>
  bool has_heard() {
    hear();
    return std::ranges::any_of(heard_,
                               [](const Message& each) { return std::holds_alternative<T>(each); });
  }
  /// The next one of that kind, whatever comes before it.
  template <class T>
  T next_of() {
    for (;;) {
      const Message message = next();
      if (const T* const found = std::get_if<T>(&message)) return *found;
    }
  }

  /// How often it asks for the clock before it says that.
  template <class T>
  int pings_before() {
    for (int pings = 0;; ++pings) {
      const Message message = next();
      if (std::holds_alternative<T>(message)) return pings;
      EXPECT_TRUE(std::holds_alternative<PingMessage>(message)) << type_of(message);
    }
  }

 private:
  void hear() {
    const auto messages = connection_->receive();
    if (!messages) return;
    for (const std::string& text : *messages) heard_.push_back(decode(text).value());
  }
  /// The next message of the client.
  Message next() {
    for (int i = 0; i < 2000 && heard_.empty(); ++i) {
      hear();
      if (heard_.empty()) ::poll(nullptr, 0, 1);
    }
    const Message message = heard_.at(0);
    heard_.erase(heard_.begin());
    return message;
  }

  UniqueFd listener_;
  std::string name_;
  std::unique_ptr<Connection> connection_;
  std::vector<Message> heard_;
  bool dripped_ = false;
};

/// A client of a server that the test says.
struct Client {
  RemoteHost::JobsGo jobs_go = RemoteHost::JobsGo::at_once;
  SaidServer server{};
  HelloMessage hello{.version = "1.2.3", .host = "desk"};
  JobsMessage jobs{.set = {.run = {{"repeat", "2"}}, .jobs = {{"a", "x.job:1", {{"bs", "64"}}}}},
                   .command = {"shmifperf"}};
  RemoteHost host{server.name(), hello, jobs, jobs_go};

  /// Looks until that holds.
  bool look_until(const std::function<bool()>& holds) {
    for (int i = 0; i < 2000 && !holds(); ++i) {
      host.look(Clock::now());
      ::poll(nullptr, 0, 1);
    }
    return holds();
  }
  void greet() {
    host.connect();
    EXPECT_EQ(server.accept(host).host, "desk");
    server.say(hello);
    EXPECT_TRUE(look_until([&] { return server.has_heard<JobsMessage>(); }));
    const auto said = server.next_of<JobsMessage>();
    EXPECT_EQ(said.set.run, jobs.set.run);
    EXPECT_EQ(said.set.jobs.at(0).options, jobs.set.jobs[0].options);
    EXPECT_EQ(said.command, jobs.command);
  }
  /// Until the client has asked, and had answers, that often.
  void answer(int times) {
    for (int i = 0; i < times; ++i) {
      const int before = host.clock().answers();
      host.look(Clock::now());
      const auto ping = server.next_of<PingMessage>();
      server.say(PongMessage{ping.sent_ns, ping.sent_ns + 5'000'000'000});
      EXPECT_TRUE(look_until([&] { return host.clock().answers() > before; }));
    }
  }
  void prepare() {
    greet();
    say_prepared();
  }
  /// The client has read that when it tells of the run that follows.
  void say_prepared() {
    server.say(PreparedMessage{1});
    server.say(RunMessage{"prepared"});
    std::string run;
    EXPECT_TRUE(look_until([&] {
      if (run.empty()) run = host.take_run();
      return run == "prepared";
    }));
  }
};

TEST(ServerOfAClient, IsGivenUpWhenItDoesNotGreetOrFallsSilent) {
  {
    Client client;
    const auto before = Clock::now();
    client.host.connect();
    (void)client.server.accept(client.host);
    client.host.look(before + 5s);
    EXPECT_FALSE(client.host.over());
    client.host.look(Clock::now() + 5s + 1ns);
    EXPECT_EQ(client.host.failures(),
              Texts{"it said nothing for 5 s (is that a shmifperf server?)"});
  }
  for (const bool prepared : {false, true}) {
    Client client;
    const auto before = Clock::now();
    if (prepared) client.prepare();
    if (!prepared) client.greet();
    client.host.look(before + 8s);
    EXPECT_FALSE(client.host.over());
    client.host.look(Clock::now() + 8s + 1ns);
    ASSERT_EQ(client.host.failures().size(), 1U);
    EXPECT_EQ(client.host.failures()[0].find("it no longer answers (does its machine hang"), 0U);
    EXPECT_TRUE(client.host.over());
    EXPECT_EQ(client.host.descriptor(), -1);
  }
}

/// Lets the server say that, and looks at that time. Result: why the server is given up, if it is.
std::string said_at(Client& client, Clock::time_point now, const Message& message) {
  client.server.say(message);
  pollfd entry{client.host.descriptor(), POLLIN, 0};
  EXPECT_EQ(::poll(&entry, 1, 2000), 1);
  client.host.look(now);
  return client.host.over() ? client.host.failures().back() : "";
}

std::string talks_at(Client& client, Clock::time_point now) {
  return said_at(client, now, RunMessage{"still here"});
}

TEST(ServerOfAClient, ThatTalksButDoesNotGoOnIsGivenUp) {
  {
    Client client;
    const auto before = Clock::now();
    client.greet();
    const auto after = Clock::now();
    for (int seconds = 5; seconds < 180; seconds += 5) {
      ASSERT_EQ(said_at(client, before + seconds * 1s, PongMessage{}), "");
    }
    EXPECT_EQ(talks_at(client, before + 180s), "");
    EXPECT_NE(talks_at(client, after + 180s + 1ns).find("did not prepare the jobs"),
              std::string::npos);
  }
  for (const bool started : {false, true}) {
    Client client;
    client.prepare();
    client.answer(8);
    const auto before = Clock::now();
    client.host.go(1);
    const auto after = Clock::now();
    if (started) {
      ASSERT_EQ(said_at(client, after, PongMessage{}), "");
      ASSERT_EQ(said_at(client, after, StartedMessage{1}), "");
    }
    EXPECT_EQ(talks_at(client, before + (started ? 120s : 60s)), "");
    EXPECT_NE(talks_at(client, after + (started ? 120s : 60s) + 1ns)
                  .find(started ? "has not answered" : "did not start them"),
              std::string::npos);
  }
}

TEST(ServerOfAClient, ThatSaysWhyItStopsHasAMinuteMoreForItsResult) {
  Client client;
  client.greet();
  const auto told = Clock::now() + 175s;
  for (auto at = told - 170s; at <= told; at += 5s) {
    ASSERT_EQ(said_at(client, at, PongMessage{}), "");
  }
  EXPECT_EQ(said_at(client, told, NoticeMessage{"not ready"}), "");
  EXPECT_EQ(said_at(client, told + 30s, NoticeMessage{"still not"}), "") << "the first one counts";
  EXPECT_EQ(talks_at(client, told + 60s), "");
  EXPECT_EQ(talks_at(client, told + 60s + 1ns).find("it is connected, but did not prepare"), 0U);
  EXPECT_EQ(client.host.failures().front(), "not ready");
}

TEST(ServerOfAClient, MaySendOneMessageForTenMinutesAndNoLonger) {
  Client client;
  client.prepare();
  client.answer(8);
  client.host.go(1);
  ASSERT_EQ(said_at(client, Clock::now(), StartedMessage{1}), "");
  const auto begun = Clock::now();
  const auto drips_at = [&](Clock::time_point now) {
    client.server.drip();
    pollfd entry{client.host.descriptor(), POLLIN, 0};
    EXPECT_EQ(::poll(&entry, 1, 2000), 1);
    client.host.look(now);
    return client.host.over() ? client.host.failures().back() : "";
  };
  for (auto at = begun; at <= begun + 10min; at += 5s) ASSERT_EQ(drips_at(at), "");
  EXPECT_EQ(drips_at(begun + 10min + 1ns).find("it has been sending one message for 10 min"), 0U);
}

}  // namespace
}  // namespace shmif::perf::remote_clock
