#pragma once
// Tells what an instrument can do on this machine. If it cannot do something, tells why, and what
// would help.

#include <string>

#include "base/result.hpp"

namespace shmif::perf {

enum class Support {
  supported,
  not_supported,  ///< the machine or its kernel does not have it
  not_permitted,  ///< the machine has it, but we may not use it
};
constexpr const char* word_of(Support state) noexcept {
  switch (state) {
    case Support::supported: return "supported";
    case Support::not_supported: return "not_supported";
    case Support::not_permitted: return "not_permitted";
  }
  return "";
}

struct Capability {
  std::string name;  ///< "why", "counters.hardware", "heat.client"
  Support state = Support::supported;
  std::string reason;       ///< which file or call says so, and what it says; empty if all works
  std::string enable_with;  ///< the command or setting that would help; empty if there is none
  std::string tested{};     ///< what it was tested on; empty for real hardware
};

/// Errno values by which the kernel says that the caller lacks a privilege.
constexpr bool is_refusal(int number) noexcept {
  return number == 1 || number == 13;
}

/// What is lacking because of an error: not permitted if the kernel refused it, else not supported.
/// `if_refused`, `otherwise`: what would help.
inline Capability lacking(const std::string& name, const Error& why, const std::string& if_refused,
                          const std::string& otherwise = {}) {
  const bool refused = is_refusal(why.code.value());
  return {name, refused ? Support::not_permitted : Support::not_supported, why.message,
          refused ? if_refused : otherwise};
}

}  // namespace shmif::perf
