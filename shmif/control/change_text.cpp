#include "shmif/control/change_text.hpp"

#include <algorithm>
#include <set>

#include "base/text.hpp"

namespace shmif {
namespace {

constexpr std::string_view kBlanks = " \t";

std::string_view trimmed(std::string_view text) {
  const std::size_t begin = text.find_first_not_of(kBlanks);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(kBlanks) - begin + 1);
}

Error bad_change(const std::string& why) {
  return {Errc::bad_argument, why};
}

Result<Change> parse_groups(std::string_view text) {
  Change change{.kind = Change::Kind::partition};
  std::set<std::string, std::less<>> seen;
  for (const std::string_view part : base::split(text, '/')) {
    Change::Group group;
    for (const std::string_view each : base::split(part, ',')) {
      const std::string name(trimmed(each));
      if (name.empty())
        return bad_change(
            "a group of the partition has an empty name (write the names of ports with commas, and "
            "a slash between groups: a,b / c,d)");
      if (name.find_first_of(kBlanks) != std::string::npos)
        return bad_change("\"" + base::printable(name) +
                          "\" is not a port name (write commas between names, and a slash "
                          "between groups: a,b / c,d)");
      if (!seen.insert(name).second)
        return bad_change("port \"" + base::printable(name) +
                          "\" is named twice in the partition (name it in one group)");
      group.push_back(name);
    }
    change.groups.push_back(std::move(group));
  }
  if (change.groups.size() < 2)
    return bad_change(
        "a partition needs two groups or more (write a slash between them: a,b / c,d)");
  return change;
}

}  // namespace

Result<Change> parse_change(std::string_view text) {
  const std::string_view whole = trimmed(text);
  const std::size_t end = std::min(whole.find_first_of(kBlanks), whole.size());
  const std::string_view verb = whole.substr(0, end);
  const std::string_view rest = trimmed(whole.substr(end));
  if (verb == "fault") {
    if (rest.empty()) return bad_change("\"fault\" needs faults, such as loss=5%, or none");
    return Change{.kind = Change::Kind::fault, .value = std::string(rest)};
  }
  if (verb == "link") {
    if (rest != "up" && rest != "down") return bad_change("\"link\" needs up or down");
    return Change{.kind = Change::Kind::link, .up = rest == "up"};
  }
  if (verb == "partition") return parse_groups(rest);
  if (verb == "heal") {
    if (!rest.empty()) return bad_change("\"heal\" ends the whole partition (leave the rest out)");
    return Change{.kind = Change::Kind::heal};
  }
  if (verb == "move") {
    if (!rest.starts_with('/')) return bad_change("\"move\" needs the absolute path of a bus");
    return Change{.kind = Change::Kind::move, .value = std::string(rest)};
  }
  return bad_change(
      "\"" + base::printable(whole) +
      "\" is no change (fault SPEC, link up, link down, partition a,b / c,d, heal, or "
      "move PATH)");
}

std::string to_text(const Change& change) {
  switch (change.kind) {
    case Change::Kind::fault: return "fault " + change.value;
    case Change::Kind::link: return change.up ? "link up" : "link down";
    case Change::Kind::heal: return "heal";
    case Change::Kind::move: return "move " + change.value;
    case Change::Kind::partition: break;
  }
  std::string text = "partition ";
  for (std::size_t i = 0; i < change.groups.size(); ++i) {
    if (i > 0) text += " / ";
    for (std::size_t j = 0; j < change.groups[i].size(); ++j)
      text += (j > 0 ? "," : "") + change.groups[i][j];
  }
  return text;
}

}  // namespace shmif
