#pragma once
// FrameView and FrameBatch, for users of the library. The code in bus/ uses them too, so they are
// defined there.

#include "bus/frame.hpp"  // IWYU pragma: export
