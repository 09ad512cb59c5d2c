#pragma once
// Shared by the programs of the bench. A trial runs some processes for a bounded time, counts their
// work, and prints one line of JSON. tools/bench runs trials in turns and compares them.

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <stdexcept>
#include <string>
#include <vector>

namespace shmif::bench {

/// Ends the trial. The message says in the table why the peer cannot be measured here.
[[noreturn]] inline void give_up(const std::string& why) {
  std::fprintf(stderr, "%s\n", why.c_str());
  std::exit(3);
}

/// `--name value` pairs of a command line. Each call gives the default for a missing name.
class Arguments {
 public:
  Arguments(int argc, char** argv) : words_(argv + 1, argv + argc) {}
  std::string text(const std::string& name, const std::string& otherwise) const {
    for (std::size_t i = 0; i + 1 < words_.size(); ++i) {
      if (words_[i] == "--" + name) return words_[i + 1];
    }
    return otherwise;
  }
  double number(const std::string& name, double otherwise) const {
    const std::string found = text(name, "");
    return found.empty() ? otherwise : std::stod(found);
  }
  unsigned count(const std::string& name, unsigned otherwise) const {
    return static_cast<unsigned>(number(name, otherwise));
  }

 private:
  std::vector<std::string> words_;
};

/// Keeps the calling thread on this CPU; -1: does not pin it.
void pin(int cpu);

/// Memory that this process and its children share.
void* shared_memory(std::size_t bytes);

/// Forks `work`, which dies with its parent. Returns in the parent.
pid_t start(const std::function<void()>& work);

/// Waits for the children. When one has failed, kills the others. Result: whether all ended with 0.
bool finish(const std::vector<pid_t>& children);

/// A path for this trial only: in TMPDIR if that is set, otherwise on a tmpfs if there is one.
std::string own_path(const char* what);

/// Removes the file of that name at the end of a scope. The file need not exist yet.
class OwnFile {
 public:
  explicit OwnFile(const char* what) : path_(own_path(what)) {}
  OwnFile(const OwnFile&) = delete;
  OwnFile& operator=(const OwnFile&) = delete;
  ~OwnFile() { std::remove(path_.c_str()); }
  const std::string& path() const noexcept { return path_; }

 private:
  std::string path_;
};

}  // namespace shmif::bench
