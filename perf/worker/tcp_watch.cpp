#include "perf/worker/tcp_watch.hpp"

#include <algorithm>
#include <utility>

namespace shmif::perf {

void TcpWatch::begin_window() noexcept {
  const auto state = end_.tcp();
  if (!state) return;
  before_window_ = *state;
  in_window_ = true;
}

void TcpWatch::end_window() noexcept {
  (void)look();
  in_window_ = false;
}

std::optional<TcpState> TcpWatch::look() noexcept {
  auto state = end_.tcp();
  if (!state || !in_window_) return state;
  const bool first = window_.samples == 0;
  window_.retransmits = grown_since<TcpSample>(before_window_, *state).retransmits;
  window_.mss_bytes = state->mss_bytes;
  window_.pmtu_bytes = state->pmtu_bytes;
  window_.cwnd_bytes_max = std::max(window_.cwnd_bytes_max, state->cwnd_bytes);
  window_.rtt_ns_min = first ? state->rtt_ns : std::min(window_.rtt_ns_min, state->rtt_ns);
  window_.rtt_ns_max = std::max(window_.rtt_ns_max, state->rtt_ns);
  rtt_ns_sum_ += state->rtt_ns;
  window_.rtt_ns_mean = rtt_ns_sum_ / ++window_.samples;
  window_.send_buffer_bytes = state->send_buffer_bytes;
  window_.receive_buffer_bytes = state->receive_buffer_bytes;
  window_.dscp = state->dscp;
  job_.congestion.set(state->congestion);
  job_.tcp.set(window_);
  return state;
}

std::optional<TcpSample> TcpWatch::close() noexcept {
  const auto state = look();
  if (!state) return std::nullopt;
  return grown_since<TcpSample>(std::exchange(before_interval_, *state), *state);
}

}  // namespace shmif::perf
