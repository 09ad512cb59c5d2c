#include "perf/report/json_reader.hpp"

#include <algorithm>
#include <array>
#include <cstdint>
#include <deque>
#include <exception>
#include <iterator>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>
#include <vector>

#include "base/text.hpp"

namespace shmif::perf {
namespace {

using Tree = nlohmann::json;

struct Interrupted : std::exception {};

/// Passes the text to the parser, and asks every 64 KiB whether to stop. Copies share the count.
class WatchedText {
 public:
  using iterator_category = std::forward_iterator_tag;
  using value_type = char;
  using difference_type = std::ptrdiff_t;
  using pointer = const char*;
  using reference = const char&;

  WatchedText(const char* at, const std::function<bool()>* stop) : at_(at), stop_(stop) {}
  const char& operator*() const { return *at_; }
  WatchedText& operator++() {
    constexpr unsigned kAskEvery = 64U << 10U;
    if (++read_ % kAskEvery == 0 && *stop_ && (*stop_)()) throw Interrupted();
    ++at_;
    return *this;
  }
  bool operator==(const WatchedText& other) const { return at_ == other.at_; }

 private:
  const char* at_;
  const std::function<bool()>* stop_;
  std::size_t read_ = 0;
};

/// Builds the tree, in linear time. The library's parser with limits needs quadratic time: at the
/// end of each object it searches everything that the parent has so far.
class Builder : public nlohmann::json_sax<Tree> {
 public:
  Builder(std::size_t text_bytes, const JsonLimits& limits)
      : limits_(limits), memory_(kMaxJsonMemory * text_bytes + kFreeJsonMemory) {}

  Tree take() { return std::move(root_); }
  const std::string& refusal() const noexcept { return refusal_; }

  bool null() override { return put(nullptr, 0); }
  bool boolean(bool value) override { return put(value, 0); }
  bool number_integer(std::int64_t value) override { return put(value, 0); }
  bool number_unsigned(std::uint64_t value) override { return put(value, 0); }
  bool number_float(double value, const std::string& /*text*/) override { return put(value, 0); }
  bool string(std::string& value) override {
    const std::size_t bytes = kText + heap_of(value);
    return put(Tree(std::move(value)), bytes);
  }
  bool binary(Tree::binary_t& /*value*/) override { return false; }
  bool start_object(std::size_t /*size*/) override { return open(true, kObject); }
  bool start_array(std::size_t /*size*/) override { return open(false, kList); }
  bool key(std::string& name) override {
    open_.back().key = std::move(name);
    return true;
  }
  bool end_object() override { return close(Tree(std::move(open_.back().members))); }
  bool end_array() override {
    const std::size_t count = open_.back().items;
    Tree::array_t items;
    items.reserve(count);
    const auto begin = pending_.end() - static_cast<std::ptrdiff_t>(count);
    std::move(begin, pending_.end(), std::back_inserter(items));
    pending_.erase(begin, pending_.end());
    return close(Tree(std::move(items)));
  }
  bool parse_error(std::size_t /*position*/, const std::string& /*token*/,
                   const nlohmann::detail::exception& error) override {
    const std::string_view what = error.what();  // "[json.exception.parse_error.101] parse ..."
    refusal_ = "it is not JSON (" + std::string(what.substr(what.find("] ") + 2)) + ')';
    return false;
  }

 private:
  // What glibc's malloc uses for the parts of a tree.
  static constexpr std::size_t kText = 48;    // std::string
  static constexpr std::size_t kObject = 64;  // std::map
  static constexpr std::size_t kList = 48;    // std::vector, and the overhead of its items
  static constexpr std::size_t kItem = 2 * sizeof(Tree);  // in pending_, then in the list
  static constexpr std::size_t kMember = 96;              // node of a std::map

  struct Open {
    bool is_object;
    Tree::object_t members{};
    std::string key{};
    std::size_t items = 0;
  };

  static std::size_t heap_of(const std::string& text) {
    constexpr std::size_t kInPlace = 15;
    return text.size() <= kInPlace ? 0 : text.size() + 24;
  }

  bool refuse(std::string why) {
    refusal_ = std::move(why);
    return false;
  }

