#pragma once
// Monitors of access heat, and processes for them to watch.

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "instruments/heat/monitor.hpp"
#include "tests/support/child_process.hpp"

namespace shmif::perf::test {

/// A process that sleeps until the test ends it.
class Sleeper {
 public:
  pid_t pid() const { return pid_; }
  void end() { child_.kill_and_wait(); }

 private:
  shmif::test::Child child_{[]() -> int {
    for (;;) ::pause();
  }};
  const pid_t pid_ = child_.pid();
};

inline HeatRequest request(HeatVerb verb) {
  HeatRequest made;
  made.verb = verb;
  return made;
}
/// Any process, in windows of 20 ms.
inline HeatRequest watching(HeatVerb verb, std::vector<pid_t> targets) {
  HeatRequest made = request(verb);
  made.targets = std::move(targets);
  made.backend = HeatBackend::clear_refs;
  made.attributes = read_attributes("10ms,20ms,1s,3,100").value();
  return made;
}
inline std::size_t windows_of(const HeatMonitor& monitor, pid_t pid) {
  for (const HeatTarget& each : monitor.status().targets) {
    if (each.process.number == pid) return each.windows;
  }
  return 0;
}

/// A monitor that listens, in a thread.
class Listening {
 public:
  explicit Listening(const std::string& folder, const KernelFiles& files = KernelFiles())
      : monitor_(files),
        listener_(HeatListener::open(folder).value()),
        thread_([this] { listener_.serve(monitor_); }),
        folder_(folder) {}
  Listening(const Listening&) = delete;
  Listening& operator=(const Listening&) = delete;
  ~Listening() {
    static_cast<void>(ask_heat_monitor(folder_, request(HeatVerb::forget)));
    thread_.join();
  }

 private:
  HeatMonitor monitor_;
  HeatListener listener_;
  std::thread thread_;
  std::string folder_;
};

inline sockaddr_un control_address(const std::string& folder) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  (folder + "/control").copy(&address.sun_path[0], sizeof address.sun_path - 1);
  return address;
}
inline UniqueFd connection_to(const std::string& folder) {
  sockaddr_un address = control_address(folder);
  UniqueFd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  EXPECT_EQ(::connect(socket.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  return socket;
}

}  // namespace shmif::perf::test
