#pragma once
// FrameView and FrameBatch, for users of the library. The ring reads and writes them, so they are
// defined in bus/.

#include "bus/frame.hpp"  // IWYU pragma: export
