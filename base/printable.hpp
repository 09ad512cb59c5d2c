#pragma once
// Text that others chose, made fit for a terminal, which obeys what it is sent.
//
// Threads: any. Blocks: never.

#include <string>
#include <string_view>

namespace shmif::base {

/// `text` on one line: '?' for each control character (C0, C1, DEL), each that changes the
/// direction of the text, and each byte that is no UTF-8.
std::string printable(std::string_view text);

/// `text`, which is UTF-8, in at most `most` characters: "..." in place of the end of a longer one.
std::string shortened(std::string_view text, std::size_t most);

}  // namespace shmif::base
