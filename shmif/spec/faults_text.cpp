// The text of faults: parse_faults(), parse_line_faults() and to_string() of shmif/faults.hpp.

#include <algorithm>
#include <iterator>
#include <utility>

#include "base/quantity.hpp"
#include "base/text.hpp"
#include "shmif/faults.hpp"
#include "shmif/filter.hpp"

namespace shmif {
namespace {

using std::chrono::nanoseconds;

/// A longer delay is surely a mistake, and so is a higher rate.
constexpr std::chrono::hours kMaxDelay{1};
constexpr std::uint64_t kMaxBps = 1'000'000'000'000;
/// A plain number below this is refused: "rate=10" more often means 10 Mbit/s than 10 bit/s.
constexpr std::uint64_t kMinPlainBps = 1'000'000;
constexpr std::uint64_t kMaxQueued = 10'000'000;

Error bad_part(const std::string& what) {
  return {Errc::bad_argument, "fault " + what};
}

/// What is wrong with a fault: first the faulty text, then the reason. Empty if it is valid.
using Why = std::string;
/// A part of the text: the characters before the value ("loss="), and the value.
struct Part {
  std::string before;
  std::string_view value;

  Why wrong(const char* why) const { return '"' + before + std::string(value) + "\" " + why; }
};

Why set_delay(const Part& part, FaultOptions& o) {
  constexpr std::string_view kSigns[] = {"\u00b1", "+-"};
  nanoseconds jitter{0};
  Part mean = part;
  for (const std::string_view sign : kSigns) {
    const std::size_t at = part.value.find(sign);
    if (at == std::string_view::npos) continue;
    const std::string_view spread_text = part.value.substr(at + sign.size());
    const auto spread = base::read_time(spread_text, std::nullopt);
    if (!spread) return spread.why(spread_text, std::string(sign));
    jitter = *spread;
    mean.value = part.value.substr(0, at);
    break;
  }
  const auto delay = base::read_time(mean.value, std::nullopt);
  if (!delay) return delay.why(mean.value, mean.before);
  if (*delay > kMaxDelay) return mean.wrong("is longer than an hour");
  if (jitter > *delay) return mean.wrong("varies by more than the delay itself");
  o.delay = *delay;
  o.jitter = jitter;
  return {};
}

Why set_bursts(const Part& part, FaultOptions& o) {
  const auto parts = base::split(part.value, ':');
  if (parts.size() < 2 || parts.size() > 4) {
    return part.wrong(
        "needs two to four shares, such as 1%:20%:100%:0% (to bad, to good, loss in each)");
  }
  FaultOptions::Bursts bursts;
  double* const into[] = {&bursts.to_bad, &bursts.to_good, &bursts.loss_in_bad,
                          &bursts.loss_in_good};
  for (std::size_t i = 0; i < parts.size(); ++i) {
    const auto share = base::read_share(parts[i]);
    if (!share) return share.why(parts[i]);
    *into[i] = *share;
  }
  o.bursts = bursts;
  return {};
}

template <double FaultOptions::* member>
Why set_share(const Part& part, FaultOptions& o) {
  const auto share = base::read_share(part.value);
  if (!share) return share.why(part.value, part.before);
  o.*member = *share;
  return {};
}

Why set_rate(const Part& part, FaultOptions& o) {
  const auto rate = base::read_rate(part.value);
  if (!rate) return rate.why(part.value, part.before);
  if (*rate == 0 || *rate > kMaxBps) return part.wrong("is out of range (1bit to 1000Gbit)");
  if (*rate < kMinPlainBps && base::read_digits(part.value)) {
    return base::Reading<std::uint64_t>::ambiguous(
               {base::rate_text(*rate), base::rate_text(*rate * 1'000'000)})
        .why(part.value, part.before);
  }
  o.rate_bps = *rate;
  return {};
}

Why set_queue(const Part& part, FaultOptions& o) {
  const auto frames = base::read_count(part.value);
  if (!frames) return frames.why(part.value, part.before);
  if (*frames == 0 || *frames > kMaxQueued)
    return part.wrong("is out of range (1 to 10000000 frames)");
  o.queue_frames = *frames;
  return {};
}

Why set_order(const Part& part, FaultOptions& o) {
  if (part.value != "keep" && part.value != "free") {
    return part.wrong("is not known (keep or free)");
  }
  o.keep_order = part.value == "keep";
  return {};
}

Why set_seed(const Part& part, FaultOptions& o) {
  const auto seed = base::read_count(part.value);
  if (!seed) return seed.why(part.value, part.before);
  o.seed = *seed;
  return {};
}

/// Ranges in ascending order. Ranges that overlap or follow each other directly become one.
std::vector<FaultOptions::Range> joined(std::vector<FaultOptions::Range> ranges) {
  std::ranges::sort(ranges, {}, &FaultOptions::Range::first);
  std::vector<FaultOptions::Range> all;
  all.reserve(ranges.size());
  for (const FaultOptions::Range& each : ranges) {
    if (!all.empty() && each.first - 1 <= all.back().last) {
      all.back().last = std::max(all.back().last, each.last);
    } else {
      all.push_back(each);
    }
  }
  return all;
}

Why set_drop(const Part& part, FaultOptions& o) {
  std::vector<FaultOptions::Range> ranges;
  const auto texts = base::split(part.value, ',');
  ranges.reserve(texts.size());
  for (const std::string_view text : texts) {
    const std::size_t dash = text.find('-');
    const std::string_view from = text.substr(0, dash);
    const auto first = base::read_count(from);
    if (!first) return first.why(from, part.before);
    const std::string_view to = dash == std::string_view::npos ? from : text.substr(dash + 1);
    const auto last = base::read_count(to);
    if (!last) return last.why(to, std::string(from) + '-');
    if (*first == 0) return part.wrong("is out of range (the first frame has the number 1)");
    if (*last < *first) return part.wrong("has a range whose end is before its beginning");
    ranges.push_back({*first, *last});
  }
  o.drop = joined(std::move(ranges));
  return {};
}

bool is_quotation_mark(char c) {
  return c == '\'' || c == '"';
}

Why set_match(const Part& part, FaultOptions& o) {
  std::string_view text = part.value;
  if (is_quotation_mark(text.front())) {
    const std::size_t end = text.find(text.front(), 1);
    if (end == std::string_view::npos) return part.wrong("lacks the closing quotation mark");
    if (end + 1 != text.size())
      return part.wrong("goes on behind the quotation mark (write a comma there)");
    text = text.substr(1, end - 1);
  }
  if (text.empty()) return part.wrong("needs a filter (such as match='tcp port 80')");
  auto match = match_frames(text);
  if (!match) return part.wrong(("is refused: " + match.error().message).c_str());
  o.match = *std::move(match);
  return {};
}

struct Key {
  std::string_view name;
  Why (*set)(const Part& part, FaultOptions& options);
  const char* example;
};
constexpr Key kKeys[] = {
    {"loss", set_share<&FaultOptions::loss>, "1%"},
    {"duplicate", set_share<&FaultOptions::duplicate>, "1%"},
    {"reorder", set_share<&FaultOptions::reorder>, "1%"},
    {"corrupt", set_share<&FaultOptions::corrupt>, "1%"},
    {"truncate", set_share<&FaultOptions::truncate>, "1%"},
    {"burst", set_bursts, "1%:20%"},
    {"delay", set_delay, "5ms±1ms"},
    {"order", set_order, "keep"},
    {"rate", set_rate, "10Mbit"},
    {"queue", set_queue, "1000"},
    {"seed", set_seed, "1"},
    {"drop", set_drop, "57,60-62"},
    {"match", set_match, "'tcp port 80'"},
};

std::string known_keys() {
  std::string names;
  for (const Key& key : kKeys) names += (names.empty() ? "" : ", ") + std::string(key.name);
  return names;
}

/// Whether a text begins with the name of a fault and '='.
bool begins_with_key(std::string_view text) {
  const std::size_t equals = text.find('=');
  return equals != std::string_view::npos &&
         std::ranges::find(kKeys, text.substr(0, equals), &Key::name) != std::end(kKeys);
}

bool begins_with_digit(std::string_view text) {
  return !text.empty() && text.front() >= '0' && text.front() <= '9';
}

/// The first comma from `at` on behind which `ends` is true of the text; the end if there is none.
template <class Ends>
std::size_t comma_before(std::string_view text, std::size_t at, const Ends& ends) {
  while ((at = text.find(',', at)) != std::string_view::npos && !ends(text.substr(at + 1))) ++at;
  return std::min(at, text.size());
}

/// Where the part ends that begins at the beginning of `text`: at a comma, or at the end.
std::size_t end_of_part(std::string_view text) {
  const std::size_t comma = std::min(text.find(','), text.size());
  const std::string_view name = text.substr(0, std::min(text.find('='), comma));
  if (name == "drop")
    return comma_before(text, comma,
                        [](std::string_view rest) { return !begins_with_digit(rest); });
  if (name != "match" || name.size() == comma) return comma;
  const std::size_t value = name.size() + 1;
  if (value == text.size() || !is_quotation_mark(text[value]))
    return comma_before(text, value, begins_with_key);
  const std::size_t end = std::min(text.find(text[value], value + 1), text.size());
  return std::min(text.find(',', end), text.size());
}

/// The parts between commas.
std::vector<std::string_view> parts_of(std::string_view text) {
  std::vector<std::string_view> parts;
  for (;;) {  // one part in each round
    const std::size_t end = end_of_part(text);
    parts.push_back(text.substr(0, end));
    if (end == text.size()) return parts;
    text.remove_prefix(end + 1);
  }
}

/// The parts between semicolons that are not within quotation marks.
std::vector<std::string_view> parts_of_line(std::string_view text) {
  std::vector<std::string_view> parts;
  std::size_t begin = 0;
  char quoted = '\0';
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (quoted != '\0') {
      if (text[i] == quoted) quoted = '\0';
    } else if (is_quotation_mark(text[i])) {
      quoted = text[i];
    } else if (text[i] == ';') {
      parts.push_back(text.substr(begin, i - begin));
      begin = i + 1;
    }
  }
  parts.push_back(text.substr(begin));
  return parts;
}

std::string drop_text(const std::vector<FaultOptions::Range>& ranges) {
  std::string text;
  for (const FaultOptions::Range& each : ranges) {
    text += (text.empty() ? "drop=" : ",") + std::to_string(each.first);
    if (each.last != each.first) text += '-' + std::to_string(each.last);
  }
  return text;
}

}  // namespace

