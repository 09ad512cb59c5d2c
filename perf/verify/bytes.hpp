#pragma once
// Numbers and texts in file format: little endian, one after the other.

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

namespace shmif::perf {

static_assert(std::endian::native == std::endian::little, "so are the numbers of a file");

inline void append_bytes(std::vector<std::byte>& out, std::span<const std::byte> bytes) {
  // Not insert(): g++ 12 warns of an overflow if it knows the size (-Warray-bounds).
  const std::size_t at = out.size();
  out.resize(at + bytes.size());
  if (!bytes.empty()) std::memcpy(out.data() + at, bytes.data(), bytes.size());
}

template <class T>
void append_number(std::vector<std::byte>& out, T value) {
  static_assert(std::is_unsigned_v<T>);
  append_bytes(out, std::as_bytes(std::span(&value, 1)));
}

inline void append_text(std::vector<std::byte>& out, const std::string& text) {
  append_number(out, std::uint64_t{text.size()});
  append_bytes(out, std::as_bytes(std::span(text)));
}

/// Takes a number from the front; empty if there are too few bytes. After a failure all further
/// numbers are empty, too, so a caller that takes several may check only the last.
template <class T>
std::optional<T> take_number(std::span<const std::byte>& in) noexcept {
  static_assert(std::is_unsigned_v<T>);
  if (in.size() < sizeof(T)) {
    in = {};
    return std::nullopt;
  }
  T value{};
  std::memcpy(&value, in.data(), sizeof value);
  in = in.subspan(sizeof value);
  return value;
}

inline std::optional<std::string> take_text(std::span<const std::byte>& in) {
  const auto size = take_number<std::uint64_t>(in);
  if (!size || *size > in.size()) {
    in = {};
    return std::nullopt;
  }
  std::string text(reinterpret_cast<const char*>(in.data()), *size);
  in = in.subspan(*size);
  return text;
}

}  // namespace shmif::perf
