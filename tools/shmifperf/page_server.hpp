#pragma once
// PageServer: answers HTTP requests for one page, for example those of Prometheus.

#include <functional>
#include <memory>
#include <string>

#include "base/result.hpp"
#include "shmif/socket_address.hpp"

namespace shmif::tools {

struct Page {
  std::string path;  ///< "/metrics"
  std::string content_type;
  std::function<std::string()> text;  ///< called for each request, in the server's thread
};

/// Answers GET and HEAD (RFC 9110), one request for each connection, in its own thread. A client
/// has 5 s for the request and the answer. If there are more than 32 connections, the oldest one is
/// closed. The destructor closes all. Threads: one at a time.
class PageServer {
 public:
  /// Errors: an errno, if the address is in use or does not belong to this machine.
  static Result<std::unique_ptr<PageServer>> serve(const SocketAddress& address, Page page);
  PageServer(const PageServer&) = delete;
  PageServer& operator=(const PageServer&) = delete;
  ~PageServer();

  /// Its address, with the real port.
  const SocketAddress& address() const noexcept;

 private:
  struct Impl;
  explicit PageServer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace shmif::tools
