#include "base/nearest.hpp"

#include <algorithm>
#include <array>
#include <numeric>
#include <utility>
#include <vector>

#include "base/text.hpp"

namespace shmif::base {

namespace {

/// How many letters must be inserted, deleted or exchanged to turn `a` into `b`, where two
/// neighbours that change places count as one (Damerau, Levenshtein).
std::size_t distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  std::vector<std::size_t> above;
  std::vector<std::size_t> twice_above;
  for (std::size_t i = 0; i < a.size(); ++i) {
    twice_above = std::exchange(above, row);
    row[0] = i + 1;
    for (std::size_t j = 0; j < b.size(); ++j) {
      row[j + 1] = std::min({row[j] + 1, above[j + 1] + 1, above[j] + (a[i] == b[j] ? 0 : 1)});
      const bool is_swap = i > 0 && j > 0 && a[i] == b[j - 1] && a[i - 1] == b[j];
      if (is_swap) row[j + 1] = std::min(row[j + 1], twice_above[j - 1] + 1);
    }
  }
  return row.back();
}

struct Row {
  std::string_view commands;  ///< with spaces between them, as `words`
  std::string_view words;
  std::string_view clause;     ///< WORD and VALUE stand for what the user typed
  std::string_view example{};  ///< of VALUE
};

constexpr std::array kRows{
    Row{"bridge exec gateway run tap uplink", "loss duplicate reorder corrupt truncate",
        "it is a fault: --fault WORD=VALUE", "5%"},
    Row{"bridge exec gateway run tap uplink", "delay", "it is a fault: --fault delay=VALUE", "5ms"},
    Row{"bridge exec gateway tap uplink", "rate bandwidth", "it is a fault: --fault rate=VALUE",
        "10Mbit"},
    Row{"fault", "loss duplicate reorder corrupt truncate", "write it after the port: WORD=VALUE",
        "5%"},
    Row{"fault", "delay", "write it after the port: delay=VALUE", "5ms"},
    Row{"fault", "rate bandwidth", "write it after the port: rate=VALUE", "10Mbit"},
    Row{"run", "bandwidth", "write --rate=VALUE", "10Mbit"},
    Row{"run", "interface iface dev",
        "the interfaces of engine=tap and packet are named by --netdev"},
    Row{"ping", "WORD", "to ask one port, write --to VALUE"},
    Row{"ping", "ADDRESS",
        "that is an IP address, which a host can ask: 'shmifctl exec PATH --ip CIDR -- ping "
        "VALUE'"},
    Row{"dump", "r",
        "dump listens on a bus: to read a capture, run 'tcpdump -r FILE' or 'tshark -r FILE'; "
        "'shmifctl inject PATH FILE' sends its frames"},
    Row{"dump", "i",
        "the bus is not an option but the first word: shmifctl dump PATH; for an interface of this "
        "machine, run 'tcpdump -i NAME'"},
    Row{"dump", "v", "to print more: -e prints addresses and lengths, -x bytes, --sender the port"},
    Row{"dump", "X A", "-x prints the bytes, also as text"},
    Row{"dump", "l", "each line is printed at once"},
    Row{"dump", "U", "each frame is written at once"},
    Row{"dump", "p", "the port always hears every frame"},
};

bool has_word(std::string_view list, std::string_view word) {
  const auto words = split(list, ' ');
  return std::ranges::find(words, word) != words.end();
}

}  // namespace

std::optional<std::string> nearest(std::string_view word, std::span<const std::string> known) {
  std::optional<std::string> best;
  std::size_t best_distance = std::max<std::size_t>(2, word.size() / 3) + 1;
  for (const std::string& candidate : known) {
    // If the user typed only the beginning of a word, that word is meant, however long it is.
    const bool begun = word.size() >= 2 && candidate.starts_with(word);
    const std::size_t d = begun ? 0 : distance(word, candidate);
    const std::size_t shorter = std::min(word.size(), candidate.size());
    if (d < best_distance && 2 * d <= shorter) {
      best_distance = d;
      best = candidate;
    }
  }
  return best;
}

std::string right_way(std::string_view command, std::string_view word, std::string_view value) {
  const auto row = std::ranges::find_if(kRows, [&](const Row& each) {
    return has_word(each.commands, command) && has_word(each.words, word);
  });
  if (row == kRows.end()) return {};
  std::string clause(row->clause);
  // The value comes last, because it may contain anything.
  for (const auto& [place, text] :
       {std::pair(std::string_view("WORD"), word),
        std::pair(std::string_view("VALUE"), value.empty() ? row->example : value)}) {
    if (const std::size_t at = clause.find(place); at != std::string::npos)
      clause.replace(at, place.size(), text);
  }
  return clause;
}

}  // namespace shmif::base