  bool charge(std::size_t bytes) {
    if (++values_ > limits_.max_values) {
      return refuse("it has more than " + std::to_string(limits_.max_values) + " values");
    }
    if (bytes > memory_) {
      return refuse("it would need more than " + std::to_string(kMaxJsonMemory) +
                    " times its length in memory, as no result or message of shmifperf does");
    }
    memory_ -= bytes;
    return true;
  }

  /// The memory that the place of the next value takes.
  std::size_t cost_of_place() const {
    if (open_.empty()) return 0;
    return open_.back().is_object ? kMember + heap_of(open_.back().key) : kItem;
  }

  void place(Tree&& value) {
    if (open_.empty()) {
      root_ = std::move(value);
    } else if (open_.back().is_object) {
      open_.back().members.insert_or_assign(std::move(open_.back().key), std::move(value));
    } else {
      ++open_.back().items;
      pending_.push_back(std::move(value));
    }
  }

  bool put(Tree&& value, std::size_t bytes) {
    if (!charge(bytes + cost_of_place())) return false;
    place(std::move(value));
    return true;
  }

  bool open(bool is_object, std::size_t bytes) {
    if (open_.size() >= limits_.max_depth)
      return refuse("it is nested deeper than " + std::to_string(limits_.max_depth) + " levels");
    if (!charge(bytes + cost_of_place())) return false;
    open_.push_back({.is_object = is_object});
    return true;
  }

  bool close(Tree&& value) {
    open_.pop_back();
    place(std::move(value));
    return true;
  }

  const JsonLimits& limits_;
  std::size_t memory_;  ///< the memory that may still be used
  std::size_t values_ = 0;
  std::vector<Open> open_;
  std::deque<Tree> pending_;  ///< the items of all open lists
  Tree root_;
  std::string refusal_;
};

}  // namespace

Result<nlohmann::json> read_json(std::string_view text, const JsonLimits& limits) {
  Builder builder(text.size(), limits);
  try {
    const bool whole = Tree::sax_parse(WatchedText(text.begin(), &limits.stop),
                                       WatchedText(text.end(), &limits.stop),
                                       static_cast<Tree::json_sax_t*>(&builder));
    if (whole) return builder.take();
  } catch (const Interrupted&) {
    return Error(Errc::interrupted, "a signal ended the reading");
  }
  return Error(Errc::bad_argument, builder.refusal());
}

// ---- Schemas ----

namespace {

/// Types as bits, so that a rule can allow several.
enum Type : unsigned {
  kNull = 1,
  kBoolean = 2,
  kInteger = 4,
  kFraction = 8,
  kText = 16,
  kList = 32,
  kObject = 64,
  kAny = 127
};

struct TypeName {
  const char* name;
  unsigned types;
};
constexpr std::array<TypeName, 7> kTypeNames{{{"null", kNull},
                                              {"boolean", kBoolean},
                                              {"integer", kInteger},
                                              {"number", kInteger | kFraction},
                                              {"string", kText},
                                              {"array", kList},
                                              {"object", kObject}}};

unsigned type_of(const Tree& json) {
  switch (json.type()) {
    case Tree::value_t::null: return kNull;
    case Tree::value_t::boolean: return kBoolean;
    case Tree::value_t::number_integer:
    case Tree::value_t::number_unsigned: return kInteger;
    case Tree::value_t::number_float: return kFraction;
    case Tree::value_t::string: return kText;
    case Tree::value_t::array: return kList;
    case Tree::value_t::object: return kObject;
    default: return 0;
  }
}

std::string names_of(unsigned types) {
  std::string names;
  for (const TypeName& each : kTypeNames) {
    const bool is_part = each.types == kInteger && (types & kFraction) != 0;
    if ((types & each.types) != each.types || is_part) continue;
    names += (names.empty() ? "" : " or ") + std::string(each.name);
  }
  return names;
}

struct Rule;

struct Member {
  std::string name;
  bool is_required = false;
  const Rule* rule = nullptr;  ///< null: anything
};

struct Rule {
  unsigned types = kAny;
  std::vector<Member> members;   ///< by name
  const Rule* others = nullptr;  ///< rule for members that `members` does not name; null: anything
  bool allows_others = true;
  const Rule* items = nullptr;
  std::optional<double> min, max;
  std::size_t min_items = 0;
  std::size_t max_items = ~std::size_t{0};
  std::vector<Tree> values;         ///< empty: any
  std::vector<const Rule*> either;  ///< exactly one of these must match; empty: no choice
};

/// Makes the rules of a schema. Each definition becomes one rule, which others point to.
class Compiler {
 public:
  Compiler(const Tree& schema, std::vector<std::unique_ptr<Rule>>& rules)
      : schema_(schema), rules_(rules) {}

