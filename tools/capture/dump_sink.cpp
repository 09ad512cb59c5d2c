#include "tools/capture/dump_sink.hpp"

#include <unistd.h>

#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>
#include <string_view>

#include "base/text.hpp"
#include "bus/offload.hpp"
#include "bus/repair/port_owners.hpp"
#include "tools/common/command.hpp"
#include "tools/common/json.hpp"

namespace shmif::tools {

namespace {

std::string describe(unsigned slot, LinkKind link, const MacAddress& mac) {
  return "slot " + std::to_string(slot) + ", " + to_string(link) + ", " + mac.to_string();
}

/// Twice as many as the port table can name: it has 256 ports, and the former port of each slot.
constexpr std::size_t kMaxSenders = 1024;
/// To read the port table takes many times as long as to show a frame. So reads are limited:
/// kMaxLooks at once, and one more every kTimePerLook.
constexpr unsigned kMaxLooks = 4096;
constexpr std::chrono::milliseconds kTimePerLook{1};

constexpr std::size_t kMaxCommandCharacters = 300;

/// The command line of a process; empty if it cannot be read.
std::string command_of_process(std::int32_t pid) {
  // The read is bounded, because a process chooses the memory that the kernel shows, and its size.
  constexpr std::size_t kMaxRead = 4 * kMaxCommandCharacters;
  std::ifstream file("/proc/" + std::to_string(pid) + "/cmdline");
  std::string words(kMaxRead, '\0');
  file.read(words.data(), static_cast<std::streamsize>(words.size()));
  words.resize(static_cast<std::size_t>(file.gcount()));
  while (!words.empty() && words.back() == '\0') words.pop_back();
  std::ranges::replace(words, '\0', ' ');
  return base::shortened(base::printable(words), kMaxCommandCharacters);
}

/// "process 4242: shmifctl exec /dev/shm/bus0 -- ping 198.18.0.1": the process that has the port,
/// and its command line, of which at most 300 characters are kept. Empty if the port has left, or
/// if its process is not proven to be on this machine (bus/repair/port_owners.hpp).
std::string process_text(const BusInfo& bus, unsigned slot, std::uint32_t incarnation) {
  const auto port = std::ranges::find_if(bus.ports, [&](const PortInfo& each) {
    return each.slot == slot && each.incarnation == incarnation && each.live;
  });
  if (port == bus.ports.end()) return {};
  bus::PortOwners owners(bus);
  const Result<bus::PortOwner> owner = owners.owner_of(*port);
  if (!owner) return {};
  const std::string command = command_of_process(port->pid);
  if (owner->has_ended()) return {};  // the pid may belong to another process
  std::string text = "process " + std::to_string(port->pid);
  if (!command.empty()) text.append(": ").append(command);
  return text;
}

}  // namespace

SenderNames::SenderNames(const std::string& path) : looks_left_(kMaxLooks) {
  if (Result<Bus> bus = Bus::open(path)) bus_.emplace(*std::move(bus));
  are_told_ = !bus_ || bus_->info().has_port_table();
  look();
}

bool SenderNames::may_look() {
  const auto gained = (Clock::now() - looks_counted_) / kTimePerLook;
  if (gained > 0) {
    looks_counted_ += gained * kTimePerLook;
    looks_left_ = static_cast<unsigned>(
        std::min<std::int64_t>(kMaxLooks, static_cast<std::int64_t>(looks_left_) + gained));
  }
  if (looks_left_ == 0) return false;
  --looks_left_;
  return true;
}

void SenderNames::add(const Key& key, Sender sender) {
  const auto [at, is_new] = senders_.try_emplace(key);
  if (!is_new) return;
  sender.id = ++last_id_;
  at->second = std::move(sender);
}

/// Reads the port table of the bus. Makes room for its ports and one more sender: forgets senders
/// that are not in the table, because they never return to it.
void SenderNames::look() {
  const BusInfo info = bus_ ? bus_->info() : BusInfo{};
  const auto key_of = [](const auto& port) {
    return Key{static_cast<std::uint16_t>(port.slot), port.incarnation};
  };
  if (senders_.size() + info.former_ports.size() + info.ports.size() >= kMaxSenders) {
    std::set<Key> present;
    for (const FormerPort& port : info.former_ports) present.insert(key_of(port));
    for (const PortInfo& port : info.ports) present.insert(key_of(port));
    std::erase_if(senders_, [&](const auto& sender) { return !present.contains(sender.first); });
    last_ = nullptr;
  }
  const auto learn = [&](const auto& port) {
    add(key_of(port), {.name = port.name,
                       .description = describe(port.slot, port.link, port.mac),
                       .known = port.incarnation != 0,
                       .link = to_string(port.link),
                       .mac = port.mac.is_zero() ? std::nullopt : std::optional(port.mac)});
  };
  for (const FormerPort& port : info.former_ports) learn(port);
  for (const PortInfo& port : info.ports) learn(port);
}

const SenderNames::Sender& SenderNames::of(const FrameView& frame) {
  if (!are_told_) return untold_;
  const Key key{frame.sender, frame.sender_incarnation};
  if (last_ != nullptr && key == last_key_) return *last_;
  auto found = senders_.find(key);
  if (found == senders_.end()) {
    if (!may_look()) {
      ++not_looked_up_;
      return others_;
    }
    look();
    add(key, {.name = "slot " + std::to_string(frame.sender),
              .description = "a port that has left",
              .known = false});
    found = senders_.find(key);
  }
  last_key_ = key;
  last_ = &found->second;
  return *last_;
}

std::string SenderNames::process_of(const FrameView& frame) {
  if (!bus_ || !are_told_) return {};
  const auto found = senders_.find(Key{frame.sender, frame.sender_incarnation});
  if (found == senders_.end() || !found->second.known) return {};
  Sender& sender = found->second;
  if (!sender.process_is_read && searched_ < kMaxSearch) {
    const Clock::time_point begin = Clock::now();
    sender.process = process_text(bus_->info(), frame.sender, frame.sender_incarnation);
    sender.process_is_read = true;
    searched_ += Clock::now() - begin;
  }
  return sender.process;
}

std::vector<std::string> SenderNames::live() const {
  std::vector<std::string> names;
  if (!bus_) return names;
  for (const PortInfo& port : bus_->info().ports) {
    if (port.live) names.push_back(port.name);
  }
  return names;
}

std::string to_text(const DumpCounts& counts) {
  const auto with_segments = [](const std::string& text, std::uint64_t frames,
                                std::uint64_t segments) {
    return segments == frames ? text
                              : text + " (" + std::to_string(segments) + " after segmentation)";
  };
  return with_segments(base::counted(counts.captured, "frame") + " captured", counts.captured,
                       counts.captured_segments) +
         ", " +
         with_segments(std::to_string(counts.filtered) + " filtered out", counts.filtered,
                       counts.filtered_segments) +
         ", " + (counts.lost_is_lower_bound ? "at least " : "") + std::to_string(counts.lost) +
         " lost";
}

std::string to_json(const std::string& path, const std::optional<std::string>& file,
                    const DumpCounts& counts) {
  const auto if_known = [](bool known, std::uint64_t figure) {
    return known ? std::optional(figure) : std::nullopt;
  };
  const char* const kPart = "the output took only a part of the frames";
  Json json{{"path", path}, {"file", file ? Json(*file) : Json(nullptr)}};
  set_figure(json, "captured_frames", if_known(counts.captured_known, counts.captured), kPart);
  json["captured_segments"] = counts.captured_segments;
  set_figure(json, "captured_bytes", if_known(counts.bytes_known, counts.bytes), kPart);
  json["filtered_out_frames"] = counts.filtered;
  json["filtered_out_segments"] = counts.filtered_segments;
  json["lost_frames"] = counts.lost;
  json["lost_is_lower_bound"] = counts.lost_is_lower_bound;
  return json_text(std::move(json));
}

namespace {

constexpr std::size_t kTextBytes = 1U << 20U;  // larger than the lines of any frame, with --hex
constexpr std::size_t kMaxInterfaces = 1024;   // all further senders share one

/// Both texts, and `between` if neither is empty.
std::string joined(std::string text, const char* between, const std::string& more) {
  if (!text.empty() && !more.empty()) text += between;
  return text += more;
}

/// What a super-frame stands for. The format has a flag only for TCP, and no number.
std::string super_frame_text(const FrameView& frame) {
  if (!frame.offload.is_super_frame()) return {};
  const bool udp = (frame.offload.gso_type & ~Offload::kGsoEcn) == Offload::kGsoUdp;
  return std::string("unsegmented: its ") + (udp ? "UDP" : "TCP") +
         " payload is sent in frames of " + base::counted(frame.offload.gso_size, "byte") + " each";
}

}  // namespace

bool DumpSink::needs_senders(const WantedOutput& wanted) {
  if (!wanted.file) return wanted.senders;
  return is_pcapng(*wanted.file, wanted.format);
}

DumpSink::DumpSink(const WantedOutput& wanted, SenderNames* names)
    : wanted_(wanted), names_(names) {
  if (!wanted.file) {
    packets_ = &packets();
    const CaptureFile::Options options{
        .buffer_bytes = kTextBytes, .terminal = true, .stop_descriptor = wanted.stop_descriptor};
    text_ = std::move(CaptureFile::create("-", options, {})).value();
    return;
  }
  // The format follows from the name as given, because a name with a number appended has no suffix.
  wanted_.format =
      is_pcapng(*wanted.file, wanted.format) ? CaptureFormat::pcapng : CaptureFormat::pcap;
  capture_.emplace(*wanted.file, wanted.rotation, [this](const std::string& file) {
    return create_capture(file, wanted_.format, wanted_.snap_bytes, comment(),
                          wanted_.stop_descriptor);
  });
  begin_file();
}

std::string DumpSink::comment() const {
  std::string text = "frames of the bus " + wanted_.bus;
  if (!wanted_.filter.empty()) text += ", filter \"" + wanted_.filter + '"';
  return text;
}

/// The bus itself is the first interface, because the totals of the whole capture belong to it.
void DumpSink::begin_file() {
  interfaces_.clear();
  file_counts_ = {};
  if (PcapngWriter* const file = capture_->file().pcapng()) {
    const std::string name = wanted_.bus.substr(wanted_.bus.rfind('/') + 1);
    file->add_interface({"bus " + name, "the bus " + wanted_.bus});
  }
}

/// A file cannot say that a checksum is unfinished. Programs that read or replay the file would
/// take it for a bad one.
void DumpSink::finish_checksum(FrameView& frame) {
  if (!frame.offload.needs_checksum()) return;
  finished_.assign(frame.bytes.begin(), frame.bytes.end());
  if (!bus::finish_checksum(finished_, frame.offload)) return;
  frame.bytes = finished_;
  frame.offload.flags &= static_cast<std::uint8_t>(~Offload::kNeedsChecksum);
}

void DumpSink::put(FrameView frame, std::uint64_t lost_before, const std::string& changes) {
  if (capture_) finish_checksum(frame);
  if (text_ && !changes.empty()) put_change_lines(changes);
  if (wanted_.snap_bytes != 0 && frame.size() > wanted_.snap_bytes) {
    if (!frame.truncated()) frame.true_bytes = static_cast<std::uint32_t>(frame.size());
    frame.bytes = frame.bytes.first(wanted_.snap_bytes);
  }
  if (text_) return put_line(frame);
  if (capture_->is_due()) {
    end_file();
    if (failed()) return;
    capture_->next();
    begin_file();
  }
  if (!last_unit_.is_of(frame)) ++file_counts_.accepted;
  last_unit_ = UnitOfBus(frame);
  file_counts_.received = file_counts_.accepted;
  file_counts_.lost += lost_before;
  // failed() reports a failure, once for each batch.
  if (PcapngWriter* const file = capture_->file().pcapng()) {
    put_pcapng(*file, frame, lost_before, changes);
  } else {
    if (!changes.empty()) say_no_changes();
    (void)capture_->file().send({&frame, 1});
  }
}

void DumpSink::put_line(const FrameView& frame) {
  DecodeOptions options = wanted_.lines;
  if (wanted_.senders) options.sender = names_->of(frame).name;
  put_text(packets_->decode(frame, options), CaptureFile::Holds::frame);
}

void DumpSink::put_text(const std::string& line, CaptureFile::Holds holds) {
  std::byte* const to = text_->reserve(line.size());
  if (to == nullptr) return;
  std::memcpy(to, line.data(), line.size());
  text_->commit(line.size(), holds);
}

void DumpSink::put_change_lines(const std::string& changes) {
  for (const std::string_view each : base::split(changes, '\n'))
    put_text("-- " + std::string(each) + '\n', CaptureFile::Holds::no_frame);
}

void DumpSink::say_no_changes() {
  if (!std::exchange(said_no_changes_, true)) say_no_comments();
}

void DumpSink::put_changes(const std::string& changes) {
  if (!changes.empty()) put_change_lines(changes);
}

void DumpSink::put_pcapng(PcapngWriter& file, const FrameView& frame, std::uint64_t lost_before,
                          const std::string& changes) {
  const SenderNames::Sender& sender = names_->of(frame);
  const bool is_full = interfaces_.size() >= kMaxInterfaces;
  auto found = interfaces_.find(sender.id);
  if (found == interfaces_.end() && is_full) found = interfaces_.find(SenderNames::kOthers);
  if (found == interfaces_.end()) {
    const SenderNames::Sender& named = is_full ? names_->others() : sender;
    const std::uint32_t number = file.add_interface(
        {.name = named.name,
         .description = joined(named.description, ", ", is_full ? "" : names_->process_of(frame)),
         .hardware = named.link.empty() ? "" : "shmif port, " + named.link,
         .mac = named.mac});
    found = interfaces_.emplace(named.id, number).first;
  }
  std::string comment;
  if (lost_before != 0)
    comment = base::counted(lost_before, "frame of the bus was", "frames of the bus were") +
              " lost before this one";
  comment = joined(comment, "\n", super_frame_text(frame));
  comment = joined(comment, "\n", changes);
  (void)file.put(found->second, frame, {.lost_before = lost_before, .comment = comment});
}

/// If the file could not be completed, leaves it open, because it knows the reason.
void DumpSink::end_file() {
  if (!capture_->is_open()) return;
  rotated_ = true;
  (void)finish({});
  if (failed()) return;
  earlier_files_ += capture_->file().written();
  capture_->close();
}

void DumpSink::end_span() {
  if (capture_ && capture_->is_over()) end_file();
}

void DumpSink::flush() {
  if (text_) {
    text_->flush();
  } else if (capture_->is_open()) {
    (void)capture_->file().flush();
  }
}

Result<void> DumpSink::status() const {
  if (text_) return text_->status();
  return capture_->is_open() ? capture_->file().status() : Result<void>();
}

std::chrono::nanoseconds DumpSink::time_left() const {
  return capture_ ? capture_->time_left() : std::chrono::hours(24);
}

Result<void> DumpSink::finish(const PcapngStatistics& statistics, const std::string& changes) {
  if (text_ && !changes.empty()) put_change_lines(changes);
  if (capture_ && capture_->is_open()) {
    if (PcapngWriter* const file = capture_->file().pcapng()) {
      file->put_statistics(0, rotated_ ? file_counts_ : statistics);
      if (!changes.empty()) file->put_section("changes after the last frame:\n" + changes);
    } else if (!changes.empty()) {
      say_no_changes();
    }
  }
  flush();
  Result<void> how = status();
  return reader_has_gone(how) ? Result<void>() : std::move(how);
}

std::uint64_t DumpSink::arrived() const {
  if (text_) return text_->written();
  return earlier_files_ + (capture_->is_open() ? capture_->file().written() : 0);
}

int DumpSink::output() const {
  return wanted_.file.value_or("-") == "-" ? STDOUT_FILENO : -1;
}

}  // namespace shmif::tools
