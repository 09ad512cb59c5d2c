#pragma once
// Another user, for tests that root runs.

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/instruments/membw/trees.hpp"
#include "tests/support/child_process.hpp"

namespace shmif::perf::test {

/// Runs it in a child, as a user who may look at the tree, but does not own it. Result: whether it
/// had no failure.
template <class Body>
bool as_nobody(const Tree& tree, const Body& body) {
  EXPECT_EQ(::chmod(tree.path().c_str(), 0755), 0);
  shmif::test::Child child([&] {
    constexpr uid_t kNobody = 65534;
    if (::setresuid(kNobody, kNobody, kNobody) != 0) return 1;
    body();
    return ::testing::Test::HasFailure() ? 2 : 0;
  });
  return child.wait() == 0;
}

}  // namespace shmif::perf::test
