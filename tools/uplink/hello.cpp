#include "tools/uplink/hello.hpp"

#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <climits>
#include <string_view>

#include "base/text.hpp"

namespace shmif::tools {
namespace {

constexpr std::string_view kSign = "shmif-uplink ";
constexpr std::size_t kMaxMachineName = 64;
constexpr std::size_t kMaxHelloLine = 256;
constexpr std::size_t kMaxGreeting = std::size_t{64} * 1024;
constexpr std::uint32_t kLeastMtu = 68;
constexpr std::uint32_t kMaxGreetingMtu = 65521;

bool is_name_character(char c) noexcept {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
         c == '_' || c == '-';
}

/// Takes `sign` and the number behind it from the front of `text`. Result: whether it was there.
bool take_number(std::string_view& text, std::string_view sign, std::uint32_t& number) {
  if (!text.starts_with(sign)) return false;
  text.remove_prefix(sign.size());
  const auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (problem != std::errc{}) return false;
  text.remove_prefix(static_cast<std::size_t>(end - text.data()));
  return true;
}

Error bad_hello(const std::string& line) {
  return {Errc::bad_argument,
          "the other machine does not speak as an uplink: \"" + base::printable(line) + '"'};
}

}  // namespace

std::string Hello::to_line() const {
  return std::string(kSign) + std::to_string(kVersion) + " mtu=" + std::to_string(mtu) +
         " name=" + name + '\n';
}

Result<Hello> Hello::parse(const std::string& line) {
  std::string_view rest = line;
  std::uint32_t version = 0;
  if (!take_number(rest, kSign, version)) return bad_hello(line);
  if (version != kVersion) {
    return Error(Errc::bad_argument, "the other machine speaks version " + std::to_string(version) +
                                         " of the uplink, and this one version " +
                                         std::to_string(kVersion) +
                                         " (install the same shmifctl on both)");
  }
  Hello hello;
  constexpr std::string_view kNameSign = " name=";
  if (!take_number(rest, " mtu=", hello.mtu) || !rest.starts_with(kNameSign))
    return bad_hello(line);
  hello.name = rest.substr(kNameSign.size());
  const bool well = hello.mtu >= kLeastMtu && hello.mtu <= kMaxGreetingMtu && !hello.name.empty() &&
                    hello.name.size() <= kMaxMachineName &&
                    std::ranges::all_of(hello.name, is_name_character);
  if (!well) return bad_hello(line);
  return hello;
}

std::string machine_name() {
  std::array<char, HOST_NAME_MAX + 1> buffer{};
  if (::gethostname(buffer.data(), buffer.size() - 1) != 0 || buffer[0] == '\0') return "unnamed";
  std::string name(buffer.data());
  name.resize(std::min(name.size(), kMaxMachineName));
  std::ranges::replace_if(name, [](char c) { return !is_name_character(c); }, '_');
  return name;
}

Result<void> send_hello(int out, const Hello& hello, std::chrono::milliseconds at_most) {
  const std::string what = "cannot greet the other machine";
  const std::string line = hello.to_line();
  pollfd room{.fd = out, .events = POLLOUT, .revents = 0};
  const int ready = ::poll(&room, 1, static_cast<int>(at_most.count()));
  if (ready == 0) return Error(Errc::timed_out, what + ": it does not read");
  // A pipe or a socket with room takes a line of this length as a whole.
  if (::write(out, line.data(), line.size()) != static_cast<ssize_t>(line.size()))
    return Error::from_errno(errno, what);
  return {};
}

Result<Hello> await_hello(int in, int stop, std::chrono::milliseconds at_most,
                          const Meanwhile& meanwhile) {
  const auto until = std::chrono::steady_clock::now() + at_most;
  std::string line;
  for (std::size_t bytes = 0; bytes < kMaxGreeting;) {
    std::array<pollfd, 3> either{{{.fd = in, .events = POLLIN, .revents = 0},
                                  {.fd = stop, .events = POLLIN, .revents = 0},
                                  {.fd = meanwhile.descriptor, .events = POLLIN, .revents = 0}}};
    const auto left =
        std::chrono::ceil<std::chrono::milliseconds>(until - std::chrono::steady_clock::now());
    const int ready = left.count() <= 0
                          ? 0
                          : ::poll(either.data(), either.size(), static_cast<int>(left.count()));
    if (ready < 0 && errno == EINTR) continue;
    if (ready < 0) return Error::from_errno(errno, "cannot wait for the other machine");
    if (either[1].revents != 0) return Error(Errc::interrupted, "a signal came");
    if (ready == 0) {
      return Error(Errc::timed_out, "the other machine has not answered within " +
                                        std::to_string(at_most.count() / 1000) + " s");
    }
    if (either[2].revents != 0) meanwhile.serve();
    if (either[0].revents == 0) continue;
    char c = 0;  // one at a time: what follows the line is for the link
    const ssize_t got = ::read(in, &c, 1);
    if (got < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    // A socket whose other end closed before it had read all is reset.
    if (got < 0 && errno != ECONNRESET)
      return Error::from_errno(errno, "cannot read from the other machine");
    if (got <= 0) return Error(Errc::link_ended, "the other machine has closed the line");
    ++bytes;
    if (c != '\n') {
      if (line.size() < kMaxHelloLine) line += c;
      continue;
    }
    if (line.starts_with(kSign)) return Hello::parse(line);  // of any version
    line.clear();
  }
  return bad_hello(line);
}

}  // namespace shmif::tools