Result<FaultOptions::Match> match_frames(std::string_view expression) {
  FaultOptions::Match match;
  match.text = expression;
  if (std::ranges::any_of(expression, is_quotation_mark)) {
    return Error(Errc::bad_argument, "cannot compile the filter " + match.text +
                                         ": it has a quotation mark (leave it out)");
  }
  if (expression.empty()) return match;
  auto filter = FrameFilter::compile(match.text);
  if (!filter) return std::move(filter).error();
  match.filter = std::make_shared<const FrameFilter>(*std::move(filter));
  return match;
}

Result<FaultOptions> parse_faults(std::string_view text) {
  FaultOptions options;
  std::vector<std::string_view> given;
  for (const std::string_view part : parts_of(text)) {
    const std::size_t equals = part.find('=');
    const std::string_view name = part.substr(0, equals);
    const auto* const key = std::ranges::find(kKeys, name, &Key::name);
    if (key == std::end(kKeys)) {
      if (part.starts_with("in:") || part.starts_with("out:")) {
        return bad_part('"' + std::string(part) +
                        "\": a direction begins the text or comes after a semicolon (such as "
                        "in:loss=1%;out:delay=5ms)");
      }
      return bad_part('"' + std::string(part) + "\": there is no such fault (" + known_keys() +
                      ")");
    }
    const std::string before = std::string(name) + '=';
    if (equals == std::string_view::npos || equals + 1 == part.size()) {
      return bad_part('"' + std::string(part) + "\" needs a value (such as " + before +
                      key->example + ')');
    }
    if (std::ranges::find(given, name) != given.end()) {
      return bad_part('"' + std::string(part) + "\": " + std::string(name) +
                      " is given twice (leave one out)");
    }
    given.push_back(name);
    const Why why = key->set({before, part.substr(equals + 1)}, options);
    if (!why.empty()) return bad_part(why);
  }
  if (std::ranges::find(given, "order") != given.end() && options.jitter.count() == 0) {
    return bad_part(
        "\"order\" has no effect without jitter (write delay=5ms±1ms, or leave it out)");
  }
  if (options.match.filter && !options.any()) {
    return bad_part("\"match\" has no effect without a fault (add one, such as loss=1%)");
  }
  return options;
}

