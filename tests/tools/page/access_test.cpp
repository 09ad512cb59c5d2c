// Who may see the page: the rules A1 to A4 of tools/page/access.hpp, without a server.

#include "tools/page/access.hpp"

#include <gtest/gtest.h>

#include <set>
#include <string>

#include "tests/support/run_tool.hpp"
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
