#pragma once
// Tells a test of each change that a monitor makes of another process. The linker leads all calls
// of ptrace(2) in this program through it.

#include <functional>

namespace shmif::perf::test {

/// While it exists, `before_step` is called before each call of ptrace(2) that does more than look:
/// in the thread that makes the call. One at a time.
class BeforeEachStep {
 public:
  explicit BeforeEachStep(std::function<void()> before_step);
  BeforeEachStep(const BeforeEachStep&) = delete;
  BeforeEachStep& operator=(const BeforeEachStep&) = delete;
  ~BeforeEachStep();
};

}  // namespace shmif::perf::test