namespace {

/// The faults of one way of a line. `parts`: the texts for it.
Result<FaultOptions> parse_way(const std::vector<std::string_view>& parts) {
  if (parts.empty()) return FaultOptions();
  if (std::ranges::find(parts, "none") != parts.end()) {
    if (parts.size() == 1) return FaultOptions();
    return bad_part("\"none\" excludes other faults of the same way (leave out one of them)");
  }
  std::string all;
  for (const std::string_view part : parts) all += (all.empty() ? "" : ",") + std::string(part);
  return parse_faults(all);
}

constexpr std::string_view kIn = "in:";
constexpr std::string_view kOut = "out:";

/// The first name in a text that has only "seed" and "queue"; empty if it has others, too.
std::string only_modifiers(std::string_view text) {
  std::string first;
  for (std::string_view way : parts_of_line(text)) {
    if (way.starts_with(kIn)) way.remove_prefix(kIn.size());
    if (way.starts_with(kOut)) way.remove_prefix(kOut.size());
    for (const std::string_view part : parts_of(way)) {
      const std::string_view name = part.substr(0, part.find('='));
      if (name != "seed" && name != "queue") return {};
      if (first.empty()) first = name;
    }
  }
  return first;
}

}  // namespace

Result<LineFaults> parse_line_faults(std::string_view text) {
  std::vector<std::string_view> received;
  std::vector<std::string_view> sent;
  for (std::string_view part : parts_of_line(text)) {
    const bool is_in = part.starts_with(kIn);
    const bool is_out = part.starts_with(kOut);
    if (is_in) part.remove_prefix(kIn.size());
    if (is_out) part.remove_prefix(kOut.size());
    if (!is_out) received.push_back(part);
    if (!is_in) sent.push_back(part);
  }
  auto in = parse_way(received);
  if (!in) return std::move(in).error();
  auto out = sent == received ? in : parse_way(sent);
  if (!out) return std::move(out).error();
  if (!in->any() && !out->any()) {
    if (const std::string alone = only_modifiers(text); !alone.empty()) {
      return bad_part('"' + alone + "\" has no effect without a fault (add one, such as loss=1%)");
    }
  }
  ++out->seed;  // otherwise equal frames would meet equal faults in both directions
  return LineFaults{*std::move(in), *std::move(out)};
}

