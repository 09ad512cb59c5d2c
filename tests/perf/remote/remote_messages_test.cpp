// The limits of each part of a message, and what a connection does with bytes that wait, come in
// pieces, or never arrive.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>

#include <array>
#include <chrono>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "perf/remote/connection.hpp"
#include "perf/remote/protocol.hpp"

namespace shmif::perf::remote_messages {
namespace {

using namespace std::chrono_literals;

// ---- Messages ----

std::string refusal(const Message& message) {
  const auto back = decode(encode(message));
  return back ? "" : back.error().message;
}

TEST(MessageLimits, EachTextMayBeAsLongAsItsLimitAndNoLonger) {
  struct Text {
    const char* key;
    std::size_t max;
    std::function<Message(const std::string&)> message;
  };
  const auto jobs_with = [](const std::function<void(JobsMessage&, const std::string&)>& put) {
    return [=](const std::string& text) {
      JobsMessage m;
      m.set.jobs.emplace_back();
      put(m, text);
      return Message(m);
    };
  };
  const auto progress_with = [](std::string JobProgress::* name) {
    return [=](const std::string& text) {
      ProgressMessage m;
      m.progress.jobs.emplace_back().*name = text;
      return Message(m);
    };
  };
  constexpr std::size_t kLong = 64U << 10U;
  const std::vector<Text> texts{
      {"name", 256, [](const auto& t) { return HelloMessage{t, 2, "", ""}; }},
      {"run", kLong, jobs_with([](auto& m, auto& t) { m.set.run = {{"", t}}; })},
      {"name", 256, jobs_with([](auto& m, auto& t) { m.set.jobs[0].name = t; })},
      {"where", kLong, jobs_with([](auto& m, auto& t) { m.set.jobs[0].where = t; })},
      {"options", 256, jobs_with([](auto& m, auto& t) { m.set.jobs[0].options = {{t, ""}}; })},
      {"options", kLong, jobs_with([](auto& m, auto& t) { m.set.jobs[0].options = {{"", t}}; })},
      {"command", kLong, jobs_with([](auto& m, auto& t) { m.command = {t}; })},
      {"why", kLong, [](const auto& t) { return RefusedMessage{{t}, 1}; }},
      {"by", kLong, [](const auto& t) { return BusyMessage{t, ""}; }},
      {"what", kLong, [](const auto& t) { return RunMessage{t}; }},
      {"job", 256, [](const auto& t) { return StateMessage{t, {}}; }},
      {nullptr, 256, progress_with(&JobProgress::name)},
      {nullptr, 256, progress_with(&JobProgress::peer_of)}};
  for (const Text& each : texts) {
    EXPECT_EQ(refusal(each.message(std::string(each.max, 'x'))), "");
    EXPECT_EQ(refusal(each.message(std::string(each.max + 1, 'x'))),
              each.key == nullptr
                  ? "cannot understand a message: no progress: a name is not a text, or too long"
                  : "cannot understand a message: its \"" + std::string(each.key) +
                        "\" is not of an allowed size");
  }
}

TEST(MessageLimits, AListMayHaveAsManyItemsAsItsLimitAndNoMore) {
  const auto refused = [](std::size_t n) { return RefusedMessage{std::vector<std::string>(n), 1}; };
  EXPECT_EQ(refusal(refused(kMaxItems)), "");
  EXPECT_EQ(refusal(refused(kMaxItems + 1)),
            "cannot understand a message: its \"why\" is not a list of an allowed length");
  // That as many jobs as there can be arrive is tested elsewhere.
  ProgressMessage progress;
  progress.progress.jobs.resize(kMaxItems + 1);
  EXPECT_EQ(refusal(progress), "cannot understand a message: no progress: no jobs");
}

TEST(MessageLimits, MarksAreSoManyInAllAndNoMoreInOneJob) {
  const auto marks_in = [](const FinishedMessage& message) {
    std::size_t marks = 0;
    const Message back = decode(encode(message)).value();
    for (const auto& [job, half] : std::get<FinishedMessage>(back).halves)
      marks += half.marks.size();
    return marks;
  };
  FinishedMessage many{.result = "{}"};
  for (std::size_t i = 0; i < 40; ++i)
    many.halves.emplace_back("j", HalfFlow{.marks = std::vector<SentMark>(1024)});
  EXPECT_EQ(marks_in(many), kMaxMarks) << "the rest is left out";
  const FinishedMessage long_one{
      .result = "{}", .halves = {{"j", {.marks = std::vector<SentMark>(kMaxItems + 1)}}}};
  EXPECT_EQ(refusal(long_one),
            "cannot understand a message: its \"marks\" is not a list of an allowed length");
  for (const char* const wrong : {"1", "1,2,3", "-1,2", "1,\"2\"", "[7,8]"}) {
    EXPECT_FALSE(decode(R"({"type":"finished","result":"","halves":[{"job":"j",)"
                        R"("listened_until_ns":null,"first_arrival_ns":0,"last_arrival_ns":0,)"
                        R"("corrupt_apart":0,"truncated_apart":0,"first_number":0,"end_number":9,)"
                        R"("window_begin_ns":0,)"
                        R"("window_end_ns":0,"marks":[)" +
                        std::string(wrong) + "]}]}"))
        << wrong;
  }
}

TEST(MessageLimits, AStateIsInHexAndOfAnAllowedSize) {
  EXPECT_EQ(refusal(StateMessage{"j", std::vector<std::byte>(kMaxStateBytes)}), "");
  EXPECT_EQ(refusal(StateMessage{"j", std::vector<std::byte>(kMaxStateBytes + 1)}),
            "cannot understand a message: its \"state\" is not of an allowed size");
  const auto state = [](const std::string& hex) {
    return decode(R"({"type":"state","job":"j","state":")" + hex + "\"}");
  };
  EXPECT_EQ(std::get<StateMessage>(state("0af0").value()).state,
            (std::vector{std::byte{0x0a}, std::byte{0xf0}}));
  for (const char* wrong : {"0", "0a0", "0g", "0F", " 0"}) {
    ASSERT_FALSE(state(wrong)) << wrong;
    EXPECT_EQ(state(wrong).error().message,
              "cannot understand a message: its \"state\" is not a list of bytes in hex");
  }
}

TEST(MessageTexts, BytesThatAreNoTextAreReplacedAndNamesOfOthersArePrintable) {
  const Message back = decode(encode(RunMessage{"a\xff"})).value();
  EXPECT_EQ(std::get<RunMessage>(back).what, "a\xEF\xBF\xBD");
  const HelloMessage ours{.version = "1", .host = ""};
  HelloMessage theirs = ours;
  theirs.version = "2\x1b[2J";
  EXPECT_NE(mismatch(ours, "a", theirs, "b").find("b is shmifperf 2?[2J with"), std::string::npos);
  theirs.name = "f\x1bio";
  EXPECT_EQ(mismatch(ours, "a", theirs, "b"), "b is not shmifperf, but \"f?io\"");
}

// ---- Connections ----

/// A connection whose socket takes little at once, and the other end.
struct Pair {
  Connection here;
  Connection there;

