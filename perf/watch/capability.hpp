#pragma once
// What an instrument can do on this machine, and if it cannot, why and what would change that.

#include <string>

namespace shmif::perf {

enum class Support {
  supported,
  not_supported,  ///< the machine or its kernel does not have it
  not_permitted,  ///< it has it, and refuses it to us
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
  std::string reason;       ///< which file or call says so, and what; empty if supported in full
  std::string enable_with;  ///< the command or setting that would help; empty: nothing would
  std::string tested{};     ///< what it was tested on; empty: on real hardware
};

/// Errno values by which the kernel says that the caller lacks a privilege.
constexpr bool is_refusal(int number) noexcept {
  return number == 1 || number == 13;
}

}  // namespace shmif::perf
