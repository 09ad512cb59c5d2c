// shmifctl top: shows a bus at work, live.

#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <ctime>

#include "shmif/bus.hpp"
#include "tools/common/options.hpp"
#include "tools/common/output.hpp"
#include "tools/common/signals.hpp"
#include "tools/shmifctl/commands.hpp"
#include "tools/show/describe.hpp"
#include "tools/show/terminal.hpp"
#include "tools/show/top_text.hpp"

namespace shmif::tools {

namespace {

using std::chrono::milliseconds;
using std::chrono::nanoseconds;
using Clock = std::chrono::steady_clock;

/// Reads the state of a bus again and again.
class Watcher {
 public:
  explicit Watcher(std::string path) : path_(std::move(path)), bus_(look_at(path_)) {}

  /// Throws if the file is no longer a valid bus: truncated, or another file.
  TopView look() {
    // Opens the bus each time, so that a new bus is shown and a truncated one is noticed.
    Result<Bus> again = Bus::open(path_);
    const bool removed = !again && again.error().code == std::errc::no_such_file_or_directory;
    if (again) {
      bus_ = std::move(*again);
    } else if (!removed) {
      throw Exception(std::move(again).error());
    }
    Sample now{Clock::now(), bus_.info()};
    // Finds out whether another bus has the same name now. Compares the time too, because inode
    // numbers are reused.
    if (before_ &&
        (before_->info.inode != now.info.inode || before_->info.device != now.info.device ||
         before_->info.created_ns != now.info.created_ns)) {
      before_.reset();
    }
    TopView view{now.info, rates_between(before_, now)};
    if (!view.rates.known) history_.clear();
    if (view.rates.known) history_.push_back(view.rates.frames);
    if (history_.size() > kKeptSamples) history_.erase(history_.begin());
    view.history = history_;
    if (removed) view.info.path += " (removed)";  // attached ports go on using the bus
    before_ = std::move(now);
    return view;
  }

