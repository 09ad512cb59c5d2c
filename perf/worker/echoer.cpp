#include "perf/worker/echoer.hpp"

#include <algorithm>

namespace shmif::perf {

void Echoer::add(const FrameView& request, std::size_t at, Probe probe, Period period) {
  constexpr std::size_t kAddressBytes = 6;
  if (replies_.empty()) about_.clear();
  if (replies_.size() == bytes_.size()) bytes_.emplace_back();
  std::vector<std::byte>& reply = bytes_[replies_.size()];
  reply.assign(request.bytes.begin(), request.bytes.end());
  std::swap_ranges(reply.begin(), reply.begin() + kAddressBytes, reply.begin() + kAddressBytes);
  probe.kind = Probe::Kind::reply;
  write_probe(reply, at, probe);
  replies_.emplace_back(reply.data(), reply.size());
  about_.push_back({.flow = probe.flow, .number = probe.sequence, .period = period});
}

std::span<const Echoer::Sent> Echoer::flush(IntervalRecorder& recorder) {
  if (replies_.empty()) return {};
  const std::size_t sent = send();
  account(sent, recorder);
  replies_.clear();
  return std::span(about_).first(sent);
}

void Echoer::account(std::size_t sent, IntervalRecorder& recorder) {
  std::uint64_t all_bytes = 0;
  ByPeriod<bool> any;
  for (std::size_t i = 0; i < replies_.size(); ++i) {
    const std::uint64_t bytes = replies_[i].size();
    SentCounts& counts = job_.sent[about_[i].period];
    // Each request asks for one reply.
    counts[&TrafficResult::offered_frames].add(1);
    counts[&TrafficResult::offered_bytes].add(bytes);
    if (i >= sent) continue;
    any[about_[i].period] = true;
    all_bytes += bytes;
    counts[&TrafficResult::frames].add(1);
    counts[&TrafficResult::bytes].add(bytes);
  }
  if (sent == 0) return;
  job_.all_tx_frames.add(sent);
  job_.all_tx_bytes.add(all_bytes);
  job_.sent[any[Period::window] ? Period::window : Period::ramp][&TrafficResult::batches].add(1);
  recorder.sent(sent, all_bytes);
}

/// Counts the replies after the first `sent` as refused. They are sent later.
void Echoer::refused(std::size_t sent) {
  for (std::size_t i = sent; i < about_.size(); ++i)
    job_.sent[about_[i].period][&TrafficResult::refused_frames].add(1);
}

/// Result: how many replies were sent.
std::size_t Echoer::send() {
  constexpr std::uint64_t kPatienceNs = 1'000'000'000;
  std::size_t sent = 0;
  std::uint64_t refused_since_ns = 0;
  for (;;) {  // runs until all are sent or given up
    const auto offered = std::span(replies_).subspan(sent);
    const SendResult result = end_.send(offered);
    sent += result.taken;
    for (std::size_t i = 0; record_ != nullptr && i < result.taken; ++i) record_->put(offered[i]);
    if (result.error) {
      job_.note_tx_error(about_[std::min(sent, about_.size() - 1)].period, result.error);
      return sent;
    }
    if (sent == replies_.size()) return sent;
    const std::uint64_t now = now_ns();
    const bool is_first = refused_since_ns == 0;
    if (is_first) refused_since_ns = now;
    const bool stopped = job_.order.load(std::memory_order_relaxed) >= Order::stop;
    if (stopped || now - refused_since_ns > kPatienceNs) return sent;
    if (is_first) refused(sent);
    end_.wait_to_send(std::chrono::milliseconds(10));
  }
}

}  // namespace shmif::perf
