#pragma once
// Waiting for something that comes soon, or never.

#include <chrono>
#include <cstdlib>
#include <thread>

namespace shmif::test {

/// Whether the CPUs of this machine are emulated (tests/kernel/guest).
inline const bool kEmulated = std::getenv("SHMIF_EMULATED") != nullptr;

/// How long to wait before a test fails: several times as long as anything takes on a busy machine.
inline const std::chrono::milliseconds kGenerousTime{kEmulated ? 600000 : 120000};

/// Looks again every other millisecond until `holds` says so. Result: false when it never did.
template <class Condition>
bool eventually(Condition holds, std::chrono::milliseconds at_most = kGenerousTime) {
  const auto deadline = std::chrono::steady_clock::now() + at_most;
  while (!holds()) {
    if (std::chrono::steady_clock::now() >= deadline) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  return true;
}

}  // namespace shmif::test
