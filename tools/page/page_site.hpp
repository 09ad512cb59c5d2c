#pragma once
// PageSite: what the page's server answers: the page itself and its interface (docs/page.md).

#include <atomic>
#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "tools/page/access.hpp"
#include "tools/page/http_server.hpp"
#include "tools/page/lab_watch.hpp"

namespace shmif::tools {

/// Threads: answers run in the threads of connections, several at once. It outlives its server.
class PageSite {
 public:
  /// Throws std::system_error if no thread can be started.
  PageSite(PageSubject subject, PageAccess access, std::chrono::milliseconds interval);
  PageSite(const PageSite&) = delete;
  PageSite& operator=(const PageSite&) = delete;

  HttpSite site();

 private:
  static constexpr int kMaxCaptures = 4;  ///< at once, because each takes disk
  static constexpr unsigned kMaxSeconds = 120;

  HttpAnswer answer(const HttpRequest& request);
  HttpAnswer page() const;
  HttpAnswer state(const std::string& look) const;
  HttpAnswer history(const HttpRequest& request);
  HttpAnswer changes(const HttpRequest& request) const;
  HttpAnswer change(const HttpRequest& request);
  HttpAnswer capture(const HttpRequest& request);
  HttpAnswer frames(const HttpRequest& request);
  /// The bus that a request names. Throws Exception (bad_argument) if the page does not show it.
  const NamedBus& bus_of(const HttpRequest& request) const;

  const PageAccess access_;
  LabWatch watch_;
  std::vector<std::unique_ptr<FrameTail>> tails_;  // of the buses, in their order
  std::atomic<int> captures_{0};
};

}  // namespace shmif::tools
