#include "bus/check_options.hpp"

#include <algorithm>

namespace shmif::bus {
namespace {

constexpr std::size_t kLongestName = 31;

bool can_be_in_name(char c) noexcept {
  return c > ' ' && c <= '~';
}

/// A valid name that is as close to `wrong` as possible.
std::string name_like(const std::string& wrong) {
  std::string name = wrong.substr(0, kLongestName);
  std::ranges::replace_if(name, [](char c) { return !can_be_in_name(c); }, '_');
  return name;
}

}  // namespace

bool is_valid_name(const std::string& name) noexcept {
  return !name.empty() && name.size() <= kLongestName && std::ranges::all_of(name, can_be_in_name);
}

Result<void> check_options(const std::string& path, const PortOptions& options) {
  if (!options.name.empty() && !is_valid_name(options.name)) {
    return Error(Errc::bad_name, "\"" + options.name +
                                     "\" cannot be the name of a port: a name has 1 to 31 "
                                     "printable characters without spaces (such as " +
                                     name_like(options.name) + ')');
  }
  if (options.mac && !options.mac->is_unicast()) {
    return Error(Errc::bad_argument,
                 "cannot attach to the bus " + path + " with the address " +
                     options.mac->to_string() +
                     ": it is not a unicast MAC address (the first byte must be even, not all "
                     "zero)");
  }
  return {};
}

}  // namespace shmif::bus
