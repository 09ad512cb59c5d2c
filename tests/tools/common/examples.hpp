#pragma once
// The examples of --help as scripts.

#include <sstream>
#include <string>
#include <string_view>

namespace shmif::test {

inline std::string replaced(std::string text, std::string_view was, const std::string& now) {
  for (std::size_t at = 0; (at = text.find(was, at)) != std::string::npos; at += now.size())
    text.replace(at, was.size(), now);
  return text;
}

/// The commands below "examples:" of --help, without what they are explained to do.
inline std::string examples_of(const std::string& help) {
  std::istringstream lines(help.substr(help.find("\nexamples:\n") + 11));
  std::string script;
  for (std::string line; std::getline(lines, line) && !line.empty();) {
    if (!line.starts_with("      ") || script.ends_with("\\\n")) script += line.substr(2) + '\n';
  }
  return script;
}

}  // namespace shmif::test
