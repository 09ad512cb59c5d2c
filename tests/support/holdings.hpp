#pragma once
// What a process holds: descriptors, threads and mappings, so that a test can say that nothing was
// left behind; and what it hands on to the programs that it runs.

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <ostream>
#include <set>
#include <sstream>
#include <stdexcept>
#include <string>

namespace shmif::test {

struct Holdings {
  std::ptrdiff_t descriptors = 0;
  std::ptrdiff_t threads = 0;
  std::ptrdiff_t bus_mappings = 0;  ///< of files whose path contains the text asked for
  std::ptrdiff_t mappings = 0;      ///< of everything
  bool operator==(const Holdings&) const = default;
};

inline std::ostream& operator<<(std::ostream& out, const Holdings& h) {
  return out << h.descriptors << " descriptors, " << h.threads << " threads, " << h.bus_mappings
             << " mappings of the bus of " << h.mappings << " in all";
}

/// The threads of this process but those that are ending: the kernel lists a thread that was joined
/// for some moments more.
inline std::ptrdiff_t living_threads() {
  constexpr unsigned long kExiting = 4;  // PF_EXITING of the kernel; set before a join returns
  std::ptrdiff_t count = 0;
  for (const auto& thread : std::filesystem::directory_iterator("/proc/self/task")) {
    std::ifstream file(thread.path() / "stat");
    std::string text;
    if (!std::getline(file, text)) continue;  // gone meanwhile
    std::istringstream behind_name(text.substr(text.rfind(')') + 1));
    std::string word;
    for (int i = 0; i < 6; ++i) behind_name >> word;
    unsigned long flags = 0;
    if (behind_name >> flags && (flags & kExiting) == 0) ++count;
  }
  return count;
}

inline Holdings holdings(const std::string& path) {
  using Entries = std::filesystem::directory_iterator;
  Holdings h;
  h.descriptors = std::distance(Entries("/proc/self/fd"), Entries());
  h.threads = living_threads();
  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line); ++h.mappings) {
    if (line.find(path) != std::string::npos) ++h.bus_mappings;
  }
  return h;
}

/// Without the mappings that are not the bus's: malloc's come and go.
inline Holdings without_heap(Holdings h) {
  h.mappings = 0;
  return h;
}

/// The descriptors, besides the three standard streams, that a program would get if this process
/// ran it now: the number of each and what it is. They include those that this process was started
/// with, so compare with an earlier call.
inline std::set<std::string> handed_on() {
  FILE* const output = popen("exec ls -l /proc/self/fd", "re");
  if (output == nullptr) throw std::runtime_error("popen");
  std::string text;
  for (int c = fgetc(output); c != EOF; c = fgetc(output)) text += static_cast<char>(c);
  if (pclose(output) != 0) throw std::runtime_error("ls failed: " + text);
  std::set<std::string> all;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    const std::size_t arrow = line.find(" -> ");
    if (arrow == std::string::npos) continue;
    const std::string number = line.substr(line.rfind(' ', arrow - 1) + 1);
    const bool is_stream = number[0] <= '2' && number[1] == ' ';
    const bool is_of_ls = number.find(" -> /proc/") != std::string::npos && number.ends_with("/fd");
    if (!is_stream && !is_of_ls) all.insert(number);
  }
  return all;
}

}  // namespace shmif::test
