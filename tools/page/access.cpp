#include "tools/page/access.hpp"

#include <sys/random.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <nlohmann/json.hpp>

#include "base/quantity.hpp"
#include "base/result.hpp"
#include "shmif/socket_address.hpp"
#include "tools/common/json.hpp"

namespace shmif::tools {

namespace {

/// JSON for programs, and text for whoever opens the page in a browser.
HttpAnswer page_refusal(const HttpRequest& request, int status, std::string_view why) {
  HttpAnswer answer{.status = status, .headers = safe_headers()};
  if (request.path.starts_with("/api/")) {
    answer.type = "application/json";
    answer.text = json_line({{"error", why}});
  } else {
    answer.text = std::to_string(status) + ": " + std::string(why) + '\n';
  }
  if (status == 405) answer.headers.emplace_back("Allow", "GET, HEAD, POST");
  return answer;
}

std::string in_small_letters(std::string text) {
  std::ranges::transform(text, text.begin(), [](char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  });
  return text;
}

/// A2.
bool is_own_name(const std::string& header, const PageAccess& access) {
  const std::optional<HostPort> parts = split_host_port(in_small_letters(header));
  if (!parts) return false;
  const std::string& host = parts->host;
  if (host == "localhost" || parse_host_address(host, 1)) return true;
  return std::ranges::any_of(
      access.names, [&](const std::string& name) { return in_small_letters(name) == host; });
}

/// A3. A proxy may serve the page with https.
bool is_own_origin(const std::string& origin, const std::string& host) {
  const std::string small = in_small_letters(origin);
  const std::string own = in_small_letters(host);
  return small == "http://" + own || small == "https://" + own;
}

bool names_token(const HttpRequest& request, const PageAccess& access) {
  constexpr std::string_view kScheme = "Bearer ";
  if (const std::string* const given = only_value(request.query, "token"))
    return equal_in_constant_time(*given, access.token);
  const std::string* const header = only_value(request.headers, "authorization");
  return header != nullptr && header->starts_with(kScheme) &&
         equal_in_constant_time(std::string_view(*header).substr(kScheme.size()), access.token);
}

/// A4, and what the body may be. The body was not read yet.
std::optional<HttpAnswer> refusal_of_post(const HttpRequest& request, const PageAccess& access) {
  if (!access.may_write) {
    return page_refusal(request, 403,
                        "this page changes nothing (start shmifctl serve with --write)");
  }
  const std::string* const type = only_value(request.headers, "content-type");
  if (type == nullptr || !in_small_letters(*type).starts_with("application/json"))
    return page_refusal(request, 415, "send JSON (Content-Type: application/json)");
  if (only_value(request.headers, "content-encoding") != nullptr)
    return page_refusal(request, 415, "send the body as it is (without Content-Encoding)");
  const std::string* const length = only_value(request.headers, "content-length");
  const auto bytes = length != nullptr ? base::read_digits(*length) : std::nullopt;
  const auto has = [&](std::string_view name) {
    return std::ranges::any_of(request.headers,
                               [&](const auto& each) { return each.first == name; });
  };
  if (!bytes || has("transfer-encoding"))
    return page_refusal(request, 411, "say how long the body is");
  if (*bytes > kMaxBodyBytes) {
    return page_refusal(request, 413,
                        "the body is longer than " + std::to_string(kMaxBodyBytes) + " bytes");
  }
  return std::nullopt;
}

}  // namespace

std::string random_token() {
  std::array<unsigned char, 16> bits{};
  ssize_t n = 0;
  do n = ::getrandom(bits.data(), bits.size(), 0);
  while (n < 0 && errno == EINTR);
  if (n != static_cast<ssize_t>(bits.size()))
    throw Exception(Error::from_errno(errno, "cannot make a random token"));
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string token;
  token.reserve(2 * bits.size());
  for (const unsigned char byte : bits) {
    token += kDigits[byte >> 4U];
    token += kDigits[byte & 15U];
  }
  return token;
}

bool equal_in_constant_time(std::string_view left, std::string_view right) noexcept {
  if (left.size() != right.size()) return false;
  unsigned different = 0;
  for (std::size_t i = 0; i < left.size(); ++i) {
    different |= static_cast<unsigned>(static_cast<unsigned char>(left[i]) ^
                                       static_cast<unsigned char>(right[i]));
  }
  return different == 0;
}

std::optional<HttpAnswer> refusal_of(const HttpRequest& request, const PageAccess& access) {
  const bool is_post = request.method == "POST";
  if (!is_post && request.method != "GET" && request.method != "HEAD")
    return page_refusal(request, 405, "only GET, HEAD and POST are known");
  const std::string* const host = only_value(request.headers, "host");
  if (host == nullptr || !is_own_name(*host, access)) {
    return page_refusal(request, 403,
                        "the page is not served under this name (give shmifctl serve --allow-host "
                        "NAME)");
  }
  if (!names_token(request, access)) {
    return page_refusal(request, 403,
                        "the token is missing or wrong (open the URL that shmifctl serve printed)");
  }
  const auto is_origin = [](const auto& each) { return each.first == "origin"; };
  if (std::ranges::any_of(request.headers, is_origin)) {
    const std::string* const origin = only_value(request.headers, "origin");
    if (origin == nullptr || !is_own_origin(*origin, *host))
      return page_refusal(request, 403, "requests of other pages are not answered");
  }
  if (is_post) return refusal_of_post(request, access);
  return std::nullopt;
}

HttpFields safe_headers() {
  return {{"Cache-Control", "no-store"},
          {"X-Content-Type-Options", "nosniff"},
          {"X-Frame-Options", "DENY"},
          {"Referrer-Policy", "no-referrer"},
          {"Cross-Origin-Resource-Policy", "same-origin"},
          {"Cross-Origin-Opener-Policy", "same-origin"}};
}

}  // namespace shmif::tools