  const Rule* compile(const Tree& of) {
    if (const auto ref = of.find("$ref"); ref != of.end())
      return definition(ref->get<std::string>());
    return fill(new_rule(), of);
  }

 private:
  Rule* new_rule() {
    rules_.push_back(std::make_unique<Rule>());
    return rules_.back().get();
  }

  const Rule* definition(const std::string& ref) {
    constexpr std::string_view kPlace = "#/definitions/";
    const auto known = definitions_.find(ref);
    if (known != definitions_.end()) return known->second;
    Rule* const rule = new_rule();
    definitions_[ref] = rule;
    if (!ref.starts_with(kPlace)) throw std::invalid_argument("$ref " + ref);
    return fill(rule, schema_.at("definitions").at(ref.substr(kPlace.size())));
  }

  Rule* fill(Rule* rule, const Tree& of) {
    for (const auto& [word, value] : of.items()) {
      if (word == "type") {
        rule->types = types_of(value);
      } else if (word == "properties") {
        for (const auto& [name, schema] : value.items()) member(*rule, name).rule = compile(schema);
      } else if (word == "required") {
        for (const Tree& name : value) member(*rule, name.get<std::string>()).is_required = true;
      } else if (word == "additionalProperties") {
        rule->allows_others = !value.is_boolean() || value.get<bool>();
        if (value.is_object()) rule->others = compile(value);
      } else if (word == "items") {
        rule->items = compile(value);
      } else if (word == "minimum") {
        rule->min = value.get<double>();
      } else if (word == "maximum") {
        rule->max = value.get<double>();
      } else if (word == "minItems") {
        rule->min_items = value.get<std::size_t>();
      } else if (word == "maxItems") {
        rule->max_items = value.get<std::size_t>();
      } else if (word == "enum") {
        rule->values = value.get<std::vector<Tree>>();
      } else if (word == "const") {
        rule->values = {value};
      } else if (word == "oneOf") {
        for (const Tree& each : value) rule->either.push_back(compile(each));
      } else if (word != "description" && word != "title" && word != "$schema" &&
                 word != "definitions") {
        throw std::invalid_argument(word);
      }
    }
    return rule;
  }

  static unsigned types_of(const Tree& names) {
    unsigned types = 0;
    for (const Tree& name : names.is_array() ? names : Tree::array({names})) {
      const auto known =
          std::ranges::find_if(kTypeNames, [&](const TypeName& each) { return name == each.name; });
      if (known == kTypeNames.end()) throw std::invalid_argument("type " + name.dump());
      types |= known->types;
    }
    return types;
  }

  static Member& member(Rule& rule, const std::string& name) {
    const auto at = std::ranges::lower_bound(rule.members, name, {}, &Member::name);
    if (at != rule.members.end() && at->name == name) return *at;
    return *rule.members.insert(at, {.name = name});
  }

