#pragma once
// What the words of `shmifctl serve` name: buses, or a lab.

#include <string>
#include <vector>

#include "tools/page/lab_watch.hpp"

namespace shmif::tools {

/// `words`: paths of buses; or one word, which may also be the file or the name of a lab that runs.
/// A bus is called by the last part of its path, or by all of it if two are called the same. Throws
/// Exception if a word is neither.
PageSubject subject_of(const std::vector<std::string>& words);

}  // namespace shmif::tools
