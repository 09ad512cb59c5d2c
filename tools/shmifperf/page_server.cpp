#include "tools/shmifperf/page_server.hpp"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <string_view>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "base/signals.hpp"
#include "base/unique_fd.hpp"
#include "perf/remote/connection.hpp"

namespace shmif::tools {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::size_t kMaxVisits = 32;
constexpr std::size_t kMaxRequestBytes = 8U << 10U;
constexpr std::chrono::seconds kVisitTime{5};
/// The server checks deadlines this often. It also pauses for this long after a failed accept().
constexpr int kLookMilliseconds = 100;

/// The first words of a request: "GET /metrics HTTP/1.1".
struct RequestLine {
  std::string_view method, target, version;
};

RequestLine request_line_of(std::string_view request) {
  const std::string_view line = request.substr(0, request.find_first_of("\r\n"));
  const std::size_t first = std::min(line.find(' '), line.size());
  const std::size_t second = std::min(line.find(' ', first + 1), line.size());
  const auto after = [&](std::size_t at) { return line.substr(std::min(at + 1, line.size())); };
  return {line.substr(0, first), after(first).substr(0, second - std::min(first + 1, second)),
          after(second)};
}

/// The path in a request's target, without "http://HOST", which proxies send, and without a query.
std::string_view path_of(std::string_view target) {
  constexpr std::string_view kScheme = "http://";
  if (target.starts_with(kScheme)) {
    target.remove_prefix(std::min(target.find('/', kScheme.size()), target.size()));
  }
  return target.substr(0, target.find('?'));
}

/// Whether the request has its empty line. After that line, only content could follow.
bool is_whole(std::string_view request) {
  return request.find("\r\n\r\n") != std::string_view::npos ||
         request.find("\n\n") != std::string_view::npos;
}

/// Whether an answer has its text. The answer to HEAD only has the header that GET would get.
enum class Body : std::uint8_t { sent, left_out };

std::string answer_with(std::string_view status, std::string_view type, std::string_view text,
                        Body body, std::string_view more = {}) {
  std::string answer = "HTTP/1.1 ";
  answer += status;
  answer += "\r\nContent-Type: ";
  answer += type;
  answer += "\r\nContent-Length: " + std::to_string(text.size()) + "\r\nConnection: close\r\n";
  answer += more;
  answer += "\r\n";
  if (body == Body::sent) answer += text;
  return answer;
}

std::string refusal(std::string_view status, Body body, std::string_view more = {}) {
  return answer_with(status, "text/plain; charset=utf-8", std::string(status) + '\n', body, more);
}

std::string answer_to(std::string_view request, const Page& page) {
  const RequestLine line = request_line_of(request);
  const bool is_head = line.method == "HEAD";
  if (line.target.empty() || !line.version.starts_with("HTTP/1.")) {
    return refusal("400 Bad Request", Body::sent);
  }
  if (!is_head && line.method != "GET") {
    return refusal("405 Method Not Allowed", Body::sent, "Allow: GET, HEAD\r\n");
  }
  const Body body = is_head ? Body::left_out : Body::sent;
  if (path_of(line.target) != page.path) return refusal("404 Not Found", body);
  return answer_with("200 OK", page.content_type, page.text(), body);
}

/// One connection.
struct Visit {
  explicit Visit(UniqueFd socket) : fd(std::move(socket)) {}

  /// Reads and answers. Result: false when the visit is over.
  bool look(const Page& page);

  UniqueFd fd;
  Clock::time_point deadline = Clock::now() + kVisitTime;
  std::string request, answer;
  std::size_t sent = 0;
  bool answered = false;  ///< all is sent; the other side closes first, so that no byte is lost

  short events() const { return static_cast<short>(sent < answer.size() ? POLLOUT : POLLIN); }
};

bool Visit::look(const Page& page) {
  std::array<char, 2048> piece;
  while (answer.empty() || answered) {
    const ssize_t n = ::recv(fd.get(), piece.data(), piece.size(), MSG_DONTWAIT);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) return true;
    if (n <= 0) return false;
    if (answered) return true;  // others have their turn, and deadline and stop are checked
    request.append(piece.data(), static_cast<std::size_t>(n));
    if (is_whole(request)) {
      answer = answer_to(request, page);
    } else if (request.size() > kMaxRequestBytes) {
      answer = refusal("431 Request Header Fields Too Large", Body::sent);
    }
  }
  while (sent < answer.size()) {
    const ssize_t n =
        ::send(fd.get(), answer.data() + sent, answer.size() - sent, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno == EAGAIN;
    sent += static_cast<std::size_t>(n);
  }
  answered = true;
  return ::shutdown(fd.get(), SHUT_WR) == 0;
}

}  // namespace

struct PageServer::Impl {
  UniqueFd listener;  ///< shut down in order to end the thread
  SocketAddress address;
  Page page;
  std::vector<Visit> visits;
  std::thread thread;

  void accept_all();
  void run();
};

void PageServer::Impl::accept_all() {
  for (std::size_t i = 0; i < kMaxVisits; ++i) {
    UniqueFd socket(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (!socket) {
      // If descriptors ran out, the listener stays readable.
      if (errno != EAGAIN && errno != EINTR) ::poll(nullptr, 0, kLookMilliseconds);
      return;
    }
    if (visits.size() == kMaxVisits) visits.erase(visits.begin());
    visits.emplace_back(std::move(socket));
  }
}

void PageServer::Impl::run() {
  for (;;) {  // runs until stopped
    std::vector<pollfd> entries{{listener.get(), POLLIN, 0}};
    for (const Visit& visit : visits) entries.push_back({visit.fd.get(), visit.events(), 0});
    ::poll(entries.data(), entries.size(), visits.empty() ? -1 : kLookMilliseconds);
    if ((entries[0].revents & POLLHUP) != 0) return;
    accept_all();
    const auto now = Clock::now();
    std::erase_if(visits, [&](Visit& visit) { return now > visit.deadline || !visit.look(page); });
  }
}

PageServer::PageServer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

PageServer::~PageServer() {
  ::shutdown(impl_->listener.get(), SHUT_RDWR);
  impl_->thread.join();
}

const SocketAddress& PageServer::address() const noexcept {
  return impl_->address;
}

Result<std::unique_ptr<PageServer>> PageServer::serve(const SocketAddress& address, Page page) {
  auto impl = std::make_unique<Impl>();
  auto listener = perf::listen_at(address);
  if (!listener) return std::move(listener).error();
  auto real = address_of(listener->get());
  if (!real) return std::move(real).error();
  impl->listener = *std::move(listener);
  impl->address = *real;
  impl->page = std::move(page);
  try {
    impl->thread = base::quiet_thread<std::thread>([&server = *impl] { server.run(); });
  } catch (const std::system_error& error) {
    return Error(error.code(), std::string("cannot start a thread: ") + error.what() +
                                   " (ulimit -u shows the limit)");
  }
  return std::unique_ptr<PageServer>(new PageServer(std::move(impl)));
}

}  // namespace shmif::tools
