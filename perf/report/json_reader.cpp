#include "perf/report/json_reader.hpp"

#include <cstdint>
#include <deque>
#include <exception>
#include <iterator>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

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
  WatchedText operator++(int) {
    const WatchedText before = *this;
    ++*this;
    return before;
  }
  bool operator==(const WatchedText& other) const { return at_ == other.at_; }

 private:
  const char* at_;
  const std::function<bool()>* stop_;
  std::size_t read_ = 0;
};

/// Builds the tree. The parser of the library does that, too, but with limits its time is
/// quadratic: at the end of each object it searches all that the parent has so far.
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
    refusal_ = std::string("it is not JSON (") + error.what() + ')';
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

}  // namespace shmif::perf
