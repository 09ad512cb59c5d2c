#include "tools/relay/line_control.hpp"

#include <sys/stat.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <filesystem>
#include <utility>

#include "shmif/bus.hpp"
#include "shmif/debug/debug.hpp"

namespace shmif::tools {

namespace {

constexpr std::size_t kMaxFilteredText = 500;

/// The directory of a file, without symbolic links; empty if it is not known.
std::filesystem::path directory_of_bus(const std::string& path) {
  std::error_code unknown;
  const std::filesystem::path given(path);
  auto directory = std::filesystem::canonical(
      given.has_parent_path() ? given.parent_path() : std::filesystem::path("."), unknown);
  return unknown ? std::filesystem::path() : directory;
}

Error cannot_move(const std::string& path, const std::string& why) {
  return {Errc::bad_argument, "cannot move to " + path + ": " + why};
}

/// Opens the bus at `path` for a port that leaves the bus `from` for it. Both must be in one
/// directory, and have the same owner, group and mode: otherwise, who may write the one bus could
/// make this process open files that it may not. They also need the same MTU and offloads, because
/// the interface of the host was made for those. Errors: bad_argument; those of Bus::open.
Result<Bus> open_for_move(const std::string& from, const std::string& path) {
  const std::filesystem::path here = directory_of_bus(from);
  if (here.empty() || directory_of_bus(path) != here)
    return cannot_move(path,
                       "it is in another directory than the present bus (make both buses in one "
                       "directory)");
  const Result<Bus> now = Bus::open(from);
  if (!now) return now.error();
  Result<Bus> next = Bus::open(path);
  if (!next) return next;
  const BusInfo old_bus = now->info();
  const BusInfo new_bus = next->info();
  if (old_bus.device == new_bus.device && old_bus.inode == new_bus.inode)
    return cannot_move(path, "the port is already on this bus (give the path of another bus)");
  struct stat old_file{};
  struct stat new_file{};
  if (lstat(from.c_str(), &old_file) != 0 || lstat(path.c_str(), &new_file) != 0 ||
      new_file.st_ino != new_bus.inode || old_file.st_ino != old_bus.inode)
    return cannot_move(path, "one of the two buses was replaced just now (try again)");
  if (old_file.st_uid != new_file.st_uid || old_file.st_gid != new_file.st_gid ||
      old_file.st_mode != new_file.st_mode)
    return cannot_move(path,
                       "it has another owner, group or mode than the present bus (make both with "
                       "the same --mode, as the same user)");
  if (old_bus.mtu != new_bus.mtu)
    return cannot_move(path, "it has MTU " + std::to_string(new_bus.mtu) +
                                 ", and the present bus " + std::to_string(old_bus.mtu) +
                                 " (make it with --mtu " + std::to_string(old_bus.mtu) + ')');
  if (old_bus.format != new_bus.format || old_bus.carries_offloads != new_bus.carries_offloads)
    return cannot_move(path,
                       "only one of the two buses carries super-frames, because the other is too "
                       "small (make both with the same --size)");
  return next;
}

}  // namespace

LineControl::LineControl(tap::Line& line, LineMeans means)
    : line_(&line),
      means_(std::move(means)),
      is_down_(!line.has_carrier()),
      timer_(timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK)) {
  LineFaults faults = line.faults();
  if (means_.sent_elsewhere.any()) faults.sent = means_.sent_elsewhere;
  if (faults.any()) faults_ = to_string(faults);
  begin();
}

LineControl::~LineControl() {
  line_->set_deaf_to({});
}

void LineControl::begin() {
  desk_.reset();
  set_groups({});
  auto desk = ChangeDesk::open(port(), line_text());
  if (!desk) {
    debug(Debug::relay, [&] { return name() + " takes no changes: " + desk.error().message; });
    return;
  }
  desk_ = *std::move(desk);
  adopt_partition();
}

/// A partition that ends meanwhile asks only ports that show that they are in it. So this shows it,
/// and then looks once more.
void LineControl::adopt_partition() {
  constexpr int kMaxAdoptions = 8;
  std::string held;
  for (int i = 0; i < kMaxAdoptions; ++i) {
    if (const auto change = parse_change(held)) {
      set_groups(*change);
    } else {
      set_groups({});
    }
    show();
    std::string now = desk_->standing_partition();
    if (now == held) return;
    held = std::move(now);
  }
}

void LineControl::begin_again() {
  begin();
  note_start();
}

void LineControl::note_start() {
  if (!desk_) return;
  if (!faults_.empty()) desk_->note("fault " + faults_);
  if (!groups_.empty()) desk_->note(groups_);
  if (is_down_) desk_->note("link down");
}

Result<void> LineControl::join(tap::Bridge& bridge) {
  if (!desk_ || desk_->descriptor() < 0) return {};
  if (timer_) {
    if (auto done = bridge.watch(timer_.get(), [this] { return count_now(); }); !done) return done;
    if (can_drop()) wake_in_a_second();
  }
  return bridge.watch(desk_->descriptor(), [this] { return look(); });
}

bool LineControl::show_counts() {
  if (!desk_) return false;
  shows_counts_ = true;
  const tap::LineCounters line = line_->counters();
  LineCounts now = means_.counts_elsewhere ? means_.counts_elsewhere() : LineCounts();
  now.dropped_in += line.received.lost + line.received.queue_full + line.cut_received + line.deaf;
  now.dropped_out += line.sent.lost + line.sent.queue_full + line.cut_sent + line.refused;
  now.waiting += line.to_receive + line.to_send;
  const bool is_new = now.dropped_in != shown_.dropped_in ||
                      now.dropped_out != shown_.dropped_out || now.waiting != shown_.waiting;
  shown_ = now;
  desk_->show_counts(now);
  return is_new;
}

