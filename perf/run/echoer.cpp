#include "perf/run/echoer.hpp"

#include <algorithm>

namespace shmif::perf {

void Echoer::add(const FrameView& request, std::size_t at, Probe probe, bool measured) {
  constexpr std::size_t kAddressBytes = 6;
  if (replies_.size() == bytes_.size()) bytes_.emplace_back();
  std::vector<std::byte>& reply = bytes_[replies_.size()];
  reply.assign(request.bytes.begin(), request.bytes.end());
  std::swap_ranges(reply.begin(), reply.begin() + kAddressBytes, reply.begin() + kAddressBytes);
  probe.kind = Probe::Kind::reply;
  write_probe(reply, at, probe);
  replies_.emplace_back(reply.data(), reply.size());
  measured_.push_back(measured);
}

void Echoer::flush(IntervalRecorder& recorder) {
  if (replies_.empty()) return;
  account(send(), recorder);
  replies_.clear();
  measured_.clear();
}

void Echoer::account(std::size_t sent, IntervalRecorder& recorder) {
  std::uint64_t all_bytes = 0;
  for (std::size_t i = 0; i < replies_.size(); ++i) {
    const std::uint64_t bytes = replies_[i].size();
    if (measured_[i]) {
      // It is asked for as many as come.
      job_.offered_frames.add(1);
      job_.offered_bytes.add(bytes);
    }
    if (i >= sent) continue;
    all_bytes += bytes;
    (measured_[i] ? job_.tx_frames : job_.ramp_tx_frames).add(1);
    if (measured_[i]) job_.tx_bytes.add(bytes);
  }
  if (sent == 0) return;
  job_.all_tx_frames.add(sent);
  job_.all_tx_bytes.add(all_bytes);
  job_.batches.add(1);
  recorder.sent(sent, all_bytes);
}

/// Result: how many went.
std::size_t Echoer::send() {
  constexpr std::uint64_t kPatienceNs = 1'000'000'000;
  std::size_t sent = 0;
  std::uint64_t refused_since_ns = 0;
  for (;;) {  // runs until all are sent, or given up
    const SendResult result = end_.send(std::span(replies_).subspan(sent));
    sent += result.taken;
    if (result.error) {
      job_.tx_errors.add(1);
      job_.first_tx_error.set(result.error.message());
      return sent;
    }
    if (sent == replies_.size()) return sent;
    const std::uint64_t now = now_ns();
    if (refused_since_ns == 0) refused_since_ns = now;
    const bool stopped = job_.order.load(std::memory_order_relaxed) >= Order::stop;
    if (stopped || now - refused_since_ns > kPatienceNs) return sent;
    job_.refused.add(1);
    end_.wait_to_send(std::chrono::milliseconds(10));
  }
}

}  // namespace shmif::perf
