#pragma once
// Profiles: job files that are part of the program, for the measurements that are asked for most.

#include <string>
#include <string_view>
#include <vector>

namespace shmif::perf {

struct Profile {
  const char* name;
  const char* summary;  ///< one line, no full stop
  const char* text;     ///< a job file
};

/// All of them, in the order in which they are read about. Threads: any.
const std::vector<Profile>& profiles();
/// The profile of that name. Null: there is none.
const Profile* find_profile(std::string_view name);
/// "unknown profile "voice", did you mean "voip"?"
std::string unknown_profile(std::string_view name);

}  // namespace shmif::perf
