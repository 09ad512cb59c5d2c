#pragma once
// One frame sent, and what a port heard, for tests that need no more.

#include <gtest/gtest.h>

#include <cstddef>
#include <system_error>

#include "shmif/port.hpp"
#include "tests/support/numbered_frames.hpp"

namespace shmif::test {

/// Sends one frame. Result: why it was not sent.
inline std::error_code send_one(Port& port, MacAddress to = kBroadcast, std::size_t size = 60) {
  NumberedBatch frames(1600);
  frames.fix_size(size);
  const SendResult sent = port.send(frames.make(9, 0, 1, to));
  EXPECT_EQ(sent.taken, sent.error ? 0U : 1U);
  return sent.error;
}

/// Receives what there is. Result: how many frames.
inline std::size_t heard(Port& port) {
  FrameBatch in(256);
  EXPECT_FALSE(port.receive(in).error);
  return in.size();
}

}  // namespace shmif::test
