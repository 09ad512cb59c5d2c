#pragma once
// Profiles: job files built into the program, for the most common measurements.

#include <string>
#include <string_view>
#include <vector>

namespace shmif::perf {

struct Profile {
  const char* name;
  const char* summary;  ///< one line, no full stop
  const char* text;     ///< a job file
};

/// All profiles, in the order in which they are shown. Threads: any.
const std::vector<Profile>& profiles();
/// The profile of that name. Result: null if there is none.
const Profile* find_profile(std::string_view name);
/// "unknown profile "voice", did you mean "voip"?"
std::string unknown_profile(std::string_view name);

}  // namespace shmif::perf