std::string to_string(const LineFaults& faults) {
  const auto text_of = [](const FaultOptions& way, std::uint64_t seed) {
    if (!way.any()) return std::string("none");
    return to_string(way) + (seed == 1 ? "" : ",seed=" + std::to_string(seed));
  };
  const std::string received = text_of(faults.received, faults.received.seed);
  const std::string sent = text_of(faults.sent, faults.sent.seed - 1);
  if (received == sent) return received;
  if (!faults.sent.any()) return "in:" + received;
  if (!faults.received.any()) return "out:" + sent;
  return "in:" + received + ";out:" + sent;
}

std::string to_string(const FaultOptions& o) {
  using namespace base;
  std::string text;
  const auto add = [&](const std::string& part) { text += (text.empty() ? "" : ",") + part; };
  const auto add_share = [&](const char* name, double share) {
    if (share > 0) add(std::string(name) + "=" + share_text(share));
  };
  add_share("loss", o.loss);
  if (o.bursts) {
    const FaultOptions::Bursts& b = *o.bursts;
    add("burst=" + share_text(b.to_bad) + ':' + share_text(b.to_good) + ':' +
        share_text(b.loss_in_bad) + ':' + share_text(b.loss_in_good));
  }
  add_share("duplicate", o.duplicate);
  add_share("reorder", o.reorder);
  add_share("corrupt", o.corrupt);
  add_share("truncate", o.truncate);
  if (o.delay.count() > 0) {
    add("delay=" + time_text(o.delay) +
        (o.jitter.count() > 0 ? "\u00b1" + time_text(o.jitter) : ""));
    if (o.jitter.count() > 0 && o.keep_order) add("order=keep");
  }
  if (o.rate_bps > 0) {
    add("rate=" + rate_text(o.rate_bps));
  }
  if (o.any() && o.queue_frames != FaultOptions().queue_frames) {
    add("queue=" + std::to_string(o.queue_frames));
  }
  if (!o.drop.empty()) add(drop_text(o.drop));
  if (text.empty()) return "none";
  return o.match.filter ? "match='" + o.match.text + "'," + text : text;
}

}  // namespace shmif
