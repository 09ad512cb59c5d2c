#pragma once
// Result<T>: a value or an Error, with the member names of std::expected (C++23).

#include <string>
#include <system_error>
#include <type_traits>
#include <utility>
#include <variant>

#include "base/error.hpp"

namespace shmif {

/// Why an operation failed: a code for programs, and one line for people that names what was tried,
/// on what, and what to do about it.
struct Error {
  std::error_code code;  ///< for programs, to compare with Errc or std::errc
  std::string message;   ///< for people: one line

  /// `what` becomes the message as it is. The text of the code is not added.
  Error(std::error_code c, std::string what) : code(c), message(std::move(what)) {}
  /// The same for an error of this library.
  Error(Errc c, std::string what) : code(make_error_code(c)), message(std::move(what)) {}
  /// `what`, then the text of errno value `number`, then `advice` in parentheses if there is any:
  /// what failed, why, and what to do.
  static Error from_errno(int number, const std::string& what, const std::string& advice = {}) {
    const std::error_code c(number, std::generic_category());
    return {c, what + ": " + c.message() + (advice.empty() ? "" : " (" + advice + ')')};
  }
};

/// Thrown by Result::value() on an error.
class Exception : public std::system_error {
 public:
  /// Its code() is that of the error.
  explicit Exception(Error e)
      : std::system_error(e.code, e.message), message_(std::move(e.message)) {}
  /// The message of the error, without the text of the code. Valid as long as the exception.
  const char* what() const noexcept override { return message_.c_str(); }

 private:
  std::string message_;
};

/// A T, or the Error that says why there is no T.
/// Threads: as safe as T. Blocks: never.
template <class T>
class [[nodiscard]] Result {
 public:
  /// Success. Implicit, so that a function can simply return its value.
  Result(T value)
      : state_(std::in_place_index<0>, std::move(value)) {
  }  // NOLINT(google-explicit-constructor): as std::expected
  /// Failure. Implicit, for the same reason.
  Result(Error error)
      : state_(std::in_place_index<1>, std::move(error)) {}  // NOLINT(google-explicit-constructor)

  /// Whether there is a value, and no error.
  bool has_value() const noexcept { return state_.index() == 0; }
  /// As has_value().
  explicit operator bool() const noexcept { return has_value(); }

  /// The value; throws Exception if there is an error instead.
  T& value() & { return require(), std::get<0>(state_); }
  /// The same for a const result.
  const T& value() const& { return require(), std::get<0>(state_); }
  /// The same for a result that is no longer needed: the value can be moved out.
  T&& value() && { return require(), std::get<0>(std::move(state_)); }

  /// The value, which must be there.
  T& operator*() & noexcept { return *std::get_if<0>(&state_); }
  /// The same for a const result.
  const T& operator*() const& noexcept { return *std::get_if<0>(&state_); }
  /// The same for a result that is no longer needed: the value can be moved out.
  T&& operator*() && noexcept { return std::move(*std::get_if<0>(&state_)); }
  /// A member of the value; null if there is an error instead.
  T* operator->() noexcept { return std::get_if<0>(&state_); }
  /// The same for a const result.
  const T* operator->() const noexcept { return std::get_if<0>(&state_); }

  /// The error, which must be there.
  const Error& error() const& noexcept { return *std::get_if<1>(&state_); }
  /// The same for a result that is no longer needed: the error can be moved out.
  Error&& error() && noexcept { return std::move(*std::get_if<1>(&state_)); }

 private:
  void require() const {
    if (!has_value()) throw Exception(error());
  }
  std::variant<T, Error> state_;
};

/// Success, or the Error that says why not.
template <>
class [[nodiscard]] Result<void> {
 public:
  Result() = default;  ///< success
  /// Failure. Implicit, so that a function can simply return the error.
  Result(Error error)
      : error_(std::move(error)), ok_(false) {}  // NOLINT(google-explicit-constructor)

  /// Whether there is no error.
  bool has_value() const noexcept { return ok_; }
  /// As has_value().
  explicit operator bool() const noexcept { return ok_; }
  /// Does nothing after success; throws Exception if there is an error.
  void value() const {
    if (!ok_) throw Exception(error_);
  }
  /// The error. After success it has no code and no message.
  const Error& error() const& noexcept { return error_; }
  /// The same for a result that is no longer needed: the error can be moved out.
  Error&& error() && noexcept { return std::move(error_); }

 private:
  Error error_{std::error_code{}, {}};
  bool ok_ = true;
};

}  // namespace shmif
