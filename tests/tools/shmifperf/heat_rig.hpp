#pragma once
// What tests of access heat share.

#include "tests/instruments/heat/shared_pages.hpp"

namespace shmif::test {

using perf::test::ClientsHere;
using perf::test::knows_all;

inline constexpr const char* kHeatAttributes = "20000,200000,1000000,3,1000";

}  // namespace shmif::test
