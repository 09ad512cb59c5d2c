#include "tools/relay/link_row.hpp"

#include <cstddef>
#include <vector>

namespace shmif::tools {

std::string LinkRow::prefix() const {
  return std::string(word) + ':';
}

std::string LinkRow::form() const {
  return prefix() + target;
}

std::string LinkRow::told() const {
  return leads_to_programs() ? help : form() + " (" + help + ')';
}

std::string list_of_links(bool (LinkRow::*which)() const noexcept,
                          std::string (LinkRow::*as)() const, const std::string& last,
                          const std::string& between) {
  std::vector<std::string> all;
  for (const LinkRow& row : link_rows()) {
    if ((row.*which)()) all.push_back((row.*as)());
  }
  std::string text;
  for (std::size_t i = 0; i < all.size(); ++i) {
    if (i > 0) text += i + 1 == all.size() ? last : between;
    text += all[i];
  }
  return text;
}

}  // namespace shmif::tools
