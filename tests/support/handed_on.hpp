#pragma once
// What a process hands on to the programs that it runs.

#include <cstdio>
#include <set>
#include <sstream>
#include <stdexcept>
#include <string>

namespace shmif::test {

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
