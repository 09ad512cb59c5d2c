#pragma once
// The page as it is sent. tools/page/web has its parts, which the build puts into the program.

#include <string>

namespace shmif::tools {

/// The whole page. `nonce`: what its policy names its own style and script by; new for each answer.
std::string page_text(const std::string& nonce);

}  // namespace shmif::tools
