#pragma once
// A page at work, and a client that can also send what no browser would.

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <cstdlib>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "base/unique_fd.hpp"
#include "tests/tools/common/bus_rig.hpp"

namespace shmif::test {

/// A UDP datagram from 198.18.0.1 to 198.18.0.2, in a frame of 60 bytes.
inline Bytes udp_frame() {
  const std::vector<unsigned> bytes{
      0xb2, 0xa0, 0,  0, 0, 2,   0xb2, 0xa0, 0, 0,   0,  1, 8, 0,    0x45, 0,    0,    28, 0, 1, 0,
      0,    64,   17, 0, 0, 198, 18,   0,    1, 198, 18, 0, 2, 0x13, 0x88, 0x13, 0x89, 0,  8, 0, 0};
  Bytes frame(60);
  for (std::size_t i = 0; i < bytes.size(); ++i) frame[i] = static_cast<std::byte>(bytes[i]);
  return frame;
}

/// An answer of the server.
struct Answered {
  int status = 0;  ///< 0: there was none
  std::string head;
  std::string body;

  nlohmann::json json() const { return nlohmann::json::parse(body, nullptr, false); }
  /// The value of a header; empty if there is none.
  std::string header(const std::string& name) const {
    const std::size_t at = head.find("\r\n" + name + ": ");
    if (at == std::string::npos) return {};
    const std::size_t begin = at + name.size() + 4;
    return head.substr(begin, head.find("\r\n", begin) - begin);
  }
};

/// A connection to 127.0.0.1.
class PageClient {
 public:
  explicit PageClient(std::uint16_t port)
      : socket_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (::connect(socket_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0)
      socket_.reset();
  }
  bool is_open() const { return static_cast<bool>(socket_); }
  int descriptor() const { return socket_.get(); }
  void send(const std::string& text) const {
    std::size_t done = 0;
    while (done < text.size()) {
      const ssize_t n = ::send(socket_.get(), text.data() + done, text.size() - done, MSG_NOSIGNAL);
      if (n <= 0) return;  // the server has had enough
      done += static_cast<std::size_t>(n);
    }
  }
  /// Reads until the server closes the connection.
  Answered read(std::chrono::milliseconds at_most = kGenerousTime) const {
    std::string all;
    std::array<char, 65536> piece;
    const auto end = std::chrono::steady_clock::now() + at_most;
    for (;;) {
      const auto left =
          std::chrono::ceil<std::chrono::milliseconds>(end - std::chrono::steady_clock::now());
      pollfd entry{socket_.get(), POLLIN, 0};
      if (left.count() <= 0 || ::poll(&entry, 1, static_cast<int>(left.count())) <= 0) break;
      const ssize_t n = ::recv(socket_.get(), piece.data(), piece.size(), 0);
      if (n <= 0) break;
      all.append(piece.data(), static_cast<std::size_t>(n));
    }
    Answered answered;
    const std::size_t end_of_head = all.find("\r\n\r\n");
    if (!all.starts_with("HTTP/1.1 ") || end_of_head == std::string::npos) return answered;
    answered.status = std::atoi(all.c_str() + 9);
    answered.head = all.substr(0, end_of_head + 2);
    answered.body = all.substr(end_of_head + 4);
    return answered;
  }
  /// Whether the server has closed the connection, without an answer.
  bool is_closed(std::chrono::milliseconds at_most) const {
    pollfd entry{socket_.get(), POLLIN, 0};
    char byte = 0;
    return ::poll(&entry, 1, static_cast<int>(at_most.count())) > 0 &&
           ::recv(socket_.get(), &byte, 1, MSG_PEEK) <= 0;
  }

 private:
  UniqueFd socket_;
};

/// `shmifctl serve`, and requests to it.
class PageRig {
 public:
  /// `before`: what starts the program, such as setpriv.
  explicit PageRig(const Words& words, Words before = {}) {
    Words line = std::move(before);
    line.insert(line.end(), {shmifctl_path(), "serve", "--http", "127.0.0.1:0"});
    line.insert(line.end(), words.begin(), words.end());
    tool_ = std::make_unique<Tool>(std::move(line));
    EXPECT_TRUE(tool_->wait_for("token="));
    EXPECT_TRUE(tool_->wait_for("\n"));
    url = tool_->so_far().out.substr(0, tool_->so_far().out.find('\n'));
    const std::string begin = "http://127.0.0.1:";
    EXPECT_TRUE(url.starts_with(begin)) << url;
    if (!url.starts_with(begin)) return;
    port = static_cast<std::uint16_t>(std::atoi(url.c_str() + begin.size()));
    token = url.substr(url.find("token=") + 6);
    host = "127.0.0.1:" + std::to_string(port);
  }

  Tool& tool() { return *tool_; }

  using Headers = std::vector<std::pair<std::string, std::string>>;
  /// A request as curl sends it, and its answer.
  Answered ask(const std::string& method, const std::string& target, const Headers& more = {},
               const std::string& body = {}) const {
    return ask_as(host, method, target, more, body);
  }
  Answered ask_as(const std::string& name, const std::string& method, const std::string& target,
                  const Headers& more = {}, const std::string& body = {}) const {
    const PageClient client(port);
    std::string request = method + ' ' + target + " HTTP/1.1\r\nHost: " + name + "\r\n";
    for (const auto& [header, value] : more) request += header + ": " + value + "\r\n";
    if (!body.empty()) request += "Content-Length: " + std::to_string(body.size()) + "\r\n";
    client.send(request + "\r\n" + body);
    return client.read();
  }
  /// GET with the token.
  Answered get(const std::string& path, const std::string& query = {}) const {
    return ask("GET", with_token(path, query));
  }
  Answered post(const nlohmann::json& body, const Headers& more = {}) const {
    Headers all{{"Content-Type", "application/json"}};
    all.insert(all.end(), more.begin(), more.end());
    return ask("POST", with_token("/api/change"), all, body.dump());
  }
  std::string with_token(const std::string& path, const std::string& query = {}) const {
    return path + "?token=" + token + (query.empty() ? "" : "&" + query);
  }

  std::string url, token, host;
  std::uint16_t port = 0;

 private:
  std::unique_ptr<Tool> tool_;
};

}  // namespace shmif::test
