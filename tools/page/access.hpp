#pragma once
// Who may see the page, and who may change things with it.
//
// A loopback address does not make a page safe: every other page that the user's browser shows can
// send requests there, and so can every other user of the machine. So:
//   A1  Every request names the token, a secret of 128 bits that only the printed URL has. All
//       others get 403, whatever they ask for.
//   A2  The name in the header Host is an address, "localhost", or a name that the user gave. A
//       foreign site whose name was made to lead here (DNS rebinding) has another one.
//   A3  If the header Origin is there, it is that of the page itself. Answers allow no other origin
//       to read them.
//   A4  Only POST changes something, only if the user asked for that (--write), and only with a
//       body of type JSON, which no form of a foreign page can send.

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tools/page/http_server.hpp"

namespace shmif::tools {

/// A change request is short.
inline constexpr std::size_t kMaxBodyBytes = 8U << 10U;

struct PageAccess {
  std::string token;
  bool may_write = false;
  std::vector<std::string> names = {};  ///< further names under which the page may be asked for
};

/// 128 random bits as 32 hexadecimal digits. Blocks: only while the machine starts. Throws if the
/// kernel has no random numbers.
std::string random_token();

/// Whether both texts are equal, in a time that depends only on their lengths.
bool equal_in_constant_time(std::string_view left, std::string_view right) noexcept;

/// A1 to A4, from the line and the headers of a request. Result: the refusal; empty if the request
/// is allowed. Threads: safe. Blocks: never.
std::optional<HttpAnswer> refusal_of(const HttpRequest& request, const PageAccess& access);

/// The headers that every answer has: it is not kept, not shown within other pages, and taken for
/// what its type says.
HttpFields safe_headers();

}  // namespace shmif::tools
