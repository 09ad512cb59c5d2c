#pragma once
// The life of a counter session, as one table: which call is legal in which state, and which state
// follows. The session uses this table, and a test checks all of it.
//
// A call is checked in this order: whether the session was moved away (bad_session); whether the
// session has ended or is closed (invalid); this table for the other states; then, for load(),
// whether the target exists. Two exceptions: a thread that has loaded a session on itself may also
// call program() and set_values() while it is started; and program() is refused (busy) while a
// session is loaded on a process, because its existing children would not be counted.

#include <array>
#include <cstddef>
#include <optional>

namespace shmif::perf {

/// What a session is doing.
enum class SessionState {
  unloaded,  ///< without a target; events can be changed
  loaded,    ///< on a target, not counting
  started,   ///< loaded, and counting
  masked,    ///< loaded; counting stopped at an overflow, until restart()
  ended,     ///< the target has ended; its counts can be read
  closed,    ///< no call is legal any more
};
inline constexpr std::size_t kSessionStates = 6;  ///< how many states there are
/// The names of the states, in their order.
inline constexpr std::array<const char*, kSessionStates> kStateNames = {
    "unloaded", "loaded", "started", "masked", "ended", "closed"};

/// The calls of a CounterSession whose answer depends on its state.
enum class SessionCall {
  create_set,
  delete_set,
  program,
  set_values,
  load,
  start,
  stop,
  restart,
  switch_set,
  read,
  read_samples,
  query_sets,
  unload,
  close,
};

/// What a call gets in a state.
enum class Answer {
  ok,       ///< the call goes on, and can fail for other reasons
  busy,     ///< CounterErrc::busy
  invalid,  ///< CounterErrc::invalid
};

/// One row of the table.
struct SessionRow {
  SessionCall call;                            ///< the call of this row
  const char* name;                            ///< as the function of CounterSession is named
  std::array<Answer, kSessionStates> answers;  ///< in the order of SessionState
  std::optional<SessionState> next;            ///< the state after it; empty: unchanged
};

namespace session_rows {

using Row = SessionRow;                       ///< short for the table below
using Call = SessionCall;                     ///< short for the table below
using State = SessionState;                   ///< short for the table below
inline constexpr Answer o = Answer::ok;       ///< short for the table below
inline constexpr Answer b = Answer::busy;     ///< short for the table below
inline constexpr Answer i = Answer::invalid;  ///< short for the table below

/// The table: one row for each SessionCall, in their order.
// clang-format off
inline constexpr std::array kSessionRows = {
    //                                unloaded loaded started masked ended closed
    Row{Call::create_set,   "create_sets",  {o, b, b, b, i, i}, {}},
    Row{Call::delete_set,   "delete_sets",  {o, b, b, b, i, i}, {}},
    Row{Call::program,      "program",      {o, o, b, o, i, i}, {}},
    Row{Call::set_values,   "set_values",   {o, o, b, o, i, i}, {}},
    Row{Call::load,         "load",         {o, b, b, b, i, i}, State::loaded},
    Row{Call::start,        "start",        {i, o, o, b, i, i}, State::started},
    Row{Call::stop,         "stop",         {i, o, o, o, i, i}, State::loaded},
    Row{Call::restart,      "restart",      {i, b, b, o, i, i}, State::started},
    Row{Call::switch_set,   "switch_set",   {i, o, o, b, i, i}, {}},
    Row{Call::read,         "read",         {o, o, o, o, o, i}, {}},
    Row{Call::read_samples, "read_samples", {o, o, o, o, o, i}, {}},
    Row{Call::query_sets,   "query_sets",   {o, o, o, o, o, i}, {}},
    Row{Call::unload,       "unload",       {i, o, o, o, o, i}, State::unloaded},
    Row{Call::close,        "close",        {o, o, o, o, o, i}, State::closed},
};
// clang-format on

}  // namespace session_rows

using session_rows::kSessionRows;

/// The row of a call.
constexpr const SessionRow& row_of(SessionCall call) noexcept {
  return kSessionRows[static_cast<std::size_t>(call)];
}
/// What a call gets in a state.
constexpr Answer answer_of(SessionCall call, SessionState state) noexcept {
  return row_of(call).answers[static_cast<std::size_t>(state)];
}
/// The name of a state, for messages.
constexpr const char* name_of(SessionState state) noexcept {
  return kStateNames[static_cast<std::size_t>(state)];
}
static_assert([] {
  for (std::size_t at = 0; at < kSessionRows.size(); ++at) {
    if (kSessionRows[at].call != static_cast<SessionCall>(at)) return false;
  }
  return kSessionRows.size() == static_cast<std::size_t>(SessionCall::close) + 1;
}());

}  // namespace shmif::perf
