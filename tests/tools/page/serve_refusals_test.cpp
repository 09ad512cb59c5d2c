// Who may see the page: the rules A1 to A4 of tools/page/access.hpp, without a server.

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <filesystem>
#include <list>
#include <set>
#include <string>
#include <system_error>

#include "tests/support/eventually.hpp"
#include "tests/support/run_tool.hpp"
#include "tests/tools/page/page_rig.hpp"
#include "tools/page/access.hpp"
#include "tools/page/lab_watch.hpp"

namespace shmif::tools {
namespace {

using test::contains;

const std::string kToken = "0123456789abcdef0123456789abcdef";

HttpRequest request(const std::string& method = "GET") {
  HttpRequest made;
  made.method = method;
  made.path = "/";
  made.query = {{"token", kToken}};
  made.headers = {{"host", "127.0.0.1:8080"}};
  return made;
}

HttpRequest post() {
  HttpRequest made = request("POST");
  made.headers.insert(made.headers.end(),
                      {{"content-type", "application/json"}, {"content-length", "10"}});
  return made;
}

/// The status of the refusal; 0 if the request is allowed.
int refused(const HttpRequest& request,
            const PageAccess& access = {.token = kToken, .may_write = true}) {
  const auto refusal = refusal_of(request, access);
  return refusal ? refusal->status : 0;
}

HttpRequest with(HttpRequest request, const std::string& header, const std::string& value) {
  std::erase_if(request.headers, [&](const auto& each) { return each.first == header; });
  request.headers.emplace_back(header, value);
  return request;
}

TEST(PageAccess, NeedsTheWholeTokenAndOnlyOne) {
  EXPECT_EQ(refused(request()), 0);
  for (const HttpFields& query :
       std::vector<HttpFields>{{},
                               {{"token", ""}},
                               {{"token", kToken.substr(1)}},
                               {{"token", kToken + "0"}},
                               {{"token", "0123456789abcdef0123456789abcdeF"}},
                               {{"token", kToken}, {"token", kToken}},
                               {{"tokens", kToken}}}) {
    HttpRequest without = request();
    without.query = query;
    EXPECT_EQ(refused(without), 403) << query.size();
  }
  HttpRequest as_header = request();
  as_header.query.clear();
  EXPECT_EQ(refused(with(as_header, "authorization", "Bearer " + kToken)), 0);
  EXPECT_EQ(refused(with(as_header, "authorization", "Bearer " + kToken.substr(2))), 403);
  EXPECT_EQ(refused(with(as_header, "authorization", kToken)), 403);
}

TEST(PageAccess, TokensDifferAndHave128Bits) {
  std::set<std::string> tokens;
  for (int i = 0; i < 100; ++i) tokens.insert(random_token());
  EXPECT_EQ(tokens.size(), 100U);
  for (const std::string& token : tokens) {
    EXPECT_EQ(token.size(), 32U);
    EXPECT_EQ(token.find_first_not_of("0123456789abcdef"), std::string::npos) << token;
  }
}

TEST(PageAccess, ComparesTextsOfEqualLengthWhole) {
  EXPECT_TRUE(equal_in_constant_time("abc", "abc"));
  EXPECT_TRUE(equal_in_constant_time("", ""));
  for (const char* const other : {"", "ab", "abcd", "bbc", "abd", "aBc"})
    EXPECT_FALSE(equal_in_constant_time("abc", other)) << other;
}

TEST(PageAccess, IsForAddressesLocalhostAndNamesThatTheUserGave) {
  for (const char* const host : {"127.0.0.1:8080", "127.0.0.1", "[::1]:8080", "localhost:9000",
                                 "LOCALHOST", "198.18.0.1:8080", "lab3:8080", "Lab3"}) {
    const PageAccess access{.token = kToken, .names = {"Lab3"}};
    EXPECT_EQ(refused(with(request(), "host", host), access), 0) << host;
  }
  for (const char* const host :
       {"", "evil.example", "evil.example:8080", "127.0.0.1.evil.example", "localhost.evil.example",
        "lab3", "127.0.0.1:8080@evil.example", "127.0.0.1:80a", "a b"}) {
    EXPECT_EQ(refused(with(request(), "host", host)), 403) << host;
  }
  HttpRequest twice = request();
  twice.headers.emplace_back("host", "localhost");
  EXPECT_EQ(refused(twice), 403);
  HttpRequest none = request();
  none.headers.clear();
  EXPECT_EQ(refused(none), 403);
}

TEST(PageAccess, IsRefusedToOtherOrigins) {
  for (const char* const origin : {"http://127.0.0.1:8080", "https://127.0.0.1:8080"}) {
    EXPECT_EQ(refused(with(request(), "origin", origin)), 0) << origin;
    EXPECT_EQ(refused(with(post(), "origin", origin)), 0) << origin;
  }
  for (const char* const origin :
       {"", "null", "http://evil.example", "http://127.0.0.1", "http://127.0.0.1:8081",
        "http://localhost:8080", "http://127.0.0.1:8080.evil.example", "127.0.0.1:8080"}) {
    EXPECT_EQ(refused(with(request(), "origin", origin)), 403) << origin;
    EXPECT_EQ(refused(with(post(), "origin", origin)), 403) << origin;
  }
  HttpRequest twice = with(request(), "origin", "http://127.0.0.1:8080");
  twice.headers.emplace_back("origin", "http://evil.example");
  EXPECT_EQ(refused(twice), 403);
}

TEST(PageAccess, ChangesNeedTheRightAndABodyOfJsonOfKnownLength) {
  EXPECT_EQ(refused(post()), 0);
  EXPECT_EQ(refused(post(), {.token = kToken}), 403);
  EXPECT_EQ(refused(with(post(), "content-type", "application/json; charset=utf-8")), 0);
  for (const char* const type :
       {"text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ""}) {
    EXPECT_EQ(refused(with(post(), "content-type", type)), 415) << type;
  }
  HttpRequest twice = post();
  twice.headers.emplace_back("content-type", "application/json");
  EXPECT_EQ(refused(twice), 415);
  EXPECT_EQ(refused(with(post(), "content-encoding", "gzip")), 415);
  EXPECT_EQ(refused(with(post(), "transfer-encoding", "chunked")), 411);
  for (const char* const length : {"", "-1", "x", "99999999999999999999999"})
    EXPECT_EQ(refused(with(post(), "content-length", length)), 411) << length;
  EXPECT_EQ(refused(with(post(), "content-length", std::to_string(kMaxBodyBytes))), 0);
  EXPECT_EQ(refused(with(post(), "content-length", std::to_string(kMaxBodyBytes + 1))), 413);
}

TEST(PageAccess, KnowsOnlyThreeMethods) {
  EXPECT_EQ(refused(request("HEAD")), 0);
  for (const char* const method : {"OPTIONS", "PUT", "DELETE", "TRACE", "get", ""})
    EXPECT_EQ(refused(request(method)), 405) << method;
}

TEST(PageChangeWish, IsReadWholeOrRefusedWithTheRightForm) {
  const auto wish = read_change_wish(R"({"bus": "b", "port": "web", "change": "link down"})");
  ASSERT_TRUE(wish);
  EXPECT_EQ(wish->bus, "b");
  EXPECT_EQ(wish->port, "web");
  EXPECT_EQ(wish->change, "link down");
  EXPECT_TRUE(read_change_wish(R"({"bus": "b", "change": "partition a / b"})"));
  EXPECT_TRUE(read_change_wish(R"({"bus": "b", "change": "heal"})"));
  EXPECT_TRUE(read_change_wish(R"({"bus": "b", "port": "web", "change": "fault loss=5%"})"));
  for (const std::string body :
       {"", "[]", "null", "{", R"("link down")", R"({"port": "a", "change": "link down"})",
        R"({"bus": "b", "change": "link down"})", R"({"bus": "b", "port": "a", "change": "heal"})",
        R"({"bus": "b", "port": "a", "change": "move /dev/shm/x"})",
        R"({"bus": "b", "port": "a", "change": ""})",
        R"({"bus": "b", "port": 1, "change": "heal"})",
        R"({"bus": "b", "port": "a", "change": "fault none\n"})",
        R"({"bus": "b", "port": "a", "change": "fault none\u007f"})",
        R"({"bus": "b", "port": "a", "change": "fault none", "more": ""})"}) {
    const auto refused = read_change_wish(body);
    ASSERT_FALSE(refused) << body;
    EXPECT_EQ(refused.error().code, make_error_code(Errc::bad_argument)) << body;
    EXPECT_TRUE(contains(refused.error().message, R"({"bus": "NAME")"));
  }
  const std::string deep(7000, '[');
  EXPECT_FALSE(read_change_wish(deep));
  for (const std::size_t more : {0U, 1U}) {
    EXPECT_EQ(bool(read_change_wish(R"({"bus": "b", "port": ")" + std::string(64 + more, 'a') +
                                    R"(", "change": "link up"})")),
              more == 0);
    EXPECT_EQ(bool(read_change_wish(R"({"bus": "b", "port": "a", "change": "fault )" +
                                    std::string(1394 + more, 'x') + R"("})")),
              more == 0);
  }
}

}  // namespace
}  // namespace shmif::tools

namespace shmif::test {
namespace {

// shmifctl serve: what it refuses, and clients that try to wedge it.

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
  EXPECT_TRUE(eventually([&] {
    slow.back().send("x");
    return slow.back().is_closed(std::chrono::seconds(1));
  })) << "its time is over, though a byte comes each second";
  EXPECT_TRUE(std::prev(slow.end(), 2)->is_closed(kGenerousTime)) << "so is that of a silent one";
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
