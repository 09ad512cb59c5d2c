#include "tools/relay/link_address.hpp"

#include <cstddef>
#include <filesystem>
#include <utility>
#include <vector>

#include "base/nearest.hpp"
#include "base/result.hpp"
#include "tap/tap_link.hpp"
#include "tools/common/command.hpp"
#include "tools/common/default_bus.hpp"
#include "tools/relay/link_row.hpp"

namespace shmif::tools {
namespace {

constexpr std::string_view kConnect = "connect=";

/// The link that the user most likely meant by a mistyped one.
std::optional<std::string> meant_link(const std::string& text) {
  if (text.starts_with('/') || text.starts_with("./")) return "bus:" + text;
  const std::size_t colon = text.find(':');
  if (colon == std::string::npos || colon == 0 || colon + 1 == text.size()) return std::nullopt;
  std::vector<std::string> words;
  for (const LinkRow& row : link_rows()) words.emplace_back(row.word);
  const auto word = base::nearest(text.substr(0, colon), words);
  if (!word || text.starts_with(*word + ':')) return std::nullopt;
  return *word + text.substr(colon);
}

SocketPlace place_of(const std::string& target) {
  auto place = parse_socket_place(target);
  if (!place) throw UsageError{'"' + target + "\": " + place.error().message};
  return *std::move(place);
}

/// Refuses a target that looks like a path, but most likely is a path after a mistyped word.
void refuse_odd_target(const LinkAddress& address, const std::string& text) {
  static const std::vector<std::string> kWords{"connect"};
  const std::string& target = address.target;
  const std::string kind = address.row->prefix();
  const std::size_t end = target.find_first_of("=:/");
  if (end == std::string::npos || target[end] == '/') return;
  const std::string word = target.substr(0, end);
  const std::string rest = target.substr(end + 1);
  const bool is_place = rest.find_first_not_of("0123456789") != std::string::npos;
  std::string meant;
  if (target[end] == '=') {
    if (word == "listen" || word == "path") {
      meant = kind + (rest.empty() ? "PATH" : rest);
    } else if (base::nearest(word, kWords) && address.row->join != nullptr) {
      meant = kind + "connect=" + (rest.empty() ? "PATH" : rest);
    }
  } else if ((word == "unix" || word == "tcp") && is_place) {
    meant = kind + rest;
  }
  if (meant.empty()) return;
  throw UsageError{'"' + text + "\": did you mean " + meant + "? (for a path, write " + kind +
                   "./" + target + ')'};
}

/// Whether two paths lead to the same file, which may not exist yet.
bool one_file(const std::string& left, const std::string& right) {
  namespace fs = std::filesystem;
  std::error_code none;
  return fs::absolute(left, none).lexically_normal() ==
             fs::absolute(right, none).lexically_normal() ||
         fs::equivalent(left, right, none);
}

}  // namespace

std::optional<LinkAddress> parse_link(std::string_view text) {
  for (const LinkRow& row : link_rows()) {
    if (!text.starts_with(row.prefix())) continue;
    std::string_view target = text.substr(row.prefix().size());
    const bool connects =
        row.serve != nullptr && row.join != nullptr && target.starts_with(kConnect);
    if (connects) target.remove_prefix(kConnect.size());
    if (target.empty()) break;
    return LinkAddress{&row, connects, std::string(target)};
  }
  return std::nullopt;
}

LinkAddress link_address(const std::string& text) {
  const auto bus = text == "bus:" ? default_bus() : std::nullopt;
  if (bus) return *parse_link(text + note_default_bus(*bus));
  if (auto address = parse_link(text)) return *std::move(address);
  const auto meant = meant_link(text);
  throw UsageError{"\"" + text + "\" is not a link" +
                   (meant ? ", did you mean " + *meant + '?' : std::string()) + " (" +
                   list_of_links(&LinkRow::is_any, &LinkRow::form) +
                   (text == "bus:" ? std::string("; or set ") + kBusVariable : std::string()) +
                   ')'};
}

PeerPlaces socket_place(const LinkAddress& address, const std::string& text) {
  if (address.row->join == nullptr && address.target.starts_with(kConnect))
    throw UsageError{'"' + text + "\": " + address.row->word +
                     " only listens (the program is the client)"};
  refuse_odd_target(address, text);
  return {.target = address.target, .here = place_of(address.target), .there = {}};
}

PeerPlaces socket_path(const LinkAddress& address, const std::string& text) {
  PeerPlaces places = socket_place(address, text);
  if (places.here.host)
    throw UsageError{'"' + text + "\": " + address.row->word + " takes the path of a socket"};
  return places;
}

PeerPlaces two_sockets(const LinkAddress& address, const std::string& text) {
  const std::string& target = address.target;
  const std::size_t comma = target.find(',');
  if (comma == std::string::npos)
    throw UsageError{"\"" + text + "\" lacks the other socket (" + address.row->form() + ')'};
  const std::string here = target.substr(0, comma);
  const std::string there = target.substr(comma + 1);
  if (here.empty() || there.empty())
    throw UsageError{'"' + text + "\": " + (here.empty() ? "LOCAL" : "REMOTE") + " is missing (" +
                     address.row->form() + ')'};
  if (one_file(here, there))
    throw UsageError{'"' + text +
                     "\": both sockets are the same (the program has a socket of its own)"};
  PeerPlaces places{.target = target, .here = place_of(here), .there = place_of(there)};
  if (places.here.host.has_value() != places.there.host.has_value())
    throw UsageError{'"' + text + "\": both are paths, or both ADDRESS:PORT"};
  return places;
}

PeerPlaces no_socket(const LinkAddress& address, const std::string&) {
  return {.target = address.target, .here = {}, .there = {}};
}

void need_tun_device() {
  Result<void> tun = tap::check_tun_device();
  if (tun) return;
  Error error = std::move(tun).error();
  const bool absent = error.code == std::errc::no_such_file_or_directory ||
                      error.code == std::errc::no_such_device ||
                      error.code == std::errc::no_such_device_or_address;
  if (absent) error.code = Errc::not_supported;
  error.message += "; 'shmifctl exec --via veth' needs no such device";
  throw Exception(std::move(error));
}

}  // namespace shmif::tools