void LineControl::wake_in_a_second() const noexcept {
  itimerspec next{};
  next.it_value.tv_sec = 1;
  if (timer_) static_cast<void>(timerfd_settime(timer_.get(), 0, &next, nullptr));
}

/// A second has passed. A line on which nothing can drop frames wakes nobody.
bool LineControl::count_now() {
  std::uint64_t expirations = 0;
  static_cast<void>(::read(timer_.get(), &expirations, sizeof expirations) > 0);
  const bool is_new = show_counts();
  if (is_new || can_drop()) wake_in_a_second();
  return true;
}

void LineControl::keep_down() const {
  if (is_down_ && means_.set_carrier) static_cast<void>(means_.set_carrier(false));
}

bool LineControl::look() {
  while (desk_) {
    const std::optional<ChangeRequest> request = desk_->take();
    if (!request) break;
    debug(Debug::relay, [&] { return name() + " is asked: " + request->text; });
    apply(*request);
    if (moved_) return false;
  }
  return true;
}

void LineControl::apply(const ChangeRequest& request) {
  const auto change = parse_change(request.text);
  if (!change) return desk_->refuse(request, change.error().message);
  switch (change->kind) {
    case Change::Kind::fault: return set_faults(request, change->value);
    case Change::Kind::link: return set_link(request, change->up);
    case Change::Kind::partition:
    case Change::Kind::heal: return set_partition(request, *change);
    case Change::Kind::move: return move(request, change->value);
  }
}

void LineControl::set_faults(const ChangeRequest& request, const std::string& spec) {
  // libpcap needs more than half a second for some filters of 1500 characters, and no frame passes
  // meanwhile.
  if (spec.size() > kMaxFilteredText && spec.find("match") != std::string::npos) {
    return desk_->refuse(
        request, "faults with match= have at most " + std::to_string(kMaxFilteredText) +
                     " characters while the program runs, not " + std::to_string(spec.size()) +
                     " (give a longer filter at its start, with --fault)");
  }
  const auto faults = parse_line_faults(spec);
  if (!faults) return desk_->refuse(request, faults.error().message);
  const auto done = means_.set_faults ? means_.set_faults(*faults) : line_->set_faults(*faults);
  if (!done) return desk_->refuse(request, done.error().message);
  faults_ = faults->any() ? spec : std::string();
  show();
  desk_->accept(request, "fault " + spec,
                name() + (faults_.empty() ? " has no faults" : " has the faults " + faults_));
}

void LineControl::set_link(const ChangeRequest& request, bool up) {
  if (is_down_ != up) {
    return desk_->accept(request, {},
                         "the link of " + name() + (up ? " is up already" : " is down already"));
  }
  if (means_.set_carrier) {
    if (const std::error_code error = means_.set_carrier(up)) {
      line_->set_carrier(!is_down_);
      return desk_->refuse(request,
                           "the carrier of the interface cannot be changed: " + error.message());
    }
  }
  line_->set_carrier(up);
  is_down_ = !up;
  show();
  desk_->accept(request, up ? "link up" : "link down",
                "the link of " + name() + (up ? " is up" : " is down"));
}

/// Makes the groups of a partition hold; those of any other change are none.
void LineControl::set_groups(const Change& change) {
  partition_ =
      Partition(change.groups, port().name(), [this](unsigned slot, std::uint32_t incarnation) {
        return desk_ ? desk_->sender_name(slot, incarnation) : std::string();
      });
  groups_ = partition_.is_active() ? to_text(change) : std::string();
  if (!partition_.is_active()) return line_->set_deaf_to({});
  line_->set_deaf_to([this](std::uint16_t sender, std::uint32_t incarnation) {
    return partition_.ignores(sender, incarnation);
  });
}

/// The requester notes it in the journal, once for all ports that it asks.
void LineControl::set_partition(const ChangeRequest& request, const Change& change) {
  set_groups(change);
  show();
  desk_->accept(
      request, {},
      name() + (partition_.is_active() ? " hears only its own group" : " hears everybody"));
}

void LineControl::move(const ChangeRequest& request, const std::string& path) {
  if (!means_.attach_to || !means_.replace)
    return desk_->refuse(request,
                         "this command cannot move to another bus while it runs (end it, and start "
                         "it on the other bus)");
  const auto link = port().link();
  if (!link) return desk_->refuse(request, link.error().message);
  const auto bus = open_for_move(link->path, path);
  if (!bus) return desk_->refuse(request, bus.error().message);
  auto moved = means_.attach_to(*bus);
  if (!moved) return desk_->refuse(request, moved.error().message);
  // The answer comes before the port leaves this bus: without the port, the requester gives up.
  desk_->accept(request, "move " + path, name() + " is on " + path + " now");
  desk_.reset();
  means_.replace(*std::move(moved));
  moved_ = true;
  begin();
  if (desk_) desk_->note("moved here from " + link->path);
  note_start();
}

std::string LineControl::line_text() const {
  std::string line;
  const auto add = [&](const std::string& part) { line += (line.empty() ? "" : ", ") + part; };
  if (is_down_) add("link down");
  if (!faults_.empty()) add("fault " + faults_);
  if (!groups_.empty()) add(groups_);
  return line;
}

void LineControl::show() {
  if (!desk_) return;
  desk_->show(line_text(), !groups_.empty());
  if (!shows_counts_) return;
  show_counts();
  wake_in_a_second();
}

}  // namespace shmif::tools