 private:
  static constexpr std::size_t kKeptSamples = 300;  // more than the columns of any terminal
  std::string path_;
  Bus bus_;
  std::optional<Sample> before_;
  std::vector<double> history_;
};

/// Runs until stopped, or until `looks` samples are done.
int run_plain(Watcher& watcher, nanoseconds interval, std::uint64_t looks) {
  const StopSignals stop;
  stop.bound_writes();
  const auto step = std::chrono::ceil<milliseconds>(interval);
  static_cast<void>(watcher.look());
  for (std::uint64_t i = 0; i < looks; ++i) {
    if (stop.wait(static_cast<int>(step.count()))) return kDone;
    const TopView view = watcher.look();
    const std::string text = top_lines(std::time(nullptr), view.info, view.rates);
    std::fwrite(text.data(), 1, text.size(), stdout);
    if (std::fflush(stdout) != 0) {
      if (stop.stopped()) return kDone;
      throw Exception(Error::from_errno(errno, "cannot write to standard output"));
    }
  }
  return kDone;
}

/// The meaning of the pending keys.
struct Wish {
  bool quit = false;
  int scroll = 0;     ///< in ports
  bool over = false;  ///< there will be no more keys
  std::optional<TopOrder> order{};
};

Wish read_keys(std::size_t page) {
  std::array<char, 64> keys;
  const ssize_t n = read(STDIN_FILENO, keys.data(), keys.size());
  // On a terminal, another process may have read the keys. Elsewhere, an empty read means the end.
  if (n <= 0) return {.over = isatty(STDIN_FILENO) == 0};
  const std::string_view text(keys.data(), static_cast<std::size_t>(n));
  Wish wish;
  for (const TopOrderName& each : kTopOrders) {
    if (text.find(each.key) != std::string_view::npos) wish.order = each.order;
  }
  const int far = static_cast<int>(page);
  if (text.find_first_of("qQ") != std::string_view::npos) wish.quit = true;
  for (const auto& [key, lines] : {std::pair{"\x1b[A", -1},
                                   {"\x1bOA", -1},
                                   {"k", -1},
                                   {"\x1b[B", 1},
                                   {"\x1bOB", 1},
                                   {"j", 1},
                                   {"\x1b[5~", -far},
                                   {"\x1b[6~", far},
                                   {" ", far}}) {
    // A key that is held down appears several times in one read.
    for (std::size_t at = 0; (at = text.find(key, at)) != std::string_view::npos; ++at) {
      wish.scroll += lines;
    }
  }
  return wish;
}

/// Runs until stopped, until `q`, or until `looks` samples are done.
int run_screen(Watcher& watcher, nanoseconds interval, std::uint64_t looks, TopOrder order) {
  const StopSignals stop{SIGINT, SIGTERM, SIGHUP, SIGQUIT};
  stop.bound_writes();
  Screen screen;
  TopView view = watcher.look();
  view.look = {.order = order, .colours = shows_colours(), .blocks = shows_unicode()};
  // The first rates come early, so that the user does not see dashes for a whole interval.
  auto next = Clock::now() + std::min<nanoseconds>(interval, milliseconds(250));
  std::uint64_t looked = 0;
  bool keys = true;
  for (;;) {
    screen.show(top_screen(view, screen.size()));
    const auto left = std::chrono::ceil<milliseconds>(next - Clock::now()).count();
    std::array<pollfd, 3> entries{{{stop.descriptor(), POLLIN, 0},
                                   {screen.signal_descriptor(), POLLIN, 0},
                                   {keys ? STDIN_FILENO : -1, POLLIN, 0}}};
    poll(entries.data(), entries.size(), static_cast<int>(std::max<std::int64_t>(left, 0)));
    if (stop.stopped()) return kDone;
    while (const int number = screen.next_signal()) {
      if (number == SIGTSTP) screen.suspend();
    }
    if ((entries[2].revents & (POLLHUP | POLLERR | POLLNVAL)) != 0) keys = false;
    if ((entries[2].revents & POLLIN) != 0) {
      const Wish wish = read_keys(top_rows(screen.size()));
      if (wish.quit) return kDone;
      if (wish.over) keys = false;
      const auto at = static_cast<std::ptrdiff_t>(view.look.scrolled) + wish.scroll;
      view.look.scrolled = static_cast<std::size_t>(std::max<std::ptrdiff_t>(at, 0));
      view.look.order = wish.order.value_or(view.look.order);
    }
    if (Clock::now() >= next) {
      if (looked++ == looks) return kDone;
      const TopLook look = view.look;
      view = watcher.look();
      view.look = look;
      next = Clock::now() + interval;
    }
  }
}

TopOrder order_of(const std::string& word) {
  for (const TopOrderName& each : kTopOrders) {
    if (word == each.word) return each.order;
  }
  throw UsageError{"--sort \"" + word + "\" is not one of loss, lag, tx, rx, name and slot"};
}

int run_top(const CommandLine& line) {
  const Arguments args =
      Options("top", "PATH")
          .bus_first()
          .about(
              R"(Shows a bus live: rates of the bus and of every port, on one screen that adapts
                 to the size of the terminal. Ports that lose frames stand first, then those
                 that are far behind, then those that send the most; the keys in the last line
                 choose another order. LAG is how much of the ring a port still has to read: at
                 "over", senders have begun to overwrite it. 'q' or Ctrl-C quits, the arrow keys
                 scroll. When standard output is not a terminal, it prints lines instead.)")
          .value("sort", "ORDER",
                 "which ports stand first: loss (default), lag, tx, rx, name or slot")
          .value("interval", "SECONDS", "time between updates (default 1)")
          .value("n,count", "N", "end after N updates (default: never)")
          .example("shmifctl top /dev/shm/bus0", "watch the bus")
          .example("shmifctl top /dev/shm/bus0 --interval 10 >>bus.log", "keep a record")
          .parse(line);
  const nanoseconds interval = args.seconds("interval").value_or(std::chrono::seconds(1));
  if (interval < milliseconds(50) || interval > std::chrono::hours(1)) {
    throw UsageError{"--interval \"" + *args.text("interval") + "\" is not from 0.05 to 3600"};
  }
  const TopOrder order = order_of(args.text("sort").value_or("loss"));
  const std::uint64_t looks = args.count("count", 1).value_or(UINT64_MAX);
  Watcher watcher(args.positional()[0]);
  return isatty(STDOUT_FILENO) != 0 ? run_screen(watcher, interval, looks, order)
                                    : run_plain(watcher, interval, looks);
}

}  // namespace

const Command kTopCommand{"top", "watch a bus live", run_top};

}  // namespace shmif::tools
