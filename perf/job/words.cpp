// Command lines without a shell.

#include <optional>

#include "perf/job/values.hpp"

namespace shmif::perf {
namespace {

constexpr std::size_t kMaxWords = 1024;

/// Takes words from the front of a command line.
class Splitter {
 public:
  explicit Splitter(std::string_view text) : rest_(text) {}

  /// The next word; empty at the end, or when a quote is not closed.
  std::optional<std::string> next() {
    while (!rest_.empty() && is_space(rest_[0])) rest_.remove_prefix(1);
    if (rest_.empty()) return std::nullopt;
    std::string word;
    while (!rest_.empty() && !is_space(rest_[0])) {
      const char c = take();
      if (c == '\'' || c == '"') {
        if (!take_quoted(c, word)) return std::nullopt;
      } else if (c == '\\') {
        if (!take_escaped(word)) return std::nullopt;
      } else {
        word += c;
      }
    }
    return word;
  }
  /// What is missing in an unfinished word; null if the words are complete.
  const char* missing() const noexcept { return missing_; }

 private:
  static bool is_space(char c) noexcept { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }
  char take() noexcept {
    const char c = rest_[0];
    rest_.remove_prefix(1);
    return c;
  }
  bool take_escaped(std::string& word) {
    if (rest_.empty()) {
      missing_ = "it ends with a backslash";
      return false;
    }
    word += take();
    return true;
  }
  bool take_quoted(char quote, std::string& word) {
    while (!rest_.empty()) {
      const char c = take();
      if (c == quote) return true;
      // Within "...", a backslash is literal unless the next character is special there. Within
      // '...', it is always literal.
      const bool escapes = quote == '"' && c == '\\' && !rest_.empty() &&
                           (rest_[0] == '"' || rest_[0] == '\\' || rest_[0] == '$');
      word += escapes ? take() : c;
    }
    missing_ = quote == '"' ? "a quotation mark (\") is not closed" : "a quote (') is not closed";
    return false;
  }

  std::string_view rest_;
  const char* missing_ = nullptr;
};

}  // namespace

Result<std::vector<std::string>> split_words(std::string_view text) {
  const auto refuse = [&](const std::string& why) {
    return Error(Errc::bad_argument, '"' + std::string(text) + "\" is not a command: " + why);
  };
  std::vector<std::string> words;
  Splitter splitter(text);
  while (auto word = splitter.next()) {
    if (word->find('\0') != std::string::npos) return refuse("it holds a NUL byte");
    words.push_back(std::move(*word));
    if (words.size() > kMaxWords) return refuse("it has more than 1024 words");
  }
  if (splitter.missing() != nullptr) return refuse(splitter.missing());
  if (words.empty() || words[0].empty()) return refuse("it does not name a program");
  return words;
}

}  // namespace shmif::perf
