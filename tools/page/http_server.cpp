// The module shmifctl_page.so: the only file that includes cpp-httplib. Of that library it uses the
// reading of requests and the writing of answers. Sockets, threads and limits (H1 to H4) are here,
// because the library's own limits hold for each read and not for the whole of a request.

#include "tools/page/http_server.hpp"

#include <fcntl.h>
#include <httplib.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cctype>
#include <cerrno>
#include <chrono>
#include <list>
#include <thread>

#include "base/signals.hpp"

namespace shmif::tools {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::size_t kMaxConnections = 32;           // H2
constexpr std::size_t kMaxRequestBytes = 32U << 10U;  // H1
constexpr std::chrono::seconds kRequestTime{5};       // H1
constexpr std::chrono::seconds kStallTime{5};         // H4
constexpr std::chrono::minutes kAnswerTime{10};       // H4
/// After an answer, the client has this long to close. Closing first could destroy bytes of the
/// answer that the client has not read.
constexpr std::chrono::seconds kPartingTime{1};

/// Waits until the socket is ready for `events`. Result: false if `deadline` has passed.
bool wait_for(int socket, short events, Clock::time_point deadline) {
  for (;;) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now()).count();
    if (left <= 0) return false;
    pollfd entry{socket, events, 0};
    const int ready = ::poll(&entry, 1, static_cast<int>(std::min<std::int64_t>(left, 60'000)));
    if (ready > 0) return true;
    if (ready < 0 && errno != EINTR) return false;
  }
}

/// The socket of one connection, with the limits of its request and its answer.
class BoundedStream : public httplib::Stream {
 public:
  explicit BoundedStream(int socket) : socket_(socket) {}

  bool is_readable() const override { return true; }
  bool is_writable() const override { return !failed_; }

  ssize_t read(char* into, std::size_t bytes) override {
    bytes = std::min(bytes, kMaxRequestBytes - read_);
    if (bytes == 0 || !wait_for(socket_, POLLIN, begun_ + kRequestTime)) return -1;
    const ssize_t n = ::recv(socket_, into, bytes, MSG_DONTWAIT);
    if (n > 0) read_ += static_cast<std::size_t>(n);
    return n;
  }

  /// Writes all, because the library writes most things with one call.
  ssize_t write(const char* from, std::size_t bytes) override {
    for (std::size_t done = 0; done < bytes;) {
      const auto end = std::min(begun_ + kAnswerTime, Clock::now() + kStallTime);
      if (failed_ || !wait_for(socket_, POLLOUT, end)) return fail();
      const ssize_t n = ::send(socket_, from + done, bytes - done, MSG_NOSIGNAL | MSG_DONTWAIT);
      if (n > 0) done += static_cast<std::size_t>(n);
      if (n < 0 && errno != EAGAIN && errno != EINTR) return fail();
    }
    return static_cast<ssize_t>(bytes);
  }

  void get_remote_ip_and_port(std::string& /*ip*/, int& port) const override { port = 0; }
  void get_local_ip_and_port(std::string& /*ip*/, int& port) const override { port = 0; }
  // The library only compares it with FD_SETSIZE, for a select() that is never made here.
  socket_t socket() const override { return 0; }

 private:
  ssize_t fail() {
    failed_ = true;
    return -1;
  }

  int socket_;
  Clock::time_point begun_ = Clock::now();
  std::size_t read_ = 0;
  bool failed_ = false;
};

struct Connection {
  explicit Connection(UniqueFd s) : socket(std::move(s)) {}
  UniqueFd socket;
  std::atomic<bool> admitted{false};
  std::atomic<bool> over{false};
  std::thread thread{};
};

/// The library's server, of which only the protocol is used.
class Protocol : public httplib::Server {
 public:
  explicit Protocol(const HttpSite& site, const std::atomic<bool>& ending)
      : site_(site), ending_(ending) {
    // The library writes files only while it has a listening socket. It never uses this one.
    svr_sock_ = 0;
    // The library's own limit would read and drop a longer body.
    set_payload_max_length(kMaxRequestBytes);
    set_pre_routing_handler([this](const httplib::Request& request, httplib::Response& response) {
      return before(request, response);
    });
    const auto all = [this](const httplib::Request& request, httplib::Response& response) {
      answer(request, response);
    };
    // before() lets only short paths pass, because the library matches them recursively.
    Get("/.*", all);
    Post("/.*", all);
  }

  void serve(Connection& connection) {
    BoundedStream stream(connection.socket.get());
    connection_ = &connection;
    bool closed = true;
    // Answers are whole, and not compressed: most clients are on this machine.
    process_request(stream, true, closed, [](httplib::Request& request) {
      request.ranges.clear();
      request.headers.erase("Accept-Encoding");
    });
    part(connection.socket.get());
  }

 private:
  using Response = httplib::Response;

  static void part(int socket) {
    ::shutdown(socket, SHUT_WR);
    const auto end = Clock::now() + kPartingTime;
    std::array<char, 4096> rest;
    while (wait_for(socket, POLLIN, end) &&
           ::recv(socket, rest.data(), rest.size(), MSG_DONTWAIT) > 0) {
    }
  }

  HttpRequest request_of(const httplib::Request& from) const {
    HttpRequest request;
    request.method = from.method;
    request.path = from.path;
    for (const auto& [name, value] : from.params) request.query.emplace_back(name, value);
    for (const auto& [name, value] : from.headers) {
      std::string small = name;
      std::ranges::transform(small, small.begin(), [](char c) {
        return static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
      });
      request.headers.emplace_back(std::move(small), value);
    }
    const int socket = connection_->socket.get();
    request.is_abandoned = [socket, &ending = ending_] {
      char byte = 0;
      const ssize_t n = ::recv(socket, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
      return ending || n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR);
    };
    return request;
  }

  static void put(const HttpAnswer& answer, Response& response) {
    response.status = answer.status;
    for (const auto& [name, value] : answer.headers) response.set_header(name, value);
    if (!answer.file) {
      response.set_content(answer.text, answer.type);
      return;
    }
    response.set_content_provider(
        static_cast<std::size_t>(answer.file_bytes), answer.type,
        [file = answer.file](std::size_t offset, std::size_t bytes, httplib::DataSink& sink) {
          std::array<char, 1U << 16U> piece;
          const ssize_t n = ::pread(file->get(), piece.data(), std::min(bytes, piece.size()),
                                    static_cast<off_t>(offset));
          return n > 0 && sink.write(piece.data(), static_cast<std::size_t>(n));
        });
  }

  HandlerResponse before(const httplib::Request& from, Response& response) const {
    constexpr std::size_t kMaxPath = 64;
    HttpAnswer refused{.status = 404, .text = "404: there is no such page\n"};
    if (from.path.starts_with("/api/"))
      refused = {.status = 404,
                 .type = "application/json",
                 .text = "{\"error\":\"there is no such page\"}\n"};
    if (from.path.size() <= kMaxPath && from.path.starts_with('/')) {
      std::optional<HttpAnswer> refusal = site_.refuse(request_of(from));
      if (!refusal) {
        connection_->admitted = true;
        return HandlerResponse::Unhandled;
      }
      refused = *std::move(refusal);
    }
    put(refused, response);
    return HandlerResponse::Handled;
  }

  void answer(const httplib::Request& from, Response& response) const {
    HttpRequest request = request_of(from);
    request.body = from.body;
    try {
      put(site_.answer(request), response);
    } catch (const std::exception& error) {
      put({.status = 500, .text = std::string(error.what()) + '\n'}, response);
    }
  }

  const HttpSite& site_;
  const std::atomic<bool>& ending_;
  Connection* connection_ = nullptr;
};

class Server : public HttpServer {
 public:
  Server(UniqueFd listener, HttpSite site)
      : listener_(std::move(listener)), site_(std::move(site)) {
    ::fcntl(listener_.get(), F_SETFL, ::fcntl(listener_.get(), F_GETFL) | O_NONBLOCK);
    thread_ = base::quiet_thread<std::thread>([this] { run(); });
  }
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;
  ~Server() override {
    ending_ = true;
    ::shutdown(listener_.get(), SHUT_RDWR);
    thread_.join();
    for (Connection& each : connections_) ::shutdown(each.socket.get(), SHUT_RDWR);
    for (Connection& each : connections_) each.thread.join();
  }

 private:
  /// Pauses for this long after a failed accept(), because the listener stays readable if
  /// descriptors ran out.
  static constexpr int kPauseMilliseconds = 100;

  void run() {
    while (!ending_) {  // runs until stopped
      UniqueFd socket(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
      if (ending_) return;
      bury();
      if (!socket) {
        if (errno == EAGAIN) {
          pollfd entry{listener_.get(), POLLIN, 0};
          ::poll(&entry, 1, -1);
        } else if (errno != EINTR && errno != ECONNABORTED) {
          ::poll(nullptr, 0, kPauseMilliseconds);
        }
        continue;
      }
      if (make_room()) begin(std::move(socket));
    }
  }

  /// Joins the threads of connections that are over.
  void bury() {
    std::erase_if(connections_, [](Connection& each) {
      if (!each.over) return false;
      each.thread.join();
      return true;
    });
  }

  /// H3. Result: whether there is room for another connection.
  bool make_room() {
    if (connections_.size() < kMaxConnections) return true;
    const auto oldest = std::ranges::find_if(
        connections_, [](const Connection& each) { return !each.admitted && !each.over; });
    if (oldest == connections_.end()) return false;
    ::shutdown(oldest->socket.get(), SHUT_RDWR);
    oldest->thread.join();
    connections_.erase(oldest);
    return true;
  }

  void begin(UniqueFd socket) {
    Connection& made = connections_.emplace_back(std::move(socket));
    try {
      made.thread = base::quiet_thread<std::thread>([this, &made] {
        try {
          Protocol(site_, ending_).serve(made);
        } catch (const std::exception&) {  // memory is short: the client gets no answer
          ::shutdown(made.socket.get(), SHUT_RDWR);
        }
        // Its descriptor stays until the thread is joined, so that nobody shuts down another one.
        ::shutdown(made.socket.get(), SHUT_RDWR);
        made.over = true;
      });
    } catch (const std::system_error&) {
      connections_.pop_back();  // no thread: the client sees a closed connection
    }
  }

  UniqueFd listener_;
  HttpSite site_;
  std::atomic<bool> ending_{false};
  std::list<Connection> connections_;  // of the thread below; after its end, of the destructor
  std::thread thread_;
};

std::unique_ptr<HttpServer> serve_with_library(UniqueFd listener, HttpSite site) {
  return std::make_unique<Server>(std::move(listener), std::move(site));
}

}  // namespace
}  // namespace shmif::tools

extern "C" const shmif::tools::HttpModule shmifctl_page{SHMIFCTL_PAGE_INTERFACE,
                                                        shmif::tools::serve_with_library};