  Pair() : Pair(ends()) {}
  explicit Pair(std::array<int, 2> fds)
      : here(UniqueFd(fds[0]), kMaxResultBytes), there(UniqueFd(fds[1]), kMaxResultBytes) {
    const int little = 4096;
    (void)::setsockopt(here.descriptor(), SOL_SOCKET, SO_SNDBUF, &little, sizeof little);
  }
  static std::array<int, 2> ends() {
    std::array<int, 2> fds{};
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds.data()), 0);
    return fds;
  }
  /// What the other end receives until all is sent.
  std::vector<std::string> all() {
    std::vector<std::string> got;
    for (int i = 0; i < 100'000 && here.waiting_bytes() != 0; ++i) {
      here.pump();
      const auto messages = there.receive();
      if (messages) got.insert(got.end(), messages->begin(), messages->end());
    }
    const auto last = there.receive();
    if (last) got.insert(got.end(), last->begin(), last->end());
    return got;
  }
};

TEST(ConnectionBytes, ArriveWholeAndInOrderThoughTheSocketTakesAFewAtATime) {
  Pair pair;
  EXPECT_EQ(pair.here.events(), POLLIN);
  std::vector<std::string> said;
  for (std::size_t i = 0; i < 200; ++i) {
    std::string text;
    for (std::size_t at = 0; at < 20 * i + 1; ++at) text += std::to_string(at * i + 7);
    said.push_back(text);
    pair.here.send_text(text);
  }
  ASSERT_GT(pair.here.waiting_bytes(), 100'000U);
  EXPECT_EQ(pair.here.events(), POLLIN | POLLOUT) << "somebody must wait until there is room";
  const std::vector<std::string> got = pair.all();
  ASSERT_EQ(got.size(), said.size());
  EXPECT_TRUE(got == said);
  EXPECT_EQ(pair.here.events(), POLLIN);
}

TEST(ConnectionBytes, AreAllSentByAFlushUnlessNobodyReadsThem) {
  Pair pair;
  const std::string text(1'000'000, 'x');
  pair.here.send_text(text);
  EXPECT_FALSE(pair.here.flush(1ms));
  std::vector<std::string> got;
  std::jthread reader([&](const std::stop_token& stop) {
    while (!stop.stop_requested() && got.empty()) got = pair.there.receive().value();
  });
  EXPECT_TRUE(pair.here.flush(1min));
  reader.request_stop();
  reader.join();
  for (int i = 0; i < 100 && got.empty(); ++i) got = pair.there.receive().value();
  EXPECT_TRUE(got == std::vector{text});
}

TEST(ConnectionBytes, LastWordsAreHeardBeforeTheEnd) {
  for (const bool nonsense : {false, true}) {
    std::array<int, 2> fds = Pair::ends();
    Connection hears{UniqueFd(fds[0]), 64};
    {
      Connection says{UniqueFd(fds[1]), 64};
      says.send_text("one");
      says.send_text("two");
      if (nonsense) says.send_text(std::string(65, 'x'));
    }
    EXPECT_EQ(hears.receive().value(), (std::vector<std::string>{"one", "two"}));
    const auto end = hears.receive();
    ASSERT_FALSE(end);
    EXPECT_EQ(
        end.error().message,
        nonsense
            ? "a message of 65 bytes is announced, but only 1 to 64 "
              "are allowed"
            : Error({ECONNRESET, std::generic_category()}, "the connection was closed").message);
  }
}

// ---- Addresses ----

TEST(ServerSockets, AreNotInheritedDoNotBlockAndSendAtOnce) {
  const auto listener = listen_at(parse_socket_address("127.0.0.1:0").value());
  ASSERT_TRUE(listener);
  const auto client = begin_connecting(address_of(listener->get()).value());
  ASSERT_TRUE(client);
  for (const int fd : {listener->get(), client->get()}) {
    EXPECT_EQ(::fcntl(fd, F_GETFD), FD_CLOEXEC);
    EXPECT_NE(::fcntl(fd, F_GETFL) & O_NONBLOCK, 0);
  }
  int at_once = 0;
  socklen_t size = sizeof at_once;
  EXPECT_EQ(::getsockopt(client->get(), IPPROTO_TCP, TCP_NODELAY, &at_once, &size), 0);
  EXPECT_NE(at_once, 0) << "a user waits for each message";
}

TEST(ServerSockets, AreOnTheLoopbackWhereNobodyElseCanReachThem) {
  for (const char* text : {"127.0.0.1:1", "127.0.0.2:1", "127.255.0.0:1", "[::1]:1"}) {
    EXPECT_TRUE(is_loopback(parse_socket_address(text).value())) << text;
  }
  for (const char* text : {"0.0.0.0:1", "126.0.0.1:1", "128.0.0.1:1", "198.18.0.127:1", "[::]:1",
                           "[::2]:1", "[fd00::1]:1"}) {
    EXPECT_FALSE(is_loopback(parse_socket_address(text).value())) << text;
  }
}

}  // namespace
}  // namespace shmif::perf::remote_messages
