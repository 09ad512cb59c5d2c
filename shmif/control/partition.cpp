#include "shmif/control/partition.hpp"

#include <algorithm>
#include <utility>

namespace shmif {

Partition::Partition(const std::vector<Change::Group>& groups, const std::string& self,
                     NameOf name_of)
    : name_of_(std::move(name_of)) {
  const auto has_self = [&](const Change::Group& group) {
    return std::ranges::find(group, self) != group.end();
  };
  if (std::ranges::none_of(groups, has_self)) return;
  for (const Change::Group& group : groups) {
    if (!has_self(group)) ignored_.insert(ignored_.end(), group.begin(), group.end());
  }
  std::ranges::sort(ignored_);
}

bool Partition::ignores(unsigned slot, std::uint32_t incarnation) {
  if (ignored_.empty() || slot >= kSlots) return false;
  Sender& sender = senders_[slot];
  if (sender.known == Known::nothing || sender.incarnation != incarnation) {
    const std::string name = name_of_(slot, incarnation);
    if (name.empty()) return false;
    sender.incarnation = incarnation;
    sender.known = std::ranges::binary_search(ignored_, name) ? Known::ignored : Known::heard;
  }
  return sender.known == Known::ignored;
}

}  // namespace shmif
