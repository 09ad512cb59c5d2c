#include "perf/worker/tcp_watch.hpp"

#include <algorithm>

namespace shmif::perf {

void TcpWatch::begin_window() noexcept {
  const auto state = end_.tcp();
  if (!state) return;
  before_window_ = state->retransmits;
  in_window_ = true;
}

void TcpWatch::end_window() noexcept {
  (void)look();
  in_window_ = false;
}

std::optional<TcpState> TcpWatch::look() noexcept {
  auto state = end_.tcp();
  if (!state || !in_window_) return state;
  TcpBlock& tcp = job_.tcp;
  const bool first = tcp.samples.get() == 0;
  tcp.retransmits.set(state->retransmits - std::min(state->retransmits, before_window_));
  tcp.mss_bytes.set(state->mss_bytes);
  tcp.pmtu_bytes.set(state->pmtu_bytes);
  tcp.cwnd_bytes_max.set(std::max(tcp.cwnd_bytes_max.get(), state->cwnd_bytes));
  tcp.rtt_ns_min.set(first ? state->rtt_ns : std::min(tcp.rtt_ns_min.get(), state->rtt_ns));
  tcp.rtt_ns_max.set(std::max(tcp.rtt_ns_max.get(), state->rtt_ns));
  tcp.rtt_ns_sum.add(state->rtt_ns);
  tcp.send_buffer_bytes.set(state->send_buffer_bytes);
  tcp.receive_buffer_bytes.set(state->receive_buffer_bytes);
  tcp.dscp.set(state->dscp);
  tcp.congestion.set(state->congestion);
  tcp.samples.add(1);
  return state;
}

void TcpWatch::close(IntervalBlock& into) noexcept {
  const auto state = look();
  into.tcp_mss_bytes.set(state ? state->mss_bytes : 0);
  if (!state) return;
  into.tcp_retransmits.set(state->retransmits - std::min(state->retransmits, before_interval_));
  into.tcp_rtt_ns.set(state->rtt_ns);
  into.tcp_rttvar_ns.set(state->rttvar_ns);
  into.tcp_cwnd_bytes.set(state->cwnd_bytes);
  into.tcp_pmtu_bytes.set(state->pmtu_bytes);
  before_interval_ = state->retransmits;
}

}  // namespace shmif::perf
