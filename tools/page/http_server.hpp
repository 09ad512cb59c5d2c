#pragma once
// HttpServer: an HTTP server for few clients, some of which may be hostile. It knows nothing of
// buses: a site says what it answers.
//
// The server is built with cpp-httplib, which brings OpenSSL and compression. So it is a module,
// shmifctl_page.so, which the program loads when `serve` needs it. Only http_server.cpp includes
// that library.
//
// Limits, because anybody who reaches the address may connect:
//   H1  A request (its line, headers and body) has 32 KiB and 5 s.
//   H2  Each connection carries one request, and has its own thread. There are at most 32.
//   H3  If there are more, the oldest one whose request the site has not admitted is closed. If
//       all are admitted, the new one is refused.
//   H4  A client that takes nothing of an answer for 5 s is closed. An answer has 10 minutes.

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.hpp"
#include "base/unique_fd.hpp"

namespace shmif::tools {

/// Names and values, in the order in which they came.
using HttpFields = std::vector<std::pair<std::string, std::string>>;

/// The value of the only field of that name; nullptr if there is none, or if there are several.
const std::string* only_value(const HttpFields& fields, std::string_view name) noexcept;

struct HttpRequest {
  std::string method;
  std::string path;    ///< without the query; may be anything
  HttpFields query;    ///< decoded
  HttpFields headers;  ///< their names in small letters
  std::string body;    ///< empty while the site decides whether to admit the request
  /// Whether nobody waits for the answer any more: the client has gone, or the server ends.
  /// Threads: safe. Blocks: never.
  std::function<bool()> is_abandoned;
};

struct HttpAnswer {
  int status = 200;
  std::string type = "text/plain; charset=utf-8";
  std::string text{};
  HttpFields headers{};
  /// If set, this file follows instead of `text`. Shared, because std::function copies it.
  std::shared_ptr<const UniqueFd> file{};
  std::uint64_t file_bytes = 0;
};

/// What the server asks. Both functions are called in the threads of connections, several at once.
struct HttpSite {
  /// Looks at a request whose body was not read. Result: the refusal; empty if it is admitted.
  std::function<std::optional<HttpAnswer>(const HttpRequest&)> refuse;
  /// Answers a request that was admitted. May block, but must return soon after is_abandoned().
  /// May throw an Exception: the client then gets its message, with status 500.
  std::function<HttpAnswer(const HttpRequest&)> answer;
};

/// A server at work. The destructor closes all connections and waits for their threads.
class HttpServer {
 public:
  HttpServer() = default;
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;
  virtual ~HttpServer() = default;
};

/// The module's table.
struct HttpModule {
  const char* interface;  ///< a digest of this header; another build has a different one
  /// `listener`: a listening socket. Throws std::system_error if no thread can be started.
  std::unique_ptr<HttpServer> (*serve)(UniqueFd listener, HttpSite site);
};

/// Loads the module at the first call, and serves. Threads: safe. Blocks: the first call, for the
/// disk. Errors: not_supported if the module is missing or belongs to another build; an errno.
Result<std::unique_ptr<HttpServer>> serve_http(UniqueFd listener, HttpSite site);

}  // namespace shmif::tools

/// The name under which the module exports its table.
extern "C" const shmif::tools::HttpModule shmifctl_page;
