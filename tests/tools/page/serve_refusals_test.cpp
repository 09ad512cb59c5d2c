// shmifctl serve: what it refuses, and clients that try to wedge it.

#include <sys/resource.h>

#include <filesystem>
#include <list>
#include <set>
#include <string>
#include <system_error>

#include "tests/support/eventually.hpp"
#include "tests/tools/page/page_rig.hpp"

namespace shmif::test {
namespace {

struct ServeRefusals : ::testing::Test {
  BusRig rig;
};

TEST_F(ServeRefusals, EveryRequestWithoutTheTokenIs403) {
  const PageRig page({rig.path(), "--write"});
  std::string wrong = page.token;
  wrong[0] = wrong[0] == '0' ? '1' : '0';
  for (const std::string path : {"/", "/api/state", "/api/history", "/api/changes", "/api/capture",
                                 "/api/frames", "/api/change", "/none"}) {
    for (const std::string& query : {std::string(), std::string("?token="), "?token=" + wrong}) {
      const Answered got = page.ask("GET", path + query);
      EXPECT_EQ(got.status, 403) << path + query;
      const bool is_json = path.starts_with("/api/");
      EXPECT_EQ(got.header("Content-Type"),
                is_json ? "application/json" : "text/plain; charset=utf-8")
          << path;
      if (is_json) {
        EXPECT_TRUE(contains(got.json()["error"], "the token is missing")) << got.body;
      }
      EXPECT_FALSE(contains(got.head + got.body, page.token));
      EXPECT_FALSE(contains(got.head + got.body, "<html"));
    }
  }
  const Answered posted = page.ask("POST", "/api/change", {{"Content-Type", "application/json"}},
                                   R"({"bus":"bus","change":"heal"})");
  EXPECT_EQ(posted.status, 403);
  EXPECT_TRUE(contains(posted.body, "open the URL"));
}

TEST_F(ServeRefusals, ForeignNamesAndOriginsAre403EvenWithTheToken) {
  const PageRig page({rig.path(), "--write", "--allow-host", "lab3"});
  const std::string target = page.with_token("/api/state");
  EXPECT_EQ(page.ask_as("evil.example:" + std::to_string(page.port), "GET", target).status, 403);
  EXPECT_EQ(page.ask_as("evil.example", "GET", target).status, 403);
  EXPECT_EQ(page.ask_as("localhost:1", "GET", target).status, 200);
  EXPECT_EQ(page.ask_as("lab3", "GET", target).status, 200);
  EXPECT_EQ(page.ask("GET", target, {{"Origin", "http://evil.example"}}).status, 403);
  EXPECT_EQ(page.ask("GET", target, {{"Origin", "null"}}).status, 403);
  EXPECT_EQ(page.ask("GET", target, {{"Origin", "http://" + page.host}}).status, 200);
  const nlohmann::json heal{{"bus", "bus"}, {"change", "heal"}};
  EXPECT_EQ(page.post(heal, {{"Origin", "http://evil.example"}}).status, 403);
  EXPECT_NE(page.post(heal, {{"Origin", "http://" + page.host}}).status, 403);
  const Answered preflight = page.ask("OPTIONS", target, {{"Origin", "http://evil.example"}});
  EXPECT_EQ(preflight.status, 405);
  EXPECT_EQ(preflight.header("Allow"), "GET, HEAD, POST");
  EXPECT_EQ(preflight.header("X-Content-Type-Options"), "nosniff");
  EXPECT_EQ(preflight.header("Access-Control-Allow-Origin"), "");
}

TEST_F(ServeRefusals, OnlyAPostChangesAndOnlyWhereItIsAllowed) {
  const nlohmann::json down{{"bus", "bus"}, {"port", "a"}, {"change", "link down"}};
  {
    const PageRig page({rig.path()});
    const Answered refused = page.post(down);
    EXPECT_EQ(refused.status, 403);
    EXPECT_TRUE(contains(refused.body, "--write"));
  }
  const PageRig page({rig.path(), "--write"});
  const Answered asked = page.get("/api/change", "bus=bus&port=a&change=link%20down");
  EXPECT_EQ(asked.status, 405);
  EXPECT_EQ(asked.header("Allow"), "POST");
  EXPECT_EQ(
      page.ask("POST", page.with_token("/api/state"), {{"Content-Type", "application/json"}}, "{}")
          .status,
      405);
  for (const char* const type : {"text/plain", "application/x-www-form-urlencoded"}) {
    const Answered got =
        page.ask("POST", page.with_token("/api/change"), {{"Content-Type", type}}, down.dump());
    EXPECT_EQ(got.status, 415);
    EXPECT_TRUE(contains(got.json()["error"], "send JSON")) << got.body;
  }
  EXPECT_EQ(page.post({{"bus", "other"}, {"port", "a"}, {"change", "link down"}}).status, 404);
  const Answered none = page.post(down);
  EXPECT_EQ(none.status / 100, 4) << none.body;
  EXPECT_TRUE(contains(none.json()["error"], "\"a\"")) << none.body;
  EXPECT_EQ(page.post({{"bus", "bus"}, {"port", "a"}, {"change", "move /dev/shm/x"}}).status, 400);
  EXPECT_EQ(page.post({{"bus", "bus"}, {"port", "a"}, {"change", "fault nonsense"}}).status / 100,
            4);
}

TEST_F(ServeRefusals, RequestsThatAreTooLongAreRefusedAtOnce) {
  const PageRig page({rig.path(), "--write"});
  const PageRig::Headers of_json{{"Content-Type", "application/json"}};
  EXPECT_EQ(
      page.ask("POST", page.with_token("/api/change"), of_json, std::string(9000, 'x')).status,
      413);
  EXPECT_EQ(page.ask("POST", page.with_token("/api/change"),
                     {{"Content-Type", "application/json"}, {"Transfer-Encoding", "chunked"}})
                .status,
            411);
  const std::string no_length = "POST " + page.with_token("/api/change") +
                                " HTTP/1.1\r\nHost: " + page.host +
                                "\r\nContent-Type: application/json\r\n\r\n{}";
  const PageClient client(page.port);
  client.send(no_length);
  EXPECT_EQ(client.read().status, 411);
  EXPECT_EQ(page.ask("GET", '/' + std::string(9000, 'a')).status / 100, 4);
  // The library reads the ranges with a recursive matcher.
  EXPECT_NE(page.ask("GET", page.with_token("/api/state"),
                     {{"Range", "bytes=0-1" + std::string(7000, ',') + "2-3"}})
                .status,
            206);
  const PageClient endless(page.port);
  endless.send("GET / HTTP/1.1\r\n");
  for (int i = 0; i < 100; ++i) endless.send("X-A: " + std::string(1000, 'a') + "\r\n");
  EXPECT_NE(endless.read().status, 200);
  for (const std::string nonsense :
       {"\r\n\r\n", "GET\r\n\r\n", "GET / HTTP/9.9\r\n\r\n", "\x16\x03\x01\x02\x01\x01\r\n\r\n",
        "GET / HTTP/1.1\r\n\r\n"}) {
    const PageClient odd(page.port);
    odd.send(nonsense);
    EXPECT_NE(odd.read().status, 200) << nonsense;
  }
  EXPECT_EQ(page.get("/api/state").status, 200) << "it still works";
}

TEST_F(ServeRefusals, HalfRequestsDoNotKeepOthersFromThePage) {
  const PageRig page({rig.path()});
  std::list<PageClient> slow;
  for (int i = 0; i < 200; ++i) {
    slow.emplace_back(page.port);
    slow.back().send("GET / HT");
    if (i % 20 == 0) {
      EXPECT_EQ(page.get("/api/state").status, 200) << "beside " << i;
    }
  }
  EXPECT_EQ(page.get("/api/state").status, 200);
  EXPECT_TRUE(slow.front().is_closed(kGenerousTime)) << "the oldest had to go";
  EXPECT_TRUE(slow.back().is_closed(kGenerousTime)) << "its time is over";
}

TEST_F(ServeRefusals, AClientThatReadsNothingDoesNotStopTheOthers) {
  Port sender = rig.port("sender");
  for (int i = 0; i < 100; ++i) send(sender, std::vector<Bytes>(20, Bytes(1500)));
  const PageRig page({rig.path()});
  std::list<PageClient> deaf;
  for (int i = 0; i < 3; ++i) {
    deaf.emplace_back(page.port);
    const int small = 4096;
    ::setsockopt(deaf.back().descriptor(), SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
    deaf.back().send("GET " + page.with_token("/api/capture") + " HTTP/1.1\r\nHost: " + page.host +
                     "\r\n\r\n");
  }
  for (int i = 0; i < 5; ++i) EXPECT_EQ(page.get("/api/state").status, 200);
  EXPECT_GT(page.get("/api/capture").body.size(), 2'000'000U);
}

/// How many captures a process writes: each into a file that has no name any more.
std::size_t captures_of(pid_t pid) {
  std::set<std::string> files;
  std::error_code ignored;
  for (const auto& each :
       std::filesystem::directory_iterator("/proc/" + std::to_string(pid) + "/fd", ignored)) {
    const std::string file = std::filesystem::read_symlink(each.path(), ignored).string();
    if (file.ends_with("/frames.pcapng (deleted)")) files.insert(file);
  }
  return files.size();
}

TEST_F(ServeRefusals, CapturesAreLimitedInNumberAndEndWithTheirClients) {
  PageRig page({rig.path()});
  const std::string request = "GET " + page.with_token("/api/capture", "seconds=100") +
                              " HTTP/1.1\r\nHost: " + page.host + "\r\n\r\n";
  std::list<PageClient> clients;
  for (std::size_t i = 1; i <= 4; ++i) {
    clients.emplace_back(page.port);
    clients.back().send(request);
    ASSERT_TRUE(eventually([&] { return captures_of(page.tool().pid()) == i; })) << i;
  }
  const Answered more = page.get("/api/capture", "seconds=1");
  EXPECT_EQ(more.status, 503);
  EXPECT_TRUE(contains(more.body, "wait until one of them ends"));
  clients.clear();
  EXPECT_TRUE(eventually([&] { return page.get("/api/capture").status == 200; }));
}

TEST_F(ServeRefusals, TextsOfABusAreTextsInTheState) {
  const std::string name = "<img/src=x/onerror=1>\"'";
  Port port = rig.port(name);
  const PageRig page({rig.path()});
  const Answered got = page.get("/api/state");
  EXPECT_EQ(got.json()["buses"][0]["stat"]["ports"][0]["name"], name);
  EXPECT_EQ(got.header("Content-Type"), "application/json");
  EXPECT_EQ(got.header("X-Content-Type-Options"), "nosniff");
}

TEST_F(ServeRefusals, TheTokenIsPrintedOnceAndNowhereElse) {
  PageRig page({rig.path(), "--write", "--log-level", "trace", "--debug", "all"});
  EXPECT_EQ(page.get("/").status, 200);
  EXPECT_EQ(page.get("/api/capture", "filter=nonsense%20here").status, 400);
  EXPECT_EQ(page.ask("GET", "/api/state", {{"Authorization", "Bearer " + page.token}}).status, 200);
  EXPECT_EQ(page.post({{"bus", "bus"}, {"port", "a"}, {"change", "link down"}}).status, 404);
  page.tool().signal(SIGTERM);
  const ToolResult ended = page.tool().finish();
  EXPECT_EQ(ended.out, page.url + '\n');
  EXPECT_FALSE(contains(ended.err, page.token));
}

/// Nobody gets more from the page than from the bus file.
TEST_F(ServeRefusals, AnotherUsersBusIsReadAndChangedOnlyAsItsModeAllows) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root: setpriv";
  if (!others_can_run_tool()) GTEST_SKIP() << "other users cannot run the program";
  const Words as_other{"setpriv", "--reuid", "65001", "--regid", "65001", "--clear-groups"};
  std::filesystem::permissions(rig.directory(), std::filesystem::perms(0755));
  Words line = as_other;
  line.insert(line.end(), {shmifctl_path(), "serve", rig.path(), "--http", "127.0.0.1:0"});
  ASSERT_EQ(::chmod(rig.path().c_str(), 0600), 0);
  const ToolResult closed = run_program(line);
  EXPECT_EQ(closed.status, 1);
  EXPECT_EQ(closed.out, "");
  EXPECT_TRUE(contains(closed.err, rig.path()) && contains(closed.err, "Permission denied"))
      << closed.err;
  ASSERT_EQ(::chmod(rig.path().c_str(), 0644), 0);
  const PageRig page({rig.path(), "--write"}, as_other);
  EXPECT_EQ(page.get("/api/state").json()["buses"][0]["stat"]["path"], rig.path());
  const Answered refused = page.post({{"bus", "bus"}, {"change", "heal"}});
  EXPECT_EQ(refused.status, 409) << refused.body;
  EXPECT_TRUE(contains(refused.json()["error"], "Permission denied")) << refused.body;
}

}  // namespace
}  // namespace shmif::test
