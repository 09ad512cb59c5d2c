#pragma once
// MacAddress, for users of the library. The port table stores addresses too, so it is defined in
// bus/.

#include "bus/mac.hpp"  // IWYU pragma: export