  const Tree& schema_;
  std::vector<std::unique_ptr<Rule>>& rules_;
  std::map<std::string, const Rule*> definitions_;
};

/// The first difference that was found.
struct Complaint {
  std::string why;                 ///< empty: no difference
  std::vector<std::string> where;  ///< from the inside out
  explicit operator bool() const noexcept { return !why.empty(); }
};

Complaint check(const Rule& rule, const Tree& json);

Complaint check_at(const Rule* rule, const Tree& json, const std::string& where) {
  if (rule == nullptr) return {};
  Complaint complaint = check(*rule, json);
  if (complaint) complaint.where.push_back(where);
  return complaint;
}

/// The members of the rule and of `json` are both in the order of their names.
Complaint check_members(const Rule& rule, const Tree& json) {
  auto known = rule.members.begin();
  const auto missing_before = [&](const std::string* name) {
    for (; known != rule.members.end() && (name == nullptr || known->name < *name); ++known) {
      if (known->is_required) return Complaint{"it has no \"" + known->name + '"', {}};
    }
    return Complaint{};
  };
  for (const auto& [name, value] : json.get_ref<const Tree::object_t&>()) {
    if (auto missing = missing_before(&name)) return missing;
    const bool is_named = known != rule.members.end() && known->name == name;
    if (!is_named && !rule.allows_others) {
      return {"a key of that name is not in it", {name}};
    }
    if (auto wrong = check_at(is_named ? known->rule : rule.others, value, name)) return wrong;
    if (is_named) ++known;
  }
  return missing_before(nullptr);
}

Complaint check_items(const Rule& rule, const Tree& json) {
  if (json.size() < rule.min_items || json.size() > rule.max_items) {
    return {"it has " + std::to_string(json.size()) + " items", {}};
  }
  std::size_t at = 0;
  for (const Tree& item : json) {
    if (rule.items == nullptr) break;
    Complaint wrong = check(*rule.items, item);
    if (wrong) {
      wrong.where.push_back(std::to_string(at));
      return wrong;
    }
    ++at;
  }
  return {};
}

Complaint check_number(const Rule& rule, const Tree& json) {
  if (!rule.min && !rule.max) return {};
  const auto value = json.get<double>();
  if (rule.min && !(value >= *rule.min)) return {"it is less than " + Tree(*rule.min).dump(), {}};
  if (rule.max && !(value <= *rule.max)) return {"it is more than " + Tree(*rule.max).dump(), {}};
  return {};
}

Complaint check_either(const Rule& rule, const Tree& json) {
  Complaint furthest{"it has none of the allowed forms", {}};
  std::size_t fits = 0;
  for (const Rule* const each : rule.either) {
    Complaint wrong = check(*each, json);
    fits += wrong ? 0 : 1;
    if (wrong && wrong.where.size() > furthest.where.size()) furthest = std::move(wrong);
  }
  if (fits == 1) return {};
  return fits == 0 ? furthest : Complaint{"it has two of the forms of which one is allowed", {}};
}

Complaint check(const Rule& rule, const Tree& json) {
  const unsigned type = type_of(json);
  if ((rule.types & type) == 0) return {"it is not " + names_of(rule.types), {}};
  if (!rule.values.empty() && std::ranges::find(rule.values, json) == rule.values.end()) {
    return {"it has another value than those that are allowed", {}};
  }
  if (!rule.either.empty()) {
    if (auto wrong = check_either(rule, json)) return wrong;
  }
  if (type == kObject) return check_members(rule, json);
  if (type == kList) return check_items(rule, json);
  if (type == kInteger || type == kFraction) return check_number(rule, json);
  return {};
}

}  // namespace

struct JsonSchema::Impl {
  std::vector<std::unique_ptr<Rule>> rules;
  const Rule* root = nullptr;
};

JsonSchema::JsonSchema(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
JsonSchema::JsonSchema(JsonSchema&& other) noexcept = default;
JsonSchema::~JsonSchema() = default;

Result<JsonSchema> JsonSchema::make(const nlohmann::json& schema) {
  auto impl = std::make_unique<Impl>();
  try {
    impl->root = Compiler(schema, impl->rules).compile(schema);
  } catch (const std::exception& error) {
    return Error(Errc::bad_argument, std::string("cannot use a schema: ") + error.what());
  }
  return JsonSchema(std::move(impl));
}

std::string JsonSchema::complaint(const nlohmann::json& json) const {
  const Complaint found = check(*impl_->root, json);
  if (!found) return {};
  std::string where;
  constexpr std::size_t kShown = 60;
  for (auto part = found.where.rbegin(); part != found.where.rend(); ++part) {
    where += '/' + base::shortened(base::printable(*part), kShown);
  }
  return (where.empty() ? "" : where + ": ") + found.why;
}

}  // namespace shmif::perf
